"""K convolutions at once.

Weights are `(K, out, in, h, w)`, pictures `(B, K·in, H, W)` (see pictures.py): one grouped convolution with K groups. Measured
on a CPU, forward and backward, one thread, per network: a grouped convolution costs as much as one of torch.nn alone or less at
K = 1, 4 and 16; a loop over the replicas costs 0–30 % more and unfolding with a batched product 2–3 times as much, except for
a first layer of one channel. Replicas never mix; the last bits may depend on how many stand side by side.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from clcore.networks.layers import Weighted


class Conv2d(Weighted):
    """K convolutions: `(B, K·in, H, W)` → `(B, K·out, H', W')`, initialised per replica as `torch.nn.Conv2d` does.

    `weight` is `(K, out, in, size, size)`, `bias` `(K, out)` or None. The border is padded with zeros so that stride 1 keeps
    the size (`size` is odd). `inputs` and `outputs` count channels.
    """

    sizes = ("inputs", "outputs", "size", "stride")

    def __init__(
        self, inputs: int, outputs: int, generators: Sequence[torch.Generator], *, size: int = 3, stride: int = 1,
        bias: bool = True,
    ):  # fmt: skip
        super().__init__()
        self.inputs, self.outputs = inputs, outputs
        self.size, self.stride = size, stride
        replicas, bound = len(generators), 1 / math.sqrt(inputs * size * size)
        self.weight = nn.Parameter(torch.empty(replicas, outputs, inputs, size, size))
        self.bias = nn.Parameter(torch.empty(replicas, outputs)) if bias else None
        with torch.no_grad():
            for k, generator in enumerate(generators):
                self.weight[k].uniform_(-bound, bound, generator=generator)
                if bias:
                    self.bias[k].uniform_(-bound, bound, generator=generator)

    @property
    def parameter_count(self) -> int:
        return conv_numbers(self.inputs, self.outputs, self.size, bias=self.bias is not None)

    @property
    def replicas(self) -> int:
        return len(self.weight)

    @property
    def rows(self) -> int:
        return self.inputs

    @property
    def width(self) -> int:
        return self.outputs

    @property
    def fan_in(self) -> int:
        return self.inputs * self.size * self.size

    def compute(self, x: Tensor, weight: Tensor) -> Tensor:
        bias = None if self.bias is None else self.bias.flatten()
        return F.conv2d(x, weight.flatten(0, 1), bias, self.stride, self.size // 2, groups=self.replicas)

    def along_inputs(self, values: Tensor) -> Tensor:
        return values[:, None, :, None, None]

    def along_outputs(self, values: Tensor) -> Tensor:
        return values[:, :, None, None, None]

    def patches(self, x: Tensor) -> Tensor:
        """(B, K, in·size·size, P) what each of the P positions of the output sees of pictures `x` (B, K·in, H, W)."""
        return F.unfold(x, self.size, padding=self.size // 2, stride=self.stride).unflatten(1, (self.replicas, -1))


def conv_numbers(inputs: int, outputs: int, size: int = 3, *, bias: bool = True) -> int:
    """Trained numbers of one convolution."""
    return outputs * (inputs * size * size + bias)
