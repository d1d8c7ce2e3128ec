"""A mini-batch of all replicas."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor


@dataclass(frozen=True)
class Batch:
    """One gradient step's examples, for K replicas.

    x       (K, B, *input_shape) inputs
    y       (K, B) output units, 0..outputs-1
    weight  (K, B) 1 for an example, 0 for padding
    count   (K,) examples per replica: the sum of `weight`
    task    the 0-based task all examples come from, or (K, B) where they are mixed; on a stream without boundaries their
            view (see benchmarks/course.py): what shows them again, not what a method may look at
    ids     (K, B) positions of the examples in the data set (what a memory stores)
    epoch   (K,) how often each replica has been through the data, from 0
    ends    (K,) whether this is the last step of a replica's pass through its data
    passes  (K,) how many steps such a pass takes
    fresh   (K, B) bool: which examples a first pass shows for the first time, where not all of them are new: they came by in an
            earlier task or phase, or earlier in a pass without boundaries (None: all)
    replay  what a method mixed in; each part is a batch of its own
    slots   (K, B) where a replayed example lies in its memory
    padded  False where every row is known to be an example of its replica
    stored  what the memory keeps with each replayed example beside itself: name → (K, B, …)
    kept    the logits its loss was computed from, for terms of the same step (see `Classifier.logits`)
    """

    x: Tensor
    y: Tensor
    weight: Tensor
    count: Tensor
    task: int | Tensor
    ids: Tensor
    epoch: tuple[int, ...] = ()
    ends: tuple[bool, ...] = ()
    passes: tuple[int, ...] = ()
    fresh: Tensor | None = None
    replay: tuple[Batch, ...] = ()
    slots: Tensor | None = None
    stored: Mapping[str, Tensor] = field(default_factory=dict)
    padded: bool = True
    kept: list[Tensor] = field(default_factory=list, init=False, repr=False, compare=False)

    @property
    def parts(self) -> tuple[Batch, ...]:
        """The current examples, then every replayed part (each without its own `replay`)."""
        return (self, *self.replay)

    def take(self, positions: Tensor, rows: int) -> Batch:
        """The examples at `positions` (K, n) of a replayed part, padded with weight 0 to `rows`."""
        replicas, n = positions.shape
        at = torch.cat([positions, positions.new_zeros(replicas, rows - n)], 1)

        def chosen(values: Tensor) -> Tensor:
            index = at.view(replicas, rows, *[1] * (values.dim() - 2)).expand(replicas, rows, *values.shape[2:])
            return values.gather(1, index)

        weight = chosen(self.weight)
        weight[:, n:] = 0
        return replace(
            self, x=chosen(self.x), y=chosen(self.y), weight=weight, count=weight.sum(1), task=chosen(self.task),
            ids=chosen(self.ids), slots=chosen(self.slots), stored={k: chosen(v) for k, v in self.stored.items()}, padded=True,
        )  # fmt: skip

    def with_replay(self, part: Batch) -> Batch:
        return replace(self, replay=(*self.replay, part))
