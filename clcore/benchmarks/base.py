"""What a benchmark provides: a stream of tasks for K replicas.

A data set is one tensor on the training device; an example is its row there, its *id*. A task is lists of ids and a way
of seeing them (`Inputs`: as they are, permuted, rotated), so a mini-batch is a gather. Replicas with the same seed read
the same *row* of every table: tables are (S, …) for S distinct seeds, and `rows` (K,) says which one a replica reads.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from copy import copy
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor

from clcore.benchmarks.augmentation import Augmentation
from clcore.benchmarks.sources import Source, SourceFacts
from clcore.catalogue import Scenario, Training
from clcore.errors import RequestError
from clcore.knobs import Knobs, check_settings, knob

if TYPE_CHECKING:
    from clcore.benchmarks.course import Course

Progress = Callable[[str, float | None], None]

# A gather works through a large request in pieces of this many numbers, so that its temporaries stay in a CPU's cache
# and small beside a GPU's memory.
_PIECE = {"cpu": 1 << 19, "cuda": 1 << 25, "mps": 1 << 23}


class Inputs:
    """The examples as they are, times `scale` plus `shift`; subclasses show each task its own view of them.

    `data` is (N, d), one example a row; a batch comes out as (K, B, *shape) floats. Scale and shift are numbers, or (parts,)
    for as many equal parts of an example: its channels, or its features.
    """

    def __init__(
        self, data: Tensor, shape: Sequence[int], scale: float | Tensor, rows: Tensor, shift: float | Tensor = 0.0
    ):
        self.data = data
        self.shape = tuple(shape)
        self.rows = rows
        self.numbers = math.prod(self.shape)
        self._alike = rows.device.type == "cpu" and bool((rows == rows[0]).all())  # asking a GPU at every step would wait
        self.scale, self.shift = self._spread(scale), self._spread(shift)
        self._shifted = isinstance(shift, Tensor) or shift != 0
        self.augmentation: Augmentation | None = None
        self.pictures: Tensor | None = None  # (N, C, H, W) bytes on the CPU: what to show where inputs are features

    def _spread(self, value: float | Tensor) -> float | Tensor:
        """A value for each part, as one for each number (d,)."""
        if not isinstance(value, Tensor):
            return value
        return value.to(self.data.device).repeat_interleave(self.numbers // len(value))

    def __call__(self, task: int | Tensor, ids: Tensor, views: Tensor | None = None) -> Tensor:
        """Inputs (K, B, *shape) of the examples `ids` (K, B), seen as in `task`: one task, or one for each, (K, B).

        With `views` (K, B, 3) they are augmented (see augmentation.py). Where all replicas ask for the same, as in a sweep of
        one seed, it is there once, expanded: to be read, not to be written to.
        """
        replicas, batch = ids.shape
        asked = [one for one in (ids, task, views) if isinstance(one, Tensor)]
        if self._alike and replicas > 1 and all(bool((one == one[:1]).all()) for one in asked):
            alone = copy(self)
            alone.rows = self.rows[:1]
            once = alone(*(one[:1] if isinstance(one, Tensor) else one for one in (task, ids, views)))
            return once.expand(replicas, batch, *self.shape)
        out = torch.empty(replicas, batch, self.numbers, device=self.data.device)
        step = max(1, _PIECE[self.data.device.type] // max(1, replicas * self.numbers))
        for start in range(0, batch, step):
            piece = slice(start, start + step)
            part = out[:, piece]
            self.fill(part, task if isinstance(task, int) else task[:, piece], ids[:, piece])
            if views is not None:
                part.copy_(self.augmentation(part, views[:, piece], self.shape))
        if self._shifted:
            out += self.shift
        return out.view(replicas, batch, *self.shape)

    def fill(self, out: Tensor, task: int | Tensor, ids: Tensor) -> None:
        """Writes the inputs of `ids` (K, b), scaled but not shifted, into `out` (K, b, d)."""
        torch.mul(self.examples(ids), self.scale, out=out)

    def examples(self, ids: Tensor) -> Tensor:
        """The stored rows (K, b, width) of `ids` (K, b)."""
        return self.data.index_select(0, ids.flatten()).view(*ids.shape, -1)

    @property
    def picture_shape(self) -> tuple[int, ...]:
        """Of what a person is shown of an example."""
        return self.shape if self.pictures is None else tuple(self.pictures.shape[1:])

    def shown(self, x: Tensor, ids: Tensor) -> Tensor:
        """Inputs `x` (…, *shape) of the examples `ids` (…) as a person sees them: (…, *picture_shape).

        Colour images come without what `standardise` did to their channels, in 0..1; features as the images they are of.
        """
        if self.pictures is not None:
            return self.pictures[ids.cpu()].to(x.device).float() / 255
        if not isinstance(self.scale, Tensor):
            return x
        return ((x.flatten(-len(self.shape)) - self.shift) / self.scale / 255).view_as(x)

    def chosen(self, table: Tensor, task: Tensor) -> Tensor:
        """Entries (K, b, …) of `table` (S, T, …) for each example's `task` (K, b)."""
        entries = self.rows.unsqueeze(1) * table.shape[1] + task
        return table.flatten(0, 1).index_select(0, entries.flatten()).view(*task.shape, *table.shape[2:])


class Examples:
    """(task, id) → (input, output unit), for every replica."""

    def __init__(self, inputs: Inputs, labels: Tensor, units: Tensor, rows: Tensor):
        """`labels` (N,) classes; `units` (S, T, classes) output unit of a class in a task, −1 where it has none."""
        self.inputs = inputs
        self.labels = labels
        self.units = units
        self.rows = rows
        self._tasks = units.shape[1]
        self._flat_units = units.flatten()

    def gather(self, task: int | Tensor, ids: Tensor, views: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """x (K, B, *input_shape) floats and y (K, B) output units; `task` is one for all or one for each, (K, B)."""
        return self.inputs(task, ids, views), self.output_units(task, ids)

    def output_units(self, task: int | Tensor, ids: Tensor) -> Tensor:
        """y (K, B): the output units alone."""
        classes = self.units.shape[2]
        offset = (self.rows.unsqueeze(1) * self._tasks + task) * classes
        return self._flat_units[offset + self.labels[ids]]


class Split:
    """The training, validation or test examples of one task.

    indices (K, N) ids, padded with a valid id; lengths (K,) how many of them are meant. Their order is random (fixed by
    the seed; for test sets the same for all), so the first n are a fair sample.

    A stretch of a stream without boundaries is a split too: of examples of several tasks, in the order of the stream, and
    `fresh` (K, N) says which of them come by for the first time (None: a split holds an example once).
    """

    def __init__(
        self, examples: Examples, task: int | Tensor, table: Tensor, lengths: Tensor, rows: Tensor,
        fresh: Tensor | None = None,
    ):  # fmt: skip
        """`table` (S, N) ids and `lengths` (S,), of which replica k reads row `rows[k]`. `task` and `fresh`: also (S, N)."""
        self._examples = examples
        self._task = task
        self._fresh = fresh
        self._rows = rows
        self.table = table
        self.lengths = lengths[rows]
        self.width: int = table.shape[1]

    def __repr__(self) -> str:
        name = f"task {self._task}" if isinstance(self._task, int) else "several tasks"
        return f"Split({name}, K = {len(self.lengths)}, N = {self.width})"

    @property
    def mixed(self) -> bool:
        """Whether its examples may come from different tasks."""
        return isinstance(self._task, Tensor)

    @property
    def fresh(self) -> Tensor | None:
        """(K, N) bool: the examples that come by for the first time; None where all do."""
        return None if self._fresh is None else self._fresh[self._rows]

    @property
    def indices(self) -> Tensor:
        """(K, N) ids of the examples."""
        return self.table[self._rows]

    def tasks(self, positions: Tensor) -> int | Tensor:
        """The task of the examples at `positions` (K, B), as what they are seen: one for all, or (K, B)."""
        return self._task if isinstance(self._task, int) else self._task[self._rows.unsqueeze(1), positions]

    def all_tasks(self) -> int | Tensor:
        """The task of all its examples: one, or (K, N) along `indices`."""
        return self._task if isinstance(self._task, int) else self._task[self._rows]

    def ids(self, positions: Tensor) -> Tensor:
        """Ids (K, B) of the examples at `positions` (K, B) of this split."""
        return self.table[self._rows.unsqueeze(1), positions]

    def gather(self, positions: Tensor, views: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """x (K, B, *input_shape) floats and y (K, B) output units of the examples at `positions` (K, B).

        They are as they are, unless `views` (K, B, 3) of the stream's augmentation say otherwise.
        """
        return self._examples.gather(self.tasks(positions), self.ids(positions), views)

    def units(self, positions: Tensor) -> Tensor:
        """Output units (K, B) of the examples at `positions` (K, B) of this split."""
        return self._examples.output_units(self.tasks(positions), self.ids(positions))

    def subset(self, positions: Tensor, lengths: Tensor) -> Split:
        """The examples at `positions` (K, n), of which `lengths` (K,) are meant, as a split of their own."""
        own_rows = torch.arange(len(positions), device=positions.device)
        return Split(self._examples, self.tasks(positions), self.ids(positions), lengths, own_rows)


@dataclass(frozen=True)
class Task:
    """One task of a stream; `index` counts from 0."""

    index: int
    name: str
    train: Split
    validation: Split | None
    test: Split


@dataclass(frozen=True)
class Stream:
    """The tasks of K replicas, in the order in which they are learned.

    groups (T, O) says which output units are a task's: disjoint ranges in the task and class scenarios, all in the others.
    course is the order in which a stream without boundaries shows its examples; None in the other scenarios.
    bounds are the limits ((x0, x1), (y0, y1)) of a two-dimensional input space, for drawing; None elsewhere.
    """

    tasks: list[Task]
    outputs: int
    input_shape: tuple[int, ...]
    groups: Tensor
    scenario: Scenario
    classes_per_task: int
    examples: Examples
    course: Course | None = None
    bounds: tuple[tuple[float, float], tuple[float, float]] | None = None

    @property
    def device(self) -> torch.device:
        return self.groups.device

    @property
    def example_bytes(self) -> int:
        """Bytes of one example's input as the data set has it (without the border that rotations add)."""
        inputs = self.examples.inputs
        return inputs.numbers * inputs.data.element_size()

    @property
    def picture_shape(self) -> tuple[int, ...]:
        """Of what a person is shown of an example: the inputs', or that of the images that features were computed from."""
        return self.examples.inputs.picture_shape

    def shown(self, x: Tensor, ids: Tensor) -> Tensor:
        """Inputs `x` (K, B, *input_shape) of the examples `ids` (K, B) as a person sees them: (K, B, *picture_shape)."""
        return self.examples.inputs.shown(x, ids)

    @property
    def augmentation(self) -> Augmentation | None:
        """How mini-batches and replayed examples are varied; None: they are seen as they are."""
        return self.examples.inputs.augmentation

    def task_of(self, seen_as: Tensor) -> Tensor:
        """The task 0 … T−1 of examples `seen_as` that: where a stream turns gradually, each has several ways of seeing."""
        return seen_as if self.course is None else seen_as // self.course.views

    def gather(self, task: int | Tensor, ids: Tensor, views: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """x (K, B, *input_shape) and y (K, B) of the examples `ids` (K, B), seen as in `task`, an int or (K, B)."""
        return self.examples.gather(task, ids, views)

    def units(self, task: int | Tensor, ids: Tensor) -> Tensor:
        """y (K, B) of the examples `ids` (K, B): their output units."""
        return self.examples.output_units(task, ids)

    def split(self, task: int | Tensor, ids: Tensor, lengths: Tensor) -> Split:
        """The examples `ids` (K, n) of a task (or of one each), of which `lengths` (K,) are meant, as a split of their own."""
        return Split(self.examples, task, ids, lengths, torch.arange(len(ids), device=ids.device))


class StreamOptions(Knobs):
    """Options that every benchmark has."""

    tasks: int = knob(5, ge=1, le=50, help="number of tasks in the stream")
    train_per_task: int | None = knob(
        None, ge=1, le=60_000, unit="examples", help="training examples drawn for each task; none: all there are"
    )
    validation: float = knob(0.1, ge=0, le=0.5, help="share of the training examples held out for decisions")
    standardise: bool = knob(
        False, help="show inputs with mean 0 and deviation 1 over the training data, as some protocols do, instead of 0 to 1"
    )
    stream_seed: int | None = knob(
        None, ge=0, le=2**31 - 1, help="fixes the stream for all replicas; none: each replica's own seed decides"
    )
    blur: float = knob(
        0.5, ge=0, le=1, scenario="task-free",
        help="how much of a task's length the change to the next one takes: 0 changes at once, with 1 one is always on its "
        "way into the next",
    )
    update_period: float = knob(
        0.4, ge=0.01, le=50, unit="tasks", scenario="task-free",
        help="after how much of the stream, in lengths of a task, a method that has to consolidate does so: nobody tells it "
        "where tasks change",
    )  # fmt: skip


class Benchmark(ABC):
    """A data set and the stream made of it. `title` … `training` are declared by each benchmark.

    `facts` are what is known of the data set before it is loaded; where they depend on options they are a property of the
    instance, which may raise DataError. `options` are checked against `Options`, and the scenario against `scenarios`:
    RequestError says what is allowed.
    """

    title: ClassVar[str]
    summary: ClassVar[str]
    scenarios: ClassVar[tuple[Scenario, ...]]
    default_scenario: ClassVar[Scenario]
    offline: ClassVar[bool] = True
    downloads: ClassVar[str] = ""
    own_data: ClassVar[bool] = False  # a person brings it: nothing is known before it is read
    training: ClassVar[Training]
    facts: ClassVar[SourceFacts]

    Options: ClassVar[type[StreamOptions]] = StreamOptions

    def __init__(
        self, options: dict[str, Any], *, scenario: str, data_dir: Path | str, device: torch.device | str = "cpu"
    ):
        self.name = name_of(type(self))
        self.options = self.checked(options)
        if scenario not in self.scenarios:
            raise RequestError(f"{self.name} has no {scenario} scenario; choose one of {', '.join(self.scenarios)}.")
        self.scenario: Scenario = scenario
        self.data_dir = Path(data_dir)
        self.device = torch.device(device)
        self._source: Source | None = None

    @classmethod
    def checked(cls, options: dict[str, Any]) -> Any:
        """`options` as this benchmark's `Options`, defaults filled in. Raises RequestError."""
        return cls.Options(**check_settings(dict(options), cls.Options.describe(), name_of(cls)))

    def prepare(self, progress: Progress = lambda message, share: None) -> None:
        """Loads the data set onto the device, downloading it where it is missing.

        `progress` receives a sentence and the share done, 0..1 (None: unknown). Raises DataError.
        """
        if self._source is None:
            source = self.load(progress)
            if self.options.standardise:
                source = source.standardised()
            self._source = self.arranged(source).to(self.device)

    @property
    def source(self) -> Source:
        """The data set, loaded on first use."""
        self.prepare()
        return self._source

    @abstractmethod
    def load(self, progress: Progress) -> Source:
        """Reads the data set. Raises DataError."""

    def arranged(self, source: Source) -> Source:
        """The data set in the form in which the device keeps it."""
        return source

    @abstractmethod
    def stream(self, seeds: Sequence[int]) -> Stream:
        """The stream of one replica per entry of `seeds` (which may repeat). Raises RequestError, DataError."""

    @property
    def least_outputs(self) -> int:
        """Output units of the stream, or fewer: known before the data set is read."""
        return self.facts.classes

    @abstractmethod
    def memory_estimate(self, replicas: int) -> int:
        """Bytes on the training device, data and tables, when `replicas` have `replicas` different seeds."""

    def ways_to_shrink(self) -> str:
        """What would make the data set and its tables smaller, as the end of "it would take less with …"; empty: nothing."""
        return "" if self.options.stream_seed is not None else "fewer seeds, or one stream for all of them (stream_seed)"

    def rows(self, seeds: Sequence[int]) -> tuple[list[int], Tensor]:
        """The S distinct seeds that decide the stream, and each replica's row among them, (K,)."""
        if self.options.stream_seed is not None:
            seeds = [self.options.stream_seed] * len(seeds)
        distinct = list(dict.fromkeys(seeds))
        return distinct, torch.tensor([distinct.index(seed) for seed in seeds], device=self.device)

    def check_train_per_task(self, available: int) -> None:
        """Raises RequestError when a task has fewer training examples than asked for."""
        wanted = self.options.train_per_task
        if wanted is not None and wanted > available:
            raise RequestError(
                f"{self.name}.train_per_task = {wanted} is not allowed: after the validation split a task has as "
                f"few as {available} training examples; give a whole number from 1 to {available} (or 'none')."
            )


def name_of(benchmark: type[Benchmark]) -> str:
    """The name a benchmark has in the catalogue: its file's."""
    return benchmark.__module__.rpartition(".")[2].replace("_", "-")


def example_codes(tasks: Tensor, ids: Tensor) -> Tensor:
    """One number per (task, id): equal where the same example is seen as the same task."""
    return (tasks << 32) + ids


def output_groups(tasks: int, classes: int, scenario: str) -> Tensor:
    """(T, O) bool: which output units belong to which task."""
    if scenario in ("domain", "task-free"):
        return torch.ones(tasks, classes, dtype=torch.bool)
    return torch.eye(tasks, dtype=torch.bool).repeat_interleave(classes, dim=1)


def distinct_rows(options: StreamOptions, replicas: int) -> int:
    """How many rows the tables have when every replica has a seed of its own."""
    return 1 if options.stream_seed is not None else replicas
