"""What the networks of a run answer, for pictures: everywhere in a plane, and on a few examples that stay the same.

Only one network of each setting is drawn, the one of the run's first seed. Nothing here changes a number of the training: it
predicts as an evaluation does.
"""

from __future__ import annotations

import math
import time
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from clcore.benchmarks.base import Task
from clcore.events import Answers, Example, Regions
from clcore.methods.base import Method
from clcore.packing import packed

if TYPE_CHECKING:
    from clcore.learner import Learner

SIDE = 48
COARSE_SIDE, COARSE_FROM = 24, 24  # replicas: a whole group goes through the network, and some methods do so many times
SHARE = 0.04  # of the training time that maps between task ends may take
POINTS = 40  # examples of a task beside its map
EXAMPLES = 8


class Pictures:
    """Draws a group's networks at task ends, and their maps in between as far as the time for it reaches."""

    def __init__(self, learner: Learner, class_names: tuple[str, ...]):
        self.learner, self.class_names = learner, class_names
        first = learner.run.replicas[0].seed
        self.rows = [k for k, seed in enumerate(learner.seeds) if seed == first]
        watched = learner.run.live_points > 0 and bool(self.rows)
        self.plane = learner.stream.bounds is not None and watched
        self.images = len(learner.stream.picture_shape) in (2, 3) and watched
        plain = type(learner.method).predict is Method.predict
        self.side = SIDE if plain and len(learner.seeds) < COARSE_FROM else COARSE_SIDE
        self._spent = self._last = 0.0  # seconds
        self._grid: Tensor | None = None
        self._examples: list[tuple[int, int]] | None = None

    def after(self, seen: int) -> None:
        """After task `seen` (0: before any). The group that draws the run's first replica brings the examples."""
        if self.plane:
            self._draw_map(seen, float(seen))
        if self.images:
            with self.learner.clock.evaluating():
                self._ask(seen)

    def between(self, seen: int, position: float) -> None:
        """While task `seen` is learned, if maps have not cost too much yet."""
        if self.plane and self._spent + self._last <= SHARE * self.learner.counters.train_seconds:
            self._draw_map(seen, position)

    # ---- the plane --------------------------------------------------------------------------------------------------

    def _draw_map(self, seen: int, position: float) -> None:
        learner, started = self.learner, time.perf_counter()
        with learner.clock.evaluating():
            maps = self._maps(seen)
            bringing = seen == 0 and 0 in learner.members
            learner.report(
                Regions(
                    task=seen, position=position, replicas=[learner.members[k] for k in self.rows], side=self.side,
                    bounds=learner.stream.bounds, maps=maps, points=self._points() if bringing else None,
                )
            )  # fmt: skip
        self._last = time.perf_counter() - started
        self._spent += self._last

    @torch.no_grad()
    def _maps(self, seen: int) -> list[list[str | None]]:
        """(rows, M): one map where all tasks are answered alike."""
        learner = self.learner
        method, tasks = learner.method, learner.stream.tasks
        by_task = learner.run.scenario == "task" or not method.predicts_unseen
        plain = type(method).predict is Method.predict
        logits, columns = None, []
        for t in range(len(tasks)) if by_task else [max(0, seen - 1)]:
            if by_task and t >= seen:
                columns.append([None] * len(self.rows))
                continue
            logits = logits if plain and logits is not None else self._everywhere(t)
            units = learner.classifier.predicted_units(t, seen)
            answers = logits.masked_fill(~units, -math.inf).argmax(-1).to(torch.uint8).cpu().numpy()
            maps = zip(answers, self._alive(), strict=True)
            columns.append([packed(row.tobytes()) if alive else None for row, alive in maps])
        return [list(row) for row in zip(*columns, strict=True)]

    def _everywhere(self, task: int) -> Tensor:
        """(rows, side², O) logits."""
        if self._grid is None:
            axes = [
                low + (high - low) * (torch.arange(self.side) + 0.5) / self.side
                for low, high in self.learner.stream.bounds
            ]
            y, x = torch.meshgrid(axes[1], axes[0], indexing="ij")
            points = torch.stack([x, y], -1).view(-1, 2).to(self.learner.device)
            self._grid = points.expand(len(self.learner.seeds), *points.shape)
        self.learner.evaluator.pulse()
        return self.learner.method.predict(self._grid, task)[self.rows]

    def _points(self) -> list[list[tuple[float, float, int]]]:
        k = self.rows[0]
        found = []
        for task in self.learner.stream.tasks:
            n = min(POINTS, int(task.train.lengths[k]))
            x, y = task.train.gather(_positions(range(n), self.learner))
            found.append(
                [(round(a, 3), round(b, 3), unit) for (a, b), unit in zip(x[k].tolist(), y[k].tolist(), strict=True)]
            )
        return found

    # ---- examples ---------------------------------------------------------------------------------------------------

    @torch.no_grad()
    def _ask(self, seen: int) -> None:
        learner = self.learner
        chosen = self._chosen()
        called: list[list[str | None]] = [[] for _ in self.rows]
        for task in learner.stream.tasks:
            positions = [p for t, p in chosen if t == task.index]
            if positions:
                for answers, named in zip(called, self._called(task, positions, seen), strict=True):
                    answers += named
        examples = [self._example(t, p) for t, p in chosen] if seen == 0 and 0 in learner.members else None
        members = [learner.members[k] for k in self.rows]
        learner.report(Answers(task=seen, replicas=members, called=called, examples=examples))

    def _chosen(self) -> list[tuple[int, int]]:
        """(task, position in its test split), by task: of every class the first example, then the second, up to eight."""
        if self._examples is None:
            k = self.rows[0]
            ranked = []
            for task in self.learner.stream.tasks[:EXAMPLES]:
                n = min(int(task.test.lengths[k]), 20 * EXAMPLES)
                met: dict[int, int] = {}
                for position, unit in enumerate(task.test.units(_positions(range(n), self.learner))[k].tolist()):
                    met[unit] = met.get(unit, 0) + 1
                    ranked.append((met[unit], task.index, unit, position))
            self._examples = [(t, p) for t, _, p in sorted(rest for _, *rest in sorted(ranked)[:EXAMPLES])]
        return self._examples

    def _called(self, task: Task, positions: list[int], seen: int) -> list[list[str | None]]:
        """(rows, positions) what each drawn network calls the examples at `positions` of a task's test split."""
        learner = self.learner
        unseen = task.index >= seen
        if unseen and (learner.run.scenario == "class" or not learner.method.predicts_unseen):
            return [[None] * len(positions) for _ in self.rows]
        x, _ = task.test.gather(_positions(positions, learner))
        learner.evaluator.pulse()
        logits = learner.method.predict(x, task.index)[self.rows]
        units = learner.classifier.predicted_units(task.index, seen)
        answers = logits.masked_fill(~units, -math.inf).argmax(-1).tolist()
        return [
            [self._name(unit, task.index) if alive else None for unit in row]
            for row, alive in zip(answers, self._alive(), strict=True)
        ]

    def _name(self, unit: int, task: int) -> str:
        """The class that an output unit stands for: in this task, or else wherever it stands for one."""
        for t in (task, *range(len(self.learner.stream.tasks))):
            found = (_units(self.learner, self.rows[0], t) == unit).nonzero()
            if len(found):
                return self.class_names[int(found[0])]
        return str(unit + 1)

    def _example(self, task: int, position: int) -> Example:
        k, test = self.rows[0], self.learner.stream.tasks[task].test
        at = _positions([position], self.learner)
        x, y = test.gather(at)
        image = self.learner.stream.shown(x, test.ids(at))[k, 0].cpu()
        # A colour image keeps its colours; a grey one may use the whole range, whatever the inputs' scale.
        low, high = (image.min(), image.max()) if image.dim() == 2 or len(image) == 1 else (0.0, 1.0)
        pixels = (255 * (image - low) / max(float(high - low), 1e-6)).round().clamp(0, 255).to(torch.uint8)
        shape = tuple(pixels.shape[-2:] if pixels.dim() == 2 or len(pixels) == 1 else pixels.shape)
        return Example(
            task=task + 1, label=self._name(int(y[k, 0]), task), shape=shape, image=packed(pixels.numpy().tobytes())
        )

    def _alive(self) -> list[bool]:
        return self.learner.alive[self.rows].tolist()


def unit_names(stream, class_names: tuple[str, ...]) -> list[str]:
    """The class of each output unit (O): empty where it stands for several, or for other ones in other replicas."""
    table = stream.examples.units.flatten(0, 1)  # (S·T, classes)
    names = []
    for unit in range(stream.outputs):
        classes = (table == unit).any(0).nonzero().flatten().tolist()
        names.append(class_names[classes[0]] if len(classes) == 1 else "")
    return names


def _units(learner: Learner, row: int, task: int) -> Tensor:
    """(classes,) the output unit of each class in a task, as one replica sees it; −1 where it has none."""
    examples = learner.stream.examples
    return examples.units[int(examples.rows[row]), task]


def _positions(positions, learner: Learner) -> Tensor:
    """(K, n): the same positions for all replicas. Those of other seeds may have fewer examples; they are not drawn."""
    return torch.tensor(list(positions), device=learner.device).expand(len(learner.seeds), -1)
