"""Columns: a network beside the network for every task, which looks sideways at those before it.

Column k computes, from what the columns j < k have at the same depth (Rusu et al. 2016, eq. 1 and 2),

    linear  h_i^(k) = f( W_i h_{i−1}^(k) + Σ_j U_i^(j) h_{i−1}^(j) )
    mlp     h_i^(k) = f( W_i h_{i−1}^(k) + U_i · f( V_i · [α_i^(1) h_{i−1}^(1) … α_i^(k−1) h_{i−1}^(k−1)] ) )

for every depth but the first, output layer included (without the outer f). α is a trained number for each earlier column and
depth. Earlier columns are read with the sideways connections that they have themselves, and outside of autograd.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from clcore.networks.base import Network
from clcore.networks.layers import Linear

Adapter = Literal["mlp", "linear", "none"]


def column_parameters(sizes: Sequence[int], earlier: int, adapter: Adapter) -> int:
    """Trained numbers of a column of these sizes (inputs, hidden widths, outputs) that has `earlier` columns before it."""
    total = sum((a + 1) * b for a, b in pairwise(sizes))
    for a, b in pairwise(sizes[1:] if earlier else ()):
        if adapter == "linear":
            total += earlier * a * b
        elif adapter == "mlp":
            total += earlier * a * a + a + earlier + (a + 1) * b
    return total


def columns_parameters(sizes: Sequence[int], columns: int, adapter: Adapter) -> int:
    """Trained numbers of all columns: quadratic in their number, where they have connections."""
    return sum(column_parameters(sizes, earlier, adapter) for earlier in range(columns))


class Sideways(nn.Module):
    """The adapter of one depth: what a column makes of the `earlier` columns' activations below it."""

    def __init__(self, inputs: int, outputs: int, earlier: int, alpha: float, generators: Sequence[torch.Generator]):
        super().__init__()
        self.alpha = nn.Parameter(torch.stack([torch.rand(earlier, generator=g) * alpha for g in generators]))
        self.reduce = Linear(earlier * inputs, inputs, generators)  # V
        self.lead = Linear(inputs, outputs, generators)  # U

    def forward(self, below: Sequence[Tensor]) -> Tensor:
        scaled = [h * self.alpha[:, j].view(-1, 1, 1) for j, h in enumerate(below)]
        return _real(self.lead, torch.relu(_real(self.reduce, torch.cat(scaled, -1))))


class Column(nn.Module):
    """One task's layers, and its adapters to the `earlier` columns: none at the first depth, which sees the input itself."""

    def __init__(
        self, sizes: Sequence[int], earlier: int, adapter: Adapter, alpha: float, generators: Sequence[torch.Generator]
    ):
        super().__init__()
        beside = earlier if adapter == "linear" else 0
        self.layers = nn.ModuleList(
            Linear(a + (beside * a if depth else 0), b, generators) for depth, (a, b) in enumerate(pairwise(sizes))
        )
        self.adapters = nn.ModuleList(
            Sideways(a, b, earlier, alpha, generators) for a, b in pairwise(sizes[1:]) if adapter == "mlp" and earlier
        )
        self.adapter = adapter

    def rise(self, depth: int, own: Tensor, below: Sequence[Tensor]) -> Tensor:
        """What this column has at a depth, before f, from its own activations and those of the earlier columns below it."""
        if not depth or not below or self.adapter == "none":
            return _real(self.layers[depth], own)
        if self.adapter == "linear":
            return _real(self.layers[depth], torch.cat([own, *below], -1))
        return _real(self.layers[depth], own) + self.adapters[depth - 1](below)

    @torch.no_grad()
    def attention(self) -> Tensor:
        """(K, earlier): how strongly each earlier column is read, the mean size of its weights (α·V or U) over all depths."""
        if self.adapter == "mlp":
            weights = [(a.reduce.weight[..., : a.reduce.outputs], a.alpha) for a in self.adapters]
            read = [(w.abs().unflatten(1, (alpha.shape[1], -1)).mean((2, 3)) * alpha.abs()) for w, alpha in weights]
        else:
            layers = self.layers[1:]
            own = [self.layers[d].outputs for d in range(len(layers))]
            blocks = [layer.weight[:, a:, : layer.outputs] for layer, a in zip(layers, own, strict=True)]
            read = [w.abs().unflatten(1, (-1, a)).mean((2, 3)) for w, a in zip(blocks, own, strict=True)]
        return torch.stack(read).mean(0)


class Columns(Network):
    """All columns of a stream, reserved from the start; column `learning` is trained, and those after it are not in use.

    A column's outputs are its task's units (`groups` (T, O)); the other logits are 0.
    """

    head = None  # every task has its own

    def __init__(
        self, inputs: int, hidden: Sequence[int], groups: Tensor, adapter: Adapter, alpha: float,
        generators: Sequence[torch.Generator],
    ):  # fmt: skip
        super().__init__((inputs,), groups.shape[1], hidden, generators)
        self.spans = [(int(own.nonzero()[0]), int(own.sum())) for own in groups]
        self.sizes = (inputs, *hidden, self.spans[0][1])
        self.adapter = adapter
        self.columns = nn.ModuleList(
            Column(self.sizes, earlier, adapter, alpha, generators) for earlier in range(len(groups))
        )
        self.train_column(0)

    def train_column(self, column: int) -> None:
        """From now on, only this column's numbers are trained; later columns are not in use."""
        self.learning = column
        for j, one in enumerate(self.columns):
            one.requires_grad_(j == column)

    def forward(self, x: Tensor, column: int | None = None) -> Tensor:
        column = self.learning if column is None else column
        own, below = x.flatten(2), []
        sideways = range(column) if self.adapter != "none" else ()
        with torch.no_grad():
            reading = [own for _ in sideways]
        for depth in range(len(self.sizes) - 2):
            above = torch.relu(self.columns[column].rise(depth, own, below))
            with torch.no_grad():
                reading = [torch.relu(self.columns[j].rise(depth, reading[j], reading[:j])) for j in sideways]
            own, below = above, reading
        start, units = self.spans[column]
        return F.pad(self.columns[column].rise(len(self.sizes) - 2, own, below), (start, self.outputs - start - units))

    @property
    def widths(self) -> tuple[int, ...]:
        joined = {earlier * width for width in self.sizes[1:-1] for earlier in range(1, len(self.columns) + 1)}
        physical = {layer.width for layer in self.modules() if isinstance(layer, Linear)}
        return (*self.sizes, *sorted(joined | physical), self.outputs)

    @property
    def parameter_count(self) -> int:
        return columns_parameters(self.sizes, self.learning + 1, self.adapter)

    @classmethod
    def count_parameters(cls, input_shape: Sequence[int], outputs: int, hidden: Sequence[int]) -> int:
        """Of one column; of several, see `columns_parameters`."""
        return column_parameters((*input_shape, *hidden, outputs), 0, "none")


def _real(layer: Linear, x: Tensor) -> Tensor:
    """A layer's outputs without dead units."""
    y = layer(x)
    return y if layer.width == layer.outputs else y[..., : layer.outputs]
