"""An independent network per task: no forgetting, no transfer.

The reference for transfer: every task is learned by a network of its own from the run's initial weights, under the same budget,
and remembered whole. What a method scores above it on a task is what the task gained from the others. The task's identity is
used at test, also in the domain scenario, so there it is a reference and not a competitor; a task that has not been learned has
no network and no score. It works alone: in a network that begins anew with every task, there is nothing for others to keep.
"""

from __future__ import annotations

import torch
from torch import Tensor

from clcore.benchmarks.base import Task
from clcore.methods.base import Method, Phase, Plan
from clcore.methods.parts.vectors import ReplicaVector, restore, snapshot


class Single(Method):
    title = "One network per task"
    summary = (
        "A network of its own for every task. Nothing is forgotten, nothing is shared: the reference for transfer."
    )
    family = "reference"
    scenarios = ("task", "domain")
    formula = r"\min_{\theta_t}\ \mathcal L_t(\theta_t)\ \text{for every } t"
    stores = "one network per task"
    static_step = True
    needs_boundaries = True
    predicts_unseen = False
    composable = False
    composition_reason = "it learns every task with a network of its own, as the reference for transfer"

    def setup(self) -> None:
        self.initial = snapshot(self.classifier.network)
        self.finished: list[ReplicaVector] = []

    def begin(self, task: Task) -> None:
        restore(self.classifier.network, self.initial)

    def phases(self, task: Task) -> Plan:
        yield Phase(fresh=True)

    def end(self, task: Task) -> None:
        self.finished.append(snapshot(self.classifier.network))

    @torch.no_grad()
    def predict(self, x: Tensor, task: int) -> Tensor:
        if task >= len(self.finished):  # the network in training
            return self.classifier(x)
        present = snapshot(self.classifier.network)
        restore(self.classifier.network, self.finished[task])
        logits = self.classifier(x)
        restore(self.classifier.network, present)
        return logits

    def footprint(self):
        network = self.classifier.network
        numbers = network.parameter_count + sum(values[0].numel() for values in network.statistics)
        return {"old_networks": 4 * numbers * max(0, len(self.finished) - 1)}
