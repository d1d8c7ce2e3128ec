"""Convolutional networks without shortcuts: stages of equal layers, pooling after each stage, then fully connected layers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from clcore.networks.base import Network
from clcore.networks.convolution import Conv2d, conv_numbers
from clcore.networks.fully_connected import connected, connected_numbers, through
from clcore.networks.norms import Norm, make_norm, norm_numbers
from clcore.networks.pictures import flattened, picture_shape, side_by_side


class Stacked(Network):
    """`(K, B, C, H, W)` → [[Conv 3×3 → norm → ReLU] × layers → max-pool 2×2] × stages → flatten → [Linear → ReLU] × … → Linear.

    Every stage has twice the channels of the one before, and half the height and width. `convolutions` and `norms` (identities
    where there are none) hold one module per layer, `fully_connected` the rest.
    """

    pictures = True
    layers: ClassVar[int]  # convolutions in a stage; there are `halvings` stages

    def __init__(
        self, input_shape: Sequence[int], outputs: int, hidden: Sequence[int], generators: Sequence[torch.Generator],
        *, channels: int, norm: Norm, **options: Any,
    ):  # fmt: skip
        super().__init__(input_shape, outputs, hidden, generators)
        self.replicas = len(generators)
        features = self._features(input_shape, channels, **options)
        self.convolutions, self.norms = nn.ModuleList(), nn.ModuleList()
        for below, own, _ in self._layers(input_shape, channels, **options):
            self.convolutions.append(Conv2d(below, own, generators))
            self.norms.append(make_norm(norm, own, self.replicas))
        self.fully_connected = connected(features, (*hidden, outputs), generators)
        self.head = self.fully_connected[-1]

    def forward(self, x: Tensor) -> Tensor:
        h = side_by_side(x, channels_last=bool(self.batch_norms))
        for depth, (convolution, norm) in enumerate(zip(self.convolutions, self.norms, strict=True), 1):
            h = torch.relu(norm(convolution(h)))
            if depth % self.layers == 0:
                h = F.max_pool2d(h, 2)
        return through(self.fully_connected, flattened(h, self.replicas))

    @property
    def widths(self) -> tuple[int, ...]:
        return ()

    @classmethod
    def count_parameters(
        cls, input_shape: Sequence[int], outputs: int, hidden: Sequence[int], *, channels: int, norm: Norm, **options: Any
    ) -> int:
        features = cls._features(input_shape, channels, **options)
        layers = cls._layers(input_shape, channels, **options)
        convolutional = sum(conv_numbers(below, own) + norm_numbers(norm, own) for below, own, _ in layers)
        return convolutional + connected_numbers((features, *hidden, outputs))

    @classmethod
    def count_activations(
        cls, input_shape: Sequence[int], outputs: int, hidden: Sequence[int], *, channels: int, norm: Norm, **options: Any
    ) -> int:
        _, height, width = picture_shape(input_shape)
        total = sum(hidden) + outputs
        for depth, (_, own, stage) in enumerate(cls._layers(input_shape, channels, **options), 1):
            pixels = (height >> stage) * (width >> stage)
            total += pixels * own * (1 if norm == "none" else 2)  # what leaves ReLU, and what enters the normalisation
            if depth % cls.layers == 0:
                total += pixels // 4 * own * 3  # what leaves pooling, and the places of the maxima, in 8 bytes each
        return total

    @classmethod
    def _stages(cls, **options: Any) -> int:
        return options[cls.halvings] if isinstance(cls.halvings, str) else cls.halvings

    @classmethod
    def _layers(cls, input_shape: Sequence[int], channels: int, **options: Any) -> Iterator[tuple[int, int, int]]:
        """(in, out, stage) of every convolution."""
        below, *_ = picture_shape(input_shape)
        for stage in range(cls._stages(**options)):
            for _layer in range(cls.layers):
                own = channels << stage
                yield below, own, stage
                below = own

    @classmethod
    def _features(cls, input_shape: Sequence[int], channels: int, **options: Any) -> int:
        """Numbers that enter the first fully connected layer."""
        _, height, width = picture_shape(input_shape)
        stages = cls._stages(**options)
        return (channels << (stages - 1)) * (height >> stages) * (width >> stages)
