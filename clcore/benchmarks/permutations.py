"""Permuted streams: every task is the whole data set with the pixels in another order (Goodfellow et al., 2013)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor

from clcore.benchmarks.base import Inputs, StreamOptions
from clcore.benchmarks.sources import Source
from clcore.benchmarks.whole_sets import WholeSetBenchmark
from clcore.knobs import knob
from clcore.randomness import generator


class PermutedInputs(Inputs):
    """Input number i of an example in task t is its stored number `permutations[row, t, i]`."""

    def __init__(self, source: Source, shape: Sequence[int], rows: Tensor, permutations: Tensor):
        """`permutations` (S, T, d)."""
        super().__init__(source.data.flatten(1), shape, source.scale, rows, source.shift)
        self.permutations = permutations

    def fill(self, out: Tensor, task: int | Tensor, ids: Tensor) -> None:
        if isinstance(task, int):
            order = self.permutations[self.rows, task].unsqueeze(1).expand(*ids.shape, -1)
        else:
            order = self.chosen(self.permutations, task)
        # Whole rows first, then a gather within bytes: a third of the time of one gather of scattered single bytes.
        torch.mul(self.examples(ids).gather(2, order), self.scale, out=out)


class PermutedBenchmark(WholeSetBenchmark):
    """One pixel permutation per task, drawn from the stream's seed and the task's index alone."""

    scenarios = ("domain", "task", "class", "task-free")
    default_scenario = "domain"

    class Options(StreamOptions):
        tasks: int = knob(5, ge=1, le=50, help="number of tasks, each with a permutation of its own")
        first: Literal["permuted", "identity"] = knob(
            "permuted", help="the first task: permuted like the others, or the images as they are"
        )

    def inputs(self, distinct: Sequence[int], rows: Tensor) -> Inputs:
        tasks = range(self.options.tasks)
        permutations = torch.stack([torch.stack([self._permutation(seed, t) for t in tasks]) for seed in distinct])
        return PermutedInputs(self.source, self.facts.shape, rows, permutations.to(self.device))

    def _permutation(self, seed: int, task: int) -> Tensor:
        if task == 0 and self.options.first == "identity":
            return torch.arange(self.facts.numbers)
        return torch.randperm(self.facts.numbers, generator=generator(seed, f"stream/permutation {task}"))

    def task_names(self) -> list[str]:
        names = [f"permutation {t + 1}" for t in range(self.options.tasks)]
        if self.options.first == "identity":
            names[0] = "as it is"
        return names

    def input_bytes(self, rows: int) -> int:
        return 8 * rows * self.options.tasks * self.facts.numbers
