"""What a network file provides."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from clcore.knobs import Knobs
from clcore.networks.layers import Layer
from clcore.networks.norms import BatchNorm2d


class Network(nn.Module, ABC):
    """K networks side by side: inputs `(K, B, *input_shape)` → logits `(K, B, outputs)`.

    A network declares its facts as class attributes and ends in `self.head`, a `Linear` whose outputs the scenario masks; None
    where every task has a head of its own. It answers with what it knows, batch normalisation with its running statistics;
    `networks/norms.py` says how a pass of training differs.
    """

    title: ClassVar[str]
    summary: ClassVar[str]
    hidden: ClassVar[tuple[int, ...] | None] = None  # its usual fully connected layers; None: what suits the benchmark
    takes_hidden: ClassVar[bool] = True  # whether their widths can be chosen
    pictures: ClassVar[bool] = False  # whether it needs inputs with height and width
    halvings: ClassVar[int | str] = 0  # how often it halves them at full size, or the option that says so

    class Options(Knobs):
        """What can be chosen of this network beside the widths of its fully connected layers."""

    head: nn.Module | None

    def __init__(
        self, input_shape: Sequence[int], outputs: int, hidden: Sequence[int], generators: Sequence[torch.Generator],
        **options: Any,
    ):  # fmt: skip
        super().__init__()
        self.outputs = outputs

    @abstractmethod
    def forward(self, x: Tensor) -> Tensor: ...

    def several(self, xs: Sequence[Tensor]) -> list[Tensor]:
        """The logits for each of several inputs. A network may save work that their passes share, if it changes no bit."""
        return [self(x) for x in xs]

    @property
    def stacks(self) -> bool:
        """Whether `several` takes all inputs through plain `Linear` layers below one another (see stacking.py)."""
        return False

    @property
    @abstractmethod
    def widths(self) -> tuple[int, ...]:
        """The widths of a sample's activations, input and logits included, that decide the padding of batches.

        Empty where a replica alone and among others need not be the same to the last bit.
        """

    @property
    def parameter_count(self) -> int | Tensor:
        """Trained numbers of one replica that are in use, dead units left out; a tensor (K,) where replicas differ."""
        return sum(layer.parameter_count for layer in self.modules() if isinstance(layer, Layer))

    @cached_property
    def batch_norms(self) -> list[BatchNorm2d]:
        """The layers with running statistics."""
        return [module for module in self.modules() if isinstance(module, BatchNorm2d)]

    @property
    def statistics(self) -> list[Tensor]:
        """What the network knows beside its parameters, `(K, …)` each: the running statistics. They are state, too."""
        return [values for norm in self.batch_norms for values in (norm.running_mean, norm.running_var)]

    @property
    def statistic_count(self) -> int | Tensor:
        """Numbers in the `statistics` of one replica that are in use; a tensor (K,) where replicas differ."""
        return sum(values[0].numel() for values in self.statistics)

    @classmethod
    @abstractmethod
    def count_parameters(cls, input_shape: Sequence[int], outputs: int, hidden: Sequence[int], **options: Any) -> int:
        """`parameter_count` before anything is built, for estimates."""

    @classmethod
    def count_activations(cls, input_shape: Sequence[int], outputs: int, hidden: Sequence[int], **options: Any) -> int:
        """Numbers that one example's forward pass keeps for the backward pass beside its input, for estimates."""
        return sum(hidden) + outputs


@dataclass(frozen=True)
class Design:
    """A network as a spec describes it, before it is built."""

    kind: type[Network]
    hidden: tuple[int, ...]
    options: dict[str, Any] = field(default_factory=dict)

    def build(self, input_shape: Sequence[int], outputs: int, generators: Sequence[torch.Generator]) -> Network:
        return self.kind(input_shape, outputs, self.hidden, generators, **self.options)

    def count_parameters(self, input_shape: Sequence[int], outputs: int, hidden: Sequence[int] | None = None) -> int:
        """Of this network, or of one that differs in its `hidden` layers."""
        return self.kind.count_parameters(
            input_shape, outputs, self.hidden if hidden is None else hidden, **self.options
        )

    def count_activations(self, input_shape: Sequence[int], outputs: int) -> int:
        return self.kind.count_activations(input_shape, outputs, self.hidden, **self.options)
