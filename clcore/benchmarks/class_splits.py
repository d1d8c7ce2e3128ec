"""Split streams: the classes of a data set dealt out to tasks."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import ClassVar, Literal

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
    A subclass may leave classes out (C·T of them are dealt out, see `class_order`), or deal out blocks of `together`
    neighbouring classes that stay in one task.
    """

    together: ClassVar[int] = 1

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
        self.check_classes()
        fewest = min(self._bound(kept, task, min) for task in range(tasks))
        self.check_train_per_task(fewest)
        size = options.train_per_task or (fewest if self.scenario == "task-free" else None)

        distinct, rows = self.rows(seeds)
        orders = [self.class_order(seed) for seed in distinct]  # each (T, C)
        units = torch.stack([self._units(order) for order in orders])
        inputs = Inputs(source.data.flatten(1), facts.shape, source.scale, rows, source.shift)
        inputs.pictures = source.pictures
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

        per_task = self.classes_per_task
        outputs = per_task if self.scenario == "domain" else per_task * tasks
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

    @property
    def classes_per_task(self) -> int:
        return self.facts.classes // self.options.tasks

    def check_classes(self) -> None:
        """Raises RequestError when the classes cannot be dealt out; where a knob knows their number, it has checked."""

    def class_order(self, seed: int) -> Tensor:
        """Classes (T, C) by task and position."""
        order = self.usual_order()
        if self.options.order == "seeded":
            blocks = order.view(-1, self.together)
            order = blocks[torch.randperm(len(blocks), generator=generator(seed, "stream/order"))].flatten()
        return order.view(self.options.tasks, -1)

    def usual_order(self) -> Tensor:
        """Every class once, in the order of an unshuffled stream."""
        return torch.arange(self.facts.classes)

    def _bound(self, counts: Sequence[int], task: int, choose: Callable) -> int:
        """The smallest or largest total that `task` has over every class order that some seed could draw.

        It does not depend on which seeds are trained together, so neither do shapes and refusals.
        """
        if self.options.order != "seeded":
            return sum(counts[label] for label in self.class_order(0)[task].tolist())
        blocks = torch.tensor(counts)[self.usual_order()].view(-1, self.together).sum(1).tolist()
        return sum(sorted(blocks, reverse=choose is max)[: self.classes_per_task // self.together])

    def _task_name(self, task: int, orders: list[Tensor]) -> str:
        if self.options.order == "seeded" and self.options.stream_seed is None:
            return f"task {task + 1}"
        return self.name_of_task(orders[0][task].tolist())

    def name_of_task(self, classes: list[int]) -> str:
        """A short name of a task with these classes."""
        names = [self.facts.class_names[label] for label in classes]
        return " · ".join(names) if len(names) <= 5 else f"{names[0]} … {names[-1]}"

    @property
    def least_outputs(self) -> int:
        return self.classes_per_task * (1 if self.scenario == "domain" else self.options.tasks)

    def memory_estimate(self, replicas: int) -> int:
        options, facts = self.options, self.facts
        train = facts.train_counts
        held = sum(held_out(train, options.validation))
        kept = sum(train) - held
        if options.train_per_task is not None:
            kept = min(kept, options.train_per_task * options.tasks)
        numbers = kept + held + sum(facts.test_counts) + options.tasks * facts.classes + 3 * options.tasks
        return facts.bytes + 8 * numbers * distinct_rows(options, replicas) + 8 * replicas
