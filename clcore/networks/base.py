"""What a network file provides."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor, nn


class Network(nn.Module, ABC):
    """K networks side by side: inputs `(K, B, *input_shape)` → logits `(K, B, outputs)`.

    A network declares its facts as class attributes and ends in `self.head`, a `Linear` whose outputs the scenario masks; None
    where every task has a head of its own.
    """

    title: ClassVar[str]
    summary: ClassVar[str]
    head: nn.Module | None

    def __init__(
        self, input_shape: Sequence[int], outputs: int, hidden: Sequence[int], generators: Sequence[torch.Generator]
    ):
        super().__init__()
        self.outputs = outputs

    @abstractmethod
    def forward(self, x: Tensor) -> Tensor: ...

    @property
    @abstractmethod
    def widths(self) -> tuple[int, ...]:
        """Every width an activation of one sample has, input and logits included (they decide the padding of batches)."""

    @property
    @abstractmethod
    def parameter_count(self) -> int | Tensor:
        """Trained numbers of one replica that are in use, dead units left out; a tensor (K,) where replicas differ."""

    @classmethod
    @abstractmethod
    def count_parameters(cls, input_shape: Sequence[int], outputs: int, hidden: Sequence[int]) -> int:
        """`parameter_count` before anything is built, for estimates."""
