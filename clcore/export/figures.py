"""The figures of a comparison, each with the words that stand for it: what the page draws and the report carries."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pandas as pd

from clcore.accounting import readable_bytes, readable_count
from clcore.charts.comparison import (
    Curve,
    averages_figure,
    final_figure,
    forest_figure,
    group_styles,
    growth_figure,
)
from clcore.charts.matrix import matrix_figure
from clcore.charts.parallel import FEWEST, Scale, parallel_figure, points_word, scales_table, told_apart
from clcore.charts.theme import Style, method_style
from clcore.comparison import Ends, Group, along, difference_cells, differing_conditions, marks
from clcore.export.tables import metric_title, verdict
from clcore.export.words import condition_name
from clcore.frames import COLUMNS, Series
from clcore.statistics import Difference
from clcore.text import _, n_

Figure = dict[str, Any]


def curves(groups: Sequence[Group], names: Sequence[str], frame_of: Callable[[Group], pd.DataFrame]) -> list[Curve]:
    return [Curve(*parts, frame_of(group)) for *parts, group in zip(names, styles(groups), groups, strict=True)]


def styles(groups: Sequence[Group]) -> list[Style]:
    return group_styles([group.method for group in groups])


def averages(
    groups: Sequence[Group], names: Sequence[str], *, series: Callable[[str], Series] | None = None,
    smoothing: float = 0.0, axis: str = "tasks", ends: Mapping[str, Ends] | None = None, **look: Any,
) -> tuple[Figure, pd.DataFrame]:  # fmt: skip
    """Average accuracy over the tasks seen, at the ends of tasks; with `series`, at every live evaluation.

    smoothing  of the live evaluations (`comparison.smoothed`)
    axis       one of `comparison.AXES`; for the others than tasks `ends` has the runs' ends of tasks, and a group whose
               newest run tells none is left out
    """
    drawn = curves(
        groups, names, Group.averages if series is None else lambda group: group.live_averages(series, smoothing)
    )
    tasks, x = max(group.tasks for group in groups), "position"
    if axis != "tasks":
        x, placed = axis, []
        for curve, group in zip(drawn, groups, strict=True):
            found = (ends or {}).get(group.newest.id)
            at = along(curve.frame["position"], getattr(found, axis)) if found else None
            if at is not None:
                placed.append(curve._replace(frame=curve.frame.assign(**{axis: at})))
        drawn = placed
    figure = averages_figure(drawn, tasks, live=series is not None, x=x, **look)
    return figure, _table(drawn, *dict.fromkeys(("position", x)))


def finals(groups: Sequence[Group], names: Sequence[str], **look: Any) -> tuple[Figure, pd.DataFrame]:
    """Accuracy on each task at the end."""
    drawn = curves(groups, names, Group.final)
    longest = max(groups, key=lambda group: group.tasks)
    return final_figure(drawn, longest.task_names, **look), _table(drawn, "task")


def matrix(group: Group) -> tuple[Figure, pd.DataFrame]:
    cells = group.cells()
    return matrix_figure(cells, group.task_names, revision=group.key), _percent(cells)


def difference_matrix(ours: Group, theirs: Group) -> tuple[Figure, pd.DataFrame]:
    """ours − theirs in points, cell by cell, over the seeds that both have."""
    cells = difference_cells(ours, theirs)
    revision = f"{ours.key}-{theirs.key}"
    return matrix_figure(cells, ours.task_names, kind="difference", revision=revision), _percent(cells)


def forest(found: Sequence[Difference], names: Sequence[str], *, revision: str = "") -> Figure:
    """Paired differences around 0."""
    rows = [
        (names[d.a], names[d.b], d.mean, d.low, d.high, d.n, d.clear, _forest_words(d)) for d in found
    ]  # fmt: skip
    columns = ["first", "second", "mean", "low", "high", "n", "clear", "words"]
    return forest_figure(pd.DataFrame(rows, columns=columns).astype({"first": object}), revision=revision)


def _forest_words(d: Difference) -> str:
    half = "" if d.half is None else f"± {100 * d.half:.1f}, "
    return f"{half}{n_('{n} shared seed', '{n} shared seeds', d.n)}<br>{verdict(d)}"


def memory_growth(groups: Sequence[Group], names: Sequence[str], **look: Any) -> tuple[Figure, pd.DataFrame] | None:
    """Bytes of one network after each task; None where no run tells them."""
    drawn = [curve for curve in curves(groups, names, _bytes_by_task) if len(curve.frame)]
    if not drawn:
        return None
    tasks = max(group.tasks for group in groups)
    return growth_figure(drawn, tasks, unit="bytes", **look), _growth_table(drawn)


def _bytes_by_task(group: Group) -> pd.DataFrame:
    rows = []
    for k, kinds in enumerate(group.growth(), start=1):
        parts = ", ".join(f"{kind.replace('_', ' ')} {readable_bytes(n)}" for kind, n in kinds.items() if n)
        rows.append((k, sum(kinds.values()), f"{readable_bytes(sum(kinds.values()))} ({parts})"))
    return pd.DataFrame(rows, columns=["task", "value", "words"])


def time_growth(
    groups: Sequence[Group], names: Sequence[str], seconds: Mapping[str, Sequence[float | None]], **look: Any
) -> tuple[Figure, pd.DataFrame] | None:
    """Training seconds of each group's newest run until the end of each task (`seconds`: run → a number per task)."""
    drawn = []
    for name, style, group in zip(names, styles(groups), groups, strict=True):
        run_id, networks = group.newest.id, len(group.newest.result["replicas"])
        words = n_("{n} network", "{n} networks side by side", networks)
        rows = [(k, s, f"{s:.2f} s, {words}") for k, s in enumerate(seconds.get(run_id, ()), start=1) if s is not None]
        if rows:
            drawn.append(Curve(name, style, pd.DataFrame(rows, columns=["task", "value", "words"])))
    if not drawn:
        return None
    return growth_figure(drawn, max(group.tasks for group in groups), unit="seconds", **look), _growth_table(drawn)


def configurations(groups: Sequence[Group], names: Sequence[str], **look: Any) -> tuple[Figure, pd.DataFrame] | None:
    """Parallel coordinates of what was chosen and what came of it; None for few. A group that diverged has no line."""
    drawn = [entry for entry in zip(groups, names, marks(groups), strict=True) if entry[0].spread("acc").mean is not None]
    if len(drawn) < FEWEST:
        return None
    found, labels, letters = zip(*drawn, strict=True)
    scales = told_apart([*_choices(found), Scale(_("Alike"), letters, choice=True), *_outcomes(found)])
    figure = parallel_figure(labels, [method_style(group.method).marker for group in found], scales, **look)
    return figure, scales_table(scales)


def _choices(found: Sequence[Group]) -> list[Scale]:
    chosen = [group.outcome.configuration for group in found]
    settings = dict.fromkeys(name for one in chosen for name, _ in one.settings)
    each, differing = differing_conditions(found)
    return [
        *(Scale(_upper(condition_name(name)), [_flat(one[name]) for one in each], choice=True) for name in differing),
        Scale(_("Method"), [group.title for group in found], choice=True),
        Scale(_("Strength"), [one.strength for one in chosen], choice=True),
        Scale(_("Memory"), [one.memory for one in chosen], choice=True),
        *(Scale(name, [dict(one.settings).get(name) for one in chosen], choice=True) for name in settings),
    ]


def _upper(words: str) -> str:
    return words[:1].upper() + words[1:]


def _flat(value: Any) -> Any:
    return " ".join(str(part) for part in value.values() if part) or None if isinstance(value, dict) else value


def _outcomes(found: Sequence[Group]) -> list[Scale]:
    samples = [group.gradient_samples for group in found]
    measured = {name: [group.spread(name).mean for group in found] for name in ("learning_accuracy", "forgetting", "acc")}
    return [
        Scale(_("Bytes"), [group.bytes for group in found], word=readable_bytes),
        *([Scale(_("Gradient samples"), samples, word=readable_count)] if None not in samples else []),
        *(Scale(metric_title(name), [round(100 * v, 2) for v in values], word=points_word)
          for name, values in measured.items() if None not in values),
    ]  # fmt: skip


def _table(drawn: Sequence[Curve], *first: str) -> pd.DataFrame:
    """The numbers of a figure in percent, a row per group and point."""
    columns = ["group", *first, *COLUMNS]
    parts = [_percent(curve.frame.drop(columns="seeds")).assign(group=curve.name) for curve in drawn]
    return pd.concat(parts, ignore_index=True)[columns] if parts else pd.DataFrame(columns=columns)


def _growth_table(drawn: Sequence[Curve]) -> pd.DataFrame:
    parts = [curve.frame.assign(group=curve.name) for curve in drawn]
    return pd.concat(parts, ignore_index=True)[["group", "task", "value", "words"]]


def _percent(frame: pd.DataFrame) -> pd.DataFrame:
    return frame.assign(**{name: (frame[name].astype(float) * 100).round(2) for name in ("mean", "low", "high")})


def caption(groups: Sequence[Group]) -> str:
    """How many seeds stand behind a figure, and what its band is."""
    counts = sorted({len(group.seeds) for group in groups})
    seeds = n_("{n} seed", "{n} seeds", counts[0]) if len(counts) == 1 else _("{low} to {high} seeds").format(
        low=counts[0], high=counts[-1]
    )  # fmt: skip
    if counts[-1] > 2:
        return _("{seeds}; bands and bars: 95 % Student t-interval, for two seeds their range.").format(seeds=seeds)
    return _("{seeds}: no interval with fewer than three.").format(seeds=seeds)
