"""The first steps after a task switch, step by step: what old tasks lose before they recover (the stability gap)."""

from __future__ import annotations

from typing import Any

import pandas as pd

from clcore.charts.theme import axis, layout, task_style
from clcore.charts.words import percent, spread_words
from clcore.text import _


def switch_figure(
    steps: pd.DataFrame, task: int, tasks: int, *, revision: str = "", height: int = 300
) -> dict[str, Any]:
    """Accuracy on tasks 1 to `task` over the first steps of `task`, two traces a task; `steps` as from `Series.switch`."""
    data: list[dict[str, Any]] = []
    for j in range(1, task + 1):
        data += _traces(steps[steps["task"] == j], j, task, tasks)
    last = int(steps["step"].max()) if len(steps) else 1
    return {
        "data": data,
        "layout": layout(
            height, f"{revision}/{task}",
            xaxis=axis(_("steps of task {k}").format(k=task), range=[-0.02 * last, 1.01 * last], showgrid=False,
                       ticks="outside", tickcolor="@border"),
            yaxis=axis(_("accuracy, %"), range=[0, 102], tickvals=[0, 20, 40, 60, 80, 100]),
            hovermode="x unified", showlegend=True,
            legend={"orientation": "h", "x": 0, "y": -46 / (height - 84), "yanchor": "top",
                    "font": {"size": 11, "color": "@text/0.85"}, "bgcolor": "rgba(0,0,0,0)"},
            margin={"l": 44, "r": 10, "t": 12, "b": 72},
        ),
    }  # fmt: skip


def _traces(line: pd.DataFrame, j: int, task: int, tasks: int) -> list[dict[str, Any]]:
    style = task_style(j, tasks)
    name = _("T{j}, new").format(j=j) if j == task else f"T{j}"
    group = f"task{j}"
    banded = line[line["n"] > 1]
    xs = banded["step"].tolist()
    tint = f"{style.color}/0.14" if style.color.startswith("@") else style.color
    words = zip(*(line[c].tolist() for c in ("low", "high", "n", "diverged", "total")), strict=True)
    return [
        {"type": "scatter", "mode": "lines", "name": name, "legendgroup": group, "showlegend": False,
         "x": xs + xs[::-1], "y": [percent(v) for v in banded["high"]] + [percent(v) for v in banded["low"][::-1]],
         "fill": "toself", "fillcolor": tint, "opacity": 1 if style.color.startswith("@") else 0.2,
         "line": {"width": 0}, "hoverinfo": "skip"},
        {"type": "scatter", "mode": "lines+markers", "name": name, "legendgroup": group, "showlegend": True,
         "x": line["step"].tolist() or [0], "y": [percent(v) for v in line["mean"]] or [None],
         "customdata": [spread_words(*row) for row in words], "hovertemplate": "%{y:.1f} % %{customdata}",
         "line": {"color": style.color, "dash": style.dash, "width": 2},
         "marker": {"symbol": style.marker, "size": 5, "color": style.color}},
    ]  # fmt: skip
