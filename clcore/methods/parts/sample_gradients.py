"""Every example's own gradient of layers whose gradient is a sum over positions: convolutions and normalisations.

With u_p what position p of a convolution's output sees of the picture and δ_p the gradient that arrives there, an example's
gradient is Σ_p δ_p u_pᵀ: one batched matrix product for all examples and replicas. What is wanted of it is a sum over examples
of its size, its square for the Fisher information or its absolute value for sensitivities, so only a few examples' gradients
exist at a time, as many as fit into a fixed number of floats. No loop over examples.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Tensor, nn

from clcore.networks.convolution import Conv2d
from clcore.networks.layers import Recorded

_FLOATS = 1 << 22  # of gradients, and of what goes into them, at a time: 16 MB


@torch.no_grad()
def add_sizes(
    totals: dict[nn.Parameter, Tensor], record: Recorded, delta: Tensor, size: Callable[[Tensor], Tensor], counts: Tensor
) -> None:
    """Adds Σ_n counts_n · size(g_n) of one layer's parameters to their `totals`.

    `delta` (B, K·out, H, W) is the gradient of each example's loss by the layer's outputs, `counts` (K, B) or (K, 1).
    """
    counts = counts.expand(counts.shape[0], len(delta))
    for rows, parameter, gradients in _few_at_a_time(record, delta):
        sizes = size(gradients).flatten(2)  # (b, K, numbers)
        total = torch.einsum("bkn,kb->kn", sizes, counts[:, rows])
        totals[parameter].add_(total.view(parameter.shape))


def _few_at_a_time(record: Recorded, delta: Tensor) -> Iterator[tuple[slice, nn.Parameter, Tensor]]:
    """Which examples, which parameter, and their gradients by it, (b, K, *its shape without K)."""
    layer, inputs = record.layer, record.inputs.detach()
    replicas = layer.replicas
    if not isinstance(layer, Conv2d):  # a normalisation, whose `inputs` are what its weight multiplies
        everything = slice(0, len(delta))
        for parameter, products in ((layer.weight, delta * inputs), (layer.bias, delta)):
            yield everything, parameter, products.sum((2, 3)).unflatten(1, (replicas, -1))
        return
    seen = layer.weight[0, 0].numel()  # by one position
    positions = delta.shape[2] * delta.shape[3]
    each = replicas * (layer.outputs * seen + (seen + layer.outputs) * positions)
    for rows in _slices(len(delta), max(1, _FLOATS // each)):
        arriving = delta[rows].flatten(2).unflatten(1, (replicas, -1))  # (b, K, out, P)
        yield rows, layer.weight, torch.matmul(arriving, layer.patches(inputs[rows]).transpose(2, 3))
        if layer.bias is not None:
            yield rows, layer.bias, arriving.sum(3)


def _slices(length: int, size: int) -> Iterator[slice]:
    for start in range(0, length, size):
        yield slice(start, min(length, start + size))
