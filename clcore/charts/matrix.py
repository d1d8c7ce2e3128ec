"""The accuracy matrix and the forgetting matrix: same geometry, so that the eye stays in place."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pandas as pd

from clcore.charts.theme import CIVIDIS, axis, layout, scale
from clcore.charts.words import percent, spread_words
from clcore.text import _

TEXT_UP_TO = 12
CELL = 38
MARGIN = 96


def matrix_height(T: int, row0: bool = False) -> int:
    """Height in pixels: constant for a run, with cells that stay legible on a phone."""
    return MARGIN + max(CELL if T <= TEXT_UP_TO else 16, 120 // (T + row0)) * (T + row0)


def matrix_figure(
    cells: pd.DataFrame,
    tasks: Sequence[str],
    *,
    kind: str = "accuracy",
    row0: bool = False,
    future: bool = False,
    running: int | None = None,
    revision: str = "",
) -> dict[str, Any]:
    """The matrix after each task (rows) on each task (columns): two traces, the seen and the future cells.

    cells    row (0..T), task (1..T), mean, low, high, n, diverged, total, as fractions; no row yet = not evaluated yet
    kind     "accuracy" (0 to 100 %), "forgetting" (points lost since the best, 0 in the middle) or "difference" (of two
             accuracies in points; the scale reaches as far as the largest, and 0 is the ground of the page)
    row0     show the untrained network
    future   show cells above the diagonal: tasks that have not been trained yet
    running  the row in training, drawn with a dashed outline
    """
    T = len(tasks)
    rows = list(range(0 if row0 else 1, T + 1))
    known = {(int(c.row), int(c.task)): c for c in cells.itertuples()}
    names = [_("before") if k == 0 else _("after T{k}").format(k=k) for k in rows]
    columns = [_column(j, name, T) for j, name in enumerate(tasks, start=1)]
    seen, ahead = [], []
    for k in rows:
        line = [known.get((k, j)) for j in range(1, T + 1)]
        past = [c if j <= k else None for j, c in enumerate(line, start=1)]
        seen.append(past)
        ahead.append([c if future and j > k and kind == "accuracy" else None for j, c in enumerate(line, start=1)])
    category = {"type": "category", "showgrid": False, "showline": False, "ticks": ""}
    return {
        "data": [_heat(seen, columns, names, kind, T), _future(ahead, columns, names, T)],
        "layout": layout(
            matrix_height(T, row0),
            f"{revision}/{kind}/{row0}",
            xaxis=axis(_("points lost on") if kind == "forgetting" else _("accuracy on"), side="top",
                       categoryarray=columns, range=[-0.5, T - 0.5], **category),
            yaxis=axis(categoryarray=names, range=[len(rows) - 0.5, -0.5], automargin=True, **category),
            shapes=[_outline(running, rows, T)],
            margin={"l": 66, "r": 8, "t": 66, "b": 12},
            hovermode="closest",
        ),
    }  # fmt: skip


def _heat(cells: list[list[Any]], columns: list[str], names: list[str], kind: str, T: int) -> dict[str, Any]:
    values = [[percent(c.mean) if c is not None else None for c in line] for line in cells]
    if kind == "difference":
        reach = max([1.0, *(abs(v) for line in values for v in line if v is not None)])
        look = {"zmin": -reach, "zmax": reach, "colorscale": [[0, "@c5"], [0.5, "@background"], [1, "@c0"]]}
        hover = "%{y}, %{x}<br><b>%{z:+.1f}</b> " + _("points") + " %{customdata}<extra></extra>"
    elif kind == "accuracy":
        look = {"zmin": 0, "zmax": 100, "colorscale": scale(CIVIDIS)}
        hover = "%{y}, %{x}<br><b>%{z:.1f} %</b> %{customdata}<extra></extra>"
    else:
        look = {"zmin": -100, "zmax": 100, "colorscale": [[0, "@c0"], [0.5, "@panel"], [1, "@c5"]]}
        hover = "%{y}, %{x}<br><b>%{z:.1f}</b> " + _("points lost") + " %{customdata}<extra></extra>"
    return {
        "type": "heatmap", "x": columns, "y": names, "z": values,
        "text": [[_cell_text(c, kind) for c in line] for line in cells],
        "texttemplate": "%{text}" if T <= TEXT_UP_TO else "",
        "textfont": {"size": 13},
        "customdata": [[_words(c) for c in line] for line in cells],
        "hovertemplate": hover, "hoverongaps": False, "xgap": 2, "ygap": 2, **look,
        "colorbar": {
            "thickness": 10, "len": 1, "outlinewidth": 0, "ticksuffix": " %" if kind == "accuracy" else "",
            "tickfont": {"size": 11, "color": "@text/0.75"},
            **_ticks(kind),
        },
    }  # fmt: skip


def _ticks(kind: str) -> dict[str, Any]:
    if kind == "difference":
        return {"nticks": 5}
    return {"tickvals": [0, 25, 50, 75, 100] if kind == "accuracy" else [-100, -50, 0, 50, 100]}


def _future(cells: list[list[Any]], columns: list[str], names: list[str], T: int) -> dict[str, Any]:
    return {
        "type": "heatmap", "x": columns, "y": names,
        "z": [[None if c is None or percent(c.mean) is None else 0 for c in line] for line in cells],
        "text": [[_cell_text(c) for c in line] for line in cells],
        "texttemplate": "<i>%{text}</i>" if T <= TEXT_UP_TO else "", "textfont": {"size": 12, "color": "@text/0.7"},
        "customdata": [[f"{percent(c.mean)} % {_words(c)}" if c is not None else "" for c in line] for line in cells],
        "hovertemplate": "%{y}, %{x} (" + _("not trained yet") + ")<br><b>%{customdata}</b><extra></extra>",
        "hoverongaps": False, "xgap": 2, "ygap": 2, "showscale": False,
        "colorscale": [[0, "@panel"], [1, "@panel"]], "zmin": 0, "zmax": 1,
    }  # fmt: skip


def _outline(running: int | None, rows: list[int], T: int) -> dict[str, Any]:
    at = rows.index(running) if running in rows else 0
    last = min(running or 1, T)
    return {
        "type": "rect", "xref": "x", "yref": "y", "x0": -0.48, "x1": last - 0.52, "y0": at - 0.47, "y1": at + 0.47,
        "line": {"color": "@text/0.6", "width": 1.5, "dash": "dash"}, "visible": running in rows,
    }  # fmt: skip


def _cell_text(cell: Any, kind: str = "accuracy") -> str:
    if cell is None:
        return ""
    if cell.diverged:
        return "✕"
    value = percent(cell.mean)
    if value is None:
        return ""
    if kind == "difference" and round(value):
        return f"{value:+.0f}".replace("-", "−")
    return f"{abs(value) if kind == 'difference' else value:.0f}"


def _words(cell: Any) -> str:
    return "" if cell is None else spread_words(cell.low, cell.high, cell.n, cell.diverged, cell.total)


def _column(j: int, name: str, T: int) -> str:
    short = f"T{j}"
    return f"{short}<br>{name}" if T <= 6 and len(name) <= 6 else short
