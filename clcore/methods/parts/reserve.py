"""Networks with units in reserve, so that replicas can grow by different amounts in one set of tensors.

Every hidden layer is as wide as it may ever become. A unit in reserve has zero weights in and out and a zero bias: its gradient
is zero too, so it stays so under any optimizer until weights are given to it. Shapes never change, so what an old task computes
stays the same bit for bit, however the network has grown since.

The units of a convolution are its channels. Where they are normalised in groups, a layer grows by whole groups of the size that
the plain network has, so what stands in reserve has no part in the statistics of what is in use.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from clcore.methods.parts.own_norms import norm_layers
from clcore.methods.parts.pictures import weight_layers
from clcore.networks.base import Network
from clcore.networks.convolution import Conv2d
from clcore.networks.fully_connected import connected
from clcore.networks.mlp import MLP
from clcore.networks.norms import BatchNorm2d, GroupNorm, make_norm
from clcore.networks.stacked import Stacked


class Roomy(Network):
    """`plain` with room in its hidden layers for the units of a network `multiple` times as large; made by `roomy`.

    units   (K, L): the units of each hidden layer that are in use
    heads   (K, T): how many units of the last hidden layer each task's outputs see; for later tasks, those there are now
    """

    def reserve(self, plain: Network, groups: Tensor) -> None:
        """Fills the layers, which have been built, with the plain network's weights and with units in reserve."""
        layers = weight_layers(plain)
        with torch.no_grad():
            for own, old in zip(weight_layers(self), layers, strict=True):
                own.weight.zero_()
                own.bias.zero_()
                here = (old.outputs, old.inputs) if isinstance(old, Conv2d) else (old.inputs, old.outputs)
                block = (slice(None), *(slice(n) for n in here))
                own.weight[block] = old.weight[block]
                own.bias[:, : old.outputs] = old.bias[:, : old.outputs]
        replicas = len(plain.head.bias)
        first = torch.tensor([layer.outputs for layer in layers[:-1]])
        self.register_buffer("units", first.expand(replicas, -1).clone())
        self.register_buffer("heads", first[-1:].expand(replicas, len(groups)).clone())
        self._classes = groups.sum(1)
        self.first, self.steps = first.tolist(), _steps(plain)

    def units_at(self, multiple: float) -> list[int]:
        """The units of each hidden layer at `multiple` times the first parameters."""
        return widths(self.first, multiple, self.steps)

    @torch.no_grad()
    def widen(self, units: Tensor, task: int) -> None:
        """From `task` on there are `units` (K, L) in use."""
        for norm, before, now in zip(norm_layers(self), self.units.T, units.T, strict=False):
            at = torch.arange(norm.channels, device=units.device)
            new = (at >= before.unsqueeze(1)) & (at < now.unsqueeze(1))
            for values, start in _fresh(norm):
                values.masked_fill_(new, start)
        self.units.copy_(units)
        self.heads[:, task:] = units[:, -1:]

    @property
    def inputs_per_unit(self) -> list[int]:
        """Per layer, head included: how many inputs one unit of the layer before is; several where pictures are flattened."""
        layers = weight_layers(self)
        below = [layers[0].inputs, *(layer.outputs for layer in layers[:-1])]
        return [layer.inputs // units for layer, units in zip(layers, below, strict=True)]

    @property
    def parameter_count(self) -> Tensor:
        """(K,): what is trained of units in use; a task's outputs see the units that there were when it learned."""
        layers, spread = weight_layers(self), self.inputs_per_unit
        total = 0
        below = torch.full_like(self.units[:, 0], layers[0].inputs)
        for layer, each, units in zip(layers, spread, self.units.unbind(1), strict=False):
            total = total + (below * (each * layer.fan_in // layer.inputs) + 1) * units
            below = units
        heads = (self.heads * spread[-1] + 1) * self._classes.to(self.heads.device)
        return total + heads.sum(1) + 2 * self.units[:, : len(norm_layers(self))].sum(1)

    @property
    def statistic_count(self) -> Tensor:
        return 2 * self.units[:, : len(self.batch_norms)].sum(1)


class RoomyMLP(Roomy, MLP):
    """A multilayer perceptron with room for `hidden` units."""

    def __init__(self, plain: Network, input_shape: Sequence[int], hidden: Sequence[int], groups: Tensor):
        super().__init__(input_shape, plain.outputs, hidden, _nothing(plain))
        self.reserve(plain, groups)


class RoomyStacked(Roomy, Stacked):
    """A convolutional network without shortcuts with room for `hidden` channels, and units after them."""

    def __init__(self, plain: Stacked, input_shape: Sequence[int], hidden: Sequence[int], groups: Tensor):
        Network.__init__(self, input_shape, plain.outputs, hidden, ())
        self.layers, self.replicas = plain.layers, plain.replicas  # so that the passes are a `Stacked`'s
        nobody, norms = _nothing(plain), norm_layers(plain)
        self.convolutions, self.norms = torch.nn.ModuleList(), torch.nn.ModuleList()
        below = plain.convolutions[0].inputs
        for at, own in enumerate(hidden[: len(plain.convolutions)]):
            self.convolutions.append(Conv2d(below, own, nobody))
            self.norms.append(_wider(norms[at], own) if norms else make_norm("none", own, self.replicas))
            below = own
        pixels = plain.fully_connected[0].inputs // plain.convolutions[-1].outputs
        rest = hidden[len(plain.convolutions) :]
        self.fully_connected = connected(below * pixels, (*rest, plain.outputs), nobody)
        self.head = self.fully_connected[-1]
        self.reserve(plain, groups)


def roomy(plain: Network, input_shape: Sequence[int], multiple: float, groups: Tensor) -> Roomy:
    """`plain`, which has hidden layers, with room for `multiple` times its parameters."""
    room = widths([layer.outputs for layer in weight_layers(plain)[:-1]], multiple, _steps(plain))
    return (RoomyStacked if isinstance(plain, Stacked) else RoomyMLP)(plain, input_shape, room, groups)


def widths(hidden: Sequence[int], multiple: float, steps: Sequence[int] = ()) -> list[int]:
    """Hidden widths of a network with about `multiple` times the parameters: each times the square root, rounded.

    `steps` of the first layers are what their widths must be multiples of.
    """
    wanted = [round(width * math.sqrt(multiple)) for width in hidden]
    return [-(-width // step) * step for width, step in zip(wanted, (*steps, *[1] * len(wanted)), strict=False)]


def _steps(plain: Network) -> list[int]:
    """Per normalisation, the channels of one of its groups: one normalisation follows each of the first layers, or none."""
    return [norm.channels // norm.groups if isinstance(norm, GroupNorm) else 1 for norm in norm_layers(plain)]


def _wider(plain: GroupNorm | BatchNorm2d, channels: int) -> GroupNorm | BatchNorm2d:
    """A normalisation of more channels; groups stay as large as they are."""
    replicas = len(plain.weight)
    if isinstance(plain, BatchNorm2d):
        return BatchNorm2d(channels, replicas)
    return GroupNorm(channels, replicas, channels * plain.groups // plain.channels)


def _fresh(norm: GroupNorm | BatchNorm2d) -> list[tuple[Tensor, float]]:
    """A normalisation's tensors, and what they begin with."""
    values = [(norm.weight, 1.0), (norm.bias, 0.0)]
    return values + ([(norm.running_mean, 0.0), (norm.running_var, 1.0)] if isinstance(norm, BatchNorm2d) else [])


def _nothing(plain: Network) -> list[torch.Generator]:
    """Generators for layers whose draws are overwritten."""
    return [torch.Generator() for _ in range(len(plain.head.bias))]
