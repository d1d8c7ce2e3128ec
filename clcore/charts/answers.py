"""What the network calls a few test examples, task after task: thumbnails above, a row of names for each task below."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from clcore.charts.arrays import Drawn
from clcore.charts.png import data_uri
from clcore.charts.theme import axis, layout
from clcore.text import _

THUMBNAILS, ROW, MARGIN = 96, 30, 20
RIGHT, FORGOTTEN, NEVER, AHEAD = "✓", "✗", "○", "·"
_SHADES = {RIGHT: 1, FORGOTTEN: 2, NEVER: 0, AHEAD: 0}


class Asked(NamedTuple):
    """One example: its task (1-based), its class, its pixels, and what it was called after each task (1-based)."""

    task: int
    label: str
    pixels: np.ndarray
    called: dict[int, str | None]

    def mark(self, after: int) -> str | None:
        """How the answer after a task is to be read; None where there is none."""
        name = self.called.get(after)
        if name is None:
            return None
        if name == self.label:
            return RIGHT if after >= self.task else AHEAD
        if after < self.task:
            return AHEAD
        known = any(self.called.get(k) == self.label for k in range(self.task, after))
        return FORGOTTEN if known else NEVER


def mark_word(mark: str | None) -> str:
    return {
        RIGHT: _("right"), FORGOTTEN: _("forgotten"), NEVER: _("not learned"), AHEAD: _("its task has not been met"),
        None: "",
    }[mark]  # fmt: skip


def answers_figure(asked: Sequence[Asked], tasks: int, *, revision: str = "") -> Drawn:
    """Two traces: the labels under the thumbnails, and a cell for each task and example."""
    n = len(asked)
    rows = [_("after T{k}").format(k=k) for k in range(1, tasks + 1)]
    marks = [[one.mark(k) for one in asked] for k in range(1, tasks + 1)]
    names = [[one.called.get(k) for one in asked] for k in range(1, tasks + 1)]
    wide = max((len(str(name)) for line in names for name in line if name), default=1) > 4
    text = [
        ["" if m is None else f"{m} {_short(name) if wide else name}" for m, name in zip(*line, strict=True)]
        for line in zip(marks, names, strict=True)
    ]
    height = THUMBNAILS + tasks * ROW + MARGIN
    share = tasks * ROW / (height - MARGIN)
    bare = {"showgrid": False, "ticks": "", "showline": False, "fixedrange": True}
    heat = {
        "type": "heatmap", "x": list(range(n)), "y": rows, "showscale": False, "xgap": 2, "ygap": 2, "hoverongaps": False,
        "z": [[None if m is None else _SHADES[m] for m in line] for line in marks],
        "zmin": 0, "zmax": 2, "colorscale": [[0, "@panel"], [0.5, "@c0/0.28"], [1, "@c5/0.45"]],
        "text": text, "texttemplate": "%{text}", "textfont": {"size": 11 if wide else 13, "color": "@text"},
        "customdata": [
            [[one.label, one.task, name or "", mark_word(m)] for one, name, m in zip(asked, *line, strict=True)]
            for line in zip(names, marks, strict=True)
        ],
        "hovertemplate": _("%{y}: the %{customdata[0]} of T%{customdata[1]} is called <b>%{customdata[2]}</b>")
        + "<br>%{customdata[3]}<extra></extra>",
    }  # fmt: skip
    labels = {
        "type": "scatter", "mode": "text", "x": list(range(n)), "y": [0.12] * n, "yaxis": "y2", "hoverinfo": "skip",
        "text": [f"<b>{_short(one.label) if wide else one.label}</b> T{one.task}" for one in asked],
        "textfont": {"size": 11, "color": "@text/0.85"}, "showlegend": False,
    }  # fmt: skip
    figure: dict[str, Any] = {
        "data": [heat, labels],
        "layout": layout(
            height, revision,
            xaxis=axis(range=[-0.5, n - 0.5], showticklabels=False, **bare),
            yaxis=axis(domain=[0, share], range=[tasks - 0.5, -0.5], type="category", automargin=True, **bare),
            yaxis2=axis(domain=[share, 1], range=[0, 1], showticklabels=False, **bare),
            images=[
                {"source": data_uri(one.pixels), "xref": "x", "yref": "y2", "x": i - 0.44, "y": 1, "sizex": 0.88,
                 "sizey": 0.74, "xanchor": "left", "yanchor": "top", "sizing": "contain", "layer": "above"}
                for i, one in enumerate(asked)
            ],
            margin={"l": 58, "r": 8, "t": 8, "b": MARGIN - 8},
        ),
    }  # fmt: skip
    return Drawn(figure, _table(asked, tasks))


def _table(asked: Sequence[Asked], tasks: int) -> pd.DataFrame:
    columns = {_("task"): [f"T{one.task}" for one in asked], _("class"): [one.label for one in asked]}
    for k in range(1, tasks + 1):
        columns[_("after T{k}").format(k=k)] = [
            "" if (m := one.mark(k)) is None else f"{one.called[k]} ({mark_word(m)})" for one in asked
        ]
    return pd.DataFrame(columns)


def _short(name: str) -> str:
    return name if len(name) <= 7 else name[:6] + "…"
