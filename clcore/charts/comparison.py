"""Groups side by side: curves, final accuracies, paired differences, growth. Colours by method, dash and marker too."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import pandas as pd

from clcore.accounting import readable_bytes
from clcore.charts.theme import DASHES, MARKERS, Style, axis, layout, method_style
from clcore.charts.words import percent, spread_words, text_width
from clcore.text import _

LEGEND_ROW = 22  # pixels
PHONE = 290  # pixels for the legend on a phone
ROW = 38  # pixels of a pair in the forest plot
SPREAD_OUT = 0.7  # how much of a task's width the groups take


class Curve(NamedTuple):
    """A group's part of a figure: its name, its look, and a table that the figure describes."""

    name: str
    style: Style
    frame: pd.DataFrame


def group_styles(methods: Sequence[str]) -> list[Style]:
    """A look per group: its method's; further groups of a method keep the colour and take another dash and marker."""
    found: list[Style] = []
    for i, method in enumerate(methods):
        usual, nth = method_style(method), methods[:i].count(method)
        if nth == 0:
            found.append(usual)
            continue
        dashes = [usual.dash, *(d for d in DASHES if d != usual.dash)]
        markers = [usual.marker, *(m for m in MARKERS if m != usual.marker)]
        found.append(Style(usual.color, dashes[nth % len(dashes)], markers[nth % len(markers)]))
    return found


def averages_figure(
    curves: Sequence[Curve], tasks: int, *, live: bool = False, seeds: bool = True, band: bool = True,
    x: str = "position", revision: str = "", height: int = 340,
) -> dict[str, Any]:  # fmt: skip
    """Average accuracy over the tasks seen so far: per group a band, thin lines of the seeds, the mean. Three traces each.

    frame  position (tasks trained), mean, low, high, n, diverged, total, seeds (a number per seed)
    live   evaluations while training; otherwise points at the ends of tasks
    x      the column to draw over: position, or "examples" or "seconds", which the frames then have
    """
    data: list[dict[str, Any]] = []
    for curve in curves:
        data += _average_traces(curve, x, live, seeds, band)
    return {
        "data": data,
        "layout": _layout(
            height, f"{revision}/{live}/{x}", curves, xaxis=_progress_axis(curves, tasks, live, x),
            yaxis=axis(_("average accuracy, seen tasks, %"), range=[0, 102], tickvals=[0, 20, 40, 60, 80, 100]),
            hovermode="x unified",
        ),
    }  # fmt: skip


def _progress_axis(curves: Sequence[Curve], tasks: int, live: bool, x: str) -> dict[str, Any]:
    common = {"showgrid": False, "ticks": "outside", "tickcolor": "@border"}
    if x == "position":
        ticks = list(range(0 if live else 1, tasks + 1))
        return axis(_("tasks trained"), range=[0, tasks] if live else [0.8, tasks + 0.2], tickvals=ticks,
                    ticktext=list(map(str, ticks)), hoverformat=".2f", **common)  # fmt: skip
    title = _("examples of the stream, per network") if x == "examples" else _("training time of the run, s")
    far = max([1e-9, *(at for curve in curves for at in curve.frame[x])])
    return axis(title, range=[0, 1.03 * far], tickformat="~s" if x == "examples" else "", nticks=7,
                hoverformat=",.0f" if x == "examples" else ".2f", **common)  # fmt: skip


def _average_traces(curve: Curve, at: str, live: bool, seeds: bool, band: bool) -> list[dict[str, Any]]:
    frame, style = curve.frame, curve.style
    x = [round(p, 4) for p in frame[at]]
    banded = frame[frame["n"] > 1] if band else frame.iloc[:0]
    bx = [round(p, 4) for p in banded[at]]
    common = {"legendgroup": curve.name, "name": curve.name}
    lines: tuple[list, list] = ([], [])
    if seeds and len(frame):
        for values in zip(*frame["seeds"], strict=True):
            lines[0].extend([*x, None])
            lines[1].extend([*(percent(v) for v in values), None])
    return [
        {
            "type": "scatter", "mode": "lines", **common, "showlegend": False, "x": bx + bx[::-1],
            "y": [percent(v) for v in banded["high"]] + [percent(v) for v in banded["low"][::-1]],
            "fill": "toself", "fillcolor": f"{style.color}/0.14", "line": {"width": 0}, "hoverinfo": "skip",
        },
        {
            "type": "scatter", "mode": "lines", **common, "showlegend": False, "x": lines[0], "y": lines[1],
            "line": {"color": f"{style.color}/0.45", "width": 0.8}, "hoverinfo": "skip", "connectgaps": False,
        },
        {
            "type": "scatter", "mode": "lines" if live else "lines+markers", **common, "showlegend": True,
            "x": x or [None], "y": [percent(v) for v in frame["mean"]] or [None], "customdata": _words(frame),
            "hovertemplate": "%{y:.1f} % %{customdata}", "connectgaps": False, "cliponaxis": False,
            "line": {"color": style.color, "dash": style.dash, "width": 2.2},
            "marker": {"color": style.color, "symbol": style.marker, "size": 8},
        },
    ]  # fmt: skip


def final_figure(
    curves: Sequence[Curve], tasks: Sequence[str], *, seeds: bool = True, revision: str = "", height: int = 340
) -> dict[str, Any]:
    """Accuracy on each task at the end: per group the mean with its interval, and a dot per seed beside it.

    frame  task, mean, low, high, n, diverged, total, seeds
    """
    data: list[dict[str, Any]] = []
    step = SPREAD_OUT / max(len(curves), 1)
    for i, (name, style, frame) in enumerate(curves):
        x = [round(task + (i - (len(curves) - 1) / 2) * step, 4) for task in frame["task"]]
        dots: tuple[list, list] = ([], [])
        for at, values in zip(x, frame["seeds"], strict=True):
            n = len(values)
            dots[0].extend(round(at + 0.5 * step * ((k + 0.5) / n - 0.5), 4) for k in range(n))
            dots[1].extend(percent(v) for v in values)
        shown = frame["n"] > 1
        mean = [percent(v) for v in frame["mean"]]
        data.append({
            "type": "scatter", "mode": "markers", "name": name, "legendgroup": name, "showlegend": False,
            "x": dots[0] if seeds else [], "y": dots[1] if seeds else [], "hoverinfo": "skip",
            "marker": {"color": f"{style.color}/0.4", "symbol": "circle", "size": 4},
        })  # fmt: skip
        data.append({
            "type": "scatter", "mode": "markers", "name": name, "legendgroup": name, "showlegend": True,
            "x": x, "y": mean, "customdata": [f"T{t} {w}" for t, w in zip(frame["task"], _words(frame), strict=True)],
            "hovertemplate": "%{y:.1f} % %{customdata}<extra>" + name + "</extra>", "cliponaxis": False,
            "marker": {"color": style.color, "symbol": style.marker, "size": 9},
            "error_y": {
                "type": "data", "symmetric": False, "color": style.color, "thickness": 1.5, "width": 3,
                "array": [_gap(h, m, s) for h, m, s in zip(frame["high"], frame["mean"], shown, strict=True)],
                "arrayminus": [_gap(m, lo, s) for m, lo, s in zip(frame["mean"], frame["low"], shown, strict=True)],
            },
        })  # fmt: skip
    T = len(tasks)
    return {
        "data": data,
        "layout": _layout(
            height, revision, curves,
            xaxis=axis(_("task"), range=[0.5, T + 0.5], tickvals=list(range(1, T + 1)),
                       ticktext=[_tick(j, name, T) for j, name in enumerate(tasks, start=1)], showgrid=False),
            yaxis=axis(_("accuracy at the end, %"), range=[0, 102], tickvals=[0, 20, 40, 60, 80, 100]),
            hovermode="closest",
            shapes=[{"type": "line", "xref": "x", "yref": "y domain", "x0": j + 0.5, "x1": j + 0.5, "y0": 0, "y1": 1,
                     "line": {"color": "@border/0.5", "width": 1}} for j in range(1, T)],
        ),
    }  # fmt: skip


def forest_height(pairs: int) -> int:
    return 96 + ROW * max(pairs, 1)


def forest_figure(frame: pd.DataFrame, *, revision: str = "") -> dict[str, Any]:
    """Paired differences: a line per pair with its interval around 0; filled where the difference is clear.

    frame  first, second, mean, low, high, n, clear, words (what may be said), as fractions
    """
    labels = [f"{first}<br>− {second}" for first, second in zip(frame["first"], frame["second"], strict=True)]
    means = [percent(v) for v in frame["mean"]]
    shown = [v is not None for v in means]
    reach = [abs(percent(v)) for name in ("low", "high") for v in frame[name] if percent(v) is not None]
    edge = max([1.0, *reach]) * 1.1
    places = list(range(len(frame)))
    return {
        "data": [{
            "type": "scatter", "mode": "markers", "x": means, "y": places, "customdata": list(frame["words"]),
            "hovertemplate": "%{x:+.1f} %{customdata}<extra></extra>",
            "marker": {
                "size": 10, "color": "@text", "line": {"color": "@text", "width": 1.5},
                "symbol": ["circle" if clear else "circle-open" for clear in frame["clear"]],
            },
            "error_x": {
                "type": "data", "symmetric": False, "color": "@text", "thickness": 1.6, "width": 5,
                "array": [_gap(h, m, s) for h, m, s in zip(frame["high"], frame["mean"], shown, strict=True)],
                "arrayminus": [_gap(m, lo, s) for m, lo, s in zip(frame["mean"], frame["low"], shown, strict=True)],
            },
            "showlegend": False, "cliponaxis": False,
        }],
        "layout": layout(
            forest_height(len(frame)), revision,
            xaxis=axis(_("difference, points (first − second)"), range=[-edge, edge], zeroline=True,
                       zerolinecolor="@text/0.6", zerolinewidth=1.5),
            yaxis=axis(range=[len(frame) - 0.5, -0.5], tickvals=places, ticktext=labels, automargin=True,
                       showgrid=False, fixedrange=True),
            annotations=[
                {"xref": "paper", "yref": "paper", "x": 0, "y": 1, "xanchor": "left", "yanchor": "bottom",
                 "text": _("← second higher"), "showarrow": False, "font": {"size": 11, "color": "@text/0.75"}},
                {"xref": "paper", "yref": "paper", "x": 1, "y": 1, "xanchor": "right", "yanchor": "bottom",
                 "text": _("first higher →"), "showarrow": False, "font": {"size": 11, "color": "@text/0.75"}},
            ],
            margin={"l": 60, "r": 14, "t": 26, "b": 48}, hovermode="closest",
        ),
    }  # fmt: skip


def growth_figure(
    curves: Sequence[Curve], tasks: int, *, unit: str, revision: str = "", height: int = 280
) -> dict[str, Any]:
    """What a group needs after each task: `unit` is "bytes" or "seconds".

    frame  task, value, words (what stands behind it)
    """
    data = [
        {
            "type": "scatter", "mode": "lines+markers", "name": name, "showlegend": True,
            "x": list(frame["task"]) or [None], "y": list(frame["value"]) or [None], "customdata": list(frame["words"]),
            "hovertemplate": "%{customdata}", "cliponaxis": False,
            "line": {"color": style.color, "dash": style.dash, "width": 2},
            "marker": {"color": style.color, "symbol": style.marker, "size": 7},
        }
        for name, style, frame in curves
    ]  # fmt: skip
    top = max([1e-9, *(v for _, _, frame in curves for v in frame["value"] if v is not None)])
    title = _("memory of one network") if unit == "bytes" else _("training time of the run, s")
    look = {"tickvals": (at := _round_steps(top)), "ticktext": [readable_bytes(v) for v in at]} if unit == "bytes" else {}
    return {
        "data": data,
        "layout": _layout(
            height, revision, curves,
            xaxis=axis(_("tasks trained"), range=[0.8, tasks + 0.2], tickvals=list(range(1, tasks + 1)), showgrid=False,
                       ticks="outside", tickcolor="@border"),
            yaxis=axis(title, range=[0, 1.08 * top], **look),
            hovermode="x unified",
        ),
    }  # fmt: skip


def _layout(height: int, revision: str, curves: Sequence[Curve], **more: Any) -> dict[str, Any]:
    """With a legend below the axis, and room for the rows that it has on a phone: were there less, Plotly would take it
    from the plot, and with the plot's height the legend would rise into the axis's title."""
    rows = _legend_rows([curve.name for curve in curves])
    bottom = 52 + LEGEND_ROW * rows
    plot = height - 24 - 74
    return layout(
        plot + 24 + bottom, revision, showlegend=True, margin={"l": 52, "r": 10, "t": 24, "b": bottom},
        legend={"orientation": "h", "x": 0, "xanchor": "left", "y": -46 / plot, "yanchor": "top",
                "font": {"size": 11, "color": "@text/0.9"}, "itemwidth": 34, "tracegroupgap": 0, "bgcolor": "rgba(0,0,0,0)"},
        **more,
    )  # fmt: skip


def _legend_rows(names: Sequence[str]) -> int:
    """As Plotly lays them out: columns as wide as the longest name."""
    width = 52 + max((text_width(name) for name in names), default=0)
    return -(-len(names) // max(1, int(PHONE // width)))


def _round_steps(top: float) -> list[float]:
    """0 and up to five round numbers up to `top`: a unit after a space is more than Plotly's own ticks can have."""
    size = 10 ** math.floor(math.log10(top / 5))
    step = next(size * m for m in (1, 2, 5, 10) if size * m * 5.0001 >= top)
    return [step * i for i in range(int(top / step + 1e-9) + 1)]


def _gap(upper: float | None, lower: float | None, shown: bool) -> float:
    if not shown or percent(upper) is None or percent(lower) is None:
        return 0.0
    return round(100 * (upper - lower), 3)


def _words(frame: pd.DataFrame) -> list[str]:
    columns = (frame[name].tolist() for name in ("low", "high", "n", "diverged", "total"))
    return [spread_words(*row) for row in zip(*columns, strict=True)]


def _tick(j: int, name: str, T: int) -> str:
    return f"T{j}<br>{name}" if T <= 6 and 0 < len(name) <= 6 else f"T{j}"
