"""Decision regions of a two-dimensional stream: what the network answers everywhere, and a film of how that changed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
import pandas as pd

from clcore.charts.theme import axis, layout
from clcore.text import _

SYMBOLS = ("circle", "square", "diamond", "triangle-up", "triangle-down", "pentagon", "hexagon", "star")
WRONG = "x"
PANEL = 330

Point = tuple[float, float, int]
Bounds = tuple[tuple[float, float], tuple[float, float]]


class Plane(Protocol):
    """One moment (clcore.insights.Plane)."""

    task: int
    position: float
    maps: tuple[np.ndarray | None, ...]


def regions_figure(
    planes: Sequence[Plane],
    points: Sequence[Sequence[Point]],
    bounds: Bounds,
    units: Sequence[str],
    *,
    film: bool = False,
    revision: str = "",
) -> dict[str, Any]:
    """The newest of `planes` with training points; a `film` has a frame for each, named by its position, for a clock to show.

    planes  in the order of training; one map for all tasks, or one a task, drawn side by side
    points  (T) training examples of each task: x, y, output unit
    units   (O) names of the output units

    A point is drawn in its class's colour and symbol where the map answers it right, as a cross where it does not, and
    faint while its task has not been met. Traces stay the same in number and order.
    """
    panels = max(len(p.maps) for p in planes)
    across = 1 if panels == 1 else 2
    down = -(-panels // across)
    data: list[dict[str, Any]] = []
    for panel in range(panels):
        data += _map_traces(panel, planes[-1], bounds, units)
    data += _point_traces(planes[-1], points, bounds, units, panels)
    height = PANEL * (1 if panels == 1 else down * 0.62)
    figure = {
        "data": data,
        "layout": layout(
            int(height), revision, hovermode="closest", showlegend=False,
            margin={"l": 8, "r": 8, "t": 26, "b": 8},
            annotations=[_moment_label(planes[-1]), *_panel_labels(panels, across, down)],
            **_axes(panels, across, down, bounds),
        ),
    }  # fmt: skip
    if film and len(planes) > 1:
        figure["frames"] = [_frame(p, points, bounds, panels, across, down) for p in planes]
    return figure


def right_counts(plane: Plane, points: Sequence[Sequence[Point]], bounds: Bounds) -> list[tuple[int, int] | None]:
    """(T) how many of the drawn points of each task the map answers right, and of how many; None without a map."""
    counts: list[tuple[int, int] | None] = []
    for j, own in enumerate(points):
        answers = _answers(_map_of(plane, j), own, bounds)
        counts.append(None if answers is None else (sum(a == p[2] for a, p in zip(answers, own, strict=True)), len(own)))
    return counts


def regions_table(planes: Sequence[Plane], points: Sequence[Sequence[Point]], bounds: Bounds) -> pd.DataFrame:
    """A row a moment: tasks trained, and how many points of each task are answered right there."""
    columns = {_("tasks trained"): [round(p.position, 2) for p in planes]}
    counts = [right_counts(p, points, bounds) for p in planes]
    for j, own in enumerate(points):
        name = _("T{j}: right of {n}").format(j=j + 1, n=len(own))
        columns[name] = [None if c[j] is None else c[j][0] for c in counts]
    return pd.DataFrame(columns)


# ---- traces ---------------------------------------------------------------------------------------------------------


def _map_traces(panel: int, plane: Plane, bounds: Bounds, units: Sequence[str]) -> list[dict[str, Any]]:
    z = _grid(plane, panel)
    places = _places(plane, bounds)
    n = len(units)
    steps = [[edge / n, f"@c{u % 8}/0.3"] for u in range(n) for edge in (u, u + 1)]
    where = _where(panel)
    heat = {
        "type": "heatmap", "z": z, **places, "zmin": -0.5, "zmax": n - 0.5, "colorscale": steps, "showscale": False,
        "hoverinfo": "skip", "zsmooth": False, **where,
    }  # fmt: skip
    line = {
        "type": "scatter", "mode": "lines", **_borders(plane, panel, bounds), "hoverinfo": "skip", "connectgaps": False,
        "line": {"color": "@text/0.8", "width": 1.5}, **where,
    }  # fmt: skip
    return [heat, line]


def _point_traces(
    plane: Plane, points: Sequence[Sequence[Point]], bounds: Bounds, units: Sequence[str], panels: int
) -> list[dict[str, Any]]:
    """One trace for each task: its points."""
    traces = []
    for j, own in enumerate(points):
        traces.append({
            "type": "scatter", "mode": "markers", "name": f"T{j + 1}",
            "x": [p[0] for p in own], "y": [p[1] for p in own], **_where(j if panels > 1 else 0),
            "customdata": [_unit(units, p[2]) for p in own],
            "hovertemplate": f"T{j + 1}, %{{customdata}}<extra></extra>",
            "marker": {
                **_marks(plane, j, own, bounds),
                "color": [f"@c{p[2] % 8}" for p in own], "line": {"color": "@background", "width": 1},
            },
        })  # fmt: skip
    return traces


def _marks(plane: Plane, j: int, own: Sequence[Point], bounds: Bounds) -> dict[str, Any]:
    """What of a task's markers changes from moment to moment."""
    answers = _answers(_map_of(plane, j), own, bounds)
    met = j < plane.task
    wrong = [met and answers is not None and a != p[2] for a, p in zip(answers or [None] * len(own), own, strict=True)]
    return {
        "symbol": [WRONG if bad else SYMBOLS[p[2] % len(SYMBOLS)] for bad, p in zip(wrong, own, strict=True)],
        "size": [9 if bad else 7 for bad in wrong],
        "opacity": 0.95 if met else 0.25,
    }  # fmt: skip


def _frame(
    plane: Plane, points: Sequence[Sequence[Point]], bounds: Bounds, panels: int, across: int, down: int
) -> dict[str, Any]:
    grids = [
        part for i in range(panels)
        for part in ({"type": "heatmap", "z": _grid(plane, i)}, {"type": "scatter", **_borders(plane, i, bounds)})
    ]  # fmt: skip
    marks = [{"type": "scatter", "marker": _marks(plane, j, own, bounds)} for j, own in enumerate(points)]
    labels = [_moment_label(plane), *_panel_labels(panels, across, down)]
    return {"name": _name(plane), "data": grids + marks, "layout": {"annotations": labels}}


# ---- geometry -------------------------------------------------------------------------------------------------------


def _map_of(plane: Plane, task: int) -> np.ndarray | None:
    return plane.maps[task if len(plane.maps) > 1 else 0]


def _grid(plane: Plane, panel: int) -> list[list[int | None]]:
    found = plane.maps[panel] if panel < len(plane.maps) else None
    if found is None:
        side = next((len(m) for m in plane.maps if m is not None), 2)
        return [[None] * side for _row in range(side)]
    return found.tolist()


def _borders(plane: Plane, panel: int, bounds: Bounds) -> dict[str, list[float | None]]:
    """The sides of cells at which the answer changes: two ends and a gap each."""
    found = plane.maps[panel] if panel < len(plane.maps) else None
    if found is None:
        return {"x": [], "y": []}
    side = len(found)
    (x0, x1), (y0, y1) = bounds
    xs = [round(x0 + (x1 - x0) * i / side, 4) for i in range(side + 1)]
    ys = [round(y0 + (y1 - y0) * i / side, 4) for i in range(side + 1)]
    x: list[float | None] = []
    y: list[float | None] = []
    for column in range(1, side):  # upright sides, joined while they follow each other
        for start, end in _stretches(found[:, column] != found[:, column - 1]):
            x += [xs[column], xs[column], None]
            y += [ys[start], ys[end], None]
    for row in range(1, side):
        for start, end in _stretches(found[row] != found[row - 1]):
            x += [xs[start], xs[end], None]
            y += [ys[row], ys[row], None]
    return {"x": x, "y": y}


def _stretches(marked: np.ndarray) -> list[tuple[int, int]]:
    """Where runs of True begin and end (exclusive)."""
    edges = np.flatnonzero(np.diff(np.concatenate(([0], marked.astype(np.int8), [0]))))
    return list(zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True))


def _answers(answers: np.ndarray | None, own: Sequence[Point], bounds: Bounds) -> list[int] | None:
    """The map's answer at each point: that of the cell it lies in."""
    if answers is None:
        return None
    side = len(answers)
    (x0, x1), (y0, y1) = bounds
    return [
        int(answers[min(max(int((y - y0) / (y1 - y0) * side), 0), side - 1)]
            [min(max(int((x - x0) / (x1 - x0) * side), 0), side - 1)])
        for x, y, _u in own
    ]  # fmt: skip


def _places(plane: Plane, bounds: Bounds) -> dict[str, float]:
    """Middles of the cells."""
    side = len(_grid(plane, 0))
    (x0, x1), (y0, y1) = bounds
    dx, dy = (x1 - x0) / side, (y1 - y0) / side
    return {"x0": round(x0 + dx / 2, 6), "dx": round(dx, 6), "y0": round(y0 + dy / 2, 6), "dy": round(dy, 6)}


def _where(panel: int) -> dict[str, str]:
    tail = "" if panel == 0 else str(panel + 1)
    return {"xaxis": f"x{tail}", "yaxis": f"y{tail}"}


def _axes(panels: int, across: int, down: int, bounds: Bounds) -> dict[str, Any]:
    bare = {"showgrid": False, "showticklabels": False, "ticks": "", "showline": True, "mirror": True, "constrain": "domain"}
    found = {}
    for panel in range(panels):
        tail = "" if panel == 0 else str(panel + 1)
        column, row = panel % across, panel // across
        left, top = column / across, 1 - row / down
        gap = 0 if panels == 1 else 0.02
        found[f"xaxis{tail}"] = axis(
            range=list(bounds[0]), domain=[left + gap, left + 1 / across - gap], anchor=f"y{tail}", **bare
        )
        found[f"yaxis{tail}"] = axis(
            range=list(bounds[1]), domain=[max(0, top - 1 / down), top - (0.06 if panels > 1 else 0)], anchor=f"x{tail}",
            scaleanchor=f"x{tail}", **bare,
        )  # fmt: skip
    return found


# ---- words ----------------------------------------------------------------------------------------------------------


def _unit(units: Sequence[str], unit: int) -> str:
    return (units[unit] if unit < len(units) else "") or _("output {n}").format(n=unit + 1)


def moment_words(plane: Plane) -> str:
    """Where in training a map was drawn."""
    if plane.position == 0:
        return _("before training")
    if plane.position == plane.task:
        return _("after T{k}").format(k=plane.task)
    return _("in T{k}, {share:.0f} % through").format(k=plane.task, share=100 * (plane.position - plane.task + 1))


def _moment_label(plane: Plane) -> dict[str, Any]:
    return {
        "xref": "paper", "yref": "paper", "x": 0.5, "y": 1, "yanchor": "bottom", "xanchor": "center", "showarrow": False,
        "text": f"<b>{moment_words(plane)}</b>", "font": {"size": 12, "color": "@text/0.85"}, "yshift": 4,
    }  # fmt: skip


def _panel_labels(panels: int, across: int, down: int) -> list[dict[str, Any]]:
    if panels == 1:
        return []
    return [
        {"xref": "paper", "yref": "paper", "x": (p % across + 0.5) / across, "y": 1 - (p // across) / down - 0.06,
         "yanchor": "bottom", "xanchor": "center", "showarrow": False, "text": f"T{p + 1}",
         "font": {"size": 11, "color": "@text/0.75"}}
        for p in range(panels)
    ]  # fmt: skip


def _name(plane: Plane) -> str:
    return f"{plane.position:.4f}"
