"""Gradients in the plane: the past, the present, the cone of allowed steps, and what GEM and A-GEM make of a step."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from clcore.charts.theme import Style, axis, layout, method_style
from clcore.demonstrations.cone import Vector, agem, allowed, gem
from clcore.text import _

MOST_PAST = 3
REACH = 1.25


def cone_figure(g: Vector, past: Sequence[Vector], *, height: int = 440) -> dict[str, Any]:
    """Seven traces in fixed order: the cone, three past gradients (the last may be empty), g, A-GEM's z and GEM's z."""
    data = [_cone(past)]
    for k in range(MOST_PAST):
        vector = past[k] if k < len(past) else None
        data.append(
            _arrow(_("past task {k}").format(k=k + 1), f"g<sub>{k + 1}</sub>", vector, Style("@c0", "solid", ""), 2.5)
        )
    by_agem, by_gem = agem(g, past), gem(g, past)
    same = math.hypot(by_agem.x - by_gem.x, by_agem.y - by_gem.y) < 0.05
    data += [
        _arrow(_("g, the step as it is"), "g", g, Style("@text", "solid", ""), 5, "bottom center"),
        _arrow("A-GEM", "" if same else "A-GEM", by_agem, method_style("agem"), 3, "top center"),
        _arrow("GEM", _("both") if same else "GEM", by_gem, method_style("gem"), 3, "middle right"),
    ]
    frame = {
        "range": [-1.4, 1.4],
        "showgrid": True,
        "zeroline": True,
        "zerolinecolor": "@border",
        "dtick": 0.5,
        "constrain": "domain",
    }
    return {
        "data": data,
        "layout": layout(
            height, "cone",
            xaxis=axis(_("first weight"), **frame),
            yaxis=axis(_("second weight"), scaleanchor="x", **frame),
            hovermode="closest", showlegend=True,
            legend={"orientation": "h", "x": 0, "y": -0.14, "yanchor": "top", "font": {"size": 11, "color": "@text/0.85"}},
            margin={"l": 48, "r": 10, "t": 12, "b": 96},
        ),
    }  # fmt: skip


def _cone(past: Sequence[Vector]) -> dict[str, Any]:
    span = allowed(past)
    xs, ys = [0.0], [0.0]
    if span is not None:
        steps = max(2, math.ceil((span[1] - span[0]) / 3))
        turns = [math.radians(span[0] + (span[1] - span[0]) * i / steps) for i in range(steps + 1)]
        xs += [round(REACH * math.cos(t), 3) for t in turns] + [0.0]
        ys += [round(REACH * math.sin(t), 3) for t in turns] + [0.0]
    return {
        "type": "scatter", "mode": "lines", "name": _("steps that hurt no past task"), "x": xs, "y": ys, "fill": "toself",
        "fillcolor": "@c2/0.16", "line": {"color": "@c2/0.6", "width": 1}, "hoverinfo": "skip",
    }  # fmt: skip


def _arrow(
    name: str, label: str, vector: Vector | None, style: Style, width: float, beside: str = "top center"
) -> dict[str, Any]:
    drawn = vector is not None
    still = drawn and vector.length < 1e-9
    x = [0, round(vector.x, 3)] if drawn else [None, None]
    y = [0, round(vector.y, 3)] if drawn else [None, None]
    tip = "circle" if still else "arrow"
    return {
        "type": "scatter", "mode": "lines+markers+text", "name": name, "x": x, "y": y,
        "line": {"color": style.color, "width": width, "dash": style.dash},
        "marker": {"symbol": [tip, tip], "size": [0, 12 if still else 15], "angleref": "previous", "color": style.color,
                   "opacity": [0, 1], "line": {"width": 0}},
        "text": ["", label], "textposition": beside, "textfont": {"color": style.color, "size": 13}, "cliponaxis": False,
        "hovertemplate": "%{fullData.name}<br>(%{x:.2f}, %{y:.2f})<extra></extra>", "showlegend": drawn,
    }  # fmt: skip
