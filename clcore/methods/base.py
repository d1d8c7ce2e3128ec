"""The seams of a method.

A method is one file that reads top to bottom like its paper: declared facts, typed hyper-parameters, then the seams it
needs. The loop in `clcore/training.py` calls the seams; each does nothing unless overridden.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, field
from functools import reduce
from operator import add
from types import SimpleNamespace
from typing import Any, ClassVar, Protocol

import torch
from torch import Tensor

from clcore.batch import Batch
from clcore.benchmarks.base import Split, Task
from clcore.knobs import Knobs
from clcore.methods.context import Context
from clcore.networks.base import Design, Network
from clcore.networks.classifier import Classifier
from clcore.state import Stateful


class ClosedForm(Protocol):
    """A loss term whose gradient is known: its value is only computed when somebody asks."""

    def value(self) -> Tensor:
        """(K,)"""

    def add_gradient(self) -> None:
        """Adds the term's gradient to every parameter's `grad`."""

    def unstable(self, lr: float) -> Tensor:
        """(K,) bool: replicas for which an explicit step of this size cannot converge."""


Terms = dict[str, Tensor | ClosedForm]


@dataclass(frozen=True)
class Phase:
    """One stretch of training with fresh optimizers.

    tasks       0-based tasks whose training data is used (None: the current task)
    epochs      passes over that data (None: the run's)
    active      (K,) bool: replicas that take part (None: all)
    optimizers  parameters → optimizers (None: the run's optimizer over all parameters)
    frozen      parameter → bool mask of entries that must not move, whatever the optimizer does
    fresh       take fresh optimizers even where the run keeps their state from task to task
    covers      the part of the task, from 0 to 1, that this phase is on the time axis
    splits      the examples used of each of `tasks` (None: their whole training splits)
    watched     whether it is evaluated live and observed; not where the network is a throw-away copy
    rehearses   examples of earlier tasks come from a memory: they count as replayed, not as the stream's
    """

    name: str = "train"
    tasks: tuple[int, ...] | None = None
    epochs: int | None = None
    active: Tensor | None = None
    optimizers: Callable[[Sequence[torch.nn.Parameter]], list[torch.optim.Optimizer]] | None = None
    frozen: dict[torch.nn.Parameter, Tensor] = field(default_factory=dict)
    fresh: bool = False
    covers: tuple[float, float] = (0.0, 1.0)
    splits: tuple[Split, ...] | None = None
    watched: bool = True
    rehearses: bool = False


@dataclass(frozen=True)
class PhaseResult:
    """What a phase came to, per replica: mean task loss, and accuracy on validation data on demand."""

    loss: Tensor
    _validate: Callable[[], Tensor]

    def validation_accuracy(self) -> Tensor:
        """(K,) accuracy on the current task's validation split."""
        return self._validate()


Plan = Generator[Phase, PhaseResult, None]


class Method(Stateful):
    """Base of all methods; by itself it is fine-tuning."""

    title: ClassVar[str]
    summary: ClassVar[str]
    family: ClassVar[str]
    scenarios: ClassVar[tuple[str, ...]] = ("task", "domain", "class")
    scenario_reason: ClassVar[str] = ""  # why not in the others: a clause that refusals and forms put after a colon
    boundary_reason: ClassVar[str] = "it must be told when one task ends and the next begins"  # the same, of "task-free"
    networks: ClassVar[tuple[str, ...]] = ()  # that it works on; none named: on all
    network_settings: ClassVar[dict[str, str]] = {}  # that a network must have, where it has that setting
    network_reason: ClassVar[str] = ""  # why not on others, as a clause
    paper: ClassVar[str] = ""
    formula: ClassVar[str] = ""
    stores: ClassVar[str] = "nothing"
    needs_boundaries: ClassVar[bool] = False  # where there are none, a clock calls `end` and `begin` instead
    uses_memory: ClassVar[bool] = False
    freezes: ClassVar[bool] = False
    keeps_old_logits: ClassVar[bool] = (
        False  # whether old tasks' outputs stay the same bits: every run checks it (probe.py)
    )
    composable: ClassVar[bool] = True  # False where others' view of "the weights" ends: it grows, has masks or gates
    not_beside: ClassVar[tuple[str, ...]] = ()  # families whose methods make no sense in a composition with it
    composition_reason: ClassVar[str] = "it changes how the network computes"  # why not, or not with these, as a clause
    vectorized: ClassVar[bool] = True
    # Whether every step of a phase, after the first few, is the same operations on the same tensors, given the mini-batch: from
    # `task_loss` to `observe` nothing depends on Python numbers that change, nothing waits for the device, and what Python
    # itself remembers is after one step as after another. Then a GPU may repeat a recorded step (recorded_step.py).
    static_step: ClassVar[bool] = False
    whole_epochs: ClassVar[int] = 1  # multiples of it are free of rounding where phases take parts of the run's epochs
    copies: ClassVar[int] = 8  # of the weights at the most, optimizer and step included: for estimates of memory
    predicts_unseen: ClassVar[bool] = True
    sweep: ClassVar[tuple[float, ...]] = ()

    class Hyper(Knobs):
        """This method's hyper-parameters; the one with `axis=True` arrives as a tensor (K,)."""

    context_fields = frozenset({"context", "hyper"})

    def __init__(self, context: Context, settings: dict[str, Any]):
        self.context = context
        values = dict(settings)
        for knob in self.Hyper.describe():
            if knob.axis and context.strengths is not None:
                values[knob.name] = context.strengths
            elif knob.axis:
                values[knob.name] = torch.full((context.replicas,), float(values[knob.name]), device=context.device)
        self.hyper = SimpleNamespace(**values)

    @property
    def classifier(self) -> Classifier:
        return self.context.classifier

    @property
    def boundless(self) -> bool:
        """Whether nobody tells where a task ends: without `needs_boundaries`, `begin` and `end` are not called then."""
        return self.context.stream.course is not None

    def is_last(self, task: Task) -> bool:
        """Whether nothing is learned after this task's end, so that nothing would use what is measured there."""
        return not self.boundless and task.index + 1 == len(self.context.stream.tasks)

    # --- seams, in the order in which the loop calls them; ★: at most one part of a composition may own it ---

    def adapt(self, network: torch.nn.Module) -> torch.nn.Module:
        """★ Replace or wrap the network before training starts."""
        return network

    def setup(self) -> None:
        """Create the method's state; the network is the adapted one."""

    def begin(self, task: Task) -> None:
        """Before a task's first step.

        A method that joins others leaves the weights alone here, for others copy what the last task left; whoever starts a
        task from other weights writes them in `phases`, which begins when every part has begun.
        """

    def phases(self, task: Task) -> Plan:
        """★ What is trained for this task; code between the yields runs between phases."""
        yield Phase()

    def mix(self, batch: Batch) -> Batch:
        """Add replayed examples."""
        return batch

    def differentiate(self, batch: Batch) -> Terms:
        """Leaves the step's gradients with the network's parameters, by the next three seams, and returns the loss's terms.

        A method may do all three at once. In a composition nobody does: there its seams are called one by one.
        """
        terms: Terms = {"task": self.task_loss(batch), **self.terms(batch)}
        _backward(terms, self.classifier.network)
        self.edit_gradients(batch)
        return terms

    def task_loss(self, batch: Batch) -> Tensor:
        """★ (K,) mean cross-entropy over the current and all replayed examples, each under its own mask."""
        return mean_loss(self.classifier, batch)

    def terms(self, batch: Batch) -> Terms:
        """Further loss terms: tensors (K,) to differentiate, or closed forms."""
        return {}

    def edit_gradients(self, batch: Batch) -> None:
        """Change the parameters' gradients in place."""

    def after_step(self, batch: Batch, lr: float) -> None:
        """After the optimizer's step: change the weights."""

    def observe(self, batch: Batch) -> None:
        """After all of a step, of every part: measure the path that was taken, or remember examples.

        Not in a phase that trains a throw-away copy (`Phase.watched`).
        """

    def end(self, task: Task) -> None:
        """After a task's last step."""

    def predict(self, x: Tensor, task: int) -> Tensor:
        """★ Logits `(K, B, O)` for inputs of a task; the evaluation masks them by scenario."""
        return self.classifier(x)

    def known_task_logits(self, x: Tensor, task: int) -> Tensor:
        """As `predict` where the task is told; for the proof of probe.py. Other than `predict` where that infers the task."""
        return self.predict(x, task)

    def promises_old_logits(self) -> bool:
        """Whether this run's old outputs must stay as they are, bit for bit."""
        return self.keeps_old_logits

    @classmethod
    def needs_whole_epochs(cls, settings: dict[str, Any]) -> bool:
        """Whether equal compute may not cut an epoch short: something belongs to the end of each."""
        return cls.whole_epochs > 1

    @classmethod
    def held_parameters(
        cls, settings: dict[str, Any], network: type[Network] | Design, input_shape: Sequence[int], outputs: int,
        hidden: Sequence[int], tasks: int,
    ) -> int:  # fmt: skip
        """Numbers of one replica's network as `adapt` leaves it, reserved ones included: for estimates of memory."""
        return network.count_parameters(input_shape, outputs, hidden)

    def trains_old_heads(self) -> Tensor:
        """(K,) bool: replicas that, in the task scenario, train earlier tasks' output units too: those that replay.

        The others' are held still while another task is learned, whatever decay or old moments say.
        """
        return self.context.memories > 0 if self.uses_memory else torch.zeros(self.context.replicas, dtype=torch.bool)

    def footprint(self) -> dict[str, Tensor | int]:
        """Bytes by kind, beside the network's parameters; a tensor (K,) where replicas differ."""
        return {}

    def note(self) -> str:
        """A sentence for the page and the result about what this run is, beyond its settings; empty: nothing to say."""
        return ""

    def insight(self) -> dict[str, Tensor]:
        """Small named arrays (K, …) for pictures, asked for after every task (see parts/pictures.py)."""
        return {}


def _backward(terms: Terms, network: torch.nn.Module) -> None:
    """Gradients of the sum over replicas and terms: each replica's own. Closed forms add theirs."""
    for parameter in network.parameters():
        parameter.grad = None
    total: Tensor | None = None
    closed: list[ClosedForm] = []
    for term in terms.values():
        if isinstance(term, Tensor):
            total = term if total is None else total + term
        else:
            closed.append(term)
    total.sum().backward()
    for term in closed:
        term.add_gradient()


def mean_loss(classifier: Classifier, batch: Batch) -> Tensor:
    """(K,) mean cross-entropy over all examples of a batch and its replayed parts.

    A part without examples leaves the others' gradients bit for bit as they were (see `Classifier.all_logits`).
    """
    return mean_over_parts(classifier.all_losses(batch), batch.parts)


def mean_over_parts(losses: Sequence[Tensor], parts: Sequence[Batch]) -> Tensor:
    """(K,) mean over all examples of several parts, of losses (K, B) for each."""
    totals = [(own * part.weight).sum(1) for own, part in zip(losses, parts, strict=True)]
    return reduce(add, totals) / reduce(add, [part.count for part in parts]).clamp_min(1)


def sum_of_means(classifier: Classifier, batch: Batch) -> Tensor:
    """(K,) the mean over the current examples plus the mean over each replayed part."""
    losses = zip(classifier.all_losses(batch), batch.parts, strict=True)
    return sum((own * part.weight).sum(1) / part.count.clamp_min(1) for own, part in losses)
