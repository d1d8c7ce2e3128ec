"""Joint training: at every task, train on the union of all tasks so far.

The reference from above (incremental joint, or cumulative, training): nothing can be forgotten because nothing is ever gone.
By default it goes on from the last task's weights, as a practitioner would; `restart` starts every task from the run's initial
weights, which is what papers call offline training. Each task costs the epochs over all tasks so far. On large problems a warm
start can end a little lower (Ash & Adams, NeurIPS 2020); on our digits it ends higher, because it trains longer in all.

On a stream without boundaries it trains, before each fixed point, on all that has passed until there, shuffled: once, as what
comes by several times is there several times.
"""

from __future__ import annotations

import torch

from clcore.benchmarks.base import Task
from clcore.knobs import Knobs, knob
from clcore.methods.base import Method, Phase, Plan
from clcore.methods.parts.vectors import ReplicaVector, restore, snapshot


class Joint(Method):
    title = "Joint training"
    summary = (
        "Keeps all data and trains on everything at every task: what could be reached if nothing had to be forgotten."
    )
    family = "reference"
    scenarios = ("task", "domain", "class", "task-free")
    formula = r"\min_\theta\ \sum_{i\le t}\mathcal L_i(\theta)"
    stores = "every training example of every task"
    static_step = True

    class Hyper(Knobs):
        restart: bool = knob(
            False, help="start every task from the initial weights (offline training) instead of going on"
        )

    def setup(self) -> None:
        self.initial: ReplicaVector | None = snapshot(self.classifier.network) if self.hyper.restart else None
        self.kept = torch.zeros(self.context.replicas, dtype=torch.long)

    def phases(self, task: Task) -> Plan:
        if self.initial is not None:
            restore(self.classifier.network, self.initial)
        tasks = tuple(range(task.index + 1))
        if not self.boundless:
            yield Phase(tasks=tasks, fresh=self.hyper.restart)
            return
        course, epochs = self.context.stream.course, self.context.epochs
        self.kept = self.kept + course.length(epochs) // (epochs if course.views == 1 else 1)
        parts = tuple(course.part(t, epochs) for t in tasks)
        yield Phase(tasks=tasks, epochs=1, fresh=self.hyper.restart, splits=parts)

    def end(self, task: Task) -> None:
        self.kept = self.kept + task.train.lengths.cpu()

    def footprint(self):
        return {"memory_samples": self.kept * (self.context.stream.example_bytes + 8)}
