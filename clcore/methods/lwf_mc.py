"""LwF.MC: learning without forgetting with one growing head of yes-or-no answers.

Rebuffi et al., "iCaRL", CVPR 2017, where it is the baseline that iCaRL is without its memory. Every class seen has a
sigmoid output g_y. On the new task's examples the targets of the new classes are 1 or 0, those of the old classes what the old
network says:

    −Σ_{y new} [δ log g_y + (1 − δ) log(1 − g_y)] − Σ_{y old} [q_y log g_y + (1 − q_y) log(1 − g_y)],   q = σ(z_old)

There is no strength and no temperature: labels and old answers are terms of one sum. New classes do not compete with old ones
in a softmax, so their cross-entropy does not push the old ones down.

Choices: the loss is the sum over the classes and the mean over the examples; `reduction = mean` divides by the number of
classes seen, as some implementations do, and learns that many times more slowly. The head is the classes seen, whatever
`active_classes`. In the task scenario the loss is the same and only the prediction knows the task. In domain every output is
old at the second task and no label would be learned, so it is not offered. Replayed examples of a composition are treated
like the current ones.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from clcore.batch import Batch
from clcore.benchmarks.base import Task
from clcore.knobs import Knobs, knob
from clcore.methods.base import Method, mean_over_parts
from clcore.methods.parts.binary import sigmoid
from clcore.methods.parts.distillation import binary_cross_entropy
from clcore.methods.parts.teacher import Teacher


class LwFMC(Method):
    title = "LwF.MC"
    summary = (
        "Every class has an output of its own that says yes or no. "
        "The new classes learn from labels, the old ones must go on saying what the old network says."
    )
    family = "distillation"
    scenarios = ("task", "class")
    paper = "Rebuffi et al., CVPR 2017 (iCaRL), after Li & Hoiem, ECCV 2016"
    formula = (
        r"\sum_{y\,\text{new}}\mathrm{BCE}\big([y=y_x],\sigma(z_y)\big)"
        r"+\sum_{y\,\text{old}}\mathrm{BCE}\big(\sigma(z^{\theta_{t-1}}_y),\sigma(z_y)\big)"
    )
    stores = "a copy of the network as it was before the task"
    static_step = True
    needs_boundaries = True

    class Hyper(Knobs):
        reduction: Literal["sum", "mean"] = knob("sum", help="add the losses of all classes seen, or average them")

    def setup(self) -> None:
        self.teacher = Teacher(self.classifier.network)

    def begin(self, task: Task) -> None:
        if task.index:
            self.teacher.copy()

    def task_loss(self, batch: Batch) -> Tensor:
        answers = zip(self.classifier.all_logits(batch), batch.parts, strict=True)
        return mean_over_parts([self._losses(logits, part) for logits, part in answers], batch.parts)

    def trains_old_heads(self) -> Tensor:
        return torch.ones(self.context.replicas, dtype=torch.bool)

    def footprint(self):
        return self.teacher.footprint()

    def insight(self):
        return self.teacher.insight(self.classifier, self.context.stream)

    def targets(self, part: Batch) -> Tensor:
        """(K, B, O): one-hot labels, and in the place of earlier tasks' classes the old network's sigmoids."""
        labels = torch.zeros(*part.y.shape, self.context.stream.outputs, device=part.y.device)
        labels.scatter_(2, part.y.unsqueeze(2), 1.0)  # torch's one_hot waits for the device
        if self.teacher:
            old = self.classifier.units_before(self.classifier.learning)
            labels[..., old] = sigmoid(self.old_logits(part.x)[..., old])
        return labels

    def old_logits(self, x: Tensor) -> Tensor:
        """(K, B, O) whose sigmoids are the old network's answers."""
        return self.teacher(x)

    def _losses(self, logits: Tensor, part: Batch) -> Tensor:
        """(K, B)"""
        seen = self.classifier.units_before(self.classifier.learning + 1)
        losses = binary_cross_entropy(logits, self.targets(part), seen)
        return losses / (seen.stop - seen.start) if self.hyper.reduction == "mean" else losses
