"""A replay memory that is a uniform sample of everything offered to it.

Vitter's reservoir in its random-key form: every offered example draws a key, the M largest keys stay. That is exactly uniform,
takes whole batches at once, and each replica may have its own budget. What is stored is where an example lies in the data set
(task and position); `footprint` charges the bytes a memory of real examples would take.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from clcore.batch import Batch
from clcore.benchmarks.base import Stream
from clcore.networks.layers import aligned_rows
from clcore.randomness import Generators
from clcore.state import Stateful

_PREDRAWN_FLOATS = 1 << 20


class Reservoir(Stateful):
    """K memories with budgets `(K,)`: keys, tasks and ids are `(K, M)` with M the largest budget."""

    context_fields = frozenset({"stream", "widths"})

    def __init__(
        self, stream: Stream, budgets: Tensor, widths: tuple[int, ...], insertions: Generators, draws: Generators
    ):
        self.stream = stream
        self.widths = widths
        self.insertions, self.draws = insertions, draws
        everything = sum(task.train.width for task in stream.tasks)
        capacity = max(1, min(int(budgets.max()), everything))
        shape = (len(budgets), capacity)
        self.budgets = budgets.to("cpu", torch.long)
        self.keys = torch.full(shape, -1.0, dtype=torch.float64)
        # An empty slot names some example of the first task: it enters replay batches with weight 0, so it must be one.
        self.tasks = torch.zeros(shape, dtype=torch.long)
        self.ids = stream.tasks[0].train.indices[:, :1].cpu().repeat(1, capacity)
        self.restored()

    def restored(self) -> None:
        self._deck: list[Batch] = []
        self._counts: Tensor | None = None

    @property
    def counts(self) -> Tensor:
        """(K,) examples held, on the CPU."""
        if self._counts is None:
            self._counts = (self.keys >= 0).sum(1)
        return self._counts

    def offer(self, task: int | Tensor, ids: Tensor, valid: Tensor) -> None:
        """Offers `ids` `(K, B)` of a task (or of one each, `(K, B)`) where `valid`; draws keys for valid ones, in order."""
        ids, valid = ids.cpu(), valid.cpu()
        keys = torch.full(ids.shape, -1.0, dtype=torch.float64)
        for k, generator in enumerate(self.insertions):
            n = int(valid[k].sum())
            if n and self.budgets[k]:
                keys[k, valid[k]] = torch.rand(n, generator=generator, dtype=torch.float64)
        everything = torch.cat([self.keys, keys], 1)
        best, order = everything.topk(self.keys.shape[1], dim=1)
        beyond = torch.arange(best.shape[1]) >= self.budgets.unsqueeze(1)
        self.keys = best.masked_fill(beyond, -1.0)
        tasks = torch.as_tensor(task).cpu().expand(ids.shape)
        self.tasks = torch.cat([self.tasks, tasks], 1).gather(1, order)
        self.ids = torch.cat([self.ids, ids], 1).gather(1, order)
        self.restored()

    def draw(self, size: int, *, ahead: int = 1) -> Batch | None:
        """A replay batch `(K, size)`: without replacement while a memory holds that many, else every example once.

        None while every memory is empty. `ahead` draws may be made at once while the memory does not change.
        """
        if not self._deck:
            if not bool(self.counts.any()):
                return None
            self._deck = self._deal(size, ahead)
        return self._deck.pop()

    def _deal(self, size: int, ahead: int) -> list[Batch]:
        rows = aligned_rows(size, self.widths)
        per_draw = max(self.keys.shape[1], rows * math.prod(self.stream.input_shape))
        # The number of draws made at once decides how far generators run, so it must not depend on other replicas.
        chosen, weights = [], []
        for k, generator in enumerate(self.draws):
            held = int(self.counts[k])
            slots = torch.zeros(ahead, rows, dtype=torch.long)
            weight = torch.zeros(ahead, rows)
            if held >= size:
                slots[:, :size] = torch.rand(ahead, held, generator=generator).topk(size, dim=1).indices
                weight[:, :size] = 1
            elif held:
                slots[:, :held] = torch.arange(held)
                weight[:, :held] = 1
            chosen.append(slots)
            weights.append(weight)
        slots = torch.stack(chosen).flatten(1)  # (K, ahead·rows)
        device = self.stream.device
        tasks, ids = self.tasks.gather(1, slots).to(device), self.ids.gather(1, slots).to(device)
        weight = torch.stack(weights).to(device)
        together = max(1, _PREDRAWN_FLOATS // (per_draw * len(self.budgets)))
        deck: list[Batch] = []
        for start in range(0, ahead, together):
            stop = min(ahead, start + together)
            part = slice(start * rows, stop * rows)
            x, y = self.stream.gather(tasks[:, part], ids[:, part])
            for i in range(stop - start):
                at = slice(i * rows, (i + 1) * rows)
                w = weight[:, start + i]
                deck.append(Batch(x[:, at], y[:, at], w, w.sum(1), tasks[:, part][:, at], ids[:, part][:, at]))
        return deck[::-1]

    def footprint(self) -> Tensor:
        """(K,) bytes: inputs as the data set keeps them, and 8 bytes of label and task each, for every example held."""
        return self.counts * (self.stream.example_bytes + 8)
