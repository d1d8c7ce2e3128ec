"""A few examples of a task that stand for all of them, as positions in its training split."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from clcore.benchmarks.base import Split
from clcore.randomness import Generators

_CANDIDATES = 10_000  # examples that k-center looks at
_PIECE = 256


def random_examples(split: Split, size: int, generators: Generators) -> Tensor:
    """(K, size) positions of different examples, drawn uniformly."""
    chosen = [torch.randperm(int(n), generator=g)[:size] for n, g in zip(split.lengths, generators, strict=True)]
    return torch.stack(chosen).to(split.indices.device)


def central_examples(split: Split, size: int, pulse: Callable[[], None] = lambda: None) -> Tensor:
    """(K, size) positions of the greedy k-center solution in input space, among the first 10,000 examples.

    (A split's order is random, so these are a fair sample of a longer one.)
    """
    candidates, device = min(split.width, _CANDIDATES), split.indices.device
    points = []
    for start in range(0, candidates, _PIECE):
        pulse()
        positions = torch.arange(start, min(candidates, start + _PIECE), device=device)
        x, _ = split.gather(positions.expand(len(split.lengths), -1))
        points.append(x.flatten(2))
    return farthest_first(torch.cat(points, 1), split.lengths.to(device).clamp_max(candidates), size, pulse)


def farthest_first(points: Tensor, lengths: Tensor, size: int, pulse: Callable[[], None] = lambda: None) -> Tensor:
    """(K, size) indices: the first of `points` (K, N, d), then always the one farthest from all chosen (Gonzalez, 1985).

    `lengths` (K,) says how many points are meant.
    """
    chosen = torch.zeros(len(points), size, dtype=torch.long, device=points.device)
    distance = points.new_full(points.shape[:2], torch.inf)  # to the nearest chosen point
    distance[torch.arange(points.shape[1], device=points.device) >= lengths.unsqueeze(1)] = -1
    for i in range(1, size):
        pulse()
        last = chosen[:, i - 1 : i]
        newest = points.gather(1, last.unsqueeze(2).expand(-1, -1, points.shape[2]))
        to_newest = torch.cdist(points, newest, compute_mode="donot_use_mm_for_euclid_dist").squeeze(2)
        distance = torch.minimum(distance, to_newest).scatter_(1, last, -1)
        chosen[:, i] = distance.argmax(1)
    return chosen


def without(split: Split, positions: Tensor) -> Split:
    """The split less the examples at `positions` (K, n), in its order."""
    lengths = split.lengths.to(positions.device)
    gone = torch.arange(split.width, device=positions.device) >= lengths.unsqueeze(1)
    gone = gone.scatter(1, positions, True)
    left = gone.to(torch.uint8).argsort(dim=1, stable=True)[:, : split.width - positions.shape[1]]
    return split.subset(left, lengths - positions.shape[1])
