"""The course of a stream without boundaries: which example it shows at every place, and when the clock strikes.

The `task-free` scenario. Nobody is told which task it is, in training or at test, nor that one ends and another begins. A
stream of T tasks is one sequence of T·N examples. One *comes by* `epochs` times, as a stream knows no passes: N = epochs · n,
where n is what each task has for training; with 1 epoch the stream is seen once, which the literature calls online.

**Blurred transitions.** Around the place B where a task has brought its N examples, within w = blur · N places, the share of
the next task's examples grows in a straight line from 0 to 1 (van de Ven et al., 2022, mix neighbouring contexts like
this). Places in mirror image about B are drawn together: of B−1−i and B+i one shows the task and the other the next one, the
earlier place the next one with probability (w/2 − i − ½)/w. So every place has exactly the share that the line says, and
every task shows exactly N examples, whatever was drawn. Blur 0 is a stream with hard changes that nobody announces.

**Gradual change.** With `views` > 1 a task is no set of examples seen in one way, but a part of a slow change: its N places
show V views, one after another. There is nothing to blur then. A view is numbered t·V + v, and wherever the other scenarios
have an example's task (batches, memories), these streams have its view (`Stream.task_of`). A view is what one needs to show
an example again, not something that a method may look at.

**Fixed points.** The accuracy matrix is filled after every N examples: T rows beside the untrained one. At such a point a
blurred stream shows as many examples of the next task as of the present one.

**The clock.** A method that has to consolidate now and then (`needs_boundaries`) does so whenever the number of examples passed
reaches a multiple of `period` = `update_period` · N, wherever the tasks change; not at the stream's end, where nothing would
use it. What it measures, it measures on the examples that have passed since the last time.

All of it follows from a replica's seed and the place: nothing has to be remembered to go on from the middle.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from clcore.benchmarks.base import Benchmark, Examples, Split, Task, example_codes
from clcore.randomness import generator


class Course:
    """The sequence of T·N examples of every seed. `views`: how many a task has."""

    def __init__(
        self,
        examples: Examples,
        tasks: Sequence[Split],
        seeds: Sequence[int],
        rows: Tensor,
        *,
        blur: float,
        update_period: float,
        views: int = 1,
    ):
        """`tasks` are the training examples of each task, equally many; `seeds` (S) decide the rows that replicas read."""
        self._examples, self._tasks, self._seeds, self._rows = examples, list(tasks), list(seeds), rows
        self.views = views
        self.blur = 0.0 if views > 1 else blur
        self.update_period = update_period

    @classmethod
    def of(
        cls, benchmark: Benchmark, examples: Examples, tasks: Sequence[Task], seeds: Sequence[int], rows: Tensor, views: int = 1
    ) -> Course | None:
        """How a benchmark goes through its tasks where there are no boundaries; None in the other scenarios."""
        if benchmark.scenario != "task-free":
            return None
        blur, period = benchmark.options.blur, benchmark.options.update_period
        return cls(examples, [t.train for t in tasks], seeds, rows, blur=blur, update_period=period, views=views)

    def length(self, epochs: int) -> int:
        """N: places between two fixed points."""
        return epochs * self._tasks[0].width

    def period(self, epochs: int) -> int:
        """Examples between two strokes of the clock."""
        return max(1, round(self.update_period * self.length(epochs)))

    def part(self, index: int, epochs: int) -> Split:
        """The places between two fixed points: the `index`-th N of them."""
        length = self.length(epochs)
        return self.between(index * length, (index + 1) * length, epochs)

    def between(self, start: int, stop: int, epochs: int) -> Split:
        """The places from `start` to before `stop`, in the order of the stream."""
        length = self.length(epochs)
        first, behind = start // length, max(start // length + 1, -(-stop // length))  # parts, at least one
        shown = [self._part(t, epochs) for t in range(first, behind)]
        cut = slice(start - first * length, stop - first * length)
        tasks, ids, fresh = (torch.cat(tables, 1)[:, cut].to(self._rows.device) for tables in zip(*shown, strict=True))
        lengths = torch.full((len(self._seeds),), stop - start, device=self._rows.device)
        return Split(self._examples, tasks, ids, lengths, self._rows, None if epochs == 1 else fresh)

    def _part(self, index: int, epochs: int) -> tuple[Tensor, Tensor, Tensor]:
        """Of one part, (S, N) each: what the examples are seen as, their ids, and whether they come by for the first time."""
        rows = [self._row(s, index, epochs) for s in range(len(self._seeds))]
        tasks, ids, fresh = (torch.stack(column) for column in zip(*rows, strict=True))
        return tasks, ids, fresh

    def _row(self, s: int, index: int, epochs: int) -> tuple[Tensor, Tensor, Tensor]:
        length, last = self.length(epochs), len(self._tasks) - 1
        before = self._swapped(s, index - 1, epochs) if index > 0 else torch.zeros(0, dtype=torch.bool)
        after = self._swapped(s, index, epochs) if index < last else torch.zeros(0, dtype=torch.bool)
        task = torch.full((length,), index)
        task[: len(before)][before] = index - 1
        task[length - len(after) :][after.flip(0)] = index + 1
        ids, fresh = torch.zeros(length, dtype=torch.long), torch.zeros(length, dtype=torch.bool)
        # A task's examples come in an order of their own: the first of them early, in the part before, the last of them late.
        for t, first in ((index - 1, length - int(before.sum())), (index, int(before.sum())), (index + 1, 0)):
            here = task == t
            if bool(here.any()):
                order, size = self._order(s, t, epochs), self._tasks[t].width
                ranks = torch.arange(first, first + int(here.sum()))
                ids[here], fresh[here] = order[ranks], ranks < size
        if self.views > 1:
            task = task * self.views + torch.arange(length) * self.views // length
            fresh = _first_times(example_codes(task, ids))
        return task, ids, fresh

    def _swapped(self, s: int, index: int, epochs: int) -> Tensor:
        """(w/2,) bool, from the middle of the change after task `index` outwards: whether the earlier of two mirror places
        shows the next task, and so the later one this task."""
        half = int(self.blur * self.length(epochs) / 2)
        chance = (half - torch.arange(half, dtype=torch.float64) - 0.5) / max(1, 2 * half)
        draw = torch.rand(half, generator=generator(self._seeds[s], f"stream/blur {index}"), dtype=torch.float64)
        return draw < chance

    def _order(self, s: int, task: int, epochs: int) -> Tensor:
        """(N,) ids of a task in the order in which they come by: every one once before any comes again."""
        draws, table = generator(self._seeds[s], f"stream/course {task}"), self._tasks[task].table[s].cpu()
        return torch.cat([table[torch.randperm(len(table), generator=draws)] for _ in range(epochs)])


def _first_times(codes: Tensor) -> Tensor:
    """Which of the codes (N,) stand before all others like them."""
    ordered, order = codes.sort(stable=True)
    new = torch.ones_like(codes, dtype=torch.bool)
    new[1:] = ordered[1:] != ordered[:-1]
    return torch.zeros_like(new).scatter(0, order, new)
