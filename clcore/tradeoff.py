"""Stability against plasticity: outcomes as points, paths of growing strength or budget, the front, and the best strength.

Torch-free. Everything here compares outcomes of one benchmark, one scenario and one set of conditions.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import pandas as pd

from clcore import metrics
from clcore.catalogue import catalogue
from clcore.frames import COLUMNS, Spread
from clcore.outcomes import Configuration, Outcome, retention

MEASURES = ("stability", "plasticity", "acc", "validation_acc", "kept_bytes", "gradient_samples", "relative_time")


class Path(NamedTuple):
    """Outcomes of one method that differ in one thing, by its growing value. `axis`: "strength", "memory" or "" for one."""

    method: str
    axis: str
    outcomes: tuple[Outcome, ...]


def paths(outcomes: Sequence[Outcome]) -> list[Path]:
    """The outcomes by method, settings, and whichever of strength and memory budget stays fixed.

    Where both vary, a path follows the strength and there is one per budget.
    """
    methods: dict[tuple, list[Outcome]] = {}
    for outcome in outcomes:
        methods.setdefault(outcome.configuration[:2], []).append(outcome)
    found = []
    for (method, _), group in methods.items():
        axis = "strength" if len({o.configuration.strength for o in group}) > 1 else "memory"
        fixed = "memory" if axis == "strength" else "strength"
        lines: dict[float | None, list[Outcome]] = {}
        for outcome in group:
            lines.setdefault(getattr(outcome.configuration, fixed), []).append(outcome)
        for line in lines.values():
            line.sort(key=lambda outcome: getattr(outcome.configuration, axis) or 0)
            found.append(Path(method, axis if len(line) > 1 else "", tuple(line)))
    return found


def table(outcomes: Sequence[Outcome], references: Mapping[str, Outcome]) -> pd.DataFrame:
    """A row per outcome, path by path.

    path, axis           which path it is on, by number, and what grows along it
    method, family, strength, memory, settings
    n, diverged, total   seeds; after, tasks: trained so far and in all; finished; training: seeds still on their way
    MEASURES             the mean, with _low and _high; fractions, bytes, counts, multiples
    retention            with _low and _high, and whether it is paired
    front                whether no other mean is as stable and as plastic and more so in one of them: final outcomes of
                         methods that are bound by the rules (`joint` and `single` are not), and means only
    """
    rows = []
    for number, path in enumerate(paths(outcomes)):
        rows += [_row(number, path, outcome, references) for outcome in path.outcomes]
    frame = pd.DataFrame(rows)
    if frame.empty:
        return frame
    able = frame[frame["finished"] & (frame["family"] != "reference") & frame["stability"].notna()]
    on = non_dominated(list(zip(able["stability"], able["plasticity"], strict=True)))
    frame["front"] = frame.index.isin(able.index[on])
    return frame


def _row(number: int, path: Path, outcome: Outcome, references: Mapping[str, Outcome]) -> dict:
    key, acc = outcome.configuration, outcome.spread("acc")
    row = {
        "path": number, "axis": path.axis, "method": key.method, "family": family(key.method),
        "strength": key.strength, "memory": key.memory,
        "settings": ", ".join(f"{name} = {value}" for name, value in key.settings),
        "configuration": key, "n": acc.n, "diverged": outcome.diverged, "total": len(outcome.trials),
        "after": min(t.after for t in outcome.trials), "tasks": max(t.tasks for t in outcome.trials),
        "finished": outcome.finished, "training": len(outcome.training),
    }  # fmt: skip
    for name in MEASURES:
        value = outcome.relative_time if name == "relative_time" else outcome.spread(name)
        row |= _columns(name, value)
    kept = retention(outcome, references)
    row |= _columns("retention", kept.spread if kept else Spread(None, None, None, 0))
    return row | {"paired": kept.paired if kept else False}


def _columns(name: str, value: Spread) -> dict[str, float | None]:
    mean, low, high = (float("nan") if v is None else v for v in (value.mean, value.low, value.high))
    return {name: mean, f"{name}_low": low, f"{name}_high": high}


def family(method: str) -> str:
    """Of a composition, that of its first part."""
    return catalogue().method(method.split("+")[0]).family


def non_dominated(points: Sequence[tuple[float, float]]) -> list[int]:
    """The positions of points that no other equals in both coordinates or beats in one and equals in the other; by the
    growing first coordinate. Of equal points the first stays."""
    found, highest = [], float("-inf")
    for i in sorted(range(len(points)), key=lambda i: (-points[i][0], -points[i][1], i)):
        if points[i][1] > highest:
            found.append(i)
            highest = points[i][1]
    return found[::-1]


# ---- what a strength does -------------------------------------------------------------------------------------------


def sweep(path: Path) -> pd.DataFrame:
    """Accuracy at the end against strength, for `charts.sweep`: strength, curve (average, old, last) and COLUMNS."""
    rows = []
    for outcome in path.outcomes:
        for curve, name in (("average", "acc"), ("old", "old"), ("last", "last")):
            s = outcome.spread(name)
            rows.append(
                (outcome.configuration.strength, curve, s.mean, s.low, s.high, s.n, s.diverged, s.total)
            )  # fmt: skip
    return pd.DataFrame(rows, columns=["strength", "curve", *COLUMNS])


class Chosen(NamedTuple):
    """The strength with the best validation accuracy.

    low, high      the weakest and the strongest of those that cannot be told from it; None for fewer than three seeds
    tried          configurations that it was chosen from, diverged ones among them
    n              seeds on which all were compared
    outcome        its test accuracy played no part in the choice
    """

    strength: float
    low: float | None
    high: float | None
    tried: int
    n: int
    outcome: Outcome


def chosen(path: Path) -> Chosen | None:
    """The strength of a path that validation data choose; None while a run of it is live, or without validation data.

    A strength cannot be told from the best when the 95 % t-interval of their difference, seed by seed, holds 0.
    """
    able = [outcome for outcome in path.outcomes if not outcome.diverged]
    scores = [outcome.by_seed("validation_acc") for outcome in able]
    if not able or not all(outcome.finished for outcome in path.outcomes):
        return None
    shared = sorted(set.intersection(*(set(values) for values in scores)))
    if not shared or any(values[seed] is None for values in scores for seed in shared):
        return None
    best = max(range(len(able)), key=lambda i: sum(scores[i][seed] for seed in shared))
    strengths = [outcome.configuration.strength for outcome in able]
    low = high = None
    if len(shared) >= 3:
        alike = [s for s, values in zip(strengths, scores, strict=True) if _alike(scores[best], values, shared)]
        low, high = min(alike), max(alike)
    return Chosen(strengths[best], low, high, len(path.outcomes), len(shared), able[best])


def _alike(best: Mapping[int, float], other: Mapping[int, float], seeds: Sequence[int]) -> bool:
    found = metrics.interval([best[seed] - other[seed] for seed in seeds])
    return found.mean <= found.half


def representative(path: Path) -> Outcome | None:
    """Which outcome of a path stands for its method: the chosen strength, or the only one."""
    if len(path.outcomes) == 1:
        return path.outcomes[0]
    picked = chosen(path)
    return picked.outcome if picked else None


def bytes_per_example(outcomes: Sequence[Outcome]) -> float | None:
    """What a replayed example takes, where all memories agree on it within 1 %."""
    sizes = [
        outcome.footprint.get("memory_samples", 0) / outcome.configuration.memory
        for outcome in outcomes
        if outcome.configuration.memory
    ]
    sizes = [size for size in sizes if size > 0]
    return sizes[0] if sizes and max(sizes) - min(sizes) <= 0.01 * max(sizes) else None


def name_of(configuration: Configuration) -> str:
    """A configuration as a link has it: ewc~30, er~m200."""
    parts = [configuration.method]
    parts += [] if configuration.strength is None else [f"{configuration.strength:g}"]
    parts += [] if configuration.memory is None else [f"m{configuration.memory}"]
    return "~".join(parts + [f"{name}={value}" for name, value in configuration.settings])
