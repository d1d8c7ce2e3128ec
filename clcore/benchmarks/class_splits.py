"""Split streams: the classes of a data set dealt out to tasks."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal

import torch
from torch import Tensor

from clcore.benchmarks.base import (
    Benchmark,
    Examples,
    Inputs,
    Split,
    Stream,
    StreamOptions,
    Task,
    distinct_rows,
    output_groups,
)
from clcore.benchmarks.course import Course
from clcore.benchmarks.partition import held_out, padded, partition, shuffled_test, subset
from clcore.knobs import knob
from clcore.randomness import generator


class SplitBenchmark(Benchmark):
    """Task t has C = classes / T classes of its own; test data are those classes' test examples.

    Output unit of the class at position p of task t: t·C + p in the task and class scenarios, p in the domain scenario.
    Without boundaries it is t·C + p as well, and all classes compete from the beginning: nobody says which were there, and a
    network may not count them by the tasks. There every task trains on equally many examples, as many as every order allows.
    """

    scenarios = ("task", "domain", "class", "task-free")
    default_scenario = "class"

    class Options(StreamOptions):
        tasks: int = knob(5, ge=1, le=10, divides=10, help="number of tasks; the 10 classes are dealt out evenly")
        order: Literal["natural", "seeded"] = knob(
            "natural", help="natural: classes in their usual order; seeded: each seed shuffles them"
        )

    def stream(self, seeds: Sequence[int]) -> Stream:
        source, facts, options, tasks = self.source, self.facts, self.options, self.options.tasks
        held = held_out(facts.train_counts, options.validation)
        kept = [n - h for n, h in zip(facts.train_counts, held, strict=True)]
        fewest = min(self._bound(kept, task, min) for task in range(tasks))
        self.check_train_per_task(fewest)
        size = options.train_per_task or (fewest if self.scenario == "task-free" else None)

        distinct, rows = self.rows(seeds)
        orders = [self._class_order(seed) for seed in distinct]  # each (T, C)
        units = torch.stack([self._units(order) for order in orders])
        inputs = Inputs(source.data.flatten(1), facts.shape, source.scale, rows, source.shift)
        examples = Examples(inputs, source.labels, units.to(self.device), rows)
        labels = source.labels.cpu()
        learned = labels[source.train_ids]
        parts = [partition(source.train_ids, learned, facts.classes, options.validation, seed) for seed in distinct]
        tested = shuffled_test(source.test_ids)

        def members(ids: Tensor, row: int, task: int) -> Tensor:
            return ids[units[row, task][labels[ids]] >= 0]

        def split(task: int, lists: list[Tensor], width: int) -> Split:
            table, lengths = padded(lists, width)
            return Split(examples, task, table.to(self.device), lengths.to(self.device), rows)

        def build(task: int) -> Task:
            train = [
                subset(members(part.train, row, task), size, seed, task)
                for row, (part, seed) in enumerate(zip(parts, distinct, strict=True))
            ]
            validation = [members(part.validation, row, task) for row, part in enumerate(parts)]
            test = [members(tested, row, task) for row in range(len(distinct))]
            return Task(
                index=task,
                name=self._task_name(task, orders),
                train=split(task, train, size or self._bound(kept, task, max)),
                validation=split(task, validation, self._bound(held, task, max)) if options.validation else None,
                test=split(task, test, self._bound(facts.test_counts, task, max)),
            )

        per_task = facts.classes // tasks
        outputs = per_task if self.scenario == "domain" else facts.classes
        built = [build(task) for task in range(tasks)]
        return Stream(
            tasks=built,
            outputs=outputs,
            input_shape=facts.shape,
            groups=output_groups(tasks, outputs if self.scenario == "task-free" else per_task, self.scenario).to(self.device),
            course=Course.of(self, examples, built, distinct, rows),
            scenario=self.scenario,
            classes_per_task=per_task,
            examples=examples,
        )

    def _units(self, order: Tensor) -> Tensor:
        """Output unit (T, classes) of every class in every task, −1 where it has none; `order` is (T, C)."""
        tasks, per_task = order.shape
        units = torch.full((tasks, self.facts.classes), -1)
        first = torch.zeros(tasks, 1) if self.scenario == "domain" else torch.arange(tasks).unsqueeze(1) * per_task
        return units.scatter_(1, order, first.long() + torch.arange(per_task))

    def _class_order(self, seed: int) -> Tensor:
        """Classes (T, C) by task and position."""
        classes = self.facts.classes
        if self.options.order == "natural":
            order = torch.arange(classes)
        else:
            order = torch.randperm(classes, generator=generator(seed, "stream/order"))
        return order.view(self.options.tasks, -1)

    def _bound(self, counts: Sequence[int], task: int, choose: Callable) -> int:
        """The smallest or largest total that `task` has over every class order that some seed could draw.

        It does not depend on which seeds are trained together, so neither do shapes and refusals.
        """
        per_task = len(counts) // self.options.tasks
        if self.options.order == "natural":
            return sum(counts[task * per_task : (task + 1) * per_task])
        return sum(sorted(counts, reverse=choose is max)[:per_task])

    def _task_name(self, task: int, orders: list[Tensor]) -> str:
        if self.options.order == "seeded" and self.options.stream_seed is None:
            return f"task {task + 1}"
        names = [self.facts.class_names[label] for label in orders[0][task].tolist()]
        return " · ".join(names) if len(names) <= 5 else f"{names[0]} … {names[-1]}"

    @classmethod
    def memory_estimate(cls, options: dict[str, Any], scenario: str, replicas: int) -> int:
        options, facts = cls.checked(options), cls.facts
        train = facts.train_counts
        held = sum(held_out(train, options.validation))
        kept = sum(train) - held
        if options.train_per_task is not None:
            kept = min(kept, options.train_per_task * options.tasks)
        numbers = kept + held + sum(facts.test_counts) + options.tasks * facts.classes + 3 * options.tasks
        return facts.bytes + 8 * numbers * distinct_rows(options, replicas) + 8 * replicas
