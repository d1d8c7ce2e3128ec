"""What a run reports: typed, versioned, append-only. A run's state and curves are the fold of its events.

Arrays are plain nested lists with a replica axis first; a number without meaning is None. Accuracies are fractions in 0..1.
`replicas` names the rows of an array by their position in `RunStarted.replicas` (large runs train in groups).
Pictures are text instead: a byte a point, packed by clcore/packing.py.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

VERSION = 1
Row = list[float | None]


class _Event(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class ReplicaInfo(_Event):
    seed: int
    strength: float | None = None
    memory: int | None = None
    digest: str


class RunStarted(_Event):
    """The plan: everything a page needs to draw empty axes."""

    type: Literal["run_started"] = "run_started"
    version: int = VERSION
    method: str
    benchmark: str
    scenario: str
    tasks: list[str] = Field(description="a short name per task, in order, for a chart (T)")
    replicas: list[ReplicaInfo] = Field(description="(K)")
    epochs: int | float = Field(description="passes over a task; equal compute may cut the last one short")
    chance: list[list[float | None]] = Field(
        description="(T+1, T): chance level of each cell of the accuracy matrix; None where the cell has no meaning"
    )
    test_examples: list[int] = Field(description="test examples per task (T); the smallest over replicas")
    train_examples: list[int] = Field(description="training examples per task (T); the smallest over replicas")
    device: str
    versions: dict[str, str] = {}
    units: list[str] = Field([], description="the class of each output unit (O); empty where it stands for several")
    note: str = Field("", description="a sentence when something asked for was dropped, such as an axis a method lacks")


class Preparing(_Event):
    """What happens before training starts, such as a download; thinned to a few per second."""

    type: Literal["preparing"] = "preparing"
    message: str = Field(description="a sentence for a person")
    share: float | None = Field(None, description="0..1; None where nobody knows")


class PhaseStarted(_Event):
    type: Literal["phase_started"] = "phase_started"
    task: int = Field(description="1-based")
    name: str
    replicas: list[int]


class Progress(_Event):
    """Where training stands; thinned to a few per second."""

    type: Literal["progress"] = "progress"
    task: int
    position: float = Field(description="tasks trained by the whole run, with fraction: 0 at the start, T at the end")
    replicas: list[int] = Field(description="the group that reports")
    losses: dict[str, Row] = Field(description="mean of each loss term since the last report, per replica of the group")
    train_samples: int = Field(description="examples of the stream trained so far, over all replicas of the run")
    train_seconds: float


class Evaluated(_Event):
    """A live evaluation on a fixed subset of the test data; not a row of the accuracy matrix."""

    type: Literal["evaluated"] = "evaluated"
    task: int
    position: float = Field(description="tasks trained, with fraction: 0 at the start, T at the end")
    step: int = Field(description="gradient steps taken in this task")
    replicas: list[int]
    accuracy: list[Row] = Field(description="(replicas, T): None for tasks not seen yet")
    switch: bool = Field(False, description="after one of a task's first steps, all of which are evaluated")


class Verdict(_Event):
    """Whether a network still gives the very logits that it gave for every old task when that was learned (probe.py)."""

    identical: bool | None = Field(description="None before a second task")
    changed_by: int | None = Field(description="the 1-based task that changed one first")
    largest_change: float


class TaskFinished(_Event):
    """Row `task` of the accuracy matrices (row 0 is the untrained network), for all K replicas."""

    type: Literal["task_finished"] = "task_finished"
    task: int = Field(description="0 for the untrained network")
    test: list[Row] = Field(description="(K, T)")
    validation: list[Row] | None = Field(description="(K, T); None without validation data")
    footprint: list[dict[str, int]] = Field(description="bytes by kind, per replica")
    diverged: list[int] = []
    old_logits: list[Verdict | None] | None = Field(
        None, description="per replica, from a method that promises not to change old outputs; None from the others"
    )


class Diverged(_Event):
    """A replica whose loss stopped being finite: frozen from here on."""

    type: Literal["diverged"] = "diverged"
    replica: int
    task: int
    step: int
    term: str


class Insight(_Event):
    """Small named arrays from a method, for pictures, after a task.

    Each is (replicas, …) as nested lists; a large one holds the first replicas only.
    """

    type: Literal["insight"] = "insight"
    task: int
    replicas: list[int] = []
    arrays: dict[str, Any]


class Regions(_Event):
    """What networks answer everywhere in a two-dimensional input space: one network of each setting, thinned.

    Each map is side × side bytes, the output unit answered at the middle of each cell, from the lower left corner row by
    row upwards.
    """

    type: Literal["regions"] = "regions"
    task: int = Field(description="tasks seen; 0 for the untrained network")
    position: float = Field(description="tasks trained, with fraction")
    replicas: list[int]
    side: int
    bounds: tuple[tuple[float, float], tuple[float, float]]
    maps: list[list[str | None]] = Field(
        description="(replicas, M): one map for all tasks (M = 1), or one for each; None for a task without an answer"
    )
    points: list[list[tuple[float, float, int]]] | None = Field(
        None, description="some training examples (x, y, output unit) of each task (T); once, with the untrained network"
    )


class Example(_Event):
    """A test example that is asked about again and again."""

    task: int = Field(description="1-based: the task it belongs to")
    label: str
    shape: tuple[int, ...] = Field(description="(height, width) or (channels, height, width)")
    image: str = Field(description="a byte a pixel, packed")


class Answers(_Event):
    """What networks call a few fixed test examples after a task: one network of each setting."""

    type: Literal["answers"] = "answers"
    task: int = Field(description="tasks seen; 0 for the untrained network")
    replicas: list[int]
    called: list[list[str | None]] = Field(description="(replicas, n) names of classes; None where no answer has a meaning")
    examples: list[Example] | None = Field(None, description="(n), once, with the untrained network")


class Resumed(_Event):
    """Training goes on from a checkpoint: the events after `from_seq` (and before this one) no longer count."""

    type: Literal["resumed"] = "resumed"
    from_seq: int
    task: int = Field(description="tasks that were finished in the checkpoint")


class RunFinished(_Event):
    """The run's results, in the shape of one entry of `runs` in the command line's JSON."""

    type: Literal["run_finished"] = "run_finished"
    result: dict[str, Any]


class RunFailed(_Event):
    type: Literal["run_failed"] = "run_failed"
    message: str = Field(description="one sentence for a person")
    traceback: str = ""
    bad_request: bool = Field(False, description="the request itself was wrong; trying again will not help")


class RunCancelled(_Event):
    type: Literal["run_cancelled"] = "run_cancelled"
    result: dict[str, Any] | None = Field(None, description="what was finished by then, if anything")


Event = Annotated[
    RunStarted | Preparing | PhaseStarted | Progress | Evaluated | TaskFinished | Diverged | Insight | Regions | Answers
    | Resumed | RunFinished | RunFailed | RunCancelled,
    Field(discriminator="type"),
]  # fmt: skip
_adapter: TypeAdapter[Event] = TypeAdapter(Event)

TERMINAL = (RunFinished, RunFailed, RunCancelled)


def dump(event: Event) -> str:
    return event.model_dump_json()


def load(text: str | bytes) -> Event:
    return _adapter.validate_json(text)
