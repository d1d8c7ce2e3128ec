"""Streams whose every task is the whole data set, seen in another way: permuted, rotated."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence

import torch
from torch import Tensor

from clcore.benchmarks.base import Benchmark, Examples, Inputs, Split, Stream, Task, distinct_rows, output_groups
from clcore.benchmarks.course import Course
from clcore.benchmarks.partition import held_out, padded, partition, shuffled_test, subset


class WholeSetBenchmark(Benchmark):
    """Every task has all C classes and the full test set; training examples may be a subset drawn for each task.

    Output unit of class c in task t: c in the domain scenario and without boundaries, t·C + c in the task and class scenarios.
    """

    def views(self) -> int:
        """In how many ways a task shows its examples, one after another: more than one where a stream changes all the time."""
        return 1

    @abstractmethod
    def inputs(self, distinct: Sequence[int], rows: Tensor) -> Inputs:
        """How the tasks show the examples, for the `distinct` seeds (S) and the replicas' `rows` (K,)."""

    @abstractmethod
    def task_names(self) -> list[str]:
        """A short name of every task."""

    @abstractmethod
    def input_bytes(self, rows: int) -> int:
        """Bytes that `inputs` keeps beside the data set, for `rows` distinct seeds."""

    def stream(self, seeds: Sequence[int]) -> Stream:
        source, options, classes = self.source, self.options, self.facts.classes
        self.check_train_per_task(
            sum(self.facts.train_counts) - sum(held_out(self.facts.train_counts, options.validation))
        )
        distinct, rows = self.rows(seeds)
        labels = source.labels.cpu()[source.train_ids]
        parts = [partition(source.train_ids, labels, classes, options.validation, seed) for seed in distinct]

        shared = self.scenario in ("domain", "task-free")
        views = self.views()
        own = torch.arange(classes).expand(options.tasks * views, classes)
        if not shared:
            own = own + classes * torch.arange(options.tasks).unsqueeze(1)
        units = own.expand(len(distinct), -1, -1).to(self.device)
        examples = Examples(self.inputs(distinct, rows), source.labels, units, rows)

        def table(lists: list[Tensor]) -> tuple[Tensor, Tensor]:
            ids, lengths = padded(lists, len(lists[0]))
            return ids.to(self.device), lengths.to(self.device)

        def drawn(task: int) -> tuple[Tensor, Tensor]:
            return table(
                [subset(p.train, options.train_per_task, s, task) for p, s in zip(parts, distinct, strict=True)]
            )

        everything = drawn(0) if options.train_per_task is None else None
        validation = table([p.validation for p in parts]) if options.validation > 0 else None
        test = table([shuffled_test(source.test_ids)])
        tasks = [
            Task(
                index=t,
                name=name,
                train=Split(examples, seen, *(everything or drawn(t)), rows),
                validation=Split(examples, seen, *validation, rows) if validation else None,
                test=Split(examples, seen, *test, torch.zeros_like(rows)),
            )
            for t, name in enumerate(self.task_names())
            for seen in [(t + 1) * views - 1]  # as the stream shows it when it comes to the task's end
        ]
        return Stream(
            tasks=tasks,
            outputs=classes if shared else classes * options.tasks,
            input_shape=self.facts.shape,
            groups=output_groups(options.tasks, classes, self.scenario).to(self.device),
            scenario=self.scenario,
            classes_per_task=classes,
            examples=examples,
            course=Course.of(self, examples, tasks, distinct, rows, views),
        )

    def memory_estimate(self, replicas: int) -> int:
        options, facts = self.options, self.facts
        held = sum(held_out(facts.train_counts, options.validation))
        if options.train_per_task is None:
            kept = sum(facts.train_counts) - held
        else:
            kept = options.train_per_task * options.tasks
        rows = distinct_rows(options, replicas)
        tables = 8 * (rows * (kept + held + 3 * options.tasks + options.tasks * facts.classes) + sum(facts.test_counts))
        return facts.bytes + tables + 8 * replicas + self.input_bytes(rows)

    def ways_to_shrink(self) -> str:
        others = super().ways_to_shrink()
        return " or ".join(filter(None, ["fewer tasks", others])) if self.options.tasks > 1 else others
