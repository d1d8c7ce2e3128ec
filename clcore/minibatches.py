"""Mini-batches of K replicas: fixed shapes, padding by weight, gathers in chunks.

Every replica goes through its own examples in its own order, drawn from its own generator, one permutation per pass. The last
mini-batch of a pass is padded with weight 0. A replica with a shorter stream is through earlier; its later batches are all
padding. Several steps are gathered at once because a gather costs more to start than to run. Where the stream augments its
images, each example of a pass gets a view, drawn from the same generator as the pass's order. A part of a stream without
boundaries (`in_order`) is gone through once, as it is.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from clcore.batch import Batch
from clcore.benchmarks.augmentation import Augmentation
from clcore.benchmarks.base import Split, Stream
from clcore.networks.layers import aligned_rows
from clcore.randomness import Generators

# Numbers of inputs that are gathered at once: what stays in a CPU's cache until it is used, what keeps a GPU from waiting.
_CHUNK_FLOATS = {"cpu": 1 << 19, "cuda": 1 << 26, "mps": 1 << 23}
# Of many networks, whose steps leave no room in a cache anyhow, a few steps: starting a gather takes longer than reading twice.
_STEPS, _MOST_FLOATS = 5, 1 << 23



class MiniBatches:
    """The mini-batches of one phase: `epochs` passes over the training splits of `tasks`, or over `splits` of them. A
    fraction cuts the last pass short, so that no step ends it; one step is the least.

    steps     (K,) gradient steps each replica takes; 0 for those that are not `active`
    seen      (K,) examples of the stream that have entered a gradient step so far
    counts_in (K,) 1; 0 for those that are left out of the count
    """

    def __init__(
        self,
        stream: Stream,
        tasks: Sequence[int],
        *,
        batch_size: int,
        epochs: float,
        generators: Generators,
        active: Tensor,
        widths: tuple[int, ...],
        splits: Sequence[Split] | None = None,
        in_order: bool = False,
        present: int = -1,
        known: Tensor | None = None,
    ):
        """`present` is the task being learned, `known` (K,) bool the replicas that went through its examples in an earlier
        phase: for `Batch.fresh`."""
        self.stream, self.tasks = stream, tuple(tasks)
        self.batch_size = batch_size
        self.rows = aligned_rows(batch_size, widths)
        self.splits: list[Split] = [stream.tasks[t].train for t in tasks] if splits is None else list(splits)
        self.lengths = sum(split.lengths.cpu() for split in self.splits)
        steps = (epochs * ((self.lengths + batch_size - 1) // batch_size).double()).round().long().clamp(min=1)
        self.steps = torch.where(active.cpu() & (self.lengths > 0), steps, 0)
        self.seen = torch.zeros(len(self.steps), dtype=torch.float64)
        self.counts_in = torch.ones(len(self.steps), dtype=torch.float64)
        self._current = torch.zeros(len(self.steps), dtype=torch.float64)
        self._generators = generators
        self._queues = [_Queue(int(n), batch_size, self.rows, stream.augmentation, in_order) for n in self.lengths]
        self._fresh = self.splits[0].fresh if in_order else None
        self._present = present
        all_new = known is None or (self.tasks == (present,) and not bool(known.any()))
        self._known = None if in_order or all_new else known

    def trained(self) -> None:
        """The batch yielded last has entered a gradient step."""
        self.seen.addcmul_(self._current, self.counts_in)

    @property
    def stepping(self) -> Tensor:
        """(K,) bool: replicas with examples in the batch yielded last."""
        return self._current > 0

    def leave_out(self, replica: int) -> None:
        """From now on, count no examples of a replica (it diverged)."""
        self.counts_in[replica] = 0

    def __iter__(self) -> Iterator[Batch]:
        total = int(self.steps.max())
        per_step = len(self.steps) * self.rows * math.prod(self.stream.input_shape)
        most = max(_CHUNK_FLOATS[self.stream.device.type], min(_STEPS * per_step, _MOST_FLOATS))
        together = max(1, most // per_step)
        for start in range(0, total, together):
            yield from self._chunk(start, min(total, start + together))

    def _chunk(self, start: int, stop: int) -> Iterator[Batch]:
        steps, rows, device = stop - start, self.rows, self.stream.device
        drawn = [
            queue.take(min(stop, int(limit)) - min(start, int(limit)), steps, generator)
            for queue, limit, generator in zip(self._queues, self.steps, self._generators, strict=True)
        ]
        positions = torch.stack([d[0] for d in drawn])  # (K, steps·rows)
        weight = torch.stack([d[1] for d in drawn])  # (K, steps, rows)
        epochs = list(zip(*(d[2] for d in drawn), strict=True))  # (steps, K)
        ends = list(zip(*(d[3] for d in drawn), strict=True))
        views = None if self.stream.augmentation is None else torch.stack([d[4] for d in drawn]).to(device)
        passes = tuple(queue.steps_per_pass for queue in self._queues)
        count = weight.sum(2)
        counts = count.double()  # on the CPU, for the books
        padded = (counts < rows).any(0).tolist()
        weight, count = weight.to(device), count.to(device)
        x, y, ids, task = self._gather(positions.to(device), views)
        fresh = None if self._fresh is None else self._fresh.gather(1, positions.to(device))
        if self._known is not None:
            of_present = torch.as_tensor(task, device=device) == self._present
            fresh = (of_present & ~self._known.to(device).unsqueeze(1)).expand(ids.shape)
        for s in range(steps):
            at = slice(s * rows, (s + 1) * rows)
            self._current = counts[:, s]
            yield Batch(
                x[:, at], y[:, at], weight[:, s], count[:, s],
                task if isinstance(task, int) else task[:, at], ids[:, at], epochs[s], ends[s], passes,
                fresh=None if fresh is None else fresh[:, at], padded=padded[s],
            )  # fmt: skip

    def _gather(self, positions: Tensor, views: Tensor | None) -> tuple[Tensor, Tensor, Tensor, int | Tensor]:
        if len(self.splits) == 1:
            split = self.splits[0]
            x, y = split.gather(positions, views)
            return x, y, split.ids(positions), split.tasks(positions)
        # Positions run through the splits one after another, each replica with its own lengths.
        ends = torch.stack([split.lengths for split in self.splits]).cumsum(0).to(positions.device)  # (tasks, K)
        which = (positions.unsqueeze(0) >= ends.unsqueeze(2)).sum(0)
        which = which % len(self.splits)  # a replica without examples has only padding: of the first task
        starts = torch.cat([torch.zeros_like(ends[:1]), ends[:-1]])
        local = positions - starts.T.gather(1, which)
        inside = [torch.minimum(local, s.lengths.to(local.device).unsqueeze(1) - 1) for s in self.splits]
        ids = torch.stack([s.ids(at) for s, at in zip(self.splits, inside, strict=True)])
        ids = ids.gather(0, which.unsqueeze(0)).squeeze(0)
        if any(s.mixed for s in self.splits):
            seen_as = [
                torch.as_tensor(s.tasks(at), device=at.device).expand(at.shape)
                for s, at in zip(self.splits, inside, strict=True)
            ]
            task = torch.stack(seen_as).gather(0, which.unsqueeze(0)).squeeze(0)
        else:
            task = torch.tensor(self.tasks, device=positions.device)[which]
        x, y = self.stream.gather(task, ids, views)
        return x, y, ids, task


class _Queue:
    """One replica's positions, pass after pass, handed out in padded steps; with an augmentation, each with a view."""

    def __init__(
        self, length: int, batch_size: int, rows: int, augmentation: Augmentation | None, in_order: bool = False
    ):
        self.in_order = in_order
        self.length, self.batch_size, self.rows = length, batch_size, rows
        self.augmentation = augmentation
        self.steps_per_pass = -(-length // batch_size)
        self.taken = 0
        self._positions = self._weight = self._views = None

    def take(
        self, real: int, steps: int, generator: torch.Generator
    ) -> tuple[Tensor, Tensor, list[int], list[bool], Tensor]:
        """`steps` padded steps of which the first `real` hold examples.

        Positions, weights (steps, rows), pass numbers, whether a step is its pass's last, and views (steps·rows, 3).
        """
        positions = torch.zeros(steps, self.rows, dtype=torch.long)
        weight = torch.zeros(steps, self.rows)
        views = torch.zeros(steps, self.rows, 3, dtype=torch.uint8)
        epochs, ends = [0] * steps, [False] * steps
        done = 0
        while done < real:
            epoch, within = divmod(self.taken, self.steps_per_pass)
            if within == 0:
                self._shuffle(generator)
            n = min(real - done, self.steps_per_pass - within)
            positions[done : done + n] = self._positions[within : within + n]
            weight[done : done + n] = self._weight[within : within + n]
            if self._views is not None:
                views[done : done + n] = self._views[within : within + n]
            epochs[done : done + n] = [epoch] * n
            ends[done + n - 1] = within + n == self.steps_per_pass
            done += n
            self.taken += n
        return positions.flatten(), weight, epochs, ends, views.flatten(0, 1)

    def _shuffle(self, generator: torch.Generator) -> None:
        padded = self.steps_per_pass * self.batch_size
        order = torch.zeros(padded, dtype=torch.long)
        order[: self.length] = (
            torch.arange(self.length) if self.in_order else torch.randperm(self.length, generator=generator)
        )
        counts = torch.zeros(padded)
        counts[: self.length] = 1
        self._positions = torch.zeros(self.steps_per_pass, self.rows, dtype=torch.long)
        self._weight = torch.zeros(self.steps_per_pass, self.rows)
        self._positions[:, : self.batch_size] = order.view(-1, self.batch_size)
        self._weight[:, : self.batch_size] = counts.view(-1, self.batch_size)
        if self.augmentation is not None:
            # A pass's views at once and after its order: how many steps are gathered together must not show.
            drawn = self.augmentation.draw(padded, generator).view(-1, self.batch_size, 3)
            self._views = torch.zeros(self.steps_per_pass, self.rows, 3, dtype=torch.uint8)
            self._views[:, : self.batch_size] = drawn
