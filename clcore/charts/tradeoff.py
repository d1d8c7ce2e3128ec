"""Stability against plasticity, and accuracy against what it costs. Markers by method (a family shares its shape).

The frame is that of `clcore.tradeoff.table` with three more columns: `id` (what a click reports), `title` and `label`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from clcore.accounting import readable_bytes, readable_count
from clcore.charts.theme import axis, layout, method_style
from clcore.charts.words import percent, spread_words
from clcore.text import _

SMALLEST, LARGEST = 8, 15
LEGEND = {"orientation": "h", "x": 0, "xanchor": "left", "yanchor": "top", "font": {"size": 11, "color": "@text/0.85"},
          "bgcolor": "rgba(0,0,0,0)", "itemsizing": "constant"}  # fmt: skip
MARGIN = {"l": 52, "r": 12, "t": 14, "b": 92}


def plane_figure(frame: pd.DataFrame, *, revision: str = "", height: int = 520) -> dict[str, Any]:
    """Stability (x) against plasticity (y): per path its points, joined, and arrows of growth; then the front."""
    shown = frame[frame["stability"].notna() & frame["plasticity"].notna()]
    x_range = _range(shown, "stability")
    y_range = _range(shown, "plasticity")
    data = [_iso_lines(int(frame["tasks"].max()) if len(frame) else 2, x_range, y_range)]
    for number in dict.fromkeys(frame["path"]):
        line = shown[shown["path"] == number]
        data += _path_traces(frame[frame["path"] == number], line, "stability", "plasticity", percent)
    data.append(_front(shown[shown["front"]], x_range, y_range))
    return {
        "data": data,
        "layout": layout(
            height, revision,
            xaxis=axis(_("stability, % (100 − mean forgetting)"), range=x_range, ticks="outside", tickcolor="@border"),
            yaxis=axis(_("plasticity, % (accuracy right after learning)"), range=y_range),
            hovermode="closest", showlegend=True, legend=LEGEND | {"y": -52 / (height - 106)}, margin=MARGIN,
        ),
    }  # fmt: skip


def memory_figure(
    frame: pd.DataFrame,
    lines: Sequence[Any],
    references: Mapping[str, float],
    *,
    per_example: float | None = None,
    revision: str = "",
    height: int = 380,
) -> dict[str, Any]:
    """Average accuracy against what a method keeps beside the network.

    lines        the index of the rows that stand for methods without a replay memory: horizontal lines, with a marker at
                 their own bytes where they keep any
    references   accuracy of finetune and joint, as far as known
    per_example  bytes of a replayed example: the axis then also counts in examples
    """
    shown = frame[frame["acc"].notna()]
    budgets = shown[shown["memory"].notna()]
    rows = shown.loc[[i for i in lines if i in shown.index]]
    kept = pd.concat([budgets["kept_bytes"], rows["kept_bytes"]])
    low, high = _log_range(kept[kept > 0])
    data: list[dict[str, Any]] = []
    for number in dict.fromkeys(frame.loc[frame["memory"].notna(), "path"]):
        line = budgets[(budgets["path"] == number) & (budgets["kept_bytes"] > 0)]
        data += _path_traces(frame[frame["path"] == number], line, "kept_bytes", "acc", float)
    for row in rows.itertuples():
        style = method_style(row.method)
        own = row.kept_bytes if row.kept_bytes > 0 else None
        data.append({
            "type": "scatter", "mode": "lines", "name": row.title, "legendgroup": row.title, "showlegend": True,
            "x": [10**low, 10**high], "y": [percent(row.acc)] * 2, "hoverinfo": "skip",
            "line": {"color": style.color, "dash": style.dash, "width": 1.5},
        })  # fmt: skip
        data.append({
            "type": "scatter", "mode": "markers", "name": row.title, "legendgroup": row.title, "showlegend": False,
            "x": [own or 10**low], "y": [percent(row.acc)], "ids": [row.id], "customdata": [point_words(row)],
            "hovertemplate": "%{customdata}<extra></extra>", "error_y": _error(pd.DataFrame([row]), "acc"),
            "marker": {"symbol": style.marker, "size": 10, "color": style.color,
                       "line": {"color": style.color, "width": 1.5}},
        })  # fmt: skip
    shapes, notes = _reference_marks(references)
    ticks = _log_ticks(low, high)
    words = [readable_bytes(t) for t in ticks]
    if per_example:
        words = [f"{w}<br>{_examples(t / per_example)}" for w, t in zip(words, ticks, strict=True)]
    return {
        "data": data,
        "layout": layout(
            height, revision, shapes=shapes, annotations=notes,
            xaxis=axis(_("bytes kept beside the network (log scale)"), type="log",
                       range=[low, high], tickvals=ticks, ticktext=words, ticks="outside", tickcolor="@border",
                       showgrid=False),
            yaxis=axis(_("average accuracy, %"), range=_accuracy_range(pd.concat([budgets, rows]), references)),
            hovermode="closest", showlegend=True, legend=LEGEND | {"y": -70 / (height - 126)}, margin=MARGIN | {"b": 112},
        ),
    }  # fmt: skip


def compute_figure(
    frame: pd.DataFrame,
    references: Mapping[str, float],
    *,
    by: str = "gradient_samples",
    revision: str = "",
    height: int = 380,
) -> dict[str, Any]:
    """Average accuracy against compute: `by` gradient samples of one network, or training time relative to fine-tuning."""
    shown = frame[frame["acc"].notna() & frame[by].notna() & (frame[by] > 0)]
    low, high = _log_range(shown[by])
    data: list[dict[str, Any]] = []
    for number in dict.fromkeys(frame["path"]):
        line = shown[shown["path"] == number]
        data += _path_traces(frame[frame["path"] == number], line, by, "acc", float)
    ticks = _log_ticks(low, high)
    if by == "gradient_samples":
        title, words = _("gradient samples of one network (log scale)"), [readable_count(t) for t in ticks]
    else:
        title = _("training time, fine-tuning = 1 (log scale)")
        words = [f"{t:g} ×" for t in ticks]
    shapes, notes = _reference_marks(references)
    return {
        "data": data,
        "layout": layout(
            height, f"{revision}/{by}", shapes=shapes, annotations=notes,
            xaxis=axis(title, type="log", range=[low, high], tickvals=ticks, ticktext=words, ticks="outside",
                       tickcolor="@border", showgrid=False),
            yaxis=axis(_("average accuracy, %"), range=_accuracy_range(frame, references)),
            hovermode="closest", showlegend=True, legend=LEGEND | {"y": -70 / (height - 126)}, margin=MARGIN | {"b": 112},
        ),
    }  # fmt: skip


# ---- words ----------------------------------------------------------------------------------------------------------


def point_words(row: Any) -> str:
    """What a point says when asked: its configuration, its numbers with what stands behind them, where it stands."""
    lines = [f"<b>{row.title}</b> {row.label}".rstrip()]
    for name, word in (("acc", _("average accuracy")), ("stability", _("stability")), ("plasticity", _("plasticity"))):
        value = getattr(row, name)
        if not math.isnan(value):
            low, high = getattr(row, f"{name}_low"), getattr(row, f"{name}_high")
            lines.append(f"{word} {100 * value:.1f} % {spread_words(low, high, row.n)}")
    if not math.isnan(row.retention):
        lines.append(
            _("retention {value}").format(value=ratio_words(row.retention, row.retention_low, row.retention_high))
        )
    if not row.finished:
        lines.append(_("training: after {k} of {T} tasks").format(k=row.after, T=row.tasks))
    if row.front:
        lines.append(_("non-dominated (means)"))
    return "<br>".join(lines)


def ratio_words(mean: float, low: float, high: float) -> str:
    """0.62 (0.55 … 0.69); the mean alone where nothing is known of its interval."""
    return f"{mean:.2f}" if low == high else f"{mean:.2f} ({low:.2f} … {high:.2f})"


def _examples(n: float) -> str:
    """A number of replayed examples under a tick; a blank below one, which keeps the line."""
    return _("{n} ex.").format(n=readable_count(round(n))) if round(n) >= 1 else " "


# ---- parts ----------------------------------------------------------------------------------------------------------


def _path_traces(path: pd.DataFrame, line: pd.DataFrame, x: str, y: str, number: Any) -> list[dict[str, Any]]:
    """The points of a path, joined in the order of growth; in the plane with arrows between them."""
    first = path.iloc[0]
    style = method_style(first["method"])
    xs, ys = [number(v) for v in line[x]], [percent(v) for v in line[y]]
    n = len(path)
    places = [list(path.index).index(i) for i in line.index]
    sizes = [11.0 if n == 1 else SMALLEST + (LARGEST - SMALLEST) * place / (n - 1) for place in places]
    title = str(first["title"]) + (f", {first['fixed']}" if first.get("fixed") else "")
    points = {
        "type": "scatter", "mode": "lines+markers" if n > 1 else "markers", "name": title, "legendgroup": title,
        "x": xs or [None], "y": ys or [None], "ids": list(line["id"]), "showlegend": bool(len(line)),
        "customdata": [point_words(row) for row in line.itertuples()],
        "hovertemplate": "%{customdata}<extra></extra>",
        "line": {"color": f"{style.color}/0.55", "dash": style.dash, "width": 1.6},
        "marker": {
            "symbol": style.marker, "size": sizes or [11.0], "color": style.color,
            "opacity": [1.0 if done else 0.45 for done in line["finished"]] or [1.0],
            "line": {"color": style.color if "open" in style.marker or style.marker in ("x", "cross") else "@background",
                     "width": 1.2},
        },
        "error_y": _error(line, y) | {"color": f"{style.color}/0.35"},
        "error_x": (_error(line, x) if x == "stability" else {"visible": False}) | {"color": f"{style.color}/0.35"},
        "cliponaxis": False,
    }  # fmt: skip
    return [points, _arrows(xs, ys, style.color, title)] if x == "stability" else [points]


def _arrows(xs: list[float], ys: list[float], color: str, title: str) -> dict[str, Any]:
    """An arrow halfway from each point to the next. `angleref` turns it away from the point before, drawn with size 0."""
    steps = list(zip(xs, ys, xs[1:], ys[1:], strict=False))
    return {
        "type": "scatter", "mode": "markers", "name": title, "legendgroup": title, "showlegend": False,
        "x": [v for x0, _y0, x1, _y1 in steps for v in (x0, (x0 + x1) / 2)],
        "y": [v for _x0, y0, _x1, y1 in steps for v in (y0, (y0 + y1) / 2)],
        "hoverinfo": "skip", "cliponaxis": False,
        "marker": {"symbol": "arrow", "angleref": "previous", "size": [0, 11] * len(steps), "color": color,
                   "opacity": 0.8},
    }  # fmt: skip


def _error(line: pd.DataFrame, name: str) -> dict[str, Any]:
    """Half-lengths in percent points; none for one seed."""
    known = [n > 1 for n in line["n"]]
    high = [100 * (h - m) if ok else 0 for m, h, ok in zip(line[name], line[f"{name}_high"], known, strict=True)]
    low = [100 * (m - v) if ok else 0 for m, v, ok in zip(line[name], line[f"{name}_low"], known, strict=True)]
    return {"type": "data", "symmetric": False, "array": [round(v, 3) for v in high],
            "arrayminus": [round(v, 3) for v in low], "thickness": 1.2, "width": 3, "visible": any(known)}  # fmt: skip


def _front(on: pd.DataFrame, x_range: list[float], y_range: list[float]) -> dict[str, Any]:
    """Right of each point and above it there is nothing: the line falls at a point and runs on to the next."""
    on = on.sort_values("stability")
    xs, ys = [percent(v) for v in on["stability"]], [percent(v) for v in on["plasticity"]]
    if xs:
        xs, ys = [x_range[0], *xs, xs[-1]], [ys[0], *ys, y_range[0]]
    return {
        "type": "scatter", "mode": "lines", "name": _("non-dominated (means)"), "x": xs or [None], "y": ys or [None],
        "line": {"shape": "vh", "color": "@text/0.7", "width": 1.4, "dash": "dash"}, "hoverinfo": "skip",
        "showlegend": bool(xs),
    }  # fmt: skip


def _iso_lines(T: int, x_range: list[float], y_range: list[float]) -> dict[str, Any]:
    """ACC = plasticity − (T−1)/T · forgetting where no task gained after it was learned (then forgetting = −BWT)."""
    slope, (x0, x1) = (T - 1) / T, x_range
    end = x1 - 0.045 * (x1 - x0)  # room for the label, so that no line runs through it
    xs: list[float | None] = []
    ys: list[float | None] = []
    words: list[str] = []
    for level in range(0, 101, 10):
        first, last = (level + slope * (100 - x) for x in (x0, end))
        if first < y_range[0] or last > y_range[1]:
            continue
        # The label: where the line ends at the right, else where it comes in at the top, else where it leaves at the bottom.
        margin = 0.03 * (y_range[1] - y_range[0])
        ends = (y_range[1] - margin, y_range[0] + margin) if slope else ()  # the lines of a single task are level
        spots = [(x1, last), *((100 - (y - level) / slope, y) for y in ends)]
        label = next((spot for spot in spots if x0 <= spot[0] <= x1 and y_range[0] <= spot[1] <= y_range[1]), spots[0])
        inside = x0 <= label[0] <= x1 and y_range[0] <= label[1] <= y_range[1]
        xs += [x0, end, None, label[0] if inside else None, None]
        ys += [first, last, None, label[1] if inside else None, None]
        words += ["", "", "", f"{level} %", ""]
    return {
        "type": "scatter", "mode": "lines+text", "name": _("equal average accuracy"), "x": xs or [None], "y": ys or [None],
        "text": words, "textfont": {"size": 10, "color": "@text/0.55"},
        "textposition": ["middle left" if x == x1 else "middle right" for x in xs],
        "line": {"color": "@text/0.18", "width": 1}, "hoverinfo": "skip", "showlegend": bool(xs),
    }  # fmt: skip


def _reference_marks(references: Mapping[str, float]) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Lines at fine-tuning, at joint training, and where both are known halfway: retention 0, 1 and ½."""
    levels = []
    both = {"finetune", "joint"} <= set(references) and references["joint"] > references["finetune"]
    # Fine-tuning is the cheapest and joint training the dearest: each label at the other end, away from its point.
    for name, word, kept, side in (("finetune", _("fine-tuning"), "0", "right"), ("joint", _("joint"), "1", "left")):
        if name in references:
            text = f"{word} {100 * references[name]:.1f} %"
            text += " · " + _("retention {value}").format(value=kept) if both else ""
            levels.append((references[name], text, side))
    if both:
        halfway = (references["finetune"] + references["joint"]) / 2
        levels.append((halfway, _("retention {value}").format(value="0.5"), "left"))
    shapes = [
        {"type": "line", "xref": "x domain", "yref": "y", "x0": 0, "x1": 1, "y0": percent(y), "y1": percent(y),
         "line": {"color": "@text/0.45", "width": 1, "dash": "dot"}, "layer": "below"}
        for y, _text, _side in levels
    ]  # fmt: skip
    notes = [
        {"xref": "x domain", "yref": "y", "x": int(side == "right"), "xanchor": side, "y": percent(y), "yanchor": "bottom",
         "showarrow": False, "text": text, "font": {"size": 10, "color": "@text/0.7"}}
        for y, text, side in levels
    ]  # fmt: skip
    return shapes, notes


def _range(frame: pd.DataFrame, name: str) -> list[float]:
    """In steps of ten, so that axes seldom move while a sweep fills in."""
    if frame.empty:
        return [0.0, 102.0]
    lowest = 100 * min(frame[f"{name}_low"].min(), frame[name].min())
    highest = 100 * max(frame[f"{name}_high"].max(), frame[name].max())
    return [float(10 * math.floor(lowest / 10 - 0.2)), max(102.0, math.ceil(highest) + 1.0)]


def _accuracy_range(frame: pd.DataFrame, references: Mapping[str, float]) -> list[float]:
    values = [*frame["acc_low"].dropna(), *frame["acc"].dropna(), *references.values()]
    lowest = 10 * math.floor(10 * min(values) - 0.3) if values else 0
    return [float(max(lowest, 0)), 104.0]


def _log_range(values: pd.Series) -> tuple[float, float]:
    if values.empty:
        return 3.0, 5.0
    low, high = math.log10(values.min()), math.log10(values.max())
    pad = max(0.08 * (high - low), 0.08)
    return low - pad, high + pad


def _log_ticks(low: float, high: float) -> list[float]:
    """Up to seven round numbers: decades where there are enough, else 1, 2, 5 of each, else finer."""
    for steps in ((1,), (1, 3), (1, 2, 5), (1, 1.5, 2, 3, 4, 5, 6, 8), tuple(1 + i / 10 for i in range(90))):
        found = [float(f"{m * 10.0**e:.3g}") for e in range(math.floor(low), math.ceil(high) + 1) for m in steps]
        found = [t for t in found if low <= math.log10(t) <= high]
        if len(found) >= 3:
            return found[:: -(-len(found) // 7)]
    return [float(f"{10**low:.3g}"), float(f"{10**high:.3g}")]
