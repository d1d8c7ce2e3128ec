"""Looks over the training loop's shoulder: divergence, progress, live evaluation.

Reading a loss waits for the device, so losses are kept as they come and read every few steps.
"""

from __future__ import annotations

import math
import time
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from clcore.batch import Batch
from clcore.benchmarks.base import Task
from clcore.events import Diverged, Evaluated, Progress
from clcore.methods.base import Phase, Terms
from clcore.minibatches import MiniBatches

if TYPE_CHECKING:
    from clcore.learner import Learner

_READ_EVERY = {"cpu": 16, "cuda": 64, "mps": 64}  # steps
_REPORT_EVERY = 0.3  # seconds


class Watch:
    """The observer of one phase. `next_end` is the step at which the next replica is through its stream."""

    def __init__(self, learner: Learner, task: Task, phase: Phase, batches: MiniBatches):
        self.learner, self.task, self.phase, self.batches = learner, task, phase, batches
        self.total = int(batches.steps.max())
        self._ends = sorted(set(batches.steps.tolist()))
        self._equal_length = len(self._ends) == 1
        self.next_end = self._ends.pop(0)
        self._read_every = _READ_EVERY[learner.device.type]
        points = learner.run.live_points if phase.watched else 0
        if points and learner.classifier.network.pictures:
            # Convolutions are slow to look through: no more examples for looking than for learning, as far as two points allow.
            looked = learner.run.live_examples * (task.index + 1)
            points = min(points, max(2, self.total * learner.run.batch_size // looked))
        self._live_every = math.ceil(self.total / points) if points and self.total else self.total + 1
        self._switch_steps = learner.run.watch_switches if phase.watched and phase.covers[0] == 0 else 0
        self._trace: list[dict[str, Tensor]] = []
        self._read = 0  # steps whose losses have been read
        self._sums: dict[str, Tensor] = {}
        self._counted = torch.zeros(len(learner.seeds), dtype=torch.float64)
        self._loss_sum = torch.zeros(len(learner.seeds), dtype=torch.float64)
        self._steps_sum = torch.zeros(len(learner.seeds), dtype=torch.float64)
        self._reported = time.perf_counter()
        self._settled = torch.zeros(len(learner.seeds), dtype=torch.float64)  # of batches.seen
        self._replayed = torch.zeros(len(learner.seeds), device=learner.device)
        self._rehearsed = torch.zeros(len(learner.seeds), device=learner.device)  # replayed as part of the phase's data

    def through(self, step: int) -> Tensor:
        """Replicas (indices) that take no further step from `step` on."""
        which = (self.batches.steps == step).nonzero().flatten()
        self.next_end = self._ends.pop(0) if self._ends else -1
        return which.to(self.learner.device)

    def saw(self, batch: Batch, terms: Terms) -> None:
        """A step was taken."""
        self.batches.trained()
        self._trace.append({name: t.detach() for name, t in terms.items() if isinstance(t, Tensor)})
        if self.phase.rehearses:
            self._rehearsed += (batch.weight * (torch.as_tensor(batch.task) != self.task.index)).sum(1)
        for part in batch.replay:
            # A replica that is through draws replay like the others, but takes no step.
            self._replayed += part.count if self._equal_length else part.count * (batch.count > 0)

    def due(self, step: int) -> bool:
        done = step + 1
        return done % self._read_every == 0 or done % self._live_every == 0 or done == self.total

    def switching(self, step: int) -> bool:
        """Whether this is one of the first steps after a task switch, all of which are evaluated."""
        return step < self._switch_steps

    def diverged(self, step: int, terms: Terms, lr: float, parameters: list[Tensor]) -> Tensor:
        """Reads the losses since the last look. Replicas (indices) whose loss was not finite; each is reported once.

        The last step's effect shows in no later loss, so at the end the weights are looked at as well.
        """
        names = list(self._trace[0])
        losses = {name: torch.stack([entry[name] for entry in self._trace]).cpu().double() for name in names}
        steps = torch.arange(self._read, step + 1).unsqueeze(1)
        counted = (steps < self.batches.steps.unsqueeze(0)) & self.learner.alive
        self._trace.clear()
        self._read = step + 1
        lost = []
        everything = sum(losses.values())
        for k in (~torch.isfinite(everything) & counted).any(0).nonzero().flatten().tolist():
            first = int((~torch.isfinite(everything[:, k])).nonzero()[0])
            self._report_divergence(k, int(steps[first]) + 1, losses, first, terms, lr)
            lost.append(k)
        if step + 1 == self.total:
            sound = torch.stack([torch.isfinite(p.detach()).flatten(1).all(1) for p in parameters]).all(0).cpu()
            for k in (~sound & self.learner.alive & (self.batches.steps > 0)).nonzero().flatten().tolist():
                self._report_divergence(k, step + 1, losses, -1, terms, lr)
                lost.append(k)
        if lost:
            self.settle()  # up to here they count
        for k in lost:
            self.batches.leave_out(k)
        self._add(losses, counted)
        return torch.tensor(lost, dtype=torch.long, device=self.learner.device)

    def look(self, step: int, terms: Terms) -> None:
        """Live evaluation when it is due, and progress a few times a second."""
        done, run = step + 1, self.learner.run
        watched = self.phase.watched and (run.live_points or run.watch_switches)
        if self.switching(step) or (watched and (done % self._live_every == 0 or done == self.total)):
            self.evaluate(step)
        if time.perf_counter() - self._reported >= _REPORT_EVERY or done == self.total:
            self._progress(self._position(done), terms)

    def evaluate(self, step: int) -> None:
        """A live evaluation; whoever stands still must have been put back."""
        done, learner = step + 1, self.learner
        with learner.clock.evaluating():
            shown = self.task.index + (1 if learner.stream.course is None else 2)  # a blurred stream is on its way to the next
            accuracy = learner.evaluator.live(min(shown, len(learner.stream.tasks)))
            learner.report(
                Evaluated(
                    task=self.task.index + 1, position=self._position(done), step=done, switch=self.switching(step),
                    replicas=learner.members, accuracy=learner.readable(accuracy),
                )
            )  # fmt: skip
        if done % self._live_every == 0 and done < self.total:  # a task's end is drawn anyhow
            learner.pictures.between(self.task.index + 1, self._position(done))

    def mean_loss(self) -> Tensor:
        """(K,) mean task loss of the phase; NaN for replicas that took no step."""
        return self._loss_sum / self._steps_sum

    def settle(self) -> None:
        """Adds what has been trained so far to the group's counters; also when training is broken off."""
        trained = self.batches.seen - self._settled
        replayed, rehearsed = (n.cpu() * self.batches.counts_in for n in (self._replayed, self._rehearsed))
        self._settled += trained
        self._replayed.zero_()
        self._rehearsed.zero_()
        self.learner.counters.add(trained - rehearsed, replayed + rehearsed)
        self.learner.settle_charges()

    def _position(self, done: int) -> float:
        """Tasks trained by the group after `done` steps of the phase."""
        lo, hi = self.phase.covers
        return self.task.index + lo + (hi - lo) * done / self.total

    def _progress(self, position: float, terms: Terms) -> None:
        learner = self.learner
        learner.clock.stop()
        self.settle()
        means = {name: total / self._counted for name, total in self._sums.items()}  # NaN where nobody stepped
        for name, term in terms.items():
            if not isinstance(term, Tensor):
                means[name] = torch.where(self._counted > 0, term.value().cpu().double(), torch.nan)
        overall, samples, seconds = learner.overall(learner, position)
        learner.report(
            Progress(
                task=self.task.index + 1, position=overall, replicas=learner.members,
                losses={name: [v if math.isfinite(v) else None for v in m.tolist()] for name, m in means.items()},
                train_samples=samples, train_seconds=seconds,
            )
        )  # fmt: skip
        self._sums = {}
        self._counted.zero_()
        self._reported = time.perf_counter()
        learner.clock.start()

    def _add(self, losses: dict[str, Tensor], counted: Tensor) -> None:
        for name, values in losses.items():
            total = torch.where(counted, values, 0).sum(0)
            self._sums[name] = self._sums.get(name, 0) + total
            if name == "task":
                self._loss_sum += total
        steps = counted.sum(0)
        self._counted += steps
        self._steps_sum += steps

    def _report_divergence(
        self, k: int, step: int, losses: dict[str, Tensor], first: int, terms: Terms, lr: float
    ) -> None:
        # A penalty that overshoots ruins the weights, and the task's loss shows it first: ask the penalties before the losses.
        term = next((n for n, t in terms.items() if not isinstance(t, Tensor) and bool(t.unstable(lr)[k])), None)
        if term is None:
            term = next((name for name, values in losses.items() if not math.isfinite(values[first, k])), "task")
        self.learner.alive[k] = False
        member = self.learner.members[k]
        self.learner.report(Diverged(replica=member, task=self.task.index + 1, step=step, term=term))
