"""From the store to tables: a run's events folded into tidy DataFrames, and the list of runs.

A `Series` reads only what is new and is shared by everybody who looks at the run. Accuracies stay fractions in 0..1.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

import pandas as pd

from clcore import events as ev
from clcore import metrics
from clcore.identity import COLUMNS as IDENTITY
from clcore.identity import identity
from clcore.insights import Insights
from clcore.spec import RunSpec

COLUMNS = ["mean", "low", "high", "n", "diverged", "total"]
METRICS = ("acc", "forgetting", "bwt", "learning_accuracy")


class EventSource(Protocol):
    def events_after(self, run_id: str, seq: int = 0) -> list[tuple[int, ev.Event]]: ...


class Config(NamedTuple):
    """What the replicas of one curve share: everything but their seed."""

    strength: float | None = None
    memory: int | None = None


@dataclass(frozen=True)
class Spread:
    """A number over seeds. `low`, `high`: the 95 % t-interval for n ≥ 3, the range for n = 2, the value for n = 1.

    With diverged replicas among the `total` there is no mean: one over the survivors would be too good.
    """

    mean: float | None
    low: float | None
    high: float | None
    n: int
    diverged: int = 0
    total: int = 0

    @property
    def half(self) -> float | None:
        return (self.high - self.low) / 2 if self.mean is not None and self.n > 2 else None


def spread(values: Sequence[float | None], diverged: int = 0) -> Spread:
    """What stands behind a list of one value per seed; `diverged` of them are missing because training blew up."""
    total = len(values)
    found = metrics.interval(values) if not diverged else None
    if found is None:
        return Spread(None, None, None, 0, diverged, total)
    if found.n == 1:
        return Spread(found.mean, found.mean, found.mean, 1, 0, total)
    if found.n == 2:
        return Spread(found.mean, min(values), max(values), 2, 0, total)
    return Spread(found.mean, found.mean - found.half, found.mean + found.half, found.n, 0, total)


@dataclass
class _Point:
    seq: int
    task: int
    accuracy: list[float | None]
    switch: int = 0  # the step after a task switch, where every one is evaluated


@dataclass
class Series:
    """One run, folded from its events as they come."""

    run_id: str
    seq: int = 0
    started: ev.RunStarted | None = None
    outcome: ev.Event | None = None
    preparing: ev.Preparing | None = None
    phase: ev.PhaseStarted | None = None
    position: float = 0.0
    resumes: int = 0
    diverged: dict[int, tuple[int, ev.Diverged]] = field(default_factory=dict)
    insights: Insights = field(default_factory=Insights)
    _live: dict[float, dict[int, _Point]] = field(default_factory=dict)
    _rows: dict[int, tuple[int, ev.TaskFinished]] = field(default_factory=dict)
    _curve_rows: dict[tuple[Config, float], list[tuple]] = field(default_factory=dict)
    _known: dict[tuple, Any] = field(default_factory=dict)
    _lock: threading.RLock = field(default_factory=threading.RLock)

    def pull(self, store: EventSource) -> Series:
        """Reads the events after the last one seen. Safe to call from many threads."""
        with self._lock:
            for seq, event in store.events_after(self.run_id, self.seq):
                self._fold(seq, event)
                self.seq = seq
        return self

    def _fold(self, seq: int, event: ev.Event) -> None:
        if not isinstance(event, ev.Progress | ev.Evaluated | ev.PhaseStarted | ev.Regions):
            self._known.clear()
        match event:
            case ev.Preparing():
                self.preparing = event
            case ev.RunStarted():
                self.started, self.preparing = event, None
            case ev.PhaseStarted():
                self.phase = event
            case ev.Progress():
                self.position = event.position
            case ev.Evaluated():
                at = round(event.position, 6)
                points = self._live.setdefault(at, {})
                for replica, accuracy in zip(event.replicas, event.accuracy, strict=True):
                    points[replica] = _Point(seq, event.task, accuracy, event.step if event.switch else 0)
                self._forget_curve(at)
            case ev.TaskFinished():
                self._rows[event.task] = (seq, event)
                self.position = float(event.task)
            case ev.Diverged():
                self.diverged[event.replica] = (seq, event)
                self._curve_rows.clear()
            case ev.Insight() | ev.Regions() | ev.Answers():
                self.insights.fold(seq, event)
            case ev.Resumed():
                self.preparing = None
                self._rewind(event.from_seq)
                self.position = float(event.task)
                self.resumes += 1
            case ev.RunFinished() | ev.RunFailed() | ev.RunCancelled():
                self.outcome = event

    def _rewind(self, seq: int) -> None:
        """Drops what was reported after `seq`: training goes on from before it."""
        for at, points in list(self._live.items()):
            kept = {r: p for r, p in points.items() if p.seq <= seq}
            if kept:
                self._live[at] = kept
            else:
                del self._live[at]
        self._rows = {task: entry for task, entry in self._rows.items() if entry[0] <= seq}
        self.diverged = {r: entry for r, entry in self.diverged.items() if entry[0] <= seq}
        self._curve_rows.clear()
        self.insights.rewind(seq)

    def _forget_curve(self, at: float) -> None:
        for config in self.configs:
            self._curve_rows.pop((config, at), None)

    @property
    def tasks(self) -> list[str]:
        return self.started.tasks if self.started else []

    @property
    def finished_tasks(self) -> int:
        """How many tasks have their row of the accuracy matrix."""
        return max(self._rows, default=0)

    @property
    def configs(self) -> list[Config]:
        """The settings that vary inside the run, seeds left out, in the run's order."""
        replicas = self.started.replicas if self.started else []
        return list(dict.fromkeys(Config(r.strength, r.memory) for r in replicas))

    def members(self, config: Config) -> list[int]:
        replicas = self.started.replicas if self.started else []
        return [i for i, r in enumerate(replicas) if Config(r.strength, r.memory) == config]

    def seeds(self, config: Config) -> list[int]:
        return [self.started.replicas[i].seed for i in self.members(config)] if self.started else []

    def curves(self, config: Config) -> pd.DataFrame:
        """Live evaluations: position (tasks trained), task (1-based), mean, low, high, n, diverged, total."""
        with self._lock:
            members = self.members(config)
            rows: list[tuple] = []
            for at in sorted(self._live):
                key = (config, at)
                if key not in self._curve_rows:
                    self._curve_rows[key] = self._curve_at(at, members)
                rows += self._curve_rows[key]
        return pd.DataFrame(rows, columns=["position", "task", *COLUMNS])

    def _curve_at(self, at: float, members: list[int]) -> list[tuple]:
        return self._rows_at(at, self._live[at], members)

    def _rows_at(self, at: float, points: dict[int, _Point], members: list[int]) -> list[tuple]:
        reported = [i for i in members if i in points]
        rows = []
        for j in range(len(self.tasks)):
            values = [points[i].accuracy[j] for i in reported]
            lost = bool(values) and all(i in self.diverged for i in reported) and j < points[reported[0]].task
            if lost or any(v is not None for v in values):
                rows.append((at, j + 1, *self._over(values, reported)))
        return rows

    def matrix(self, config: Config, kind: str = "accuracy") -> pd.DataFrame:
        """The accuracy (or forgetting) matrix as far as it is known: row (0..T), task (1..T), then as in `curves`."""
        return self._once(("matrix", config, kind), lambda: self._matrix(config, kind))

    def _matrix(self, config: Config, kind: str) -> pd.DataFrame:
        with self._lock:
            members = self.members(config)
            complete = [self.replica_matrix(i) for i in members]
        if kind == "forgetting":
            columns = range(len(self.tasks))
            complete = [[[metrics.forgotten(R, k, j) for j in columns] for k in range(len(R))] for R in complete]
        blown = [i in self.diverged for i in members]
        return matrix_cells(complete, blown, len(self.tasks), empty_is_lost=kind == "accuracy")

    def task_ends(self, config: Config) -> pd.DataFrame:
        """The seen part of the matrix as points of the curves."""
        cells = self.matrix(config)
        return cells[(cells["row"] >= cells["task"])].rename(columns={"row": "position"})

    def replica_matrix(self, replica: int) -> list[list[float | None]]:
        """(k+1) × T: a replica's accuracy matrix up to the last finished task."""
        with self._lock:
            if not self._rows:
                return []
            blank = [None] * len(self.tasks)
            rows = (self._rows.get(k) for k in range(max(self._rows) + 1))
            return [blank if entry is None else entry[1].test[replica] for entry in rows]

    def footprint(self, replica: int) -> dict[str, int]:
        """A replica's bytes by kind after the last finished task; empty before the first."""
        with self._lock:
            return dict(self._rows[max(self._rows)][1].footprint[replica]) if self._rows else {}

    def sizes(self, config: Config) -> list[Spread]:
        """Bytes that a network and its method keep for later tasks, after each finished task (1, 2, …)."""
        with self._lock:
            known = [self._rows[k][1].footprint for k in range(1, self.finished_tasks + 1) if k in self._rows]
        return [spread([float(sum(footprint[i].values())) for i in self.members(config)]) for footprint in known]

    def metric(self, config: Config, name: str) -> Spread:
        """One of `METRICS` over the tasks trained so far (all of them once the run has finished)."""
        return self._once(("metric", config, name), lambda: self._metric(config, name))

    def defines(self, name: str) -> bool:
        """Whether one of `METRICS` means anything in the run's scenario."""
        scenario = self.started.scenario if self.started else "task"
        return name in metrics.meaningful(METRICS, scenario)

    def _metric(self, config: Config, name: str) -> Spread:
        members = self.members(config)
        values = [self._summary(i).get(name) for i in members]
        return spread(values, sum(i in self.diverged and v is None for i, v in zip(members, values, strict=True)))

    def _once(self, key: tuple, compute: Callable[[], Any]) -> Any:
        """What only changes at task ends is computed there, not at every look; callers must not write into it."""
        with self._lock:
            if key not in self._known:
                self._known[key] = compute()
            return self._known[key]

    def replica_metric(self, config: Config, name: str) -> dict[int, float | None]:
        """A metric per seed, for paired comparisons."""
        return {self.started.replicas[i].seed: self._summary(i).get(name) for i in self.members(config)}

    def _summary(self, replica: int) -> dict[str, float | None]:
        R = self.replica_matrix(replica)
        k = len(R) - 1
        if k < 1 or self.started is None:
            return {}
        return metrics.summary([row[:k] for row in R], self.started.scenario)

    def sweep(self, memory: int | None = None) -> pd.DataFrame:
        """Accuracy after the tasks trained so far: strength, curve (average, old, last) and COLUMNS."""
        k = self.finished_tasks
        rows = []
        for config in self.configs:
            if config.memory != memory or k < 1 or config.strength is None:
                continue
            members = self.members(config)
            last = [self.replica_matrix(i)[k][:k] for i in members]
            for curve, part in (("average", slice(None)), ("old", slice(0, k - 1)), ("last", slice(k - 1, k))):
                values = [metrics.mean(row[part]) for row in last]
                if k > 1 or curve != "old":
                    rows.append((config.strength, curve, *self._over(values, members)))
        return pd.DataFrame(rows, columns=["strength", "curve", *COLUMNS])

    def verdicts(self, config: Config) -> list[ev.Verdict]:
        """Whether the networks still give their old logits, as far as known; empty where the method promises nothing."""
        with self._lock:
            if not self._rows:
                return []
            told = self._rows[max(self._rows)][1].old_logits or []
            return [told[i] for i in self.members(config) if told and told[i] is not None]

    def way_metric(self, config: Config, name: str) -> Spread:
        """`min_acc` or `worst_case_acc` over the tasks trained so far, from the live evaluations."""
        return self._once(("way", config, name), lambda: self._way_metric(config, name))

    def _way_metric(self, config: Config, name: str) -> Spread:
        compute = {"min_acc": metrics.min_acc, "worst_case_acc": metrics.worst_case_acc}[name]
        members, k = self.members(config), self.finished_tasks
        if k < 1:
            return spread([None] * len(members))
        values = [compute(self._way(i), k) for i in members]
        return spread(values, sum(i in self.diverged and v is None for i, v in zip(members, values, strict=True)))

    def _way(self, replica: int) -> list[tuple[float, list[float | None]]]:
        found = ((at, self._live[at].get(replica)) for at in sorted(self._live))
        return [(at, point.accuracy) for at, point in found if point is not None]

    def switch(self, config: Config, task: int) -> pd.DataFrame:
        """The first steps of a task, where each was evaluated: step (0: before the first), task (1-based) and COLUMNS."""
        with self._lock:
            members = self.members(config)
            steps: dict[int, dict[int, _Point]] = {}
            for points in self._live.values():  # groups of replicas may reach a step at different positions
                for replica, point in points.items():
                    if point.switch and point.task == task:
                        steps.setdefault(point.switch, {})[replica] = point
            before = self._live.get(float(task - 1))
            if steps and before:
                steps[0] = before
            rows = [(n, *row[1:]) for n in sorted(steps) for row in self._rows_at(n, steps[n], members)]
        return pd.DataFrame(rows, columns=["step", "task", *COLUMNS])

    def switches(self) -> list[int]:
        """The tasks, from the second on, whose first steps were evaluated one by one."""
        with self._lock:
            found = {p.task for points in self._live.values() for p in points.values() if p.switch and p.task > 1}
        return sorted(found)

    def averages(self, config: Config) -> dict[int, list[tuple[float, float]]]:
        """Seed → (position, average accuracy over the tasks seen by then) at every live evaluation that has one."""
        with self._lock:
            return {
                seed: [
                    (at, value)
                    for at in sorted(self._live)
                    if (point := self._live[at].get(i)) and (value := metrics.mean(point.accuracy[: point.task])) is not None
                ]
                for i, seed in zip(self.members(config), self.seeds(config), strict=True)
            }

    def chance(self) -> list[float | None]:
        """(T) the chance level while training each task: the mean over the tasks seen by then."""
        if self.started is None:
            return []
        return [metrics.mean(self.started.chance[k][:k]) for k in range(1, len(self.tasks) + 1)]

    def diverged_in(self, config: Config) -> int:
        return sum(i in self.diverged for i in self.members(config))

    def _over(self, values: list[float | None], members: list[int]) -> tuple:
        lost = sum(v is None and i in self.diverged for v, i in zip(values, members, strict=True))
        s = spread(values, lost)
        return s.mean, s.low, s.high, s.n, s.diverged, s.total


def matrix_cells(
    matrices: Sequence[metrics.Matrix], diverged: Sequence[bool], tasks: int, *, empty_is_lost: bool = True
) -> pd.DataFrame:
    """Replicas' matrices, cell by cell: row (0..T), task (1..T) and COLUMNS; cells without meaning have no row.

    `empty_is_lost`: a seen cell that no replica has is one in which they diverged, and has a row that says so.
    """
    lost, rows = any(diverged) and empty_is_lost, []
    for k in range(len(matrices[0]) if matrices else 0):
        for j in range(tasks):
            values = [R[k][j] for R in matrices]
            if any(v is not None for v in values) or (lost and j < k):
                blown = sum(v is None and gone for v, gone in zip(values, diverged, strict=True))
                s = spread(values, blown)
                rows.append((k, j + 1, s.mean, s.low, s.high, s.n, s.diverged, s.total))
    return pd.DataFrame(rows, columns=["row", "task", *COLUMNS])


def result_spreads(result: dict[str, Any] | None) -> dict[Config, dict[str, Spread]]:
    """ACC and forgetting per setting of a finished run, from its stored result."""
    groups: dict[Config, list[dict[str, Any]]] = {}
    for replica in (result or {}).get("replicas", []):
        groups.setdefault(Config(replica["strength"], replica["memory"]), []).append(replica)
    return {
        config: {
            name: spread([r[name] for r in group], sum(r["status"] == "diverged" for r in group))
            for name in ("acc", "forgetting")
        }
        for config, group in groups.items()
    }


def replica_table(results: Iterable[tuple[str, RunSpec, dict[str, Any]]]) -> pd.DataFrame:
    """One row a replica of finished runs, for a CSV file: run, method, seed, strength, memory, status, metrics and cost, and
    what tells the run from others."""
    columns = ["seed", "strength", "memory", "status", "acc", "bwt", "fwt", "forgetting", "learning_accuracy",
               "gradient_samples", "bytes"]  # fmt: skip
    rows = [
        {"run": run_id, "method": result["method"], **{c: replica.get(c) for c in columns}, **identity(spec, result)}
        for run_id, spec, result in results
        for replica in result["replicas"]
    ]
    return pd.DataFrame(rows, columns=["run", "method", *columns, *IDENTITY])
