"""How much each weight matters: a mean over training examples, in one pass for all replicas.

For a linear layer the gradient of one example is the outer product of its input x and its output gradient δ. Every measure here
is a mean of such products of an example's u and v, which is one batched matrix product Σ_n u_nᵀ v_n (for the bias Σ_n v_n): no
loop over examples. What differs is what u and v are:

    Fisher information   u = x²    v = δ²     gradients of log p(y|x)                   EWC
    sensitivity          u = |x|   v = |δ|    gradients of ‖f(x)‖²                      MAS
    correlation          u = |x|   v = 2|y|   a layer's own output y: no gradients      local MAS

Three estimators of the Fisher information (Kunstner et al., NeurIPS 2019; van de Ven, arXiv 2502.11756), with
g(y) = ∇ log p(y|x):

    exact      F = 1/N Σ_n Σ_y p(y|x_n) g_n(y)²      one backward pass per class
    sampled    F = 1/N Σ_n g_n(y)², y ~ p(·|x_n)
    empirical  F = 1/N Σ_n g_n(y)², y the label      (not the Fisher, but common)

Squares and sizes are taken per example, never of a batch's mean: no estimate depends on the chunks it is computed in.

`StepSquares` has the empirical form while training goes on: one more batched matrix product per layer and step, no pass of its
own.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, Required, TypedDict, Unpack

import torch
import torch.nn.functional as F
from torch import Tensor

from clcore.benchmarks.base import Split
from clcore.methods.parts.pictures import linear_layers
from clcore.methods.parts.vectors import ReplicaVector
from clcore.networks.classifier import Classifier
from clcore.networks.layers import Recorded, aligned_rows, recording
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
    """

    generators: Required[Generators]
    samples: int | None
    chunk: int
    pulse: Callable[[], None]


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
        """δ (K, B, out) of every layer: the gradient of each example's share of the sum `of` over all examples."""
        return torch.autograd.grad(of, [record.outputs for record in self.tape], **options)


def fisher_diagonal(
    classifier: Classifier, split: Split, task: int, *, estimator: Estimator = "exact", **sampling: Unpack[Sampling]
) -> ReplicaVector:
    """The diagonal Fisher information of every parameter, in the order of `network.parameters()`.

    The softmax runs over the units that are active for this task in training.
    """

    def squared_gradients(seen: Seen) -> list[Tensor]:
        log_p = F.log_softmax(seen.logits, dim=-1)
        if estimator == "exact":
            return _expected_squares(seen, log_p)
        if estimator == "sampled":
            label = _sample(log_p.detach().exp(), seen.lot)
        else:
            label = (seen.units.cumsum(0) - 1)[seen.y]  # position of the unit among the active ones
        picked = log_p.gather(-1, label.unsqueeze(-1)).sum()
        return [delta * delta for delta in seen.gradients(picked)]

    lots = estimator == "sampled"
    return _mean_of_products(classifier, split, task, torch.square, squared_gradients, lots=lots, **sampling)


def output_sensitivity(classifier: Classifier, split: Split, task: int, **sampling: Unpack[Sampling]) -> ReplicaVector:
    """1/N Σ_n |∂‖f(x_n)‖²/∂θ_i|: how much the network's output would change with each parameter. Reads no labels.

    f are the logits of the units that are active for this task in training.
    """

    def sizes_of_gradients(seen: Seen) -> list[Tensor]:
        return [delta.abs() for delta in seen.gradients(seen.logits.square().sum())]

    return _mean_of_products(classifier, split, task, torch.abs, sizes_of_gradients, **sampling)


@torch.no_grad()
def input_output_correlation(
    classifier: Classifier, split: Split, task: int, **sampling: Unpack[Sampling]
) -> ReplicaVector:
    """1/N Σ_n 2 |x_n,i| |y_n,j| for the weight from a layer's input x_i to its output y_j. Reads no labels.

    y is what the layer passes on: ReLU of a hidden layer, the logits of the active units of the output layer. This is the
    output sensitivity of each layer as if it were the network's only one.
    """
    head = classifier.network.head

    def sizes_of_outputs(seen: Seen) -> list[Tensor]:
        active = F.pad(seen.units, (0, head.width - len(seen.units)))  # dead units are never active
        return [2 * (r.outputs.abs() * active if r.layer is head else r.outputs.relu()) for r in seen.tape]

    return _mean_of_products(classifier, split, task, torch.abs, sizes_of_outputs, **sampling)


def _mean_of_products(
    classifier: Classifier,
    split: Split,
    task: int,
    of_inputs: Callable[[Tensor], Tensor],
    of_outputs: Callable[[Seen], list[Tensor]],
    *,
    generators: Generators,
    samples: int | None = None,
    chunk: int = 64,
    pulse: Callable[[], None] = lambda: None,
    lots: bool = False,
) -> ReplicaVector:
    """1/N Σ_n u_nᵀ v_n of every layer, with u = `of_inputs` of what went in and v one of `of_outputs` for each layer."""
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
        weight = _padded(meant, start, chunk).to(device).unsqueeze(-1)
        outputs = of_outputs(Seen(y, lot, logits, units, tape))
        for record, v in zip(tape, outputs, strict=True):
            _add_products(totals, record, of_inputs(record.inputs.detach()), v * weight)
    counts = torch.tensor([len(c) for c in chosen], dtype=torch.float32, device=device)
    return ReplicaVector(totals.values()) * (1 / counts)


def _expected_squares(seen: Seen, log_p: Tensor) -> list[Tensor]:
    """Σ_y p(y|x) δ(y)² of every layer."""
    p, classes = log_p.detach().exp(), log_p.shape[-1]
    squares = [torch.zeros_like(record.outputs) for record in seen.tape]
    for c in range(classes):
        deltas = seen.gradients(log_p[..., c].sum(), retain_graph=c + 1 < classes)
        for square, delta in zip(squares, deltas, strict=True):
            square.addcmul_(delta * delta, p[..., c].unsqueeze(-1))
    return squares


def normalized(importance: ReplicaVector, by: Normalization, parameters: int) -> ReplicaVector:
    """Each replica's importance divided by its largest entry, or by its mean over its `parameters` trained numbers."""
    if by == "none":
        return importance
    scale = importance.largest() if by == "max" else importance.total() / parameters
    return importance * torch.where(scale > 0, 1 / scale, 0)


class StepSquares(Stateful):
    """Sums, step by step, the mean over the mini-batch of squared per-sample gradients of the loss being trained.

    `listen` before the task's loss is computed, `stop` after it, `collect` after the backward pass. With examples weighted
    1/N in the loss, what reaches a layer's output is δ_n/N, hence the factor N in `collect`.
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
        for layer in linear_layers(self.network):
            layer.tape = self._tape

    def stop(self) -> None:
        for layer in linear_layers(self.network):
            layer.tape = None

    @torch.no_grad()
    def collect(self, count: Tensor) -> None:
        """Adds the step's squares; `count` (K,) is the number N of examples in its loss."""
        totals = dict(zip(self.network.parameters(), self.total, strict=True))
        for record in self._tape:
            delta = record.outputs.grad
            if delta is not None:
                v = delta * delta * count.view(-1, 1, 1)
                _add_products(totals, record, record.inputs.detach().square(), v)
        self._tape = _RetainingTape()


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
