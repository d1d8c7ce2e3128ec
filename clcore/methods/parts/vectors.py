"""One vector per replica — weights, gradients, importances — kept in the network's own tensors instead of one flat copy."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

import torch
from torch import Tensor, nn

from clcore.networks.base import Network
from clcore.networks.layers import Layer, Linear
from clcore.state import Stateful


class ReplicaVector(Stateful):
    """K vectors, stored as a list of tensors `(K, …)`. Arithmetic is elementwise; a `(K,)` tensor scales per replica."""

    def __init__(self, tensors: Iterable[Tensor]):
        self.tensors = list(tensors)

    def __iter__(self) -> Iterator[Tensor]:
        return iter(self.tensors)

    def __len__(self) -> int:
        return len(self.tensors)

    def map(self, function: Callable[..., Tensor], *others: ReplicaVector | Tensor | float) -> ReplicaVector:
        """`function` applied tensor by tensor, with the matching tensors of `others` as further arguments."""
        columns = [_matching(other, self.tensors) for other in others]
        return ReplicaVector(function(*row) for row in zip(self.tensors, *columns, strict=True))

    def __add__(self, other) -> ReplicaVector:
        return self.map(torch.add, other)

    def __sub__(self, other) -> ReplicaVector:
        return self.map(torch.sub, other)

    def __mul__(self, other) -> ReplicaVector:
        return self.map(torch.mul, other)

    __rmul__ = __mul__

    def dot(self, other: ReplicaVector) -> Tensor:
        """Inner product per replica, `(K,)`."""
        return sum((a * b).flatten(1).sum(1) for a, b in zip(self.tensors, other.tensors, strict=True))

    def total(self) -> Tensor:
        """Sum of all entries per replica, `(K,)`."""
        return sum(t.flatten(1).sum(1) for t in self.tensors)

    def largest(self) -> Tensor:
        """Largest entry per replica, `(K,)`."""
        return torch.stack([t.flatten(1).amax(1) for t in self.tensors]).amax(0)

    def copy(self) -> ReplicaVector:
        return ReplicaVector(t.detach().clone() for t in self.tensors)


def weights(network: nn.Module) -> ReplicaVector:
    """The network's parameters as they are (live, not copied)."""
    return ReplicaVector(network.parameters())


def trained_numbers(network: nn.Module) -> int:
    """How many numbers a vector over the network's parameters holds per replica, dead units left out.

    A linear layer has one number per weight and bias, or several (a mean and a variance).
    """

    def kinds(layer: Layer) -> int:
        return len(list(layer.parameters(recurse=False))) // 2 if isinstance(layer, Linear) else 1

    return sum(layer.parameter_count * kinds(layer) for layer in network.modules() if isinstance(layer, Layer))


@torch.no_grad()
def write_weights(network: nn.Module, values: ReplicaVector) -> None:
    """Copies `values` into the network's parameters."""
    for parameter, value in zip(network.parameters(), values, strict=True):
        parameter.copy_(value)


def snapshot(network: Network) -> ReplicaVector:
    """All that the network has learned, copied: its parameters and its running statistics."""
    return ReplicaVector([*network.parameters(), *network.statistics]).copy()


@torch.no_grad()
def restore(network: Network, values: ReplicaVector) -> None:
    """The network is again as it was when `values` were taken by `snapshot`."""
    for tensor, value in zip([*network.parameters(), *network.statistics], values, strict=True):
        tensor.copy_(value)


def gradient(network: nn.Module) -> ReplicaVector:
    """The network's gradients as they are; zeros where a parameter has none."""
    return ReplicaVector(torch.zeros_like(p) if p.grad is None else p.grad for p in network.parameters())


def _matching(other: ReplicaVector | Tensor | float, tensors: list[Tensor]) -> list:
    if isinstance(other, ReplicaVector):
        return other.tensors
    if isinstance(other, Tensor) and other.dim() == 1:
        return [per_replica(other, t) for t in tensors]
    return [other] * len(tensors)


def per_replica(values: Tensor, like: Tensor) -> Tensor:
    """`(K,)` reshaped to broadcast against `like` `(K, …)`."""
    return values.view(-1, *[1] * (like.dim() - 1))
