"""iCaRL: an album of typical pictures of every class; what is shown looks most like one album's average.

Rebuffi et al., "iCaRL: Incremental Classifier and Representation Learning", CVPR 2017. Three parts:

training     on the current task and the exemplars together, in one pass of mini-batches, with the loss of LwF.MC
             (lwf_mc.py): a sigmoid for every class seen, told the label where the class is new and the old network's answer
             where it is not
exemplars    at the end of a task ⌊M/classes⌋ of every class, picked by herding: the first m are the best m, so that albums
             shrink by dropping their last (parts/memory.py)
prediction   not the outputs but the class whose mean feature is nearest, with φ̄ and μ of length 1:

                 ŷ = argmin_y ‖φ̄(x) − μ_y‖ = argmax_y ⟨φ̄(x), μ_y⟩,    μ_y ∝ Σ_{exemplars of y} φ̄

The outputs lean towards the new classes, which have many more examples; distances to means do not. `classify = outputs` shows
what that is worth (the paper's hybrid 1).

Choices: φ are the inputs of the output layer. Means are computed anew for every evaluation after a step. A class has a mean
where it has exemplars, and while its task is being learned from the first 32 or so of its training examples; a class for
which the memory has no place (M below the number of classes) is never predicted, and tasks not yet learned are not either.
With a memory of 0 the outputs decide, and the method is LwF.MC bit for bit. In the task scenario the training is the same and
the nearest mean is sought among the classes of the given task. In domain the same classes come back with other inputs: every
output would be old and learn no label, and one mean would have to stand for all tasks; so it is not offered.

The paper has no temperature. A network of two digits is certain of every other digit, too, and so its answers hold new classes
down; the code behind van de Ven, Tuytelaars & Tolias (2022) softens them, σ(z/T) with T = 2 (`temperature`), which gained us
five to seven points on Split MNIST (docs/results.md).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from clcore.batch import Batch
from clcore.benchmarks.base import Task
from clcore.knobs import knob
from clcore.methods.base import Phase, Plan
from clcore.methods.lwf_mc import LwFMC
from clcore.methods.parts.exemplars import class_means, fair_sample, features
from clcore.methods.parts.memory import Memory

_FIRST = 32  # training examples per class that stand in for exemplars while their task is being learned
_NO_MEAN = -2.0  # below every inner product of vectors of length 1


class ICaRL(LwFMC):
    title = "iCaRL"
    summary = (
        "Keeps the most typical examples of every class and rehearses them while the old network is imitated. "
        "It answers with the class whose examples look most alike on average, not with its output layer."
    )
    family = "rehearsal"
    paper = "Rebuffi et al., CVPR 2017"
    formula = (
        r"\hat y=\arg\min_y\Big\lVert\bar\varphi(x)-\mu_y\Big\rVert,\quad "
        r"\mu_y\propto\sum_{x'\in P_y}\bar\varphi(x'),\ \bar\varphi=\varphi/\lVert\varphi\rVert"
    )
    stores = "the most typical examples of every class, and a copy of the network as it was before the task"
    static_step = False
    uses_memory = True
    predicts_unseen = False

    class Hyper(LwFMC.Hyper):
        policy: Literal["herding", "balanced"] = knob(
            "herding", help="which examples stay: those whose mean is the class's mean, or drawn at random"
        )
        temperature: float = knob(
            1.0, ge=0.1, le=1000, scale="log", symbol="T", help="how far the old network's answers are softened: σ(z/T)"
        )
        classify: Literal["means", "outputs"] = knob(
            "means", help="answer with the class whose mean feature is nearest, or with the largest output"
        )

    def setup(self) -> None:
        super().setup()
        self.memory = Memory(self.context, self.hyper.policy)
        self.task: int | None = None  # the one being learned: its classes have no exemplars yet

    def restored(self) -> None:
        self._means: Tensor | None = None

    def begin(self, task: Task) -> None:
        super().begin(task)
        self.task = task.index
        self.restored()

    def phases(self, task: Task) -> Plan:
        earlier = range(task.index)
        yield Phase(tasks=(*earlier, task.index), splits=(*self.memory.splits(earlier), task.train), rehearses=True)

    def after_step(self, batch: Batch, lr: float) -> None:
        self.restored()

    def end(self, task: Task) -> None:
        self.memory.fill(task)
        self.task = None
        self.restored()

    def predict(self, x: Tensor, task: int) -> Tensor:
        by_outputs = self.context.memories.to(x.device).view(-1, 1, 1) == 0
        if self.hyper.classify == "outputs" or bool(by_outputs.all()):
            return self.classifier(x)
        nearness = self.nearness(x)
        return torch.where(by_outputs, self.classifier(x), nearness) if bool(by_outputs.any()) else nearness

    def old_logits(self, x: Tensor) -> Tensor:
        return self.teacher(x) / self.hyper.temperature

    def footprint(self):
        means = (self.memory.counts_by_class() > 0).sum(1) * 4 * self.classifier.network.head.inputs
        return self.memory.footprint() | super().footprint() | {"class_means": means}

    def insight(self):
        return self.memory.insight() | super().insight()

    @torch.no_grad()
    def nearness(self, x: Tensor) -> Tensor:
        """(K, B, O) inner products of the inputs' features with every class's mean; −2 where there is no mean."""
        means = self.means()
        exists = (means != 0).any(2).unsqueeze(1)
        found = F.normalize(features(self.classifier, x), dim=-1)
        return torch.bmm(found, means.transpose(1, 2)).masked_fill(~exists, _NO_MEAN)

    @torch.no_grad()
    def means(self) -> Tensor:
        """(K, O, d) the classes' mean features, of length 1; zeros for a class without examples."""
        if self._means is None:
            stream = self.context.stream
            self._means = class_means(self.classifier, self._known(), stream.outputs, self.context.pulse)
        return self._means

    def _known(self) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        """Inputs, output units and weights of the examples that classes are known by."""
        for part in self.memory.everything():
            yield part.x, part.y, part.weight
        if self.task is not None:
            stream = self.context.stream
            split = stream.tasks[self.task].train
            yield fair_sample(split, _FIRST * stream.classes_per_task, self.classifier.network.widths)
