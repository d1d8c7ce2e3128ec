"""The reduced ResNet-18 that GEM and most replay papers since train on CIFAR.

He, Zhang, Ren & Sun, CVPR 2016, with a third of the channels and without the first pooling, as in the code of Lopez-Paz &
Ranzato, NeurIPS 2017: a 3×3 convolution to `channels` (20), four stages of two residual blocks with 1, 2, 4 and 8 times as
many channels, each stage but the first halving height and width, the mean over what is left (4×4 of a 32×32 picture), one
linear layer. No convolution has a bias. 1 109 240 parameters with 100 outputs on colour pictures.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Literal

import torch
from torch import Tensor, nn

from clcore.knobs import Knobs, knob
from clcore.networks.base import Network
from clcore.networks.convolution import Conv2d, conv_numbers
from clcore.networks.fully_connected import connected, through
from clcore.networks.norms import make_norm, norm_numbers
from clcore.networks.pictures import flattened, picture_shape, side_by_side

ResidualNorm = Literal["batch", "group"]
_STRIDES = (1, 2, 2, 2)  # of the stages
_BLOCKS = 2  # in a stage


class Block(nn.Module):
    """Conv → norm → ReLU → conv → norm, plus its input (through a 1×1 convolution where the shape changes), → ReLU."""

    def __init__(
        self, inputs: int, outputs: int, stride: int, norm: ResidualNorm, generators: Sequence[torch.Generator]
    ):
        super().__init__()
        replicas = len(generators)
        self.first = Conv2d(inputs, outputs, generators, stride=stride, bias=False)
        self.first_norm = make_norm(norm, outputs, replicas)
        self.second = Conv2d(outputs, outputs, generators, bias=False)
        self.second_norm = make_norm(norm, outputs, replicas)
        self.shortcut = self.shortcut_norm = None
        if stride != 1 or inputs != outputs:
            self.shortcut = Conv2d(inputs, outputs, generators, size=1, stride=stride, bias=False)
            self.shortcut_norm = make_norm(norm, outputs, replicas)

    def forward(self, x: Tensor) -> Tensor:
        h = torch.relu(self.first_norm(self.first(x)))
        h = self.second_norm(self.second(h))
        return torch.relu(h + (x if self.shortcut is None else self.shortcut_norm(self.shortcut(x))))


class ResNet18Slim(Network):
    """`(K, B, C, H, W)` → Conv 3×3 → norm → ReLU → 8 residual blocks → mean over the picture → Linear → `(K, B, outputs)`."""

    title = "Reduced ResNet-18"
    summary = "The residual network of the GEM paper: eight blocks of two convolutions, a third of the usual channels."
    hidden = ()
    takes_hidden = False
    pictures = True

    class Options(Knobs):
        channels: int = knob(20, ge=1, le=256, help="channels of the first stage; the others have 2, 4 and 8 times as many")
        norm: ResidualNorm = knob("batch", help="normalisation: over the batch, as in the paper, or of every example by itself")

    def __init__(
        self, input_shape: Sequence[int], outputs: int, hidden: Sequence[int], generators: Sequence[torch.Generator],
        *, channels: int = 20, norm: ResidualNorm = "batch",
    ):  # fmt: skip
        super().__init__(input_shape, outputs, hidden, generators)
        self.replicas = len(generators)
        colours, *_ = picture_shape(input_shape)
        self.stem = Conv2d(colours, channels, generators, bias=False)
        self.stem_norm = make_norm(norm, channels, self.replicas)
        self.blocks = nn.ModuleList(
            Block(below, own, stride, norm, generators) for below, own, stride in _blocks(channels)
        )
        self.fully_connected = connected(8 * channels, (outputs,), generators)
        self.head = self.fully_connected[-1]

    def forward(self, x: Tensor) -> Tensor:
        h = torch.relu(self.stem_norm(self.stem(side_by_side(x, channels_last=True))))
        for block in self.blocks:
            h = block(h)
        return through(self.fully_connected, flattened(h.mean((2, 3)), self.replicas))

    @property
    def widths(self) -> tuple[int, ...]:
        return ()

    @classmethod
    def count_parameters(
        cls, input_shape: Sequence[int], outputs: int, hidden: Sequence[int], *, channels: int = 20,
        norm: ResidualNorm = "batch",
    ) -> int:  # fmt: skip
        colours, *_ = picture_shape(input_shape)
        total = conv_numbers(colours, channels, bias=False) + norm_numbers(norm, channels)
        for below, own, stride in _blocks(channels):
            total += conv_numbers(below, own, bias=False) + conv_numbers(own, own, bias=False) + 2 * norm_numbers(norm, own)
            if stride != 1 or below != own:
                total += conv_numbers(below, own, 1, bias=False) + norm_numbers(norm, own)
        return total + (8 * channels + 1) * outputs

    @classmethod
    def count_activations(
        cls, input_shape: Sequence[int], outputs: int, hidden: Sequence[int], *, channels: int = 20,
        norm: ResidualNorm = "batch",
    ) -> int:  # fmt: skip
        _, height, width = picture_shape(input_shape)
        total = height * width * 2 * channels
        for below, own, stride in _blocks(channels):
            height, width = -(-height // stride), -(-width // stride)
            # What enters each normalisation and what leaves each ReLU.
            total += height * width * own * (4 if stride == 1 and below == own else 5)
        return total + 8 * channels + outputs


def _blocks(channels: int) -> Iterator[tuple[int, int, int]]:
    """(in, out, stride) of every residual block."""
    below = channels
    for stage, stride in enumerate(_STRIDES):
        own = channels << stage
        for block in range(_BLOCKS):
            yield below, own, stride if block == 0 else 1
            below = own
