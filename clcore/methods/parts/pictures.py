"""What a method shows of itself (`insight()`): a vector over the weights, summed up so that it can be drawn.

Everything returned has the replica axis first. Dead units (see networks/layers.py) are left out.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from clcore.methods.parts.vectors import ReplicaVector
from clcore.networks.convolution import Conv2d
from clcore.networks.layers import Linear


def linear_layers(network: nn.Module) -> list[Linear]:
    """The network's `Linear` layers, input side first."""
    return [m for m in network.modules() if isinstance(m, Linear)]


def weight_layers(network: nn.Module) -> list[Linear | Conv2d]:
    """The network's fully connected layers and convolutions, input side first; not its normalisations."""
    return [m for m in network.modules() if isinstance(m, Linear | Conv2d)]


@torch.no_grad()
def by_layer(network: nn.Module, vector: ReplicaVector) -> Tensor:
    """(K, L): the mean size |v_i| over the weights and biases of each fully connected layer and convolution.

    `vector` is in the order of `network.parameters()`.
    """
    entries = dict(zip(network.parameters(), vector, strict=True))
    columns = []
    for layer in weight_layers(network):
        weight = entries[layer.weight]
        if isinstance(layer, Linear):
            weight = weight[:, : layer.inputs, : layer.outputs]
        values = [weight.abs().flatten(1)]
        if layer.bias is not None:
            values.append(entries[layer.bias][:, : layer.outputs].abs())
        columns.append(sum(v.sum(1) for v in values) / sum(v.shape[1] for v in values))
    return torch.stack(columns, 1)


@torch.no_grad()
def by_input(network: nn.Module, vector: ReplicaVector, input_shape: Sequence[int]) -> dict[str, Tensor]:
    """`importance_by_input` (K, *input_shape): the mean size |v_i| over the first layer's weights that leave each input.

    An image of the input; there is none where the first layer is a convolution, whose weights see all places alike.
    """
    first = weight_layers(network)[0]
    if isinstance(first, Conv2d):
        return {}
    entries = dict(zip(network.parameters(), vector, strict=True))
    image = entries[first.weight][:, : first.inputs, : first.outputs].abs().mean(2)
    return {"importance_by_input": image.view(len(image), *input_shape)}


@torch.no_grad()
def drift_by_layer(network: nn.Module, before: ReplicaVector) -> Tensor:
    """(K, L): how far each layer has moved since `before`, the mean of |θ_i − before_i|."""
    moved = ReplicaVector(p.detach() - b for p, b in zip(network.parameters(), before, strict=True))
    return by_layer(network, moved)
