"""A prediction, the predictions of a class, and the truth, in one chart."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from clcore.charts.theme import Style, axis, layout
from clcore.charts.words import PERCENT, Unit, spread_words
from clcore.text import _, n_

MINE = "@c3"


class Number(Protocol):
    """A number over seeds, with its interval (`clcore.frames.Spread`): a fraction, or bytes."""

    mean: float | None
    low: float | None
    high: float | None
    n: int
    diverged: int
    total: int


@dataclass(frozen=True)
class Line:
    """One method's truth: a number, or None, for every label."""

    name: str
    style: Style
    points: Sequence[Number | None]
    trail: Sequence[tuple[float, float]] = ()
    """(tasks trained, mean) between the labels, for a curve: evaluations on a part of the test data."""


def curve_figure(
    labels: Sequence[str],
    lines: Sequence[Line],
    mine: Sequence[float] | None,
    crowd: Sequence[Sequence[float]] = (),
    *,
    title: str,
    unit: Unit = PERCENT,
    revision: str = "",
    height: int = 340,
) -> dict[str, Any]:
    """A number after each task: class's band and median, truth of every method, own prediction."""
    x = list(range(1, len(labels) + 1))
    data = _crowd_band(x, crowd, unit)
    for line in lines:
        data += _truth_line(x, line, unit)
    highest = [unit.of(p.high) for line in lines for p in line.points if p is not None and p.high is not None]
    data.append(
        {"type": "scatter", "mode": "lines+markers", "name": _("your prediction"), "meta": "drawn", "x": x if mine else [],
         "y": list(mine) if mine else [], "line": {"color": MINE, "dash": "dot", "width": 2.5},
         "marker": {"symbol": "diamond-open", "size": 11, "color": MINE, "line": {"width": 2.5}},
         "hovertemplate": _hover(unit), "showlegend": bool(mine)}
    )  # fmt: skip
    return {
        "data": data,
        "layout": layout(
            height, revision,
            xaxis=axis(_("after training"), range=[0.7, len(labels) + 0.3], tickvals=x, ticktext=list(labels),
                       showgrid=False),
            yaxis=axis(title, **_scale(unit, [*highest, *(mine or ())], 104)),
            hovermode="x unified", showlegend=True, legend=_legend(height), margin={"l": 48, "r": 10, "t": 12, "b": 88},
        ),
    }  # fmt: skip


def options_figure(
    labels: Sequence[str],
    points: Sequence[Number | None],
    styles: Sequence[Style],
    title: str,
    *,
    mine: Sequence[float] | None = None,
    vote: int | None = None,
    crowd: Sequence[Sequence[float]] = (),
    votes: Sequence[int] = (),
    unit: Unit = PERCENT,
    signed: bool = False,
    fitted: bool = False,
    revision: str = "",
    height: int = 340,
) -> dict[str, Any]:
    """A number for each option: the truth with its interval, one's own numbers or vote, and the class's.

    votes   how many of the class voted for each option
    signed  whether numbers below 0 can occur
    fitted  the vertical axis holds what is shown, for numbers that are small on either side of 0
    """
    x = list(range(1, len(labels) + 1))
    found = [p if p is not None and p.mean is not None else None for p in points]
    mean = [None if p is None else unit.of(p.mean) for p in found]
    data: list[dict[str, Any]] = [
        {"type": "bar", "name": _("votes of the class"), "x": x, "y": list(votes) or [0] * len(x), "yaxis": "y2",
         "marker": {"color": "@text/0.12"}, "width": 0.7, "hovertemplate": "%{y}",
         "text": [str(v) if v else "" for v in votes], "textposition": "inside", "insidetextanchor": "start",
         "textfont": {"color": "@text/0.8"}, "showlegend": any(votes)},
        *_crowd_boxes(x, crowd),
        {"type": "scatter", "mode": "markers", "name": _("what happened"), "x": x, "y": mean,
         "error_y": {"type": "data", "symmetric": False, "color": "@text/0.8", "thickness": 1.6, "width": 6,
                     "array": [0 if p is None or p.n < 2 else unit.of(p.high - p.mean) for p in found],
                     "arrayminus": [0 if p is None or p.n < 2 else unit.of(p.mean - p.low) for p in found]},
         "marker": {"symbol": [s.marker for s in styles], "size": 13, "color": [s.color for s in styles],
                    "line": {"color": "@background", "width": 1}},
         "customdata": [_words(p, unit) for p in points], "hovertemplate": f"%{{y:,.{unit.decimals}f}} %{{customdata}}",
         "showlegend": any(m is not None for m in mean)},
        {"type": "scatter", "mode": "markers", "name": _("your prediction"), "meta": "drawn", "x": x if mine else [],
         "y": list(mine) if mine else [],
         "marker": {"symbol": "diamond-open", "size": 15, "color": MINE, "line": {"width": 2.5}},
         "hovertemplate": f"%{{y:,.{unit.decimals}f}}", "showlegend": bool(mine)},
    ]  # fmt: skip
    scale = _scale(unit, [*(unit.of(p.high) for p in found if p is not None), *(mine or ())], 108)
    low = min((m for m in mean if m is not None), default=0) if signed else 0
    if fitted:
        scale = _around_zero([*(unit.of(v) for p in found if p is not None for v in (p.low, p.high)), *(mine or ())])
    elif low < 0:
        scale["range"][0] = low - 5
    voted = vote is not None
    return {
        "data": data,
        "layout": layout(
            height, revision,
            xaxis=axis("", range=[0.4, len(labels) + 0.6], tickvals=x, ticktext=list(labels), showgrid=False),
            yaxis=axis(title, **scale),
            yaxis2={"overlaying": "y", "side": "right", "visible": False, "fixedrange": True,
                    "range": [0, 1.3 * max([1, *votes])]},
            annotations=[
                {"xref": "x", "yref": "paper", "x": (vote or 0) + 1, "y": 1, "yanchor": "top", "showarrow": False,
                 "text": f"<b>◆ {_('your vote')}</b>", "font": {"color": MINE, "size": 13}, "visible": voted}
            ],
            hovermode="x unified", showlegend=True, legend=_legend(height), margin={"l": 48, "r": 10, "t": 12, "b": 76},
        ),
    }  # fmt: skip


def _legend(height: int) -> dict[str, Any]:
    return {"orientation": "h", "x": 0, "y": -46 / (height - 100), "yanchor": "top",
            "font": {"size": 11, "color": "@text/0.85"}, "bgcolor": "rgba(0,0,0,0)"}  # fmt: skip


def _scale(unit: Unit, shown: Sequence[float], full: float) -> dict[str, Any]:
    """The vertical axis: percentages have theirs whatever is shown, other numbers what holds them all."""
    if unit is PERCENT:
        return {"range": [0, full], "tickvals": [0, 20, 40, 60, 80, 100]}
    return {"range": [0, 1.12 * max([100, *shown])], "tickformat": ",d"}


def _around_zero(shown: Sequence[float]) -> dict[str, Any]:
    """A vertical axis around 0 that holds all that is shown, with room for ten points where there is little."""
    low, high = min([-2.0, *shown]), max([10.0, *shown])
    room = 0.08 * (high - low)
    return {"range": [low - room, high + room], "zeroline": True}


def _hover(unit: Unit) -> str:
    return f"%{{y:,.{unit.decimals}f}} {unit.sign}"


def _truth_line(x: list[int], line: Line, unit: Unit) -> list[dict[str, Any]]:
    known = [(at, p) for at, p in zip(x, line.points, strict=True) if p is not None]
    banded = [(at, p) for at, p in known if p.n > 1]
    xs = [at for at, _p in banded]
    high, low = [unit.of(p.high) for _at, p in banded], [unit.of(p.low) for _at, p in banded]
    tint = f"{line.style.color}/0.14"
    band = {
        "type": "scatter", "mode": "lines", "name": line.name, "x": xs + xs[::-1], "y": high + low[::-1], "fill": "toself",
        "fillcolor": tint, "line": {"width": 0}, "hoverinfo": "skip", "showlegend": False, "legendgroup": line.name,
    }  # fmt: skip
    trail = {
        "type": "scatter", "mode": "lines", "name": line.name, "legendgroup": line.name, "showlegend": False,
        "x": [round(at, 3) for at, _mean in line.trail], "y": [unit.of(mean) for _at, mean in line.trail],
        "line": {"color": line.style.color, "dash": line.style.dash, "width": 1.6}, "hoverinfo": "skip",
    }  # fmt: skip
    drawn = {
        "type": "scatter", "mode": "markers" if line.trail else "lines+markers", "name": line.name, "legendgroup": line.name,
        "x": [at for at, _p in known], "y": [unit.of(p.mean) for _at, p in known],
        "line": {"color": line.style.color, "dash": line.style.dash, "width": 2},
        "marker": {"symbol": line.style.marker, "size": 9, "color": line.style.color},
        "customdata": [_words(p, unit) for _at, p in known], "hovertemplate": _hover(unit) + " %{customdata}",
        "showlegend": bool(known),
    }  # fmt: skip
    return [band, trail, drawn]


def _crowd_band(x: list[int], crowd: Sequence[Sequence[float]], unit: Unit) -> list[dict[str, Any]]:
    """The middle half of a class's curves, and their median."""
    columns = list(zip(*crowd, strict=True))
    quarters = [_quartiles(column) for column in columns]
    name = n_("{n} prediction of the class: middle half", "{n} predictions of the class: middle half", len(crowd))
    low, mid, high = ([q[i] for q in quarters] for i in range(3))
    xs = x if crowd else []
    return [
        {"type": "scatter", "mode": "lines", "name": name, "x": xs + xs[::-1], "y": high + low[::-1], "fill": "toself",
         "fillcolor": "@text/0.10", "line": {"width": 0}, "hoverinfo": "skip", "showlegend": bool(crowd)},
        {"type": "scatter", "mode": "lines", "name": _("median of the class"), "x": xs, "y": mid,
         "line": {"color": "@text/0.6", "dash": "longdash", "width": 1.5}, "hovertemplate": _hover(unit),
         "showlegend": bool(crowd)},
    ]  # fmt: skip


def _crowd_boxes(x: list[int], crowd: Sequence[Sequence[float]]) -> list[dict[str, Any]]:
    """All numbers of a class as boxes, one an option."""
    name = n_("{n} prediction of the class", "{n} predictions of the class", len(crowd))
    return [
        {"type": "box", "name": name, "x": [at for row in crowd for at, _v in zip(x, row, strict=True)],
         "y": [v for row in crowd for v in row], "boxpoints": "all", "jitter": 0.4, "pointpos": 0,
         "fillcolor": "@text/0.06", "line": {"color": "@text/0.4", "width": 1},
         "marker": {"color": "@text/0.35", "size": 5}, "hoverinfo": "skip", "showlegend": bool(crowd)}
    ]  # fmt: skip


def _quartiles(values: Sequence[float]) -> tuple[float, float, float]:
    if len(values) == 1:
        return values[0], values[0], values[0]
    low, mid, high = statistics.quantiles(values, n=4, method="inclusive")
    return round(low, 2), round(mid, 2), round(high, 2)


def _words(point: Number | None, unit: Unit) -> str:
    if point is None:
        return ""
    return spread_words(point.low, point.high, point.n, point.diverged, point.total, unit)
