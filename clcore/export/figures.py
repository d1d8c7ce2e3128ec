"""The figures of a comparison, each with the words that stand for it: what the page draws and the report carries."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pandas as pd

from clcore.accounting import readable_bytes
from clcore.charts.comparison import (
    Curve,
    averages_figure,
    final_figure,
    forest_figure,
    group_styles,
    growth_figure,
)
from clcore.charts.matrix import matrix_figure
from clcore.charts.theme import Style
from clcore.comparison import Group, difference_cells
from clcore.export.tables import verdict
from clcore.frames import COLUMNS, Series
from clcore.statistics import Difference
from clcore.text import _, n_

Figure = dict[str, Any]


def curves(groups: Sequence[Group], names: Sequence[str], frame_of: Callable[[Group], pd.DataFrame]) -> list[Curve]:
    return [Curve(*parts, frame_of(group)) for *parts, group in zip(names, styles(groups), groups, strict=True)]


def styles(groups: Sequence[Group]) -> list[Style]:
    return group_styles([group.method for group in groups])


def averages(
    groups: Sequence[Group], names: Sequence[str], *, series: Callable[[str], Series] | None = None, **look: Any
) -> tuple[Figure, pd.DataFrame]:
    """Average accuracy over the tasks seen, at the ends of tasks; with `series`, at every live evaluation."""
    drawn = curves(groups, names, Group.averages if series is None else lambda group: group.live_averages(series))
    figure = averages_figure(drawn, max(group.tasks for group in groups), live=series is not None, **look)
    return figure, _table(drawn, "position")


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
        run_id = max(group.rows, key=lambda row: row.created).id
        networks = len(next(row for row in group.rows if row.id == run_id).result["replicas"])
        words = n_("{n} network", "{n} networks side by side", networks)
        rows = [(k, s, f"{s:.2f} s, {words}") for k, s in enumerate(seconds.get(run_id, ()), start=1) if s is not None]
        if rows:
            drawn.append(Curve(name, style, pd.DataFrame(rows, columns=["task", "value", "words"])))
    if not drawn:
        return None
    return growth_figure(drawn, max(group.tasks for group in groups), unit="seconds", **look), _growth_table(drawn)


def _table(drawn: Sequence[Curve], first: str) -> pd.DataFrame:
    """The numbers of a figure in percent, a row per group and point."""
    parts = [_percent(curve.frame.drop(columns="seeds")).assign(group=curve.name) for curve in drawn]
    return pd.concat(parts, ignore_index=True)[["group", first, *COLUMNS]]


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
