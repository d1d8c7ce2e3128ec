"""What a run's methods and networks show of themselves, folded from its events: arrays by name, maps of a plane, answers.

A `Series` holds one; arrays come out as numpy, one row a network. No torch.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from scipy.special import stdtrit

from clcore import events as ev
from clcore.packing import unpacked

Map = np.ndarray  # (side, side) output units


class Over(NamedTuple):
    """An array over networks: `low` and `high` are the 95 % t-interval for n ≥ 3, the range for n = 2, the value for n = 1.

    An entry that some network does not have (NaN) has no mean.
    """

    mean: np.ndarray
    low: np.ndarray
    high: np.ndarray
    n: int


def over(stack: np.ndarray) -> Over:
    """`stack` is (n, …), one row a network."""
    stack = np.asarray(stack, dtype=np.float64)
    n, mean = len(stack), stack.mean(0)
    if n < 3:
        return Over(mean, stack.min(0), stack.max(0), n)
    half = float(stdtrit(n - 1, 0.975)) * stack.std(0, ddof=1) / math.sqrt(n)
    return Over(mean, mean - half, mean + half, n)


def extent(history: Mapping[int, np.ndarray]) -> tuple[float, float]:
    """The smallest and the largest value after any task: of the intervals where bars have them, else of the means."""
    values = [over(stack) for stack in history.values()]
    low, high = ([v.mean if v.mean.ndim > 1 else edge for v, edge in zip(values, edges, strict=True)]
                 for edges in ([v.low for v in values], [v.high for v in values]))  # fmt: skip
    found = [np.asarray(edge)[np.isfinite(edge)] for edge in (*low, *high)]
    found = [edge for edge in found if edge.size]
    return (min(float(e.min()) for e in found), max(float(e.max()) for e in found)) if found else (0.0, 1.0)


@dataclass(frozen=True)
class Plane:
    """One network's maps at one moment: one for all tasks, or one a task (None: not learned yet, or diverged)."""

    task: int
    position: float
    maps: tuple[Map | None, ...]


@dataclass(frozen=True)
class Named:
    """What one network calls the examples after a task."""

    task: int
    called: tuple[str | None, ...]


@dataclass
class Insights:
    """The fold. Sequence numbers are kept, so that a resumed run can take back what came after its checkpoint."""

    _arrays: dict[str, dict[int, dict[int, tuple[int, np.ndarray]]]] = field(default_factory=dict)  # name, task, replica
    _planes: dict[float, list[tuple[int, ev.Regions]]] = field(default_factory=dict)
    _answers: dict[int, list[tuple[int, ev.Answers]]] = field(default_factory=dict)
    points: list[list[tuple[float, float, int]]] = field(default_factory=list)
    examples: list[ev.Example] = field(default_factory=list)
    version: int = 0  # of what is held: a picture made of one version need not be made again

    def fold(self, seq: int, event: ev.Event) -> None:
        self.version += 1
        match event:
            case ev.Insight():
                for name, rows in event.arrays.items():
                    kept = self._arrays.setdefault(name, {}).setdefault(event.task, {})
                    for replica, row in zip(event.replicas, rows, strict=False):  # large ones hold the first rows only
                        kept[replica] = (seq, np.array(row, dtype=np.float32))
            case ev.Regions():
                self._planes.setdefault(round(event.position, 6), []).append((seq, event))
                self.points = event.points or self.points
            case ev.Answers():
                self._answers.setdefault(event.task, []).append((seq, event))
                self.examples = event.examples or self.examples

    def rewind(self, seq: int) -> None:
        """Drops what was reported after `seq`."""
        self.version += 1
        for tasks in self._arrays.values():
            for rows in tasks.values():
                for replica in [r for r, (at, _) in rows.items() if at > seq]:
                    del rows[replica]
        for reports in (self._planes, self._answers):
            for at in list(reports):
                reports[at] = [entry for entry in reports[at] if entry[0] <= seq]
                if not reports[at]:
                    del reports[at]

    # ---- arrays -----------------------------------------------------------------------------------------------------

    @property
    def names(self) -> list[str]:
        """What was reported, in order of appearance."""
        return [name for name, tasks in list(self._arrays.items()) if any(list(tasks.values()))]

    def tasks(self, name: str) -> list[int]:
        """After which tasks (1-based) there is an array of this name."""
        return sorted(task for task, rows in list(self._arrays.get(name, {}).items()) if rows)

    def of(self, name: str, task: int, replicas: Sequence[int]) -> dict[int, np.ndarray]:
        """The arrays of those of `replicas` that have one."""
        rows = self._arrays.get(name, {}).get(task, {})
        return {replica: rows[replica][1] for replica in replicas if replica in rows}

    def replicas(self, name: str) -> list[int]:
        """The networks that reported it, ever."""
        return sorted({replica for rows in list(self._arrays.get(name, {}).values()) for replica in list(rows)})

    # ---- maps and answers -------------------------------------------------------------------------------------------

    @property
    def bounds(self) -> tuple[tuple[float, float], tuple[float, float]] | None:
        first = next(iter(self._planes.values()), None)
        return first[0][1].bounds if first else None

    def planes(self, replicas: Sequence[int]) -> list[Plane]:
        """The maps of the first of `replicas` that is drawn, in the order of training."""
        found = []
        for at in sorted(self._planes):
            for _, event in self._planes.get(at, ()):
                drawn = [i for i in replicas if i in event.replicas]
                if drawn:
                    row = event.maps[event.replicas.index(drawn[0])]
                    found.append(Plane(event.task, event.position, tuple(_map(text, event.side) for text in row)))
        return found

    def answers(self, replicas: Sequence[int]) -> list[Named]:
        """What the first of `replicas` that is asked calls the examples, after every task."""
        found = []
        for task in sorted(self._answers):
            for _, event in self._answers.get(task, ()):
                asked = [i for i in replicas if i in event.replicas]
                if asked:
                    found.append(Named(task, tuple(event.called[event.replicas.index(asked[0])])))
        return found


def image_of(example: ev.Example) -> np.ndarray:
    """The example's pixels, 0 … 255."""
    return np.frombuffer(unpacked(example.image), dtype=np.uint8).reshape(example.shape)


def _map(text: str | None, side: int) -> Map | None:
    return None if text is None else np.frombuffer(unpacked(text), dtype=np.uint8).reshape(side, side)


def thinned_moments(planes: Sequence[Plane], most: int) -> list[Plane]:
    """At most about `most` moments, evenly spread; those at task ends stay."""
    step = max(1, math.ceil(len(planes) / most))
    last = len(planes) - 1
    return [p for i, p in enumerate(planes) if i % step == 0 or p.position == p.task or i == last]
