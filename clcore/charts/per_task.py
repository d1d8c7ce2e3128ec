"""Accuracy on every task while the network learns one task after the other."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pandas as pd

from clcore.charts.theme import FEW_TASKS, axis, layout, task_style
from clcore.charts.words import percent, spread_words
from clcore.text import _

MAX_POINTS = 400
TRACES_PER_TASK = 3
SHORT_NAME = 6
LEGEND_Y = -42  # pixels under the axis: below its title
FEW_LABELS = 6


def per_task_figure(
    live: pd.DataFrame,
    ends: pd.DataFrame,
    tasks: Sequence[str],
    *,
    chance: Sequence[float | None] = (),
    position: float | None = None,
    epochs: float = 1,
    x: str = "tasks",
    revision: str = "",
    height: int = 320,
    blur: float | None = None,
) -> dict[str, Any]:
    """Curves of the T tasks with their 95 % bands, T × 3 traces and the chance level, in fixed order.

    live      position, task, mean, low, high, n, diverged, total: evaluations on a subset of the test data
    ends      the same at task ends, on all test data: drawn as markers
    chance    (T) chance level while training each task, as a fraction
    position  where training stands, in tasks; None draws no cursor
    x         "tasks" or "epochs"
    blur      on a stream without boundaries the share of a task's length in which it changes into the next: there the bands
              of both lie over one another. None: tasks have boundaries
    """
    T = len(tasks)
    unit = epochs if x == "epochs" else 1
    data: list[dict[str, Any]] = []
    for j in range(1, T + 1):
        data += _task_traces(j, T, tasks[j - 1], _of(live, j), _of(ends, j), unit)
    data.append(_chance_trace(chance, unit))
    shapes = [_band(k, T, unit, blur or 0.0) for k in range(1, T + 1)]
    shapes.append(_cursor(position, unit))
    above = 36 if T <= FEW_LABELS and any(0 < len(name) <= SHORT_NAME for name in tasks) else 22
    below = 64
    return {
        "data": data,
        "layout": layout(
            height,
            f"{revision}/{x}",
            shapes=shapes,
            annotations=[
                *(_band_label(k, T, unit, tasks[k - 1]) for k in range(1, T + 1) if _labelled(k, T)),
                _chance_label(chance),
            ],
            xaxis=axis(
                _axis_title(x, blur),
                range=[0, T * unit],
                tickvals=(ticks := [k * unit for k in range(T + 1) if T <= FEW_TASKS or k % 5 == 0]),
                ticktext=[f"{t:g}" for t in ticks],
                showgrid=False,
                ticks="outside",
                tickcolor="@border",
                hoverformat=".2f",
            ),
            yaxis=axis(_("accuracy, %"), range=[0, 102], tickvals=[0, 20, 40, 60, 80, 100]),
            hovermode="x unified",
            showlegend=True,
            legend={
                "orientation": "h", "x": 0, "xanchor": "left", "y": LEGEND_Y / (height - above - below), "yanchor": "top",
                "font": {"size": 11, "color": "@text/0.85"}, "itemwidth": 30, "bgcolor": "rgba(0,0,0,0)",
            },
            margin={"l": 44, "r": 10, "t": above, "b": below},
            meta={"toolbar": "above"},  # where it usually is stand the tasks' labels
        ),
    }  # fmt: skip


def _axis_title(x: str, blur: float | None) -> str:
    if x == "epochs":
        return _("epochs of training")
    return _("tasks trained") if blur is None else _("parts of the stream, each as long as a task")


def _task_traces(
    j: int, T: int, name: str, live: pd.DataFrame, ends: pd.DataFrame, unit: float
) -> list[dict[str, Any]]:
    style = task_style(j, T)
    label = f"T{j}"
    full = f" ({name})" if name else ""
    line = thinned(live)
    group = f"task{j}"
    tinted = f"{style.color}/0.14" if style.color.startswith("@") else style.color
    banded = line[line["n"] > 1]
    xs = [round(p * unit, 4) for p in banded["position"]]
    band = {
        "type": "scatter", "mode": "lines", "name": label, "legendgroup": group, "showlegend": False,
        "x": xs + xs[::-1],
        "y": [percent(v) for v in banded["high"]] + [percent(v) for v in banded["low"][::-1]],
        "fill": "toself", "fillcolor": tinted, "opacity": 1 if style.color.startswith("@") else 0.2,
        "line": {"width": 0}, "hoverinfo": "skip",
    }  # fmt: skip
    drawn = {
        "type": "scatter", "mode": "lines", "name": label, "legendgroup": group,
        "showlegend": _labelled(j, T),
        "x": [round(p * unit, 4) for p in line["position"]] or [0],  # an empty trace would leave the legend
        "y": [percent(v) for v in line["mean"]] or [None],
        "customdata": _words(line),
        "hovertemplate": "%{y:.1f} % %{customdata}" + full,
        "line": {"color": style.color, "dash": style.dash, "width": 2},
        "connectgaps": False,
    }  # fmt: skip
    points = {
        "type": "scatter", "mode": "markers", "name": _("{task}, all test data").format(task=f"T{j}"),
        "legendgroup": group, "showlegend": False,
        "x": [round(p * unit, 4) for p in ends["position"]],
        "y": [percent(v) for v in ends["mean"]],
        "customdata": _words(ends),
        "hovertemplate": "%{y:.1f} % %{customdata}",
        "marker": {
            "color": style.color, "symbol": style.marker, "size": 7, "line": {"color": "@background", "width": 1},
        },
        "cliponaxis": False,
    }  # fmt: skip
    return [band, drawn, points]


def _chance_trace(chance: Sequence[float | None], unit: float) -> dict[str, Any]:
    x: list[float] = []
    y: list[float | None] = []
    for k, level in enumerate(chance):
        x += [k * unit, (k + 1) * unit]
        y += [percent(level), percent(level)]
    return {
        "type": "scatter", "mode": "lines", "name": _("chance"), "x": x, "y": y,
        "line": {"color": "@text/0.6", "dash": "dot", "width": 1.2},
        "hovertemplate": "%{y:.0f} %", "showlegend": False,
    }  # fmt: skip


def _band(k: int, T: int, unit: float, blur: float) -> dict[str, Any]:
    start, end = max(0.0, k - 1 - blur / 2), min(float(T), k + blur / 2)
    return {
        "type": "rect", "xref": "x", "yref": "y domain", "x0": start * unit, "x1": end * unit, "y0": 0, "y1": 1,
        "fillcolor": task_style(k, T).color, "opacity": 0.06, "line": {"width": 0}, "layer": "below",
    }  # fmt: skip


def _band_label(k: int, T: int, unit: float, name: str) -> dict[str, Any]:
    named = T <= FEW_LABELS and 0 < len(name) <= SHORT_NAME
    return {
        "xref": "x", "yref": "paper", "x": (k - 0.5) * unit, "y": 1, "yanchor": "bottom", "showarrow": False,
        "text": f"<b>T{k}</b><br>{name}" if named else f"T{k}" if T > FEW_LABELS else f"<b>T{k}</b>",
        "font": {"size": 11, "color": "@text/0.75"}, "align": "center",
    }  # fmt: skip


def _chance_label(chance: Sequence[float | None]) -> dict[str, Any]:
    level = percent(chance[0]) if chance else None
    return {
        "xref": "x", "yref": "y", "x": 0, "xanchor": "left", "y": level or 0, "yanchor": "bottom", "showarrow": False,
        "text": _("chance"), "font": {"size": 10, "color": "@text/0.7"}, "visible": level is not None,
    }  # fmt: skip


def _cursor(position: float | None, unit: float) -> dict[str, Any]:
    at = 0 if position is None else round(position * unit, 3)
    return {
        "type": "line", "xref": "x", "yref": "y domain", "x0": at, "x1": at, "y0": 0, "y1": 1,
        "line": {"color": "@text/0.55", "width": 1.5}, "visible": position is not None,
    }  # fmt: skip


def _labelled(k: int, T: int) -> bool:
    return T <= FEW_TASKS or k in (1, T) or k % 5 == 0


def _words(frame: pd.DataFrame) -> list[str]:
    columns = (frame[name].tolist() for name in ("low", "high", "n", "diverged", "total"))
    return [spread_words(*row) for row in zip(*columns, strict=True)]


def _of(frame: pd.DataFrame, task: int) -> pd.DataFrame:
    return frame[frame["task"] == task]


def thinned(frame: pd.DataFrame, most: int = MAX_POINTS) -> pd.DataFrame:
    """At most `most` rows: means of buckets of neighbours, the last row kept as it is."""
    if len(frame) <= most:
        return frame
    body, last = frame.iloc[:-1], frame.iloc[-1:]
    size = -(-len(body) // (most - 1))
    bucket = [i // size for i in range(len(body))]
    thin = body.groupby(bucket).agg({c: "min" if c in ("task", "n", "total") else "mean" for c in frame.columns})
    thin["diverged"] = body["diverged"].groupby(bucket).max().to_numpy()
    return pd.concat([thin, last], ignore_index=True)
