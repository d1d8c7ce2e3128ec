"""A multilayer perceptron with units in reserve, so that replicas can grow by different amounts in one set of tensors.

Every hidden layer is as wide as it may ever become. A unit in reserve has zero weights in and out and a zero bias: its gradient
is zero too, so it stays so under any optimizer until weights are given to it. Shapes never change, so what an old task computes
stays the same bit for bit, however the network has grown since.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from clcore.methods.parts.pictures import linear_layers
from clcore.networks.base import Network
from clcore.networks.mlp import MLP


class RoomyMLP(MLP):
    """`plain` with room for `hidden` units in its layers.

    units   (K, L): the units of each hidden layer that are in use
    heads   (K, T): how many units of the last hidden layer each task's outputs see; for later tasks, those there are now
    """

    def __init__(self, plain: Network, input_shape: Sequence[int], hidden: Sequence[int], groups: Tensor):
        layers = linear_layers(plain)
        replicas = len(layers[0].weight)
        super().__init__(input_shape, plain.outputs, hidden, [torch.Generator() for _ in range(replicas)])
        with torch.no_grad():
            for own, old in zip(self.layers, layers, strict=True):
                for parameter in (own.weight, own.bias):
                    parameter.zero_()
                own.weight[:, : old.inputs, : old.outputs] = old.weight[:, : old.inputs, : old.outputs]
                own.bias[:, : old.outputs] = old.bias[:, : old.outputs]
        first = torch.tensor([layer.outputs for layer in layers[:-1]])
        self.register_buffer("units", first.expand(replicas, -1).clone())
        self.register_buffer("heads", first[-1:].expand(replicas, len(groups)).clone())
        self._classes = groups.sum(1)

    def widen(self, units: Tensor, task: int) -> None:
        """From `task` on there are `units` (K, L) in use."""
        self.units.copy_(units)
        self.heads[:, task:] = units[:, -1:]

    @property
    def parameter_count(self) -> Tensor:
        """(K,): weights and biases between units in use; a task's outputs see the units that there were when it learned."""
        below = torch.cat([torch.full_like(self.units[:, :1], self.layers[0].inputs), self.units[:, :-1]], 1)
        heads = (self.heads + 1) * self._classes.to(self.heads.device)
        return ((below + 1) * self.units).sum(1) + heads.sum(1)


def widths(hidden: Sequence[int], multiple: float) -> list[int]:
    """Hidden widths of a network with about `multiple` times the parameters: each times the square root, rounded."""
    return [round(width * math.sqrt(multiple)) for width in hidden]
