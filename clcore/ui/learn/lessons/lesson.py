"""What a lesson is made of: steps of text, each with a question that is answered before the experiment runs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from clcore.catalogue import catalogue
from clcore.charts.words import KILOBYTES, PERCENT, Unit
from clcore.frames import Config, Series, Spread
from clcore.spec import ExperimentSpec, Grid, MethodChoice, NetworkChoice, RunSpec, make

SEEDS = 3


@dataclass(frozen=True)
class Option:
    """One of the things compared: a run of the step (by its position), and the setting where the run has several."""

    name: str
    label: str
    run: int = 0
    strength: float | None = None
    memory: int | None = None

    def config(self, series: Series) -> Config:
        """The setting of the run that this option means."""
        for config in series.configs:
            if self.strength in (None, config.strength) and self.memory in (None, config.memory):
                return config
        return Config(self.strength, self.memory)


@dataclass(frozen=True)
class Question:
    """What is predicted.

    kind    curve   a number after each task, of the first option; the others are drawn beside it
            levels  a number for every option
            vote    which option has the best (see `best`) number
    metric  what it is about: acc (of a curve: the accuracy on task 1), forgetting, bwt, learning_accuracy, first: the accuracy
            on task 1 at the end, or size: the bytes that the network and its method keep
    best    whether the highest or the lowest number wins a vote
    """

    kind: Literal["curve", "levels", "vote"]
    prompt: str
    options: tuple[Option, ...]
    metric: Literal["acc", "forgetting", "bwt", "learning_accuracy", "first", "size"] = "acc"
    best: Literal["highest", "lowest"] = "highest"
    tasks: int = 5

    @property
    def labels(self) -> tuple[str, ...]:
        """What a number is given for, in order."""
        if self.kind == "curve":
            return tuple(f"T{k}" for k in range(1, self.tasks + 1))
        return tuple(option.label for option in self.options)

    @property
    def difference(self) -> bool:
        """Whether it is a difference of percentages: told in points, and below 0 as well."""
        return self.metric in ("forgetting", "bwt")

    @property
    def unit(self) -> Unit:
        """Of predictions, charts and tables."""
        return KILOBYTES if self.metric == "size" else PERCENT


@dataclass(frozen=True)
class Step:
    """`text` before the question, `told` after the truth is known; `runs` are made when the step is shown.

    `sizes`: what each network has come to keep stands beside its accuracy, whichever of the two is asked about.
    """

    name: str
    title: str
    text: str
    runs: Callable[[], tuple[RunSpec, ...]]
    question: Question
    told: str
    sizes: bool = False


@dataclass(frozen=True)
class Lesson:
    """`notes`: (minutes, what the presenter does), in order."""

    name: str
    title: str
    idea: str
    steps: tuple[Step, ...]
    notes: tuple[tuple[int, str], ...]
    methods: tuple[str, ...] = ()
    """Methods without which the lesson is not offered."""


def runs(
    *methods: str | MethodChoice,
    benchmark: str = "permuted-digits",
    scenario: str = "domain",
    seeds: int = SEEDS,
    memories: Sequence[int] = (200,),
    hidden: tuple[int, ...] = (100, 100),
    **more: Any,
) -> tuple[RunSpec, ...]:
    """The runs of a step: one a method, all else equal."""
    choices = tuple(make(MethodChoice, name=m) if isinstance(m, str) else m for m in methods)
    return make(
        ExperimentSpec, benchmark=benchmark, scenario=scenario, methods=choices,
        grid=Grid(seeds=tuple(range(seeds)), memories=tuple(memories)), network=NetworkChoice(hidden=hidden), **more,
    ).runs()  # fmt: skip


def with_strength(name: str, *strengths: float) -> MethodChoice:
    """A method at one strength, or swept over several."""
    if len(strengths) == 1:
        return make(MethodChoice, name=name, settings={f"{name}.strength": strengths[0]})
    return make(MethodChoice, name=name, strengths=strengths)


def recommended(name: str, benchmark: str = "permuted-digits", scenario: str = "domain") -> MethodChoice:
    """A method at the strength that was found best on validation data, else at its default."""
    card = catalogue().method(name)
    found = card.recommended_strength(benchmark, scenario)
    return with_strength(name, found.strength if found else float(card.strength.default))


def truth(question: Question, option: Option, series: Series) -> list[Spread | None]:
    """What the run has shown so far: after each task for a curve (None: not yet), else one number."""
    config = option.config(series)
    if question.metric == "size":
        sizes = series.sizes(config)
        if question.kind != "curve":
            return sizes[-1:] or [None]
        return [*sizes, *[None] * (question.tasks - len(sizes))]
    if question.kind != "curve" and question.metric != "first":
        done = series.finished_tasks > 0
        return [series.metric(config, question.metric) if done else None]
    cells = series.matrix(config)
    column = cells[(cells["task"] == 1) & (cells["row"] >= 1)]
    known = {
        int(c.row): Spread(_or_none(c.mean), _or_none(c.low), _or_none(c.high), int(c.n), int(c.diverged), int(c.total))
        for c in column.itertuples()
    }
    if question.kind != "curve":
        return [known.get(series.finished_tasks)]
    return [known.get(k) for k in range(1, question.tasks + 1)]


def _or_none(value: float | None) -> float | None:
    return None if value is None or value != value else float(value)
