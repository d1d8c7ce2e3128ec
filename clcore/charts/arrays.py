"""Arrays as figures: bars, lines over tasks, heatmaps, images, shares, thumbnails. What an array means is said elsewhere.

Each function returns the figure and the table of the numbers in it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np
import pandas as pd

from clcore.charts.png import data_uri
from clcore.charts.theme import CIVIDIS, axis, layout, scale, task_style
from clcore.text import _, n_

HEIGHT = 260
TEXT_UP_TO = 10  # rows and columns of a heatmap whose cells say their numbers
LABELS_UP_TO = 16
THUMBNAILS_ABREAST = 8
THUMBNAIL = 74  # pixels, with its caption


class Over(Protocol):
    """An array over networks (clcore.insights.Over)."""

    mean: np.ndarray
    low: np.ndarray
    high: np.ndarray
    n: int


class Drawn(NamedTuple):
    figure: dict[str, Any]
    table: pd.DataFrame


def rounded(value: float) -> float | None:
    """Four significant digits, as the events have them; None where there is no number."""
    value = float(value)
    return float(f"{value:.4g}") if math.isfinite(value) else None


def bars(
    values: Over, labels: Sequence[str], *, of: str, unit: str, bottom: float, top: float,
    reference: float | None = None, revision: str = "",
) -> Drawn:  # fmt: skip
    """A bar for each entry, with its interval over networks.

    of         what the entries are: "layer", "task"
    unit       what the height is
    bottom     the smallest value of all moments, and
    top        the largest, so that bars of different tasks compare
    reference  a value that means "nothing has changed", drawn as a line
    """
    mean = [rounded(v) for v in values.mean]
    low, high = ([rounded(v) for v in values.low], [rounded(v) for v in values.high])
    least = min(0.0, bottom)
    trace = {
        "type": "bar", "x": list(labels), "y": mean, "marker": {"color": "@c0"}, "showlegend": False,
        "customdata": [_interval_words(*row, values.n) for row in zip(low, high, strict=True)],
        "hovertemplate": "%{x}<br><b>%{y:.4g}</b> %{customdata}<extra></extra>",
        "error_y": {
            "type": "data", "symmetric": False, "visible": values.n > 1, "color": "@text/0.7", "thickness": 1.2, "width": 3,
            "array": _distances(mean, high), "arrayminus": _distances(low, mean),
        },
    }  # fmt: skip
    line = 0 if reference is None else reference
    figure = {
        "data": [trace],
        "layout": layout(
            HEIGHT, revision, bargap=0.35,
            xaxis=axis(of, type="category", showgrid=False, **_sparse(labels)),
            yaxis=axis(unit, range=[1.06 * least, 1.08 * top if top > 0 else -0.1 * least or 1.0], exponentformat="power"),
            shapes=[{
                "type": "line", "xref": "x domain", "yref": "y", "x0": 0, "x1": 1, "y0": line, "y1": line,
                "line": {"color": "@text/0.6", "dash": "dot", "width": 1.2}, "visible": reference is not None,
            }],
            margin={"l": 58, "r": 8, "t": 10, "b": 44},
        ),
    }  # fmt: skip
    return Drawn(figure, pd.DataFrame({of: list(labels), "mean": mean, "low": low, "high": high, "n": values.n}))


def over_tasks(moments: Sequence[int], values: Sequence[Over], tasks: int, *, unit: str, revision: str = "") -> Drawn:
    """One number after each task, a line with its interval; `moments` are the tasks that it was reported after."""
    mean = [rounded(v.mean) for v in values]
    low, high = [rounded(v.low) for v in values], [rounded(v.high) for v in values]
    n = max((v.n for v in values), default=1)
    trace = {
        "type": "scatter", "mode": "lines+markers", "x": list(moments), "y": mean, "showlegend": False,
        "line": {"color": "@c0", "width": 2}, "marker": {"size": 8, "color": "@c0"}, "cliponaxis": False,
        "customdata": [_interval_words(*row, v.n) for *row, v in zip(low, high, values, strict=True)],
        "hovertemplate": "after T%{x}<br><b>%{y:.4g}</b> %{customdata}<extra></extra>",
        "error_y": {
            "type": "data", "symmetric": False, "visible": n > 1, "color": "@text/0.7", "thickness": 1.2, "width": 3,
            "array": _distances(mean, high), "arrayminus": _distances(low, mean),
        },
    }  # fmt: skip
    top = max((v for v in [*high, *mean] if v is not None), default=1.0)
    least = min((v for v in [*low, *mean] if v is not None), default=0.0)
    figure = {
        "data": [trace],
        "layout": layout(
            HEIGHT, revision,
            xaxis=axis(_("after task"), range=[0.5, tasks + 0.5], dtick=max(1, tasks // 10), showgrid=False),
            yaxis=axis(unit, range=[min(0.0, 1.06 * least), 1.08 * top or 1.0]),
            margin={"l": 58, "r": 8, "t": 10, "b": 44},
        ),
    }  # fmt: skip
    table = pd.DataFrame(
        {_("after task"): list(moments), _("mean"): mean, _("low"): low, _("high"): high, "n": [v.n for v in values]}
    )
    return Drawn(figure, table)


def heat(
    z: np.ndarray, rows: Sequence[str], columns: Sequence[str], *, of_rows: str, of_columns: str, unit: str,
    top: float | None = None, percent: bool = False, height: int = HEIGHT, revision: str = "",
) -> Drawn:  # fmt: skip
    """A heatmap, first row on top. `percent`: the values are fractions and shown as percent from 0 to 100."""
    scaled = 100 * z if percent else z
    cells = [[rounded(v) for v in line] for line in scaled]
    small = len(rows) <= TEXT_UP_TO and len(columns) <= TEXT_UP_TO
    most = 100 if percent else top if top is not None else float(np.nanmax(z, initial=0.0))
    least = 0 if percent else min(0.0, float(np.nanmin(z, initial=0.0)))
    suffix = " %" if percent else ""
    trace = {
        "type": "heatmap", "x": list(columns), "y": list(rows), "z": cells, "zmin": least, "zmax": most or 1.0,
        "colorscale": scale(CIVIDIS), "hoverongaps": False, "xgap": 1 if small else 0, "ygap": 1,
        "text": [["" if v is None else f"{v:.0f}" if percent else f"{v:.2g}" for v in line] for line in cells],
        "texttemplate": "%{text}" if small else "",
        "hovertemplate": f"%{{y}}, %{{x}}<br><b>%{{z:{'.1f' if percent else '.4g'}}}{suffix}</b><extra></extra>",
        "colorbar": _colorbar(unit, suffix),
    }  # fmt: skip
    figure = {
        "data": [trace],
        "layout": layout(
            height, revision,
            xaxis=axis(of_columns, type="category", showgrid=False, ticks="", **_sparse(columns)),
            yaxis=axis(of_rows, type="category", showgrid=False, ticks="", autorange="reversed", automargin=True,
                       **_sparse(rows)),
            margin={"l": 58, "r": 8, "t": 10, "b": 44},
        ),
    }  # fmt: skip
    table = pd.DataFrame(cells, columns=list(columns))
    table.insert(0, of_rows, list(rows))
    return Drawn(figure, table)


def image(z: np.ndarray, *, unit: str, bottom: float, top: float, revision: str = "") -> Drawn:
    """A picture of the input (h, w): a number for each pixel, in square cells."""
    cells = [[rounded(v) for v in line] for line in z]
    bare = {"showgrid": False, "showticklabels": False, "ticks": "", "showline": False}
    figure = {
        "data": [{
            "type": "heatmap", "z": cells, "zmin": bottom, "zmax": max(top, bottom + 1e-9), "colorscale": scale(CIVIDIS),
            "hovertemplate": _("row %{y}, column %{x}") + "<br><b>%{z:.4g}</b><extra></extra>",
            "colorbar": _colorbar(unit, ""),
        }],
        "layout": layout(
            HEIGHT, revision,
            xaxis=axis(constrain="domain", **bare),
            yaxis=axis(autorange="reversed", scaleanchor="x", constrain="domain", **bare),
            margin={"l": 8, "r": 8, "t": 10, "b": 10},
        ),
    }  # fmt: skip
    table = pd.DataFrame(cells, columns=[str(c) for c in range(z.shape[1])])
    table.insert(0, _("row"), range(len(table)))
    return Drawn(figure, table)


def shares(
    z: np.ndarray, rows: Sequence[str], parts: Sequence[tuple[str, str]], *, of_rows: str, unit: str, percent: bool = True,
    revision: str = "",
) -> Drawn:  # fmt: skip
    """Stacked bars, one a row of `z` (rows, parts). `parts`: a name and a colour for each; hatched in turn."""
    scaled = 100 * z if percent else z
    hatches = ("", "/", "x", ".", "\\", "-", "+", "|")
    data, columns = [], {}
    for i, (name, color) in enumerate(parts):
        values = [rounded(v) for v in scaled[:, i]]
        columns[name] = values
        data.append({
            "type": "bar", "orientation": "h", "name": name, "y": list(rows), "x": values,
            "marker": {"color": color, "line": {"color": "@background", "width": 1},
                       "pattern": {"shape": hatches[i % len(hatches)] if color != "@panel" else "", "fgcolor": "@background",
                                   "size": 6, "solidity": 0.2, "fillmode": "overlay"}},
            "text": [name if v is not None and v > 0.08 * float(np.nanmax(scaled.sum(1))) else "" for v in values],
            "textposition": "inside", "insidetextanchor": "middle", "textangle": 0,
            "hovertemplate": f"%{{y}}, {name}<br><b>%{{x:.1f}}{' %' if percent else ''}</b><extra></extra>",
        })  # fmt: skip
    figure = {
        "data": data,
        "layout": layout(
            HEIGHT, revision, barmode="stack", bargap=0.3, showlegend=len(parts) <= LABELS_UP_TO,
            xaxis=axis(unit, range=[0, 100] if percent else [0, 1.02 * float(np.nanmax(scaled.sum(1))) or 1.0]),
            yaxis=axis(of_rows, type="category", showgrid=False, autorange="reversed", automargin=True),
            legend={"orientation": "h", "x": 0, "y": 1.02, "yanchor": "bottom", "font": {"size": 11}, "traceorder": "normal"},
            margin={"l": 58, "r": 8, "t": 34, "b": 44},
        ),
    }  # fmt: skip
    table = pd.DataFrame(columns)
    table.insert(0, of_rows, list(rows))
    return Drawn(figure, table)


def thumbnails(pictures: np.ndarray, captions: Sequence[str], *, revision: str = "") -> Drawn:
    """Images (n, h, w) or (n, channels, h, w), each with a caption under it."""
    n = len(pictures)
    abreast = min(THUMBNAILS_ABREAST, max(n, 1))
    deep = -(-max(n, 1) // abreast)
    low, high = float(np.nanmin(pictures, initial=0.0)), float(np.nanmax(pictures, initial=1.0))
    grey = np.nan_to_num((pictures - low) * (255 / (high - low)))
    places = [(i % abreast, i // abreast) for i in range(n)]
    bare = {"showgrid": False, "showticklabels": False, "ticks": "", "showline": False, "fixedrange": True}
    figure = {
        "data": [{
            "type": "scatter", "mode": "text", "x": [x + 0.5 for x, _y in places], "y": [y + 0.9 for _x, y in places],
            "text": list(captions), "textfont": {"size": 11}, "hoverinfo": "skip", "showlegend": False,
        }],
        "layout": layout(
            deep * THUMBNAIL + 16, revision,
            xaxis=axis(range=[0, abreast], **bare), yaxis=axis(range=[deep, 0], **bare),
            images=[
                {"source": data_uri(one), "xref": "x", "yref": "y", "x": x + 0.05, "y": y + 0.02, "sizex": 0.9,
                 "sizey": 0.74, "xanchor": "left", "yanchor": "top", "sizing": "contain", "layer": "above"}
                for one, (x, y) in zip(grey, places, strict=True)
            ],
            margin={"l": 4, "r": 4, "t": 8, "b": 8},
        ),
    }  # fmt: skip
    table = pd.DataFrame({
        _("picture"): range(1, n + 1), _("caption"): list(captions),
        _("mean brightness"): [rounded(one.mean()) for one in pictures],
    })  # fmt: skip
    return Drawn(figure, table)


def task_parts(tasks: int, last: str) -> list[tuple[str, str]]:
    """A part for each task, in its colour, and one that is nobody's."""
    return [(f"T{j}", task_style(j, tasks).color) for j in range(1, tasks + 1)] + [(last, "@panel")]


def _sparse(labels: Sequence[str]) -> dict[str, Any]:
    """Ticks for a categorical axis: all labels while there are few."""
    if len(labels) <= LABELS_UP_TO:
        return {"tickvals": list(labels)}
    step = -(-len(labels) // 8)
    return {"tickvals": list(labels)[::step]}


def _colorbar(unit: str, suffix: str) -> dict[str, Any]:
    return {
        "thickness": 10, "len": 1, "outlinewidth": 0, "ticksuffix": suffix, "exponentformat": "power", "nticks": 5,
        "tickfont": {"size": 11, "color": "@text/0.75"},
        "title": {"text": unit, "side": "right", "font": {"size": 11, "color": "@text/0.75"}},
    }  # fmt: skip


def _distances(low: Sequence[float | None], high: Sequence[float | None]) -> list[float]:
    return [0.0 if a is None or b is None else max(0.0, b - a) for a, b in zip(low, high, strict=True)]


def _interval_words(low: float | None, high: float | None, n: int) -> str:
    if low is None or high is None:
        return ""
    if n == 1:
        return _("1 seed")
    if n == 2:
        return _("range {low:.3g} to {high:.3g}, 2 seeds").format(low=low, high=high)
    return n_("95 % interval {low} to {high}, {n} seed", "95 % interval {low} to {high}, {n} seeds", n,
              low=f"{low:.3g}", high=f"{high:.3g}")  # fmt: skip
