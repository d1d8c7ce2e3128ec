"""Fully connected layers with ReLU between them: all of a multilayer perceptron, and the end of every other network."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

from clcore.networks.layers import Linear
from clcore.networks.stacking import affine


def connected(inputs: int, widths: Sequence[int], generators: Sequence[torch.Generator]) -> nn.ModuleList:
    """The layers `inputs` → widths[0] → … → widths[-1], each aware of the dead units of the one before."""
    layers = nn.ModuleList()
    logical = physical = inputs
    for width in widths:
        layer = Linear(logical, width, generators, physical)
        layers.append(layer)
        logical, physical = width, layer.width
    return layers


def through(layers: Sequence[Linear], x: Tensor) -> Tensor:
    """`(K, B, inputs)` → [Linear → ReLU] × (n − 1) → Linear → `(K, B, outputs)`, without dead units."""
    *hidden, last = layers
    for layer in hidden:
        x = torch.relu(layer(x))
    return _living(last, last(x))


def several_through(layers: Sequence[Linear], xs: Sequence[Tensor]) -> list[Tensor]:
    """`through` for each of several inputs (K, B, inputs) on the CPU, stacked (see stacking.py); of plain layers only."""
    rows = tuple(x.shape[1] for x in xs)

    def stacked(layer: Linear, x: Tensor) -> Tensor:
        return layer.recorded(x, affine(x, layer.weight, layer.bias, rows))

    *hidden, last = layers
    x = torch.cat(list(xs), 1)
    for layer in hidden:
        x = torch.relu(stacked(layer, x))
    return list(_living(last, stacked(last, x)).split(rows, 1))


def _living(layer: Linear, y: Tensor) -> Tensor:
    """A layer's outputs without those of its dead units."""
    return y if layer.width == layer.outputs else y[..., : layer.outputs]


def connected_numbers(widths: Sequence[int]) -> int:
    """Trained numbers of layers between these widths, biases included."""
    return sum((a + 1) * b for a, b in pairwise(widths))
