"""Parallel coordinates: a line per configuration through rows for what was chosen and what came of it.

Rows instead of the usual columns, so that names and numbers have room on a phone too; drawn as ordinary lines instead of
Plotly's `parcoords`, whose lines are a pixel wide, keep one colour scale in light and in dark, and have neither hover nor
markers. Worth looking at from some eight configurations on; below that a table says it better. The picture cannot be read
aloud: `scales_table` has the same values and belongs beside it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import pandas as pd

from clcore.charts.theme import layout
from clcore.text import _

FEWEST = 8
"""Configurations from which on the chart is drawn."""
ROW = 62  # pixels
ABOVE, BELOW = 34, 30
NONE = "–"


class Scale(NamedTuple):
    """A row: its title, and a value for every line.

    choice  a value that was chosen (a name, a strength; None: the method has none): the distinct ones, evenly spaced;
            otherwise a number, on a linear axis
    """

    title: str
    values: Sequence[Any]
    choice: bool = False


def told_apart(scales: Sequence[Scale]) -> list[Scale]:
    """Without the choices that are the same everywhere."""
    return [s for s in scales if not s.choice or len(set(s.values)) > 1]


def parallel_figure(
    names: Sequence[str], symbols: Sequence[str], scales: Sequence[Scale], *, revision: str = ""
) -> dict[str, Any]:
    """A line per name with its marker. The last scale, a number each, is what it is about: the higher the stronger the line."""
    *_others, result = scales
    placed = [_places(s) for s in scales]
    rows = list(range(len(scales)))
    low, high = min(result.values), max(result.values)
    order = sorted(range(len(names)), key=lambda i: result.values[i])  # the best on top
    data = []
    for i in order:
        share = (result.values[i] - low) / (high - low) if high > low else 1.0
        data.append({
            "type": "scatter", "mode": "lines+markers", "name": names[i], "showlegend": False,
            "x": [round(places[i], 4) for places, _ticks in placed], "y": rows,
            "customdata": [f"{s.title}: {_word(s.values[i])}" for s in scales],
            "hovertemplate": "%{customdata}<extra>" + names[i] + "</extra>",
            "line": {"color": f"@c0/{0.3 + 0.7 * share:.2f}", "width": round(1.2 + 1.8 * share, 2)},
            "marker": {"color": f"@c0/{0.4 + 0.6 * share:.2f}", "symbol": symbols[i], "size": 8}, "cliponaxis": False,
        })  # fmt: skip
    hidden = {"visible": False, "fixedrange": True}
    return {
        "data": data,
        "layout": layout(
            ROW * (len(scales) - 1) + ABOVE + BELOW, revision,
            margin={"l": 28, "r": 28, "t": ABOVE, "b": BELOW}, hovermode="closest",
            xaxis=hidden | {"range": [0, 1]}, yaxis=hidden | {"range": [len(scales) - 1, 0]},
            shapes=[{"type": "line", "xref": "x", "yref": "y", "x0": 0, "x1": 1, "y0": row, "y1": row, "layer": "below",
                     "line": {"color": "@border", "width": 1}} for row in rows],
            annotations=[
                note for row, s, (_places_, ticks) in zip(rows, scales, placed, strict=True)
                for note in (_title(row, s.title), *(_tick(row, at, text) for at, text in ticks))
            ],
        ),
    }  # fmt: skip


def _places(s: Scale) -> tuple[list[float], list[tuple[float, str]]]:
    """(where each value stands, 0..1; what is written where)"""
    if s.choice:
        known = _ordered(s.values)
        far = max(len(known) - 1, 1)
        return [known.index(v) / far for v in s.values], [(i / far, _word(v)) for i, v in enumerate(known)]
    low, high = min(s.values), max(s.values)
    if high == low:
        return [0.5] * len(s.values), [(0.5, _word(low))]
    return [(v - low) / (high - low) for v in s.values], [(0.0, _word(low)), (1.0, _word(high))]


def _title(row: int, text: str) -> dict[str, Any]:
    return {
        "xref": "paper", "yref": "y", "x": 0, "y": row, "xanchor": "left", "yanchor": "bottom", "yshift": 8, "xshift": -20,
        "text": f"<b>{text}</b>", "showarrow": False, "font": {"size": 11, "color": "@text/0.8"},
        "bgcolor": "@background/0.7",
    }  # fmt: skip


def _tick(row: int, at: float, text: str) -> dict[str, Any]:
    return {
        "xref": "x", "yref": "y", "x": round(at, 4), "y": row, "yanchor": "top", "yshift": -6, "text": text,
        "xanchor": "center" if 0 < at < 1 else "left" if at == 0 else "right",
        "xshift": 0 if 0 < at < 1 else -20 if at == 0 else 20,
        "showarrow": False, "font": {"size": 11, "color": "@text/0.8"}, "bgcolor": "@background/0.7",
    }  # fmt: skip


def _ordered(values: Sequence[Any]) -> list[Any]:
    """The distinct values: none first, then numbers by size, names as they come."""
    distinct = list(dict.fromkeys(values))
    if any(isinstance(v, str) for v in distinct):
        return distinct
    return sorted(distinct, key=lambda v: (v is not None, v or 0))


def scales_table(scales: Sequence[Scale]) -> pd.DataFrame:
    """The values of the chart, a row per line."""
    return pd.DataFrame({s.title: [_word(v) for v in s.values] if s.choice else list(s.values) for s in scales})


def _word(value: Any) -> str:
    if value is None:
        return NONE
    if isinstance(value, bool):
        return _("yes") if value else _("no")
    if isinstance(value, int | float):
        return f"{value:,.0f}" if abs(value) >= 1e6 else f"{value:,.10g}"
    return str(value)
