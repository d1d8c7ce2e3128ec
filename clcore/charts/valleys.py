"""Two loss valleys over two weights, the springs between them, and the path that training takes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from clcore.charts.theme import axis, layout, method_style
from clcore.demonstrations.valleys import Springs, Valleys
from clcore.text import _

A, B = "@c0", "@c5"
GRID = 61
X, Y = (-2.2, 2.2), (-1.7, 1.7)


def valleys_figure(v: Valleys, strength: float, springs: Springs = "diagonal", *, height: int = 540) -> dict[str, Any]:
    """Both losses' contours, the springs' ellipse, all minima over λ, the path for this λ and where it ends."""
    path, _lr = v.path(strength, springs)
    ends = np.array([v.minimiser(s, springs) for s in [0.0, *np.logspace(-3, 3, 61), 1e6]])
    end, joint = v.minimiser(strength, springs), v.joint()
    ewc = method_style("ewc").color if springs == "diagonal" else method_style("l2").color
    return {
        "data": [
            _contours(v, "a", A, _("loss of task A")),
            _contours(v, "b", B, _("loss of task B")),
            _line(v.ellipse(springs), _("springs: equal price everywhere on it"), "@text/0.8", "dot", 2),
            _line(ends, _("where it ends, for every λ"), "@text/0.55", "dash", 1.5),
            {**_line(path, _("training on B, step by step"), "@text", "solid", 2), "mode": "lines+markers",
             "marker": {"size": 5, "color": "@text"}},
            _point(v.a, _("minimum of A: start"), A, "circle"),
            _point(v.b, _("minimum of B: fine-tuning ends here"), B, "x"),
            _point(joint, _("minimum of A + B"), "@c6", "star"),
            _point(end, _("ends here with this λ"), ewc, "diamond"),
        ],
        "layout": layout(
            height, "valleys",
            xaxis=axis(_("first weight"), range=list(X), showgrid=False, constrain="domain"),
            yaxis=axis(_("second weight"), range=list(Y), showgrid=False, scaleanchor="x", constrain="domain"),
            hovermode="closest", showlegend=True,
            legend={"orientation": "h", "x": 0, "y": -0.14, "yanchor": "top", "font": {"size": 11, "color": "@text/0.85"}},
            margin={"l": 48, "r": 10, "t": 12, "b": 120},
        ),
    }  # fmt: skip


def price_figure(v: Valleys, strength: float, springs: Springs = "diagonal", *, height: int = 260) -> dict[str, Any]:
    """What is paid on A and on B at the end of training, against λ."""
    grid = [round(float(s), 6) for s in np.logspace(-2, 2, 81)]
    ends = np.array([v.minimiser(s, springs) for s in grid])
    a, b = v.loss("a", ends), v.loss("b", ends)
    rows = ((_("task A"), a, A, "solid"), (_("task B"), b, B, "dash"), (_("both together"), a + b, "@text", "dot"))
    return {
        "data": [
            {"type": "scatter", "mode": "lines", "name": name, "x": grid, "y": [round(float(x), 4) for x in values],
             "line": {"color": color, "dash": dash, "width": 2}, "hovertemplate": "%{y:.3f}"}
            for name, values, color, dash in rows
        ],
        "layout": layout(
            height, "price",
            xaxis=axis("λ", type="log", range=[-2, 2], tickvals=[0.01, 0.1, 1, 10, 100]),
            yaxis=axis(_("loss at the end"), rangemode="tozero"),
            hovermode="x unified", showlegend=True,
            shapes=[{"type": "line", "xref": "x", "yref": "y domain", "x0": max(strength, 0.01), "x1": max(strength, 0.01),
                     "y0": 0, "y1": 1, "line": {"color": "@text/0.55", "width": 1.5}}],
            legend={"orientation": "h", "x": 0, "y": 1.02, "yanchor": "bottom", "font": {"size": 11, "color": "@text/0.85"}},
            margin={"l": 48, "r": 10, "t": 34, "b": 44},
        ),
    }  # fmt: skip


def _contours(v: Valleys, task: Any, color: str, name: str) -> dict[str, Any]:
    xs, ys = np.linspace(*X, GRID), np.linspace(*Y, GRID)
    z = v.loss(task, np.stack(np.meshgrid(xs, ys), axis=-1))
    return {
        "type": "contour", "name": name, "x": np.round(xs, 3).tolist(), "y": np.round(ys, 3).tolist(),
        "z": np.round(z, 3).tolist(), "showscale": False, "showlegend": True,
        "colorscale": [[0, f"{color}/0.75"], [1, f"{color}/0.75"]], "line": {"width": 1.2, "color": f"{color}/0.6"},
        "contours": {"coloring": "none", "start": 0.05, "end": 0.75, "size": 0.14}, "autocontour": False,
        "hoverinfo": "skip",
    }  # fmt: skip


def _line(points: np.ndarray, name: str, color: str, dash: str, width: float) -> dict[str, Any]:
    return {
        "type": "scatter", "mode": "lines", "name": name,
        "x": np.round(points[:, 0], 3).tolist(), "y": np.round(points[:, 1], 3).tolist(),
        "line": {"color": color, "dash": dash, "width": width},
        "hovertemplate": "(%{x:.2f}, %{y:.2f})<extra>%{fullData.name}</extra>",
    }  # fmt: skip


def _point(at: Sequence[float], name: str, color: str, symbol: str) -> dict[str, Any]:
    return {
        "type": "scatter", "mode": "markers", "name": name, "x": [round(float(at[0]), 3)], "y": [round(float(at[1]), 3)],
        "marker": {"color": color, "symbol": symbol, "size": 13, "line": {"color": "@background", "width": 1.5}},
        "hovertemplate": "%{fullData.name}<br>(%{x:.2f}, %{y:.2f})<extra></extra>",
    }  # fmt: skip
