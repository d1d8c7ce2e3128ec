"""Settings side by side: what a comparison shows, on a page, in a report and in a table file. Torch-free.

A group is one configuration under given conditions with all its seeds (`clcore.outcomes`). Everything here is computed from
the accuracy matrices, so that numbers of an older program follow today's definitions (`metrics.VERSION`).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from clcore import metrics, outcomes
from clcore.accounting import INTERVAL, differences, mean_of, rank_marks, selection
from clcore.catalogue import catalogue
from clcore.events import Progress, RunStarted
from clcore.frames import COLUMNS, Config, Series, Spread, matrix_cells, spread
from clcore.outcomes import Outcome
from clcore.provenance import commit_words
from clcore.spec import NetworkChoice, RunSpec
from clcore.statistics import Difference, Standing, all_pairs, paired, standings
from clcore.store.rows import RunRow

METRICS = ("acc", "forgetting", "bwt", "learning_accuracy", "average_incremental_accuracy", "fwt")
LOWER_IS_BETTER = frozenset({"forgetting"})
BOUNDS = frozenset(outcomes.REFERENCES) - {"finetune"}
MOST = 8
"""How many groups are shown at once: beyond that neither colours nor a table tell them apart."""


@dataclass(frozen=True)
class Group:
    """One line of a comparison.

    key       stable name for a link
    outcome   configuration, conditions, seeds
    replicas  the result of each seed, in the order of `outcome.trials`
    plans     run → what it reported at its start, where that is known
    """

    key: str
    outcome: Outcome = field(repr=False)
    replicas: tuple[Mapping[str, Any], ...] = field(repr=False)
    rows: tuple[RunRow, ...] = field(repr=False)
    plans: Mapping[str, RunStarted] = field(repr=False, default_factory=dict)

    @property
    def spec(self) -> RunSpec:
        return self.outcome.spec

    @property
    def method(self) -> str:
        return self.outcome.configuration.method

    @property
    def title(self) -> str:
        """Its method in words."""
        return " + ".join(catalogue().method(part).title for part in self.method.split("+"))

    @property
    def seeds(self) -> tuple[int, ...]:
        return self.outcome.seeds

    @property
    def newest(self) -> RunRow:
        """Its last run: the one that time is told of."""
        return max(self.rows, key=lambda row: row.created)

    @cached_property
    def lost(self) -> frozenset[int]:
        """The seeds that diverged."""
        return frozenset(trial.seed for trial in self.outcome.trials if trial.diverged)

    @cached_property
    def matrices(self) -> tuple[metrics.Matrix, ...]:
        return tuple(replica["accuracy_matrix"] for replica in self.replicas)

    @property
    def tasks(self) -> int:
        return len(self.matrices[0]) - 1

    @property
    def task_names(self) -> list[str]:
        plan = next(iter(self.plans.values()), None)
        return list(plan.tasks) if plan else [""] * self.tasks

    @property
    def is_bound(self) -> bool:
        """Whether this is a measure for the others and no contestant: it keeps all data, or a network per task."""
        return self.method in BOUNDS

    @property
    def stream(self) -> str:
        """Equal for groups that answer the same questions about the same data: only between those is a difference taken."""
        return json.dumps([self.spec.benchmark, self.spec.benchmark_options, self.spec.scenario], sort_keys=True)

    @cached_property
    def _summaries(self) -> list[dict[str, float | None]]:
        return [metrics.summary(R, self.spec.scenario) for R in self.matrices]

    def by_seed(self, metric: str) -> dict[int, float | None]:
        return {seed: found[metric] for seed, found in zip(self.seeds, self._summaries, strict=True)}

    def spread(self, metric: str) -> Spread:
        return self._over([found[metric] for found in self._summaries])

    def cells(self) -> pd.DataFrame:
        """The accuracy matrix over the seeds."""
        return matrix_cells(self.matrices, self._blown, self.tasks)

    def final(self) -> pd.DataFrame:
        """Accuracy on each task at the end: task and COLUMNS, and `seeds`, the number of each seed."""
        T, rows = self.tasks, []
        for j in range(T):
            values = [R[T][j] for R in self.matrices]
            rows.append((j + 1, *self._columns(values), values))
        return pd.DataFrame(rows, columns=["task", *COLUMNS, "seeds"])

    def averages(self) -> pd.DataFrame:
        """Average accuracy over the tasks seen, after each task: position, COLUMNS and `seeds`."""
        rows = []
        for k in range(1, self.tasks + 1):
            values = [metrics.average_after(R, k) for R in self.matrices]
            rows.append((float(k), *self._columns(values), values))
        return pd.DataFrame(rows, columns=["position", *COLUMNS, "seeds"])

    def live_averages(self, series: Callable[[str], Series], smoothing: float = 0.0) -> pd.DataFrame:
        """The same at every live evaluation (a part of the test data) that all seeds have; empty where there was none.

        smoothing  of each seed's curve, before the mean is taken: so that the band is that of the curves drawn
        """
        config = Config(self.outcome.configuration.strength, self.outcome.configuration.memory)
        curves = []
        for trial in self.outcome.trials:
            curve = series(trial.run_id).averages(config).get(trial.seed, [])
            values = smoothed([value for _at, value in curve], smoothing)
            curves.append(dict(zip([at for at, _value in curve], values, strict=True)))
        rows = []
        for at in sorted(set().union(*curves)):
            values = [curve.get(at) for curve in curves]
            missing = [v is None and not gone for v, gone in zip(values, self._blown, strict=True)]
            if not any(missing):
                rows.append((at, *self._columns(values), values))
        return pd.DataFrame(rows, columns=["position", *COLUMNS, "seeds"])

    def growth(self) -> list[dict[str, int]]:
        """Bytes by kind of one network after each task; of each kind the most that a seed needed. Empty where unknown."""
        each = [replica.get("footprint_per_task") or [] for replica in self.replicas]
        if any(len(steps) != self.tasks for steps in each):
            return []
        found = []
        for k in range(self.tasks):
            kinds = dict.fromkeys(kind for steps in each for kind in steps[k])
            found.append({kind: max(steps[k].get(kind, 0) for steps in each) for kind in kinds})
        return found

    @property
    def bytes(self) -> int:
        return sum(self.outcome.footprint.values())

    @property
    def gradient_samples(self) -> float | None:
        numbers = [replica.get("gradient_samples") for replica in self.replicas]
        return None if None in numbers else mean_of(numbers)

    @property
    def _blown(self) -> list[bool]:
        return [trial.diverged for trial in self.outcome.trials]

    def _over(self, values: Sequence[float | None]) -> Spread:
        return spread(values, sum(v is None and gone for v, gone in zip(values, self._blown, strict=True)))

    def _columns(self, values: Sequence[float | None]) -> tuple:
        s = self._over(values)
        return s.mean, s.low, s.high, s.n, s.diverged, s.total


def groups(rows: Iterable[RunRow], plans: Mapping[str, RunStarted] | None = None) -> list[Group]:
    """The groups of finished runs, in the order in which they were asked for; runs without a result have no part in them.

    plans  run → its RunStarted, for the tasks' names and the number of test examples
    """
    by_id = {row.id: row for row in rows}
    newest_first = sorted(by_id.values(), key=lambda row: row.created, reverse=True)
    places = {run_id: place for place, run_id in enumerate(by_id)}
    found = [_group(outcome, by_id, plans or {}) for outcome in outcomes.outcomes(newest_first) if outcome.trials]
    return sorted(found, key=lambda group: min(places[run_id] for run_id in group.outcome.runs))


def _group(outcome: Outcome, by_id: Mapping[str, RunRow], plans: Mapping[str, RunStarted]) -> Group:
    wanted = outcome.configuration
    replicas = []
    for trial in outcome.trials:
        replicas.append(
            next(
                replica
                for replica in by_id[trial.run_id].result["replicas"]
                if (replica["seed"], replica["strength"], replica["memory"])
                == (trial.seed, wanted.strength, wanted.memory)
            )
        )
    rows = tuple(by_id[run_id] for run_id in outcome.runs)
    key = hashlib.sha256(json.dumps([outcome.conditions, wanted]).encode()).hexdigest()[:8]
    return Group(key, outcome, tuple(replicas), rows, {row.id: plans[row.id] for row in rows if row.id in plans})


# ---- between groups -------------------------------------------------------------------------------------------------


def pairs(found: Sequence[Group]) -> list[tuple[int, int]]:
    """The pairs between which a difference means something: the same stream."""
    n = range(len(found))
    return [(a, b) for a in n for b in n if a < b and found[a].stream == found[b].stream]


def paired_differences(found: Sequence[Group], metric: str) -> list[Difference]:
    """The difference of every pair on the same stream, with Holm's correction over all of them."""
    values = [group.by_seed(metric) for group in found]
    return all_pairs(values, lost=[group.lost for group in found], allowed=pairs(found))


def best(found: Sequence[Group], metric: str, corrected: Sequence[Difference]) -> list[Standing]:
    """How each group stands in a metric among those on its stream. What sees more than the stream gives takes no part."""
    marks = [Standing("")] * len(found)
    for stream in dict.fromkeys(group.stream for group in found):
        members = [i for i, group in enumerate(found) if group.stream == stream and not group.is_bound]
        place = {i: p for p, i in enumerate(members)}
        inside = [
            Difference(**(vars(d) | {"a": place[d.a], "b": place[d.b]}))
            for d in corrected
            if d.a in place and d.b in place
        ]
        means = [found[i].spread(metric).mean for i in members]
        standing = standings(means, inside, higher_is_better=metric not in LOWER_IS_BETTER)
        for i, mark in zip(members, standing, strict=True):
            marks[i] = mark
    return marks


def difference_cells(ours: Group, theirs: Group) -> pd.DataFrame:
    """ours − theirs, cell by cell and seed by seed: row, task, COLUMNS and `verdict` of each cell on its own.

    Empty on different streams. Only the seen part of the matrices.
    """
    rows = []
    if ours.stream == theirs.stream:
        lost = ours.lost | theirs.lost
        for k in range(1, ours.tasks + 1):
            for j in range(k):
                a, b = (
                    {seed: R[k][j] for seed, R in zip(group.seeds, group.matrices, strict=True)}
                    for group in (ours, theirs)
                )
                blown = frozenset(s for s in lost if a.get(s) is None or b.get(s) is None)
                d = paired(a, b, lost=blown)
                if d.verdict != "none":
                    rows.append((k, j + 1, d.mean, d.low, d.high, d.n, d.diverged, d.n + d.diverged))
    return pd.DataFrame(rows, columns=["row", "task", *COLUMNS])


def marks(found: Sequence[Group]) -> list[str]:
    """A letter per group: only those with the same letter may be ranked."""
    return rank_marks([group.outcome.entry for group in found])


def incomparable_in(found: Sequence[Group]) -> list[str]:
    """What keeps the groups from being ranked together, by the names of `accounting.differences`."""
    return differences([group.outcome.entry for group in found])


# ---- the run card ---------------------------------------------------------------------------------------------------


class Line(NamedTuple):
    """A line of the run card: a name that `words.card_name` translates, or a setting's own name, and its value."""

    name: str
    value: str


def card(group: Group) -> list[Line]:
    """Everything that decides a group's numbers or makes them incomparable, in a fixed order."""
    spec, wanted = group.spec, group.outcome.configuration
    method = [
        Line(f"{part}.{name}", _resolved(spec, name, value))
        for part in spec.method.parts
        for name, value in spec.method.part_settings(part).items()
        if not _is_strength(spec, part, name)
    ]
    chosen = selection(spec)
    protocol = [row.result.get("protocol") or {} for row in group.rows]
    versions = [stated.get("versions") or {} for stated in protocol]
    tested = [min(plan.test_examples) for plan in group.plans.values() if plan.test_examples]
    optimizer = spec.optimizer
    return [
        Line("method", group.method),
        Line("strength", _plain(wanted.strength)),
        Line("strength chosen", chosen.kind),
        Line("provenance of the strength", chosen.provenance or "–"),
        Line("memory", _plain(wanted.memory)),
        *method,
        Line("benchmark", spec.benchmark),
        *(Line(f"option {name}", _plain(value)) for name, value in spec.benchmark_options.items()),
        Line("scenario", spec.scenario),
        Line("test examples", _plain(min(tested) if tested else None)),
        Line("seeds", ", ".join(map(str, group.seeds))),
        Line("network", _network(spec.network)),
        Line("optimizer", f"{optimizer.name}, lr {optimizer.lr:g}, momentum {optimizer.momentum:g}, "
                          f"weight decay {optimizer.weight_decay:g}"),
        Line("optimizer state", spec.optimizer_state),
        Line("epochs", _fitted(group)),
        Line("batch size", str(spec.batch_size)),
        Line("active classes", spec.active_classes if spec.scenario == "class" else "–"),
        Line("equal compute", _plain(spec.gradient_samples)),
        Line("memory budget", _plain(spec.memory_bytes)),
        Line("metric definitions", str(metrics.VERSION)),
        Line("interval", INTERVAL),
        Line("program", _every(v.get("clcore") for v in versions)),
        Line("commit", _every(commit_words(stated.get("commit")) for stated in protocol)),
        Line("torch", _every(v.get("torch") for v in versions)),
        Line("Python", _every(v.get("python") for v in versions)),
        Line("device", _every(stated.get("device") for stated in protocol)),
        Line("runs", ", ".join(group.outcome.runs)),
    ]  # fmt: skip


IDENTITIES = frozenset({"runs", "provenance of the strength"})
"""Lines that say where a number comes from and not how it was made."""


def card_table(found: Sequence[Group], *, differing: bool = False) -> list[tuple[str, list[str]]]:
    """(name, a value per group) of all lines that some group has; `differing`: only where the groups differ."""
    cards = [dict(card(group)) for group in found]
    names: list[str] = []
    for lines in cards:
        at = 0
        for name in lines:  # a line that only some have stays where it stands there
            if name in names:
                at = names.index(name) + 1
            else:
                names.insert(at, name)
                at += 1
    table = [(name, [lines.get(name, "–") for lines in cards]) for name in names]
    if not differing:
        return table
    return [
        (name, values)
        for name, values in table
        if name not in IDENTITIES and len(set(values)) > 1 and _is_difference(name, cards)
    ]


def _is_difference(name: str, cards: Sequence[Mapping[str, str]]) -> bool:
    """A setting that only one method has comes with the method; it differs where two that have it differ."""
    return "." not in name or len({lines[name] for lines in cards if name in lines}) > 1


def _fitted(group: Group) -> str:
    """The epochs trained, where equal compute has changed them."""
    trained = {row.result.get("epochs") for row in group.rows} - {None}
    return ", ".join(f"{epochs:g}" for epochs in sorted(trained)) or str(group.spec.epochs)


def _is_strength(spec: RunSpec, part: str, name: str) -> bool:
    swept = spec.method.swept_part
    return swept is not None and part == swept.name and name == swept.strength.name


def _resolved(spec: RunSpec, name: str, value: Any) -> str:
    """A setting as it acted: what `auto` came to is what makes numbers differ."""
    if name == "penalty_step" and value == "auto":
        return f"auto ({'implicit' if spec.optimizer.name == 'sgd' else 'explicit'})"
    return _plain(value)


def _every(values: Iterable[Any]) -> str:
    return ", ".join(dict.fromkeys(str(v) for v in values if v)) or "–"


def _plain(value: Any) -> str:
    if value is None:
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:g}" if isinstance(value, float) else str(value)


# ---- examples and time ----------------------------------------------------------------------------------------------

AXES = ("tasks", "examples", "seconds")
"""What curves can be drawn over: tasks trained, examples of the stream per network, training time of the run."""


class Ends(NamedTuple):
    """How far a run was at the end of each task: examples of the stream that a network had trained on, and seconds."""

    examples: list[float | None]
    seconds: list[float | None]


def task_ends(progress: Iterable[Progress], result: Mapping[str, Any]) -> Ends:
    """From what a finished run reported last in each task; where it ended is exact."""
    networks, tasks = len(result["replicas"]), len(result["replicas"][0]["accuracy_matrix"]) - 1
    examples, seconds = result.get("train_samples"), result.get("train_seconds")
    last: dict[int, Progress] = {}
    for event in progress:
        last[event.task] = event
    trained = [None if k not in last else last[k].train_samples / networks for k in range(1, tasks + 1)]
    took = [None if k not in last else last[k].train_seconds for k in range(1, tasks + 1)]
    if examples is not None:
        trained[-1] = examples / networks
    if seconds is not None:
        took[-1] = seconds
    return Ends(trained, took)


def along(positions: Iterable[float], ends: Sequence[float | None]) -> list[float] | None:
    """Positions in tasks trained as positions on another axis, evenly inside each task; None where an end is unknown."""
    if not ends or None in ends:
        return None
    return np.interp(list(positions), range(len(ends) + 1), [0.0, *ends]).tolist()


def smoothed(values: Sequence[float], weight: float) -> list[float]:
    """Exponential moving average with `weight` (0 ≤ w < 1) on the past, s_t = (1 − w) Σ_i w^i y_{t−i} / (1 − w^t).

    The denominator makes the weights sum to 1, so that a curve does not start from 0.
    """
    found, past = [], 0.0
    for t, value in enumerate(values, start=1):
        past = weight * past + (1 - weight) * value
        found.append(past / (1 - weight**t))
    return found


# ---- names ----------------------------------------------------------------------------------------------------------


def names(found: Sequence[Group]) -> list[str]:
    """A short name per group, no two alike: the method, then what tells it apart from the others."""
    cards, differing = differing_conditions(found)
    written = [_name(group, conditions, differing) for group, conditions in zip(found, cards, strict=True)]
    return [
        name if written.count(name) == 1 else f"{name} [{group.key}]"
        for name, group in zip(written, found, strict=True)
    ]


def differing_conditions(found: Sequence[Group]) -> tuple[list[dict[str, Any]], list[str]]:
    """(the conditions of each group, the names of those that are not the same everywhere)"""
    each = [outcomes.conditions(group.spec) for group in found]
    names = each[0] if each else ()
    return each, [name for name in names if len({json.dumps(one[name], sort_keys=True) for one in each}) > 1]


def _name(group: Group, conditions: Mapping[str, Any], differing: Sequence[str]) -> str:
    chosen = group.outcome.configuration
    words = [group.title]
    part = group.spec.method.swept_part
    if chosen.strength is not None and part is not None:
        words.append(f"{part.strength.symbol or part.strength.name} {chosen.strength:g}")
    if chosen.memory is not None:
        words.append(f"M {chosen.memory}")
    words += [f"{name.rpartition('.')[2]} {_plain(value)}" for name, value in chosen.settings]
    for name in differing:
        value = conditions[name]
        if value is not None and name != "options" and (name, value) != ("active classes", "seen"):
            words.append(_condition(name, value))
    return " · ".join(words)


def _condition(name: str, value: Any) -> str:
    if name in ("benchmark", "scenario"):
        return str(value)
    if isinstance(value, dict):
        parts = [part for v in value.values() for part in (v.values() if isinstance(v, dict) else [v])]
        return " ".join(_plain(part) for part in parts if part)
    return f"{name} {_plain(value)}"


def _network(choice: NetworkChoice) -> str:
    """Its name, the widths of its hidden layers, and its settings."""
    settings = [f"{name} {_plain(value)}" for name, value in choice.options.items()]
    hidden = "-".join(map(str, choice.hidden)) or ("" if settings else "linear")
    return ", ".join([f"{choice.name} {hidden}".strip(), *settings])
