"""Equal compute and equal memory: what a budget in gradient samples or in bytes means for one method, found by trying.

Nothing is assumed about a method. One network goes through the stream for one epoch and for two: what the second epoch added is
what an epoch costs, the rest (importance passes, say) is there whatever the epochs. Two networks with no memory and with a
small one go through it for one epoch: the difference is what an example costs in bytes, the rest is the method's fixed state.
The trials are thrown away; neither touches a generator of the run.
"""

from __future__ import annotations

from typing import NamedTuple

from clcore import capacity
from clcore.accounting import readable_bytes, readable_count
from clcore.benchmarks.base import Benchmark, Stream
from clcore.control import Control
from clcore.errors import RequestError
from clcore.learner import Learner
from clcore.spec import RunSpec

_TRIAL_MEMORY = 20  # examples
_MOST_EPOCHS = 10_000


class Fitted(NamedTuple):
    """The run as it is trained, and a sentence on what the budgets came to."""

    run: RunSpec
    note: str


def fitted(run: RunSpec, benchmark: Benchmark, stream: Stream, control: Control) -> Fitted:
    """`run` with the epochs and the memory that its budgets allow. Raises RequestError where none does."""
    notes = []
    if run.memory_bytes is not None:
        run, note = _fit_memory(run, benchmark, stream, control)
        notes.append(note)
    if run.gradient_samples is not None:
        run, note = _fit_epochs(run, benchmark, stream, control)
        notes.append(note)
    return Fitted(run.model_copy(update={"gradient_samples": None, "memory_bytes": None}), " ".join(notes))


def _fit_epochs(run: RunSpec, benchmark: Benchmark, stream: Stream, control: Control) -> tuple[RunSpec, str]:
    wanted = run.gradient_samples
    if wanted == "fine-tuning":
        wanted = run.epochs * sum(int(task.train.lengths[0]) for task in stream.tasks)
    one, two = (
        _trial(run, benchmark, control, epochs).counters.gradient_samples[0] for epochs in (1, 2)
    )  # fmt: skip
    each = two - one
    epochs = run.epochs if each <= 0 else max(1, min(_MOST_EPOCHS, round((wanted - one + each) / each)))
    takes = one + (epochs - 1) * each
    note = (
        f"{epochs} epoch{'s' if epochs > 1 else ''}: {readable_count(takes)} gradient samples for a budget of "
        f"{readable_count(wanted)}."
    )
    return run.model_copy(update={"epochs": epochs}), note


def _fit_memory(run: RunSpec, benchmark: Benchmark, stream: Stream, control: Control) -> tuple[RunSpec, str]:
    plain = 4 * capacity.parameter_count(run, stream.input_shape, stream.outputs)
    memories = (0, _TRIAL_MEMORY) if run.method.uses_memory else run.grid.memories[:1]
    learner = _trial(run, benchmark, control, 1, memories)
    kept = [sum(kinds.values()) - plain for kinds in learner.footprint()]
    fixed, budget, name = kept[0], run.memory_bytes, run.method.name
    if fixed > budget:
        raise RequestError(
            f"{name} keeps {readable_bytes(fixed)} beside the network, more than the budget of {readable_bytes(budget)}: "
            f"give at least {fixed} bytes or leave it out."
        )
    if not run.method.uses_memory:
        grid = run.grid.model_copy(update={"memories": (0,)})
        note = f"It keeps {readable_bytes(fixed)} of {readable_bytes(budget)}."
        return run.model_copy(update={"grid": grid}), note
    each = (kept[1] - fixed) / _TRIAL_MEMORY
    examples = int((budget - fixed) / each) if each > 0 else 0
    grid = run.grid.model_copy(update={"memories": (examples,)})
    note = f"It keeps {examples} examples: {readable_bytes(fixed + examples * each)} of {readable_bytes(budget)}."
    return run.model_copy(update={"grid": grid}), note


def _trial(
    run: RunSpec, benchmark: Benchmark, control: Control, epochs: int, memories: tuple[int, ...] | None = None
) -> Learner:
    """The first seed's networks of the first strength after the whole stream, unwatched."""
    grid = run.grid.model_copy(update={"seeds": run.grid.seeds[:1], "memories": memories or run.grid.memories[:1]})
    method = run.method.model_copy(update={"strengths": run.method.strengths[:1]})
    budgets = {"gradient_samples": None, "memory_bytes": None}
    small = run.model_copy(update={"epochs": epochs, "grid": grid, "method": method, "live_points": 0, **budgets})
    learner = Learner(small, range(len(small.replicas)), benchmark, lambda event: None, control)
    for task in learner.stream.tasks:
        learner.learn(task)
    return learner
