"""Parallel coordinates: a line per configuration through rows for what was chosen and what came of it.

Rows instead of the usual columns, so that names and numbers have room on a phone too; drawn as ordinary lines instead of
Plotly's `parcoords`, whose lines are a pixel wide, keep one colour scale in light and in dark, and have neither hover nor
markers. Worth looking at from some eight configurations on; below that a table says it better. The picture cannot be read
aloud: `scales_table` has the same values and belongs beside it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import pandas as pd

from clcore.charts.theme import layout
from clcore.charts.words import text_width
from clcore.text import _

FEWEST = 8
"""Configurations from which on the chart is drawn."""
ROW = 62  # pixels, as are all below; a row with one line of words
LINE = 16
ABOVE, BELOW = 34, 30
NARROW = 250  # from the first to the last marker, on a phone
BESIDE = 24  # what words may take beyond the first and the last marker
NONE = "–"


class Scale(NamedTuple):
    """A row: its title, and a value for every line.

    choice  a value that was chosen (a name, a strength; None: the method has none): the distinct ones, evenly spaced;
            otherwise a number, on a linear axis
    word    how a number is written, as on the page's other views
    """

    title: str
    values: Sequence[Any]
    choice: bool = False
    word: Callable[[Any], str] | None = None

    def text(self, value: Any) -> str:
        return self.word(value) if self.word else _word(value)


def told_apart(scales: Sequence[Scale]) -> list[Scale]:
    """Without the choices that are the same everywhere."""
    return [s for s in scales if not s.choice or len(set(s.values)) > 1]


def parallel_figure(
    names: Sequence[str], symbols: Sequence[str], scales: Sequence[Scale], *, revision: str = ""
) -> dict[str, Any]:
    """A line per name with its marker. The last scale, a number each, is what it is about: the higher the stronger the line."""
    *_others, result = scales
    placed = [_places(s) for s in scales]
    written = [_on_lines(ticks) for _values, ticks in placed]
    rows = [0]
    for notes in written:
        rows.append(rows[-1] + ROW + LINE * max(line for *_at, line in notes))
    foot = rows.pop() - ROW + BELOW  # of the last row's words
    low, high = min(result.values), max(result.values)
    order = sorted(range(len(names)), key=lambda i: result.values[i])  # the best on top
    data = []
    for i in order:
        share = (result.values[i] - low) / (high - low) if high > low else 1.0
        data.append({
            "type": "scatter", "mode": "lines+markers", "name": names[i], "showlegend": False,
            "x": [round(places[i], 4) for places, _ticks in placed], "y": rows,
            "customdata": [f"{s.title}: {s.text(s.values[i])}" for s in scales],
            "hovertemplate": "%{customdata}<extra>" + names[i] + "</extra>",
            "line": {"color": f"@c0/{0.3 + 0.7 * share:.2f}", "width": round(1.2 + 1.8 * share, 2)},
            "marker": {"color": f"@c0/{0.4 + 0.6 * share:.2f}", "symbol": symbols[i], "size": 8}, "cliponaxis": False,
        })  # fmt: skip
    hidden = {"visible": False, "fixedrange": True}
    return {
        "data": data,
        "layout": layout(
            ABOVE + foot, revision,
            margin={"l": 28, "r": 28, "t": ABOVE, "b": foot - rows[-1]}, hovermode="closest",
            xaxis=hidden | {"range": [0, 1]}, yaxis=hidden | {"range": [rows[-1], 0]},
            shapes=[{"type": "line", "xref": "x", "yref": "y", "x0": 0, "x1": 1, "y0": row, "y1": row, "layer": "below",
                     "line": {"color": "@border", "width": 1}} for row in rows],
            annotations=[
                note for row, s, notes in zip(rows, scales, written, strict=True)
                for note in (_title(row, s.title), *(_tick(row, *note) for note in notes))
            ],
        ),
    }  # fmt: skip


def _places(s: Scale) -> tuple[list[float], list[tuple[float, str]]]:
    """(where each value stands, 0..1; what is written where)"""
    if s.choice:
        known = _ordered(s.values)
        far = max(len(known) - 1, 1)
        return [known.index(v) / far for v in s.values], [(i / far, s.text(v)) for i, v in enumerate(known)]
    low, high = min(s.values), max(s.values)
    if high == low:
        return [0.5] * len(s.values), [(0.5, s.text(low))]
    return [(v - low) / (high - low) for v in s.values], [(0.0, s.text(low)), (1.0, s.text(high))]


def _on_lines(ticks: Sequence[tuple[float, str]]) -> list[tuple[float, str, str, int]]:
    """(place, text, anchor, line): each text on the first line where a narrow chart has room for it."""
    ends: list[float] = []  # of each line so far
    found = []
    for at, text in ticks:
        x, width = at * NARROW, 8 + text_width(text)  # some room after it
        anchor = "left" if x - width / 2 < -BESIDE else "right" if x + width / 2 > NARROW + BESIDE else "center"
        start = x + {"left": -BESIDE, "center": -width / 2, "right": BESIDE - width}[anchor]
        line = next((i for i, end in enumerate(ends) if end <= start), len(ends))
        ends[line:line + 1] = [start + width]
        found.append((at, text, anchor, line))
    return found


def _title(row: int, text: str) -> dict[str, Any]:
    return {
        "xref": "paper", "yref": "y", "x": 0, "y": row, "xanchor": "left", "yanchor": "bottom", "yshift": 8, "xshift": -20,
        "text": f"<b>{text}</b>", "showarrow": False, "font": {"size": 11, "color": "@text/0.8"},
        "bgcolor": "@background", "borderpad": 0,
    }  # fmt: skip


def _tick(row: int, at: float, text: str, anchor: str, line: int) -> dict[str, Any]:
    return {
        "xref": "x", "yref": "y", "x": round(at, 4), "y": row, "yanchor": "top", "yshift": -6 - LINE * line, "text": text,
        "xanchor": anchor, "xshift": {"left": -BESIDE, "center": 0, "right": BESIDE}[anchor], "borderpad": 0,
        "showarrow": False, "font": {"size": 11, "color": "@text/0.8"}, "bgcolor": "@background",
    }  # fmt: skip


def _ordered(values: Sequence[Any]) -> list[Any]:
    """The distinct values: none first, then numbers by size, names as they come."""
    distinct = list(dict.fromkeys(values))
    if any(isinstance(v, str) for v in distinct):
        return distinct
    return sorted(distinct, key=lambda v: (v is not None, v or 0))


def points_word(value: float) -> str:
    """Percent or points: one decimal, a real minus sign; never a negative zero."""
    return f"{round(value, 1) + 0.0:.1f}".replace("-", "−")


def scales_table(scales: Sequence[Scale]) -> pd.DataFrame:
    """The values of the chart, a row per line."""
    return pd.DataFrame({s.title: [s.text(v) for v in s.values] if s.choice else list(s.values) for s in scales})


def _word(value: Any) -> str:
    if value is None:
        return NONE
    if isinstance(value, bool):
        return _("yes") if value else _("no")
    if isinstance(value, int | float):
        return (f"{value:,.0f}" if abs(value) >= 1e6 else f"{value:,.10g}").replace("-", "−")
    return str(value)
