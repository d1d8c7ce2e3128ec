"""How much each weight matters: a mean over training examples, in one pass for all replicas.

For a linear layer the gradient of one example is the outer product of its input x and its output gradient δ. Every measure here
is a mean of such products of an example's u and v, which is one batched matrix product Σ_n u_nᵀ v_n (for the bias Σ_n v_n): no
loop over examples, and no example's gradient is ever written down. What differs is what u and v are:

    Fisher information   u = x²    v = δ²     gradients of log p(y|x)                   EWC
    sensitivity          u = |x|   v = |δ|    gradients of ‖f(x)‖²                      MAS
    correlation          u = |x|   v = 2|y|   a layer's own output y: no gradients      local MAS

A convolution's gradient is a sum over positions, whose square is no product of squares. There every example's gradient is
computed (parts/sample_gradients.py), a few examples at a time, and squared or made positive as it is. The same holds for
normalisations. Batch normalisation answers here (networks/norms.py), so that an example's gradient is its own.

Three estimators of the Fisher information (Kunstner et al., NeurIPS 2019; van de Ven, arXiv 2502.11756), with
g(y) = ∇ log p(y|x):

    exact      F = 1/N Σ_n Σ_y p(y|x_n) g_n(y)²      one backward pass per class
    sampled    F = 1/N Σ_n g_n(y)², y ~ p(·|x_n)
    empirical  F = 1/N Σ_n g_n(y)², y the label      (not the Fisher, but common)

Squares and sizes are taken per example, never of a batch's mean: no estimate depends on the chunks it is computed in.

`StepSquares` has the empirical form while training goes on: one more batched matrix product per layer and step, no pass of its
own. While batch normalisation learns, an example's gradient is what passes through its own row.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, Required, TypedDict, Unpack

import torch
import torch.nn.functional as F
from torch import Tensor

from clcore.benchmarks.base import Split
from clcore.methods.parts.sample_gradients import add_sizes
from clcore.methods.parts.vectors import ReplicaVector
from clcore.networks.classifier import Classifier
from clcore.networks.layers import Layer, Linear, Recorded, aligned_rows, recording
from clcore.randomness import Generators
from clcore.state import Stateful

Estimator = Literal["exact", "sampled", "empirical"]
Normalization = Literal["none", "max", "mean"]


class Sampling(TypedDict, total=False):
    """Which training examples a measure looks at, and how.

    generators  one per replica, to choose the examples with
    samples     how many are drawn per replica (None: all of them)
    chunk       examples per replica that go through the network at once
    pulse       called between chunks, so that a person can pause or cancel
    charge      told what the pass costs: examples × backward passes per replica, (K,)
    """

    generators: Required[Generators]
    samples: int | None
    chunk: int
    pulse: Callable[[], None]
    charge: Callable[[Tensor], None]


# Of one backward pass: δ of every layer, and what each example's measure counts for, (K, B); None: 1.
Gradients = tuple[Sequence[Tensor], Tensor | None]
Size = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Seen:
    """Examples of all replicas that went through the network together.

    y       (K, B) their labels: output units
    lot     (K, B) a number drawn uniformly from [0, 1) for each, where a measure asks for it
    logits  (K, B, U) of the active units
    units   (O,) bool: which units are active
    tape    what went into and came out of every layer
    """

    y: Tensor
    lot: Tensor | None
    logits: Tensor
    units: Tensor
    tape: list[Recorded]

    def gradients(self, of: Tensor, **options: bool) -> Sequence[Tensor]:
        """δ of every layer, shaped as its outputs: the gradient of each example's share of the sum `of` over all examples."""
        return torch.autograd.grad(of, [record.outputs for record in self.tape], **options)


def fisher_diagonal(
    classifier: Classifier, split: Split, task: int, *, estimator: Estimator = "exact", **sampling: Unpack[Sampling]
) -> ReplicaVector:
    """The diagonal Fisher information of every parameter, in the order of `network.parameters()`.

    The softmax runs over the units that are active for this task in training.
    """

    def gradients(seen: Seen) -> Iterator[Gradients]:
        log_p = F.log_softmax(seen.logits, dim=-1)
        if estimator == "exact":
            yield from _of_every_label(seen, log_p)
            return
        if estimator == "sampled":
            label = _sample(log_p.detach().exp(), seen.lot)
        else:
            label = (seen.units.cumsum(0) - 1)[seen.y]  # position of the unit among the active ones
        yield seen.gradients(log_p.gather(-1, label.unsqueeze(-1)).sum()), None

    return _mean_size(
        classifier, split, task, torch.square, gradients,
        passes=int(classifier.training_units(task).sum()) if estimator == "exact" else 1,
        lots=estimator == "sampled", **sampling,
    )  # fmt: skip


def output_sensitivity(classifier: Classifier, split: Split, task: int, **sampling: Unpack[Sampling]) -> ReplicaVector:
    """1/N Σ_n |∂‖f(x_n)‖²/∂θ_i|: how much the network's output would change with each parameter. Reads no labels.

    f are the logits of the units that are active for this task in training.
    """

    def gradients(seen: Seen) -> Iterator[Gradients]:
        yield seen.gradients(seen.logits.square().sum()), None

    return _mean_size(classifier, split, task, torch.abs, gradients, **sampling)


@torch.no_grad()
def input_output_correlation(
    classifier: Classifier, split: Split, task: int, **sampling: Unpack[Sampling]
) -> ReplicaVector:
    """1/N Σ_n 2 |x_n,i| |y_n,j| for the weight from a layer's input x_i to its output y_j. Reads no labels.

    y is what the layer passes on: ReLU of a hidden layer, the logits of the active units of the output layer. This is the
    output sensitivity of each layer as if it were the network's only one. For networks of `Linear` layers.
    """
    head = classifier.network.head

    def outputs(seen: Seen) -> Iterator[Gradients]:
        active = F.pad(seen.units, (0, head.width - len(seen.units)))  # dead units are never active
        yield [2 * (r.outputs.abs() * active if r.layer is head else r.outputs.relu()) for r in seen.tape], None

    return _mean_size(classifier, split, task, torch.abs, outputs, passes=0, **sampling)


def _mean_size(
    classifier: Classifier,
    split: Split,
    task: int,
    size: Size,
    gradients: Callable[[Seen], Iterator[Gradients]],
    *,
    generators: Generators,
    samples: int | None = None,
    chunk: int = 64,
    pulse: Callable[[], None] = lambda: None,
    charge: Callable[[Tensor], None] = lambda samples: None,
    passes: int = 1,
    lots: bool = False,
) -> ReplicaVector:
    """1/N Σ_n Σ c·size(g_n) with the size, |·| or (·)², of every example's gradient g_n, over the `gradients` δ that there
    are of a chunk and what they count for, c.

    `gradients` makes `passes` backward passes.
    """
    network = classifier.network
    totals = {p: torch.zeros_like(p) for p in network.parameters()}
    units = classifier.training_units(task)
    chosen = [_choose(int(n), samples, g) for n, g in zip(split.lengths, generators, strict=True)]
    # Drawn before anything is padded: how far a generator runs must not depend on the other replicas.
    drawn = [torch.rand(len(c), generator=g) for c, g in zip(chosen, generators, strict=True)] if lots else None
    meant = [torch.ones(len(c)) for c in chosen]
    chunk = aligned_rows(chunk, network.widths)
    device = units.device
    for start in range(0, max(map(len, chosen)), chunk):
        pulse()
        x, y = split.gather(_padded(chosen, start, chunk).to(device))
        lot = _padded(drawn, start, chunk).to(device) if lots else None
        with recording(network) as tape:
            logits = classifier(x)[..., units]
        weight = _padded(meant, start, chunk).to(device)
        linear: list[Tensor | None] = [None] * len(tape)  # their v: products are only taken once
        for deltas, counts in gradients(Seen(y, lot, logits, units, tape)):
            for i, (record, delta) in enumerate(zip(tape, deltas, strict=True)):
                if not isinstance(record.layer, Linear):
                    add_sizes(totals, record, delta, size, weight if counts is None else weight * counts)
                elif counts is None:
                    linear[i] = size(delta)
                else:
                    linear[i] = torch.zeros_like(delta) if linear[i] is None else linear[i]
                    linear[i].addcmul_(size(delta), counts.unsqueeze(-1))
        for record, v in zip(tape, linear, strict=True):
            if v is not None:
                _add_products(totals, record, size(record.inputs.detach()), v * weight.unsqueeze(-1))
    examples = torch.tensor([len(c) for c in chosen], dtype=torch.float32, device=device)
    charge(examples * passes)
    return ReplicaVector(totals.values()) * (1 / examples)


def _of_every_label(seen: Seen, log_p: Tensor) -> Iterator[Gradients]:
    """δ(y) of log p(y|x), which counts p(y|x), for every y."""
    p, classes = log_p.detach().exp(), log_p.shape[-1]
    for c in range(classes):
        yield seen.gradients(log_p[..., c].sum(), retain_graph=c + 1 < classes), p[..., c]


def normalized(importance: ReplicaVector, by: Normalization, parameters: int) -> ReplicaVector:
    """Each replica's importance divided by its largest entry, or by its mean over its `parameters` trained numbers."""
    if by == "none":
        return importance
    scale = importance.largest() if by == "max" else importance.total() / parameters
    return importance * torch.where(scale > 0, 1 / scale, 0)


class StepSquares(Stateful):
    """Sums, step by step, the mean over the mini-batch of squared per-sample gradients of the loss being trained.

    `listen` before the task's loss is computed, `stop` after it, `collect` after the backward pass, of a step that counts.
    With examples weighted 1/N in the loss, what reaches a layer's output is δ_n/N, hence the factor N in `collect`.
    """

    context_fields = frozenset({"network"})

    def __init__(self, network: torch.nn.Module):
        self.network = network
        self.total = ReplicaVector(torch.zeros_like(p) for p in network.parameters())
        self.restored()

    def restored(self) -> None:
        self._tape = _RetainingTape()

    def listen(self) -> None:
        self._tape = _RetainingTape()
        for layer in self._layers():
            layer.tape = self._tape

    def stop(self) -> None:
        for layer in self._layers():
            layer.tape = None

    @torch.no_grad()
    def collect(self, count: Tensor) -> None:
        """Adds the step's squares; `count` (K,) is the number N of examples in its loss."""
        totals = dict(zip(self.network.parameters(), self.total, strict=True))
        for record in self._tape:
            delta = record.outputs.grad
            if delta is not None and not isinstance(record.layer, Linear):
                add_sizes(totals, record, delta, torch.square, count.unsqueeze(1))
            elif delta is not None:
                v = delta * delta * count.view(-1, 1, 1)
                _add_products(totals, record, record.inputs.detach().square(), v)
        self._tape = _RetainingTape()

    def _layers(self) -> list[Layer]:
        return [module for module in self.network.modules() if isinstance(module, Layer)]


class _RetainingTape(list):
    """A tape whose outputs keep the gradients that reach them."""

    def append(self, record: Recorded) -> None:
        if record.outputs.requires_grad:
            record.outputs.retain_grad()
            super().append(record)


@torch.no_grad()
def _add_products(totals: dict[torch.nn.Parameter, Tensor], record: Recorded, u: Tensor, v: Tensor) -> None:
    """Adds Σ_n u_nᵀ v_n of one layer: `u` (K, B, in), `v` (K, B, out); for the bias Σ_n v_n."""
    totals[record.layer.weight].baddbmm_(u.transpose(1, 2), v)
    totals[record.layer.bias].add_(v.sum(1))


def _choose(length: int, samples: int | None, generator: torch.Generator) -> Tensor:
    if samples is None or samples >= length:
        return torch.arange(length)
    return torch.randperm(length, generator=generator)[:samples]


def _padded(rows: list[Tensor], start: int, size: int) -> Tensor:
    """Entries start … start+size of every row, filled up with zeros: (K, size)."""
    result = torch.zeros(len(rows), size, dtype=rows[0].dtype)
    for k, row in enumerate(rows):
        part = row[start : start + size]
        result[k, : len(part)] = part
    return result


def _sample(p: Tensor, u: Tensor) -> Tensor:
    """One label per row of `p` (K, B, C): the inverse of the cumulative sum at `u` (K, B) in [0, 1)."""
    below = p.cumsum(-1) < u.unsqueeze(-1) * p.sum(-1, keepdim=True)
    return below.sum(-1).clamp_max(p.shape[-1] - 1)
