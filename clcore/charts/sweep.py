"""What a method's strength does: old tasks, the last task, and their average."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import pandas as pd

from clcore.charts.theme import axis, layout
from clcore.charts.words import percent, spread_words, strength_word
from clcore.text import _

CURVES = ("average", "old", "last")


class Best(NamedTuple):
    """A strength that was chosen elsewhere; `low` to `high` cannot be told from it (None: not known). `words` say how."""

    strength: float
    low: float | None
    high: float | None
    words: str


def sweep_figure(
    frame: pd.DataFrame,
    strengths: Sequence[float],
    *,
    symbol: str = "",
    revision: str = "",
    height: int = 340,
    best: Best | None = None,
    mark_highest: bool = True,
) -> dict[str, Any]:
    """Accuracy at the end against strength: a band and a line for each of `CURVES`, then the diverged settings.

    frame      strength, curve (one of CURVES), mean, low, high, n, diverged, total
    strengths  all strengths of the run: they fix the axis; 0 sits one step left of the smallest positive one
    best       the strength to mark; without it the one with the highest average drawn here, if `mark_highest`
    """
    places = strength_places(strengths)
    names = {"average": _("average of all tasks"), "old": _("old tasks"), "last": _("last task")}
    looks = {
        "average": ("@text", "solid", "circle", 3),
        "old": ("@c0", "dash", "square", 2),
        "last": ("@c5", "dot", "diamond", 2),
    }
    data: list[dict[str, Any]] = []
    for curve in CURVES:
        color, dash, marker, width = looks[curve]
        rows = frame[(frame["curve"] == curve)].sort_values("strength")
        band_x, band_y = _band(rows, places)
        data.append({
            "type": "scatter", "mode": "lines", "name": names[curve], "legendgroup": curve, "showlegend": False,
            "x": band_x, "y": band_y, "connectgaps": False,
            "fill": "toself", "fillcolor": f"{color}/0.13", "line": {"width": 0}, "hoverinfo": "skip",
        })  # fmt: skip
        data.append({
            "type": "scatter", "mode": "lines+markers", "name": names[curve], "legendgroup": curve,
            "x": [places[s] for s in rows["strength"]], "y": [percent(v) for v in rows["mean"]],
            "customdata": [spread_words(r.low, r.high, r.n, r.diverged, r.total) for r in rows.itertuples()],
            "hovertemplate": "%{y:.1f} % %{customdata}", "connectgaps": False,
            "line": {"color": color, "dash": dash, "width": width},
            "marker": {"symbol": marker, "size": 8, "color": color},
        })  # fmt: skip
    lost = frame[(frame["curve"] == "average") & (frame["diverged"] > 0)]
    data.append({
        "type": "scatter", "mode": "markers+text", "name": _("diverged"), "showlegend": bool(len(lost)),
        "x": [places[s] for s in lost["strength"]], "y": [3.0] * len(lost),
        "text": [f"{int(r.diverged)}/{int(r.total)}" for r in lost.itertuples()], "textposition": "top center",
        "customdata": [spread_words(None, None, 0, r.diverged, r.total) for r in lost.itertuples()],
        "hovertemplate": "%{customdata}", "marker": {"symbol": "x", "size": 9, "color": "@text/0.8"},
    })  # fmt: skip
    highest = best_strength(frame, strengths) if best is None and mark_highest else None
    if highest is not None:
        best = Best(highest, None, None, _("highest average at {s}").format(s=strength_word(highest)))
    at = places[best.strength] if best is not None else 0.0
    spread = best is not None and best.low is not None
    step = 0.04 * max(max(places.values()) - min(places.values()), 1)
    low, high = min(places.values()), max(places.values())
    pad = max(0.06 * (high - low), 0.15)
    title = _("strength {symbol} (log scale)").format(symbol=symbol) if symbol else _("strength (log scale)")
    return {
        "data": data,
        "layout": layout(
            height,
            revision,
            shapes=[
                {"type": "line", "xref": "x", "yref": "y domain", "x0": at, "x1": at, "y0": 0, "y1": 1,
                 "line": {"color": "@text/0.5", "width": 1, "dash": "dot"}, "visible": best is not None},
                {"type": "rect", "xref": "x", "yref": "y domain", "y0": 0, "y1": 1, "layer": "below",
                 "x0": places[best.low] - step if spread else at, "x1": places[best.high] + step if spread else at,
                 "fillcolor": "@text/0.07", "line": {"width": 0}, "visible": spread},
            ],
            annotations=[
                {"xref": "x", "yref": "paper", "x": at, "y": 1, "yanchor": "bottom", "showarrow": False,
                 "font": {"size": 11, "color": "@text/0.8"}, "visible": best is not None,
                 "text": "" if best is None else best.words},
            ],
            xaxis=axis(title, range=[low - pad, high + pad], tickvals=list(places.values()),
                       ticktext=[strength_word(s) for s in places], showgrid=False, ticks="outside",
                       tickcolor="@border"),
            yaxis=axis(_("accuracy at the end, %"), range=[0, 102], tickvals=[0, 20, 40, 60, 80, 100]),
            hovermode="x unified",
            showlegend=True,
            legend={"orientation": "h", "x": 0, "y": -42 / (height - 92), "yanchor": "top",
                    "font": {"size": 11, "color": "@text/0.85"}, "bgcolor": "rgba(0,0,0,0)"},
            margin={"l": 44, "r": 10, "t": 22, "b": 70},
        ),
    }  # fmt: skip


def _band(rows: pd.DataFrame, places: dict[float, float]) -> tuple[list[float | None], list[float | None]]:
    """Outlines of the intervals, with a gap where a strength has none: a band is no guess about what diverged."""
    x: list[float | None] = []
    y: list[float | None] = []
    has = (rows["mean"].notna() & (rows["n"] > 1)).tolist()
    for shown, run in itertools.groupby(range(len(rows)), key=has.__getitem__):
        part = rows.iloc[list(run)]
        if shown:
            at = [places[s] for s in part["strength"]]
            x += [*at, *at[::-1], None]
            y += [*(percent(v) for v in part["high"]), *(percent(v) for v in part["low"][::-1]), None]
    return x[:-1], y[:-1]


def strength_places(strengths: Sequence[float]) -> dict[float, float]:
    """Where each strength sits on the axis: its decimal logarithm, and 0 one half decade left of the smallest."""
    positive = sorted(s for s in strengths if s > 0)
    places = {s: math.log10(s) for s in positive}
    if any(s == 0 for s in strengths):
        places = {0.0: (places[positive[0]] if positive else 0.0) - 0.6} | places
    return places


def best_strength(frame: pd.DataFrame, strengths: Sequence[float]) -> float | None:
    """The strength with the highest average, once every strength has one or has diverged; None before that."""
    rows = frame[frame["curve"] == "average"]
    good = rows[rows["mean"].notna()]
    if good.empty or len(rows) < len(set(strengths)):
        return None
    return float(good.loc[good["mean"].idxmax(), "strength"])
