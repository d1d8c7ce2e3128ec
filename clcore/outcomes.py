"""From runs to outcomes: what each configuration came to, over all runs that trained it. Torch-free.

A configuration is a method with its settings, its strength and its memory budget. Its outcome pools the seeds of all runs
under the same conditions; a seed that was trained twice counts once. Accuracies stay fractions in 0..1.

Retention places an accuracy between the references: (acc − finetune) / (joint − finetune), so 0 is "no better than
fine-tuning" and 1 is "as good as joint training".
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Mapping, MutableMapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import pandas as pd
from scipy.special import stdtrit

from clcore import accounting, metrics
from clcore.accounting import Entry, FineTuning, Measured
from clcore.frames import COLUMNS, Series, Spread, spread
from clcore.spec import MethodChoice, RunSpec, Scalar
from clcore.store.rows import RunRow

REFERENCES = ("finetune", "joint", "single")
NUMBERS = (
    "acc", "forgetting", "stability", "plasticity", "bwt", "old", "last", "validation_acc",
    "bytes", "kept_bytes", "gradient_samples",
)  # fmt: skip


class Configuration(NamedTuple):
    """What is compared: everything about a method that decides its result, and nothing else.

    `settings` are those that differ from their defaults, under qualified names ("ewc.fisher"), without the strength.
    """

    method: str
    settings: tuple[tuple[str, Scalar], ...] = ()
    strength: float | None = None
    memory: int | None = None


@dataclass(frozen=True)
class Trial:
    """One network: a replica of a run, and its numbers by the names of `NUMBERS` (None: no meaning, or not known).

    after      tasks trained: fewer than `tasks` while the run is live, and then the numbers are over those
    stability  1 − forgetting
    plasticity learning accuracy, in every scenario. `metrics.summary` leaves it out in the class scenario, where it says
               little on its own; beside stability it does not stand on its own
    old, last  accuracy at the end on all tasks but the last, and on the last
    kept_bytes what the method keeps beside the network's parameters
    """

    run_id: str
    seed: int
    digest: str
    after: int
    tasks: int
    diverged: bool
    numbers: Mapping[str, float | None]
    footprint: Mapping[str, int]

    @property
    def finished(self) -> bool:
        return self.after == self.tasks or self.diverged


@dataclass(frozen=True)
class Outcome:
    """What a configuration came to under given conditions.

    trials         one per seed, by seed: the finished ones; those of a live run while there is no finished one
    training       seeds that are being trained and are not among the finished ones
    relative_time  training time as a multiple of fine-tuning's, over the runs that can be compared (n: runs, not seeds)
    spec           that of the newest run
    """

    configuration: Configuration
    conditions: str
    spec: RunSpec = field(repr=False)
    trials: tuple[Trial, ...]
    training: tuple[int, ...] = ()
    relative_time: Spread = Spread(None, None, None, 0)

    def spread(self, name: str) -> Spread:
        """One of `NUMBERS` over the seeds."""
        values = [trial.numbers[name] for trial in self.trials]
        return spread(values, sum(t.diverged and v is None for t, v in zip(self.trials, values, strict=True)))

    def by_seed(self, name: str) -> dict[int, float | None]:
        """For paired comparisons."""
        return {trial.seed: trial.numbers[name] for trial in self.trials}

    @property
    def finished(self) -> bool:
        """Whether the numbers are final; otherwise they are over the tasks trained so far."""
        return all(trial.finished for trial in self.trials)

    @property
    def runs(self) -> tuple[str, ...]:
        """The runs whose networks count here."""
        return tuple(dict.fromkeys(trial.run_id for trial in self.trials))

    @property
    def seeds(self) -> tuple[int, ...]:
        return tuple(trial.seed for trial in self.trials)

    @property
    def diverged(self) -> int:
        return sum(trial.diverged for trial in self.trials)

    @property
    def footprint(self) -> dict[str, int]:
        """Bytes by kind of one network; of each kind the most that a seed needed."""
        kinds = dict.fromkeys(kind for trial in self.trials for kind in trial.footprint)
        return {kind: max(trial.footprint.get(kind, 0) for trial in self.trials) for kind in kinds}

    @property
    def entry(self) -> Entry:
        """For `accounting.rank_marks` and `accounting.differences`: the seeds are those that are pooled here."""
        reached = [trial.numbers["gradient_samples"] for trial in self.trials]
        grid = self.spec.grid.model_copy(update={"seeds": self.seeds})
        return Entry(
            self.spec.model_copy(update={"grid": grid}),
            (self.footprint,),
            (max(reached),) if reached and None not in reached else (),
        )


def differences(outcomes: Sequence[Outcome]) -> list[str]:
    """What keeps these outcomes from being ranked together, by name; nothing when they may be."""
    return accounting.differences([outcome.entry for outcome in outcomes])


def conditions(spec: RunSpec) -> dict[str, Any]:
    """`accounting.conditions` without the seeds, over which an outcome pools."""
    return {name: value for name, value in accounting.conditions(spec).items() if name != "seeds"}


def conditions_key(spec: RunSpec) -> str:
    """Equal for runs whose outcomes stand beside each other."""
    return json.dumps(conditions(spec), sort_keys=True)


def configuration(method: MethodChoice, strength: float | None = None, memory: int | None = None) -> Configuration:
    """The configuration of a run's replicas with this strength and memory."""
    swept, settings = method.swept_part, []
    for card in method.cards:
        given = method.part_settings(card.name)
        for knob in card.knobs:
            if given[knob.name] != knob.default and not (card is swept and knob.axis):
                settings.append((f"{card.name}.{knob.name}", given[knob.name]))
    return Configuration(method.name, tuple(sorted(settings)), strength, memory)


# ---- one run --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Reading:
    """What one run contributes: its networks by configuration, and how long it took."""

    conditions: str
    spec: RunSpec = field(repr=False)
    trials: Mapping[Configuration, Sequence[Trial]]
    timed: Measured = field(repr=False)


def read(row: RunRow) -> Reading | None:
    """A finished run; None for any other, whose replicas are not what was asked for."""
    if row.state != "finished" or not row.result:
        return None
    spec, result = row.spec, row.result
    trials: dict[Configuration, list[Trial]] = {}
    plain = configuration(spec.method)
    for replica in result["replicas"]:
        key = plain._replace(strength=replica["strength"], memory=replica["memory"])
        trials.setdefault(key, []).append(_finished(row.id, replica))
    kept = {name: result.get(name) for name in ("status", "train_seconds", "train_cpu_seconds", "protocol")}
    kept["replicas"] = [None] * len(result["replicas"])  # how many there were is all that time depends on
    return Reading(conditions_key(spec), spec, trials, _timed(spec, kept, row.experiment))


def read_live(row: RunRow, series: Series) -> Reading | None:
    """A run that trains, over the tasks that it has finished; None before there is one."""
    k = series.finished_tasks
    if not row.live or series.started is None or k < 1:
        return None
    spec, trials = row.spec, {}
    plain = configuration(spec.method)
    for i, replica in enumerate(series.started.replicas):
        matrix = [line[:k] for line in series.replica_matrix(i)]
        footprint = series.footprint(i)
        diverged = i in series.diverged
        trials.setdefault(plain._replace(strength=replica.strength, memory=replica.memory), []).append(
            Trial(row.id, replica.seed, replica.digest, k, len(series.tasks), diverged,
                  _numbers(matrix, footprint, diverged), footprint)
        )  # fmt: skip
    return Reading(conditions_key(spec), spec, trials, _timed(spec, None, row.experiment))


def _finished(run_id: str, replica: dict[str, Any]) -> Trial:
    matrix, diverged = replica["accuracy_matrix"], replica["status"] == "diverged"
    tasks = len(matrix) - 1
    numbers = _numbers(matrix, replica["footprint"], diverged)
    if replica.get("validation_matrix"):
        numbers["validation_acc"] = metrics.acc(replica["validation_matrix"])
    numbers["gradient_samples"] = replica.get("gradient_samples")
    return Trial(
        run_id, replica["seed"], replica["digest"], tasks, tasks, diverged, numbers, dict(replica["footprint"])
    )


def _numbers(R: metrics.Matrix, footprint: Mapping[str, int], diverged: bool) -> dict[str, float | None]:
    found: dict[str, float | None] = dict.fromkeys(NUMBERS)
    if not diverged:
        lost = metrics.forgetting(R)
        found |= {
            "acc": metrics.acc(R), "forgetting": lost, "stability": None if lost is None else 1 - lost,
            "plasticity": metrics.learning_accuracy(R), "bwt": metrics.bwt(R),
            "old": metrics.mean(R[-1][:-1]), "last": R[-1][-1],
        }  # fmt: skip
    total = sum(footprint.values())
    return found | {"bytes": total, "kept_bytes": total - footprint.get("parameters", 0)}


def _timed(spec: RunSpec, result: dict[str, Any] | None, experiment: str) -> Measured:
    """A run for `FineTuning`, which compares the number of networks; which seeds they had does not decide their time."""
    grid = spec.grid.model_copy(update={"seeds": ()})
    return Measured(spec.model_copy(update={"grid": grid}), result, experiment)


# ---- many runs ------------------------------------------------------------------------------------------------------


def outcomes(
    rows: Iterable[RunRow],
    series: Callable[[str], Series] | None = None,
    known: MutableMapping[str, Reading] | None = None,
) -> list[Outcome]:
    """The outcomes of `rows` (newest first, as the store returns them), in the order in which they first ran.

    series  the folded events of a live run, by its id; None leaves live runs out
    known   readings of finished runs by id, kept by the caller: such a run never changes, so it is read once
    """
    known = {} if known is None else known
    readings: list[tuple[str, Reading]] = []
    for row in rows:
        reading = known.get(row.id)
        if reading is None and row.live:
            reading = None if series is None else read_live(row, series(row.id))
        elif reading is None and (reading := read(row)) is not None:
            known[row.id] = reading
        if reading is not None:
            readings.append((row.id, reading))
    plain = FineTuning(reading.timed for _, reading in readings)
    groups: dict[tuple[str, Configuration], list[tuple[str, Reading]]] = {}
    for run_id, reading in reversed(readings):
        for key in reading.trials:
            groups.setdefault((reading.conditions, key), []).insert(0, (run_id, reading))
    return [_pooled(key, group, plain) for key, group in groups.items()]


def _pooled(key: tuple[str, Configuration], group: list[tuple[str, Reading]], plain: FineTuning) -> Outcome:
    finished: dict[int, Trial] = {}
    live: dict[int, Trial] = {}
    for _, reading in group:
        for trial in reading.trials[key[1]]:
            # One per seed: under the same conditions and configuration, equal seeds are equal digests.
            (finished if reading.timed.result else live).setdefault(trial.seed, trial)
    training = tuple(sorted(set(live) - set(finished)))
    chosen = finished or _furthest(live)
    trials = tuple(chosen[seed] for seed in sorted(chosen))
    counted = {trial.run_id for trial in trials}
    costs = [plain.relative_cost(reading.timed) for run_id, reading in group if run_id in counted]
    ratios = [cost.wall for cost in costs if cost is not None]
    return Outcome(key[1], key[0], group[0][1].spec, trials, training, spread(ratios))


def _furthest(live: Mapping[int, Trial]) -> dict[int, Trial]:
    """Of live runs, the networks that have finished the most tasks: numbers over different tasks make no mean."""
    most = max((trial.after for trial in live.values()), default=0)
    return {seed: trial for seed, trial in live.items() if trial.after == most}


def matrix(outcome: Outcome, results: Mapping[str, dict[str, Any]], kind: str = "accuracy") -> pd.DataFrame:
    """The accuracy (or forgetting) matrix over the outcome's seeds: row (0..T), task (1..T) and COLUMNS.

    results   of the outcome's runs, by run id
    """
    wanted = {(trial.run_id, trial.digest) for trial in outcome.trials}
    found = [
        (replica["accuracy_matrix"], replica["status"] == "diverged")
        for run_id in outcome.runs
        for replica in results[run_id]["replicas"]
        if (run_id, replica["digest"]) in wanted
    ]
    complete = [metrics.forgetting_matrix(R) if kind == "forgetting" else R for R, _ in found]
    rows = []
    for k in range(len(complete[0]) if complete else 0):
        for j in range(len(complete[0][0])):
            values = [R[k][j] for R in complete]
            lost = sum(blown and v is None for v, (_, blown) in zip(values, found, strict=True))
            if any(v is not None for v in values):
                s = spread(values, lost)
                rows.append((k, j + 1, s.mean, s.low, s.high, s.n, s.diverged, s.total))
    return pd.DataFrame(rows, columns=["row", "task", *COLUMNS])


# ---- the references -------------------------------------------------------------------------------------------------


def references(found: Iterable[Outcome], conditions: str) -> dict[str, Outcome]:
    """Fine-tuning, joint training and single-task networks under these conditions, as far as they have finished."""
    wanted = {Configuration(name): name for name in REFERENCES}
    return {
        wanted[outcome.configuration]: outcome
        for outcome in found
        if outcome.conditions == conditions and outcome.finished and outcome.configuration in wanted
    }


class Retention(NamedTuple):
    """(acc − finetune) / (joint − finetune), and whether it was compared seed by seed."""

    spread: Spread
    paired: bool


def retention(outcome: Outcome, references: Mapping[str, Outcome]) -> Retention | None:
    """Where the outcome stands between the references; None without both, or where joint is no better than fine-tuning.

    The ratio R of mean differences, with the t-interval of its linearization. Paired, over the seeds that all three share:
    with e = a − (1 − R)·f − R·j for each seed, R ± t_{.975,n−1}·s(e) / (√n·(j̄ − f̄)); two seeds give the range of their own
    ratios. Where fewer than three are shared although each has three or more, they are taken as independent: the variance
    of the mean of e is s²(a)/n + (1 − R)²·s²(f)/n + R²·s²(j)/n, with the degrees of freedom of Welch and Satterthwaite.
    `n`: the shared seeds, or the fewest of the three; 1 where there is no interval.
    """
    if not {"finetune", "joint"} <= set(references) or not outcome.finished:
        return None
    each = [o.by_seed("acc") for o in (outcome, references["finetune"], references["joint"])]
    if any(value is None for values in each for value in values.values()):
        return None
    shared = sorted(set.intersection(*(set(values) for values in each)))
    fewest = min(len(values) for values in each)
    paired = len(shared) >= 3 or (bool(shared) and fewest < 3)
    a, f, j = ([v[seed] for seed in (shared if paired else v)] for v in each)
    room = metrics.mean(j) - metrics.mean(f)
    if room <= 0:
        return None
    R = (metrics.mean(a) - metrics.mean(f)) / room
    if paired:
        return Retention(_paired_ratio(R, room, a, f, j), True)
    half = _welch(R, a, f, j) / room if fewest >= 3 else 0.0
    n = fewest if fewest >= 3 else 1
    return Retention(Spread(R, R - half, R + half, n, 0, n), False)


def _paired_ratio(R: float, room: float, a: list[float], f: list[float], j: list[float]) -> Spread:
    n, low, high = len(a), R, R
    if n >= 3:
        e = [x - (1 - R) * y - R * z for x, y, z in zip(a, f, j, strict=True)]
        half = metrics.interval(e).half / room
        low, high = R - half, R + half
    elif n == 2 and all(z > y for y, z in zip(f, j, strict=True)):
        ratios = [(x - y) / (z - y) for x, y, z in zip(a, f, j, strict=True)]
        low, high = min(*ratios, R), max(*ratios, R)
    return Spread(R, low, high, n, 0, n)


def _welch(R: float, a: list[float], f: list[float], j: list[float]) -> float:
    """Half the 95 % interval of mean(a) − (1 − R)·mean(f) − R·mean(j) for independent samples."""
    samples = ((1.0, a), (1 - R, f), (R, j))
    parts = [(weight * metrics.standard_error(values)) ** 2 for weight, values in samples]
    weights = sum(part**2 / (len(values) - 1) for part, (_, values) in zip(parts, samples, strict=True))
    return 0.0 if weights == 0 else float(stdtrit(sum(parts) ** 2 / weights, 0.975)) * math.sqrt(sum(parts))
