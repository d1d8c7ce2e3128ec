"""Multilayer perceptron: fully connected layers with ReLU between them."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from clcore.networks.base import Network
from clcore.networks.fully_connected import connected, connected_numbers, several_through, through
from clcore.networks.layers import Linear


class MLP(Network):
    """`(K, B, *input_shape)` → flatten → [Linear → ReLU] × len(hidden) → Linear → `(K, B, outputs)`.

    `hidden` may be empty: a linear softmax classifier.
    """

    title = "Multilayer perceptron"
    summary = "Fully connected layers with ReLU between them, torch's default initialisation."

    def __init__(
        self, input_shape: Sequence[int], outputs: int, hidden: Sequence[int], generators: Sequence[torch.Generator]
    ):
        super().__init__(input_shape, outputs, hidden, generators)
        self.layers = connected(math.prod(input_shape), (*hidden, outputs), generators)
        self.head = self.layers[-1]
        self._flat_inputs = len(input_shape) == 1

    def forward(self, x: Tensor) -> Tensor:
        return through(self.layers, self._flat(x))

    def several(self, xs: Sequence[Tensor]) -> list[Tensor]:
        return several_through(self.layers, [self._flat(x) for x in xs]) if self.stacks else super().several(xs)

    @property
    def stacks(self) -> bool:
        plain = all(type(layer) is Linear for layer in self.layers)  # no noise, no masks
        return plain and self.layers[0].weight.device.type == "cpu"

    def _flat(self, x: Tensor) -> Tensor:
        return x if self._flat_inputs else x.flatten(2)

    @property
    def widths(self) -> tuple[int, ...]:
        return (self.layers[0].weight.shape[1], *(layer.width for layer in self.layers), self.outputs)

    @classmethod
    def count_parameters(cls, input_shape: Sequence[int], outputs: int, hidden: Sequence[int]) -> int:
        return connected_numbers((math.prod(input_shape), *hidden, outputs))
