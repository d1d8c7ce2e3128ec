"""Which training examples a seed holds out for validation, and in which order it shows them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from clcore.randomness import generator


def held_out(counts: Sequence[int], share: float) -> list[int]:
    """How many of each class's training examples are held out: the share, rounded, and at least one."""
    return [min(n - 1, max(1, round(share * n))) if share > 0 and n > 1 else 0 for n in counts]


@dataclass(frozen=True)
class Partition:
    """One seed's training and validation ids, in random order; the same whatever the tasks, their number and scenario.

    A validation example of one task is never a training example of another, which matters where tasks share examples.
    """

    train: Tensor
    validation: Tensor


def partition(train_ids: Tensor, labels: Tensor, classes: int, share: float, seed: int) -> Partition:
    """Splits `train_ids` (n,), whose classes `labels` (n,) gives, class by class. All on the CPU."""
    order = torch.randperm(len(train_ids), generator=generator(seed, "stream/validation"))
    shuffled = labels[order]
    counts = torch.bincount(labels, minlength=classes)
    by_class = shuffled.argsort(stable=True)
    rank = torch.empty_like(order)  # each example's place among those of its class
    rank[by_class] = torch.arange(len(order)) - (counts.cumsum(0) - counts)[shuffled[by_class]]
    held = rank < torch.tensor(held_out(counts.tolist(), share))[shuffled]
    ids = train_ids[order]
    return Partition(ids[~held], ids[held])


def subset(ids: Tensor, size: int | None, seed: int, task: int) -> Tensor:
    """`size` of `ids` (n,), drawn for this seed and task; all of them for None."""
    if size is None:
        return ids
    return ids[torch.randperm(len(ids), generator=generator(seed, f"stream/subset {task}"))[:size]]


def shuffled_test(test_ids: Tensor) -> Tensor:
    """`test_ids` (n,) in one random order for all seeds: a preview takes the first few, and MNIST's are easier."""
    return test_ids[torch.randperm(len(test_ids), generator=generator(0, "test order"))]


def padded(lists: Sequence[Tensor], width: int) -> tuple[Tensor, Tensor]:
    """Ids (S, width), each row padded with its first id, and lengths (S,).

    The caller's `width` does not depend on which seeds are trained together, so that shapes do not either.
    """
    table = torch.stack([torch.cat([ids, ids[:1].expand(width - len(ids))]) for ids in lists])
    return table, torch.tensor([len(ids) for ids in lists])
