"""Fills rows of the accuracy matrix.

Examples go through the network in chunks of a fixed size, so that a replica's accuracy does not depend on who is evaluated
beside it. A row is exact: it counts every example of every task's split.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from clcore.benchmarks.base import Split, Stream
from clcore.methods.base import Method
from clcore.networks.classifier import Classifier

CHUNK = 128
_LIVE_CACHE_NUMBERS = 1 << 26


class Evaluator:
    """Accuracies `(K, T)` of a group of replicas, NaN where a cell has no meaning.

    `unsound` (K,) marks replicas whose outputs were not finite; their cells are NaN. Live evaluation does not mark: how often
    one looks must not decide who has diverged.
    """

    def __init__(
        self, method: Method, classifier: Classifier, stream: Stream, live_examples: int, pulse: Callable[[], None]
    ):
        self.method, self.classifier, self.stream = method, classifier, stream
        self.live_examples = live_examples
        self.pulse = pulse
        self.unsound = torch.zeros(len(stream.tasks[0].test.lengths), dtype=torch.bool)
        self._live: dict[int, list[tuple[Tensor, Tensor, Tensor]]] = {}

    def row(self, seen_tasks: int, which: str = "test") -> Tensor | None:
        """Row `seen_tasks` (0: untrained) on the `test` or `validation` splits, `(K, T)` on the CPU; None without data."""
        splits = [getattr(task, which) for task in self.stream.tasks]
        if any(split is None for split in splits):
            return None
        columns = [self._cell(t, seen_tasks, split) for t, split in enumerate(splits)]
        return torch.stack(columns, 1)

    def live(self, seen_tasks: int) -> Tensor:
        """(K, T) on a fixed subset of each seen task's test split; NaN for tasks not seen yet. Never used for decisions."""
        replicas = len(self.stream.tasks[0].test.lengths)
        result = torch.full((replicas, len(self.stream.tasks)), torch.nan, dtype=torch.float64)
        for t in range(seen_tasks):
            result[:, t] = self._accuracy(t, seen_tasks, self._live_chunks(t, replicas), mark=False)
        return result

    def _live_chunks(self, task: int, replicas: int):
        """The fixed subset of a task, gathered once where memory allows."""
        subset = _chunks(self.stream.tasks[task].test, self.live_examples)
        numbers = replicas * self.live_examples * math.prod(self.stream.input_shape)
        if numbers * len(self.stream.tasks) > _LIVE_CACHE_NUMBERS:
            return subset
        if task not in self._live:
            self._live[task] = list(subset)
        return self._live[task]

    def accuracy(self, task: int, split: Split) -> Tensor:
        """(K,) accuracy on one split of a task that is being learned."""
        return self._accuracy(task, task + 1, _chunks(split))

    def _cell(self, task: int, seen_tasks: int, split: Split) -> Tensor:
        unseen = task >= seen_tasks
        if self.classifier.scenario == "class" and unseen:
            # Classes that were never seen cannot be predicted: 0, or no meaning before any training.
            return torch.full((len(split.lengths),), 0.0 if seen_tasks else torch.nan, dtype=torch.float64)
        if unseen and not self.method.predicts_unseen:
            return torch.full((len(split.lengths),), torch.nan, dtype=torch.float64)
        return self._accuracy(task, seen_tasks, _chunks(split))

    @torch.no_grad()
    def _accuracy(self, task: int, seen_tasks: int, chunks, *, mark: bool = True) -> Tensor:
        units = self.classifier.predicted_units(task, seen_tasks)
        masked = None if bool(units.all()) else ~units
        correct = total = 0
        finite = True
        for x, y, weight in chunks:
            self.pulse()
            logits = self.method.predict(x, task)
            finite = finite & torch.isfinite(logits).flatten(1).all(1)
            if masked is not None:
                logits = logits.masked_fill(masked, float("-inf"))
            correct = correct + ((logits.argmax(-1) == y) & weight).sum(1)
            total = total + weight.sum(1)
        accuracy = correct.cpu().double() / total.cpu().double()
        unsound = ~finite.cpu()  # the largest of NaNs is no prediction
        if mark:
            self.unsound |= unsound
        return accuracy.masked_fill(unsound, torch.nan)


def _chunks(split: Split, first: int | None = None):
    """Yields x (K, n, …), y (K, n) and which of them count (K, n); n is CHUNK, or what holds the `first` examples.

    What fills up the last chunk are examples from the beginning again, for methods that answer a whole batch at once (SupSup).
    """
    device = split.indices.device
    lengths = split.lengths.to(device).unsqueeze(1)
    if first is not None:
        lengths = lengths.clamp_max(first)
    longest = int(lengths.max())
    size = CHUNK if first is None else min(CHUNK, -(-first // 4) * 4)
    for start in range(0, longest, size):
        positions = torch.arange(start, start + size, device=device).expand(len(lengths), size)
        weight = positions < lengths
        x, y = split.gather(positions % lengths)
        yield x, y, weight
