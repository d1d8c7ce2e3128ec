"""Equal compute and equal memory: what a budget in gradient samples or in bytes means for one method, found by trying.

Nothing is assumed about a method but where its epochs are whole. The first seed's networks, one of every strength and memory
of the run, go through the stream for one epoch and for two: what the second epoch added is what an epoch costs, the rest
(importance passes, say) is there whatever the epochs. A method that trains for half of the run's epochs rounds one to one, and
its second would seem to cost nothing; so it is tried with two and four (`Method.whole_epochs`). Networks with no memory, a
small one and one twice as large go through it for one epoch. The difference of the two filled ones, over the examples that
they came to hold, is what an example costs in bytes; what they keep beside their examples is the method's fixed state with a
memory, and the empty one's is that without (GEM keeps gradients only where there is something to take gradients of). The
dearest setting decides, in whatever order they were asked for. One that diverges has stopped counting and does not.

An epoch may be cut short, the same share of every task's: a method that costs twice as much as fine-tuning takes half of the
steps in a budget of one epoch, as computational budgets do elsewhere (Prabhu et al., "Computationally Budgeted Continual
Learning: What Does Matter?", CVPR 2023). Steps are what is limited: at a task's end a method may still look at, and keep, any
example of it. On a stream without boundaries, and where something belongs to the end of an epoch
(`Method.needs_whole_epochs`), epochs stay whole.

The trials are thrown away; neither touches a generator of the run.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

from clcore import capacity, registry
from clcore.accounting import readable_bytes, readable_count
from clcore.benchmarks.base import Benchmark, Stream
from clcore.control import Control
from clcore.errors import RequestError
from clcore.learner import Learner
from clcore.methods.parts.memory import Memory
from clcore.spec import RunSpec

_TRIAL_MEMORY = 20  # examples, and twice as many
_MOST_EPOCHS = 10_000
_FEWEST_EPOCHS = 0.1  # where a method's other work leaves less it misses the budget anyhow: it trains one, and says so


class Fitted(NamedTuple):
    """The run as it is trained, and a sentence on what the budgets came to.

    epochs  passes over a task: the run's, or less where the last is cut short (3.6 of 4)
    """

    run: RunSpec
    note: str
    epochs: int | float


class OverBudget(RequestError):
    """What a method keeps whatever its memory is more than the budget in bytes."""

    def __init__(self, name: str, fixed: int, budget: int):
        super().__init__(
            f"{name} keeps {readable_bytes(fixed)} beside the network, more than the budget of {readable_bytes(budget)}: "
            f"give at least {fixed} bytes or leave it out."
        )
        self.name, self.fixed, self.budget = name, fixed, budget


def over_budget(misfits: Sequence[OverBudget]) -> RequestError:
    """One error for all methods that are over the same budget."""
    if len(misfits) == 1:
        return misfits[0]
    *most, last = (f"{m.name} keeps {readable_bytes(m.fixed)}" for m in misfits)
    return RequestError(
        f"{', '.join(most)} and {last} beside the network, more than the budget of {readable_bytes(misfits[0].budget)}: "
        f"give at least {max(m.fixed for m in misfits)} bytes or leave them out."
    )


def fitted(run: RunSpec, benchmark: Benchmark, stream: Stream, control: Control) -> Fitted:
    """`run` with the epochs and the memory that its budgets allow. Raises RequestError where none does."""
    notes, epochs = [], run.epochs
    if run.memory_bytes is not None:
        run, note = _fit_memory(run, benchmark, stream, control)
        notes.append(note)
    if run.gradient_samples is not None:
        epochs, note = _fit_epochs(run, benchmark, stream, control)
        run = run.model_copy(update={"epochs": math.ceil(epochs)})
        notes.append(note)
    return Fitted(run.model_copy(update={"gradient_samples": None, "memory_bytes": None}), " ".join(notes), epochs)


def _fit_epochs(run: RunSpec, benchmark: Benchmark, stream: Stream, control: Control) -> tuple[int | float, str]:
    """The passes over a task that the budget allows; their number is whole where a method or the stream needs whole ones."""
    wanted = run.gradient_samples
    if wanted == "fine-tuning":
        wanted = run.epochs * sum(int(task.train.lengths[0]) for task in stream.tasks)
    unit = max(registry.methods()[part].whole_epochs for part in run.method.parts)
    trials = [_trial(run, benchmark, control, epochs, run.grid.memories) for epochs in (unit, 2 * unit)]
    pairs = [pair for pair in zip(*trials, strict=True) if all(tried.alive for tried in pair)]
    _check_survivors(run, pairs)
    # Of the first epochs with all that is done once, and of each further one:
    costs = [(one.samples, max(0, two.samples - one.samples) / unit) for one, two in pairs]
    fits = [(wanted - one + unit * each) / each for one, each in costs if each > 0]
    if not fits:
        epochs = run.epochs
    elif (epochs := min(_MOST_EPOCHS, *fits)) < _FEWEST_EPOCHS:
        epochs = 1
    elif stream.course is not None or _needs_whole_epochs(run):
        epochs = max(1, round(epochs))
    else:
        epochs = _cut(epochs)
    takes = [one + (epochs - unit) * each for one, each in costs]
    reached = _from_to(readable_count(min(takes)), readable_count(max(takes)))
    if fits:
        note = (
            f"{epochs:g} epoch{'' if epochs == 1 else 's'}: {reached} gradient samples for a budget of "
            f"{readable_count(wanted)}"
        )
        note += f", fitted to the dearest of {len(costs)} settings." if min(takes) < max(takes) else "."
    else:
        note = (
            f"{run.method.name} takes {reached} gradient samples whatever the epochs: they cannot fit it to a budget of "
            f"{readable_count(wanted)}."
        )
    return epochs, note + _lost(len(trials[0]) - len(pairs), len(trials[0]))


def _needs_whole_epochs(run: RunSpec) -> bool:
    return any(registry.methods()[part].needs_whole_epochs(run.method.part_settings(part)) for part in run.method.parts)


def _cut(epochs: float) -> int | float:
    """Epochs as they are told: in hundredths, or with three digits where there are few."""
    told = round(epochs, 2) if epochs >= 1 else round(epochs, 3)
    return int(told) if told.is_integer() else told


def _fit_memory(run: RunSpec, benchmark: Benchmark, stream: Stream, control: Control) -> tuple[RunSpec, str]:
    budget, name = run.memory_bytes, run.method.name
    plain = 4 * capacity.parameter_count(run, stream.input_shape, stream.outputs)
    everything = sum(int(task.train.lengths.max()) for task in stream.tasks)
    tried = _memory_trial(run, benchmark, control, everything)
    sound = [group for group in tried if all(network.alive for network in group)]
    _check_survivors(run, sound)
    lost = _lost(len(tried) - len(sound), len(tried))
    fixed = max(empty.bytes for empty, *_ in sound) - plain
    if fixed > budget:
        raise OverBudget(name, fixed, budget)
    if not run.method.uses_memory:
        grid = run.grid.model_copy(update={"memories": (0,)})
        note = f"It keeps {readable_bytes(fixed)} of {readable_bytes(budget)}."
        return run.model_copy(update={"grid": grid}), note + lost
    examples, takes = everything, 0
    for empty, small, large in sound:
        more = large.held - small.held
        each = (large.bytes - small.bytes) / more if more else 0
        if each <= 0:
            raise RequestError(f"{name} keeps as much with more examples, so bytes cannot say how many: give --memory.")
        beside = small.bytes - small.held * each - plain
        fitting = max(0, min(everything, int((budget - beside) / each)))
        examples = min(examples, fitting)
        takes = max(takes, beside + fitting * each if fitting else empty.bytes - plain)
        first = beside + each
    grid = run.grid.model_copy(update={"memories": (examples,)})
    note = f"It keeps {examples} examples: {readable_bytes(takes)} of {readable_bytes(budget)}."
    if not examples and fixed < first:
        note += f" The first would take {readable_bytes(first)}."
    return run.model_copy(update={"grid": grid}), note + lost


class _Tried(NamedTuple):
    """A network after a trial.

    alive     whether it did not diverge
    samples   its gradient samples
    bytes     everything that it keeps, its parameters too
    held      examples in its memory
    """

    alive: bool
    samples: int
    bytes: int
    held: int


def _memory_trial(
    run: RunSpec, benchmark: Benchmark, control: Control, everything: int
) -> list[tuple[_Tried, ...]]:  # fmt: skip
    """Of every strength: a network without memory and, where the method has one, two whose memories hold something."""
    if not run.method.uses_memory:
        return [(tried,) for tried in _trial(run, benchmark, control, 1, (0,))]
    size, none = max(1, min(_TRIAL_MEMORY, everything // 2)), (0,)
    while True:
        try:
            tried = _trial(run, benchmark, control, 1, (*none, size, 2 * size))
            break
        except RequestError:  # too small a memory for this method, as none may be, too
            if none:
                none = ()
            elif 4 * size > everything:
                raise
            else:
                size *= 2
    each = 2 + len(none)
    groups = [tuple(tried[i : i + each]) for i in range(0, len(tried), each)]
    return groups if none else [(_without_examples(*pair), *pair) for pair in groups]


def _without_examples(small: _Tried, large: _Tried) -> _Tried:
    """What a network that must have a memory would keep with an empty one: on the line through two that were tried."""
    more = large.held - small.held
    each = (large.bytes - small.bytes) / more if more else 0
    return small._replace(bytes=round(small.bytes - small.held * each), held=0)


def _trial(
    run: RunSpec, benchmark: Benchmark, control: Control, epochs: int, memories: tuple[int, ...]
) -> list[_Tried]:  # fmt: skip
    """The first seed's networks after the whole stream, unwatched: of every strength, with each of `memories`."""
    grid = run.grid.model_copy(update={"seeds": run.grid.seeds[:1], "memories": memories})
    budgets = {"gradient_samples": None, "memory_bytes": None}
    small = run.model_copy(update={"epochs": epochs, "grid": grid, "live_points": 0, "watch_switches": 0, **budgets})
    stream = benchmark.stream([replica.seed for replica in small.replicas])
    vectorized = all(registry.methods()[part].vectorized for part in run.method.parts)
    found: dict[int, _Tried] = {}
    for members in capacity.groups(small, stream, benchmark.device, vectorized):
        learner = Learner(small, members, benchmark, lambda event: None, control)
        for task in learner.stream.tasks:
            learner.learn(task)
        kept = [sum(kinds.values()) for kinds in learner.footprint()]
        rows = zip(learner.alive.tolist(), learner.counters.gradient_samples, kept, _held(learner), strict=True)
        found |= dict(zip(members, map(_Tried._make, rows), strict=True))
    return [found[i] for i in range(len(found))]


def _held(learner: Learner) -> list[int]:
    """Examples that each network's memory holds. Several parts of a composition have the whole memory each."""
    parts = getattr(learner.method, "parts", {"": learner.method}).values()
    most = [0] * len(learner.members)
    for part in parts:
        counts = [memory.counts.tolist() for memory in vars(part).values() if isinstance(memory, Memory)]
        most = [max(n, sum(own)) for n, own in zip(most, zip(*counts, strict=True), strict=True)] if counts else most
    return most


def _check_survivors(run: RunSpec, sound: Sequence[object]) -> None:
    if not sound:
        raise RequestError(
            f"{run.method.name} diverges before its budget can be measured: give a smaller learning rate or other strengths."
        )


def _lost(lost: int, of: int) -> str:
    return f" {lost} of {of} settings diverged while this was measured, and do not count." if lost else ""


def _from_to(low: str, high: str) -> str:
    return low if low == high else f"{low} to {high}"
