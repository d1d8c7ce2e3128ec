"""Networks that grow: units are reserved from the start, switched on when they are needed, and know their date of birth.

Replicas grow by different amounts, yet all of them share one set of tensors. So every hidden layer is as wide as it may ever
become, and a unit that is not switched on has zero weights in and out. Which units a task sees is a mask over the activations,
from their dates of birth (time-stamped inference): an old task runs at the shape it always had, whatever was born since, and
what was born since cannot reach it by a single bit.

Per-unit values are (K, width), one tensor for each hidden layer, with width the layer's physical outputs.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

from clcore.methods.parts.pictures import linear_layers
from clcore.networks.base import Network
from clcore.networks.layers import Linear
from clcore.state import Stateful

UNBORN = -1


class Growth(Stateful):
    """Which units there are.

    born     per layer (K, width): the 0-based task in which a unit was switched on, `UNBORN` if it was not
    left     per layer (K, T, width) bool: units that a task does not see although they were born before it (DEN's splits)
    """

    context_fields = frozenset({"outputs", "classes"})

    def __init__(self, layers: Sequence[Linear], first_widths: Sequence[int], groups: Tensor):
        """`first_widths` units of each hidden layer are there when training starts."""
        head = layers[-1]
        self.outputs, self.classes = [layer.outputs for layer in layers[:-1]], groups.sum(1).tolist()
        self.born, self.left = [], []
        for layer, first in zip(layers[:-1], first_widths, strict=True):
            born = torch.full_like(layer.bias, UNBORN, dtype=torch.long)
            born[:, :first] = 0
            self.born.append(born)
            shape = (len(head.bias), len(groups), layer.width)
            self.left.append(torch.zeros(shape, dtype=torch.bool, device=head.bias.device))

    def visible(self, task: int) -> list[Tensor]:
        """(K, width) bool: the units that a task sees."""
        return [(born >= 0) & (born <= task) & ~left[:, task] for born, left in zip(self.born, self.left, strict=True)]

    def existing(self) -> list[Tensor]:
        """(K, width) bool: the units that are switched on."""
        return [born >= 0 for born in self.born]

    def free(self) -> list[Tensor]:
        """(K, width) bool: units in reserve."""
        return [
            (born < 0) & (torch.arange(born.shape[1], device=born.device) < outputs)
            for born, outputs in zip(self.born, self.outputs, strict=True)
        ]

    def switch_on(self, counts: Tensor, task: int) -> list[Tensor]:
        """(K, width) bool: `counts` (K,) units of every layer that are born now, or as many as are left."""
        fresh = [free & (free.cumsum(1) <= counts.unsqueeze(1)) for free in self.free()]
        for born, new in zip(self.born, fresh, strict=True):
            born.masked_fill_(new, task)
        return fresh

    def switch_off(self, which: Sequence[Tensor]) -> None:
        for born, gone in zip(self.born, which, strict=True):
            born.masked_fill_(gone, UNBORN)

    def widths(self, task: int | None = None) -> Tensor:
        """(K, L): the units of each layer that there are, or those that a task sees."""
        units = self.existing() if task is None else self.visible(task)
        return torch.stack([on.sum(1) for on in units], 1)

    def by_birth(self, tasks: int) -> Tensor:
        """(K, L, T): how many units of each layer were born in each task."""
        return torch.stack([torch.stack([(born == t).sum(1) for t in range(tasks)], 1) for born in self.born], 1)

    def hidden_parameters(self, inputs: int) -> Tensor:
        """(K,): trained numbers between the units that there are, biases included, without the head's."""
        widths = self.widths()
        below = torch.cat([torch.full_like(widths[:, :1], inputs), widths[:, :-1]], 1)
        return ((below + 1) * widths).sum(1)

    def parameters(self, inputs: int) -> Tensor:
        """(K,): all trained numbers. A task's head has a row for each unit that the task sees."""
        heads = sum((self.widths(t)[:, -1] + 1) * c for t, c in enumerate(self.classes))
        return self.hidden_parameters(inputs) + heads

    def stamp_bytes(self, tasks: int) -> Tensor:
        """(K,): a date of birth (one byte) for each unit, and one bit per unit for each later task, which may leave it out."""
        bits = self.widths().add(7).div(8, rounding_mode="floor").sum(1)
        return self.widths().sum(1) + bits * max(0, tasks - 1)


class GrowingMLP(Network):
    """A multilayer perceptron with `room` reserved units in every hidden layer. `units` masks its activations."""

    def __init__(self, plain: Network, groups: Tensor, room: Sequence[int]):
        layers = linear_layers(plain)
        super().__init__((layers[0].inputs,), plain.outputs, (), ())
        replicas = len(layers[0].weight)
        first = [layer.outputs for layer in layers[:-1]]
        reserved = [n + more for n, more in zip(first, room, strict=True)]
        self.layers = nn.ModuleList()
        physical = layers[0].weight.shape[1]
        for (a, b), layer in zip(pairwise((layers[0].inputs, *reserved, plain.outputs)), layers, strict=True):
            self.layers.append(_reserved(layer, a, b, replicas, physical))
            physical = self.layers[-1].width
        self.head = self.layers[-1]
        self.growth = Growth(self.layers, first, groups)
        self.look_at(0)

    def look_at(self, task: int) -> None:
        """From now on, the units that this task sees are those that take part; to be called again whenever they change."""
        self.units = self._masks(task)

    def forward(self, x: Tensor, task: int | None = None) -> Tensor:
        h = x.flatten(2)
        *hidden, head = self.layers
        for layer, on in zip(hidden, self.units if task is None else self._masks(task), strict=True):
            h = torch.relu(layer(h)) * on
        logits = head(h)
        return logits if head.width == self.outputs else logits[..., : self.outputs]

    @property
    def widths(self) -> tuple[int, ...]:
        return (self.layers[0].weight.shape[1], *(layer.width for layer in self.layers), self.outputs)

    @property
    def parameter_count(self) -> Tensor:
        return self.growth.parameters(self.layers[0].inputs)

    @classmethod
    def count_parameters(cls, input_shape: Sequence[int], outputs: int, hidden: Sequence[int]) -> int:
        return sum((a + 1) * b for a, b in pairwise((math.prod(input_shape), *hidden, outputs)))

    def _masks(self, task: int) -> list[Tensor]:
        return [on.unsqueeze(1).to(self.head.weight.dtype) for on in self.growth.visible(task)]


def connections(inputs: Tensor, outputs: Tensor) -> Tensor:
    """(K, in, out) bool: the weights from `inputs` (K, in) to `outputs` (K, out)."""
    return inputs.unsqueeze(2) & outputs.unsqueeze(1)


def reached(layers: Sequence[Linear], outputs: Tensor) -> list[Tensor]:
    """(K, width) bool for each hidden layer: the units from which non-zero weights lead to `outputs` (K, O) of the last layer.

    A breadth-first search from the outputs down; units of a layer are found all at once.
    """
    found: list[Tensor] = []
    goal = nn.functional.pad(outputs, (0, layers[-1].width - outputs.shape[1]))
    for layer in reversed(layers[1:]):
        goal = ((layer.weight != 0) & goal.unsqueeze(1)).any(2)
        found.append(goal)
    return found[::-1]


@torch.no_grad()
def draw_incoming(layer: Linear, below: Tensor, new: Tensor, generators: Iterable[torch.Generator]) -> None:
    """Draws the weights from the units `below` (K, in) to the `new` ones (K, out) as a fresh layer's; their biases are 0."""
    for k, generator in enumerate(generators):
        rows, columns = below[k].nonzero(), new[k].nonzero().flatten()
        bound = 1 / math.sqrt(max(1, len(rows)))
        drawn = torch.empty(len(columns), len(rows)).uniform_(-bound, bound, generator=generator)
        layer.weight[k][rows, columns] = drawn.T.to(layer.weight.device)
    layer.bias.masked_fill_(new, 0)


@torch.no_grad()
def clear(layers: Sequence[Linear], gone: Sequence[Tensor]) -> None:
    """Zeroes everything that feeds the units `gone` (one (K, width) per hidden layer) and everything that they feed."""
    for (own, following), which in zip(pairwise(layers), gone, strict=True):
        own.weight.masked_fill_(which.unsqueeze(1), 0)
        own.bias.masked_fill_(which, 0)
        following.weight.masked_fill_(which.unsqueeze(2), 0)


@torch.no_grad()
def duplicate(own: Linear, following: Linear, which: Tensor, order: Tensor, free: Tensor) -> tuple[Tensor, Tensor]:
    """Copies the units `which` (K, width) of a layer, with all their weights in and out, into `free` ones.

    Where there are too few free ones, those come first whose `order` (K, width) is largest. Returns which units were copied
    and which are copies, (K, width) each.
    """
    count = torch.minimum(which.sum(1), free.sum(1)).unsqueeze(1)
    most = int(count.max())
    sources = order.masked_fill(~which, -math.inf).argsort(dim=1, descending=True, stable=True)[:, :most]
    targets = free.long().argsort(dim=1, descending=True, stable=True)[:, :most]
    real = torch.arange(most, device=which.device) < count
    # A pair that is not real copies a target onto itself, so that every replica has as many.
    sources = torch.where(real, sources, targets)
    for parameter, axis in ((own.weight, 2), (own.bias, 1), (following.weight, 1)):
        shape = [1] * parameter.dim()
        shape[0], shape[axis] = sources.shape
        spread = list(parameter.shape)
        spread[axis] = most
        values = parameter.gather(axis, sources.view(shape).expand(spread))
        parameter.scatter_(axis, targets.view(shape).expand(spread), values)
    none, one = torch.zeros_like(which, dtype=torch.long), real.long()
    return none.scatter_add(1, sources, one) > 0, none.scatter_add(1, targets, one) > 0


@torch.no_grad()
def _reserved(layer: Linear, inputs: int, outputs: int, replicas: int, physical: int) -> Linear:
    """A layer of this size which is `layer` in its first rows and columns and 0 elsewhere."""
    wide = Linear(inputs, outputs, [torch.Generator()] * replicas, physical).to(layer.weight.device)
    wide.weight.zero_()
    wide.bias.zero_()
    wide.weight[:, : layer.inputs, : layer.outputs] = layer.weight[:, : layer.inputs, : layer.outputs]
    wide.bias[:, : layer.outputs] = layer.bias[:, : layer.outputs]
    return wide
