"""Normalisation of K networks side by side: `(B, K·C, H, W)` → the same, with `weight` and `bias` `(K, C)`.

GroupNorm normalises every example by itself and knows nothing of the batch, so it has one way of computing. BatchNorm has two.
A network *answers* with its running statistics: in evaluations, for old networks that are asked (teachers), where importance
is measured, where features are compared. It *learns* with the statistics of the batch: in the forward pass of a loss that the
loop trains, and wherever a method takes a gradient of such a loss (gradients on memory, virtual steps). So nothing switches a
network between two modes: `learning` marks the passes that learn, and everything outside of it answers.

While learning

    statistics      are those of the rows that hold examples; padding has no say. Each pass has its own: the current
                    examples and every replayed part are normalised apart, as they are passed through apart
    running ones    follow every pass that learns, by a tenth, unless `follow` is False (steps that are only tried out). They
                    belong to the network's state: replicas that stand still keep theirs, checkpoints hold them
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from clcore.networks.layers import Layer

Norm = Literal["group", "batch", "none"]
_GROUPS = 8  # of channels, at most
_EPS = 1e-5
_MOMENTUM = 0.1


class _Norm(Layer):
    def __init__(self, channels: int, replicas: int):
        super().__init__()
        self.channels = channels
        self.weight = nn.Parameter(torch.ones(replicas, channels))
        self.bias = nn.Parameter(torch.zeros(replicas, channels))

    @property
    def parameter_count(self) -> int:
        return 2 * self.channels

    @property
    def replicas(self) -> int:
        return len(self.weight)

    def forward(self, x: Tensor) -> Tensor:
        y = self.compute(x, self.weight.flatten(), self.bias.flatten())
        if self.tape is not None:
            with torch.no_grad():
                normalised = self.compute(x, None, None)
            # A normalisation's part in learning is `weight` · normalised + `bias`: that is what goes in.
            self.recorded(normalised, y)
        return y

    def compute(self, x: Tensor, weight: Tensor | None, bias: Tensor | None) -> Tensor:
        """The normalised pictures, times `weight` (K·C) plus `bias` if given."""
        raise NotImplementedError


class GroupNorm(_Norm):
    """K group normalisations; `groups` of channels, or the largest number up to 8 that divides them."""

    def __init__(self, channels: int, replicas: int, groups: int | None = None):
        super().__init__(channels, replicas)
        self.groups = groups or next(n for n in range(_GROUPS, 0, -1) if channels % n == 0)

    def compute(self, x: Tensor, weight: Tensor | None, bias: Tensor | None) -> Tensor:
        return F.group_norm(x, self.replicas * self.groups, weight, bias, _EPS)


class BatchNorm2d(_Norm):
    """K batch normalisations, each with statistics of its own, `running_mean` and `running_var` (K, C)."""

    def __init__(self, channels: int, replicas: int):
        super().__init__(channels, replicas)
        self.register_buffer("running_mean", torch.zeros(replicas, channels))
        self.register_buffer("running_var", torch.ones(replicas, channels))
        self.pass_: _Pass | None = None
        self.settled = False  # whether it answers, and never learns

    def compute(self, x: Tensor, weight: Tensor | None, bias: Tensor | None) -> Tensor:
        now = None if self.settled else self.pass_
        if now is None:
            return F.batch_norm(x, self.running_mean.flatten(), self.running_var.flatten(), weight, bias, eps=_EPS)
        follow = now.follow and weight is not None
        if now.rows is None and x.numel() > x.shape[1]:  # torch refuses statistics of a single number
            running = (self.running_mean.view(-1), self.running_var.view(-1)) if follow else (None, None)
            return F.batch_norm(x, *running, weight, bias, True, _MOMENTUM, _EPS)
        rows = x.new_ones(self.replicas, len(x)) if now.rows is None else now.rows
        y = self._by_rows(x.unflatten(1, (self.replicas, self.channels)), rows, follow)
        return y.flatten(1, 2) if weight is None else torch.addcmul(_wide(bias), y.flatten(1, 2), _wide(weight))

    def _by_rows(self, x: Tensor, rows: Tensor, follow: bool) -> Tensor:
        """`x` (B, K, C, H, W), normalised by the rows of weight 1 in `rows` (K, B); where there are none, as an answer is."""
        weight = rows.T[..., None, None, None]  # (B, K, 1, 1, 1)
        examples = rows.sum(1, keepdim=True)  # (K, 1)
        count = (examples * (x.shape[3] * x.shape[4])).clamp_min(1)
        mean = (x * weight).sum((0, 3, 4)) / count
        var = ((x - _wide(mean)).square() * weight).sum((0, 3, 4)) / count
        some = examples > 0
        if follow:
            # By `data`: an earlier pass of the same step may have noted these tensors for its backward pass, without need.
            share = (_MOMENTUM * some).expand_as(mean)
            self.running_mean.data.lerp_(mean.detach(), share)
            self.running_var.data.lerp_((var * (count / (count - 1).clamp_min(1))).detach(), share)
        mean, var = torch.where(some, mean, self.running_mean), torch.where(some, var, self.running_var)
        return (x - _wide(mean)) * _wide((var + _EPS).rsqrt())


def _wide(values: Tensor) -> Tensor:
    """One value per channel, to be combined with pictures."""
    return values[..., None, None]


class _Pass:
    """A pass that learns: `rows` (K, B) are 1 for examples and 0 for padding; None where all are examples."""

    def __init__(self, rows: Tensor | None, follow: bool):
        self.rows, self.follow = rows, follow


@contextmanager
def learning(norms: Sequence[BatchNorm2d], rows: Tensor | None, *, follow: bool = True) -> Iterator[None]:
    """Within this block the layers `norms` learn: they normalise by the examples among the `rows` (K, B) of the batch."""
    now = _Pass(rows, follow)
    for norm in norms:
        norm.pass_ = now
    try:
        yield
    finally:
        for norm in norms:
            norm.pass_ = None


def make_norm(kind: Norm, channels: int, replicas: int) -> nn.Module:
    """The normalisation of K·`channels` channels; the identity for `none`."""
    if kind == "none":
        return nn.Identity()
    return {"group": GroupNorm, "batch": BatchNorm2d}[kind](channels, replicas)


def norm_numbers(kind: Norm, channels: int) -> int:
    """Trained numbers of one normalisation."""
    return 0 if kind == "none" else 2 * channels
