"""How much each weight matters: the diagonal of the Fisher information, per sample, in one pass for all replicas.

For a linear layer the gradient of one sample's loss is the outer product of its input x and its output gradient δ, so the sum
of squared per-sample gradients is (x²)ᵀ δ²: one batched matrix product, no loop over samples. Three estimators (Kunstner et
al., NeurIPS 2019; van de Ven, arXiv 2502.11756), with g(y) = ∇ log p(y|x):

    exact      F = 1/N Σ_n Σ_y p(y|x_n) g_n(y)²      one backward pass per class
    sampled    F = 1/N Σ_n g_n(y)², y ~ p(·|x_n)
    empirical  F = 1/N Σ_n g_n(y)², y the label      (not the Fisher, but common)

The square is taken per sample, never of a batch's mean: the estimate does not depend on the chunks it is computed in.

`StepSquares` has the empirical form while training goes on: one more batched matrix product per layer and step, no pass of its
own.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from clcore.benchmarks.base import Split
from clcore.methods.parts.pictures import linear_layers
from clcore.methods.parts.vectors import ReplicaVector
from clcore.networks.classifier import Classifier
from clcore.networks.layers import Linear, Recorded, aligned_rows, recording
from clcore.randomness import Generators
from clcore.state import Stateful

Estimator = Literal["exact", "sampled", "empirical"]
Normalization = Literal["none", "max", "mean"]


def fisher_diagonal(
    classifier: Classifier,
    split: Split,
    task: int,
    *,
    estimator: Estimator = "exact",
    samples: int | None = None,
    generators: Generators,
    chunk: int = 64,
    pulse: Callable[[], None] = lambda: None,
) -> ReplicaVector:
    """The diagonal Fisher information of every parameter, in the order of `network.parameters()`.

    `samples` training examples are drawn per replica (None: all of them). The softmax runs over the units that are active
    for this task in training. `pulse` is called between chunks, so that a person can pause or cancel.
    """
    network = classifier.network
    totals = {p: torch.zeros_like(p) for p in network.parameters()}
    units = classifier.training_units(task)
    chosen = [_choose(int(n), samples, g) for n, g in zip(split.lengths, generators, strict=True)]
    longest = max(len(c) for c in chosen)
    # Drawn before anything is padded: how far a generator runs must not depend on the other replicas.
    lots = (
        [torch.rand(len(c), generator=g) for c, g in zip(chosen, generators, strict=True)]
        if estimator == "sampled"
        else []
    )
    chunk = aligned_rows(chunk, network.widths)
    device = units.device
    for start in range(0, longest, chunk):
        pulse()
        positions, weight = _chunk(chosen, start, chunk, device)
        x, y = split.gather(positions)
        with recording(network) as tape:
            logits = classifier(x)[..., units]
        log_p = F.log_softmax(logits, dim=-1)
        outputs = [r.outputs for r in tape]
        squares = [torch.zeros_like(o) for o in outputs]
        if estimator == "exact":
            p = log_p.detach().exp()
            for c in range(log_p.shape[-1]):
                deltas = torch.autograd.grad(log_p[..., c].sum(), outputs, retain_graph=c + 1 < log_p.shape[-1])
                share = (p[..., c] * weight).unsqueeze(-1)
                for total, delta in zip(squares, deltas, strict=True):
                    total.addcmul_(delta * delta, share)
        else:
            if estimator == "sampled":
                label = _sample(log_p.detach().exp(), _padded(lots, start, chunk).to(device))
            else:
                label = (units.cumsum(0) - 1)[y]  # position of the unit among the active ones
            picked = log_p.gather(-1, label.unsqueeze(-1)).sum()
            for total, delta in zip(squares, torch.autograd.grad(picked, outputs), strict=True):
                total.addcmul_(delta * delta, weight.unsqueeze(-1))
        for record, square in zip(tape, squares, strict=True):
            _accumulate(totals, record, square)
    counts = torch.tensor([len(c) for c in chosen], dtype=torch.float32, device=device)
    return ReplicaVector(totals.values()) * (1 / counts)


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
                _accumulate(totals, record, delta * delta * count.view(-1, 1, 1))
        self._tape = _RetainingTape()


class _RetainingTape(list):
    """A tape whose outputs keep the gradients that reach them."""

    def append(self, record: Recorded) -> None:
        if record.outputs.requires_grad:
            record.outputs.retain_grad()
            super().append(record)


@torch.no_grad()
def _accumulate(totals: dict[torch.nn.Parameter, Tensor], record: Recorded, square: Tensor) -> None:
    """Adds Σ_n x_n² δ_n² of one layer: `record.inputs` (K, B, in), `square` (K, B, out)."""
    layer: Linear = record.layer
    x = record.inputs.detach()
    totals[layer.weight].baddbmm_((x * x).transpose(1, 2), square)
    totals[layer.bias].add_(square.sum(1))


def _choose(length: int, samples: int | None, generator: torch.Generator) -> Tensor:
    if samples is None or samples >= length:
        return torch.arange(length)
    return torch.randperm(length, generator=generator)[:samples]


def _chunk(chosen: list[Tensor], start: int, size: int, device: torch.device) -> tuple[Tensor, Tensor]:
    weight = _padded([torch.ones(len(c)) for c in chosen], start, size)
    return _padded(chosen, start, size).to(device), weight.to(device)


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
