"""LUCIR: classes are told apart by directions alone, and the old directions are held.

Hou et al., "Learning a Unified Classifier Incrementally via Rebalancing", CVPR 2019. A network that sees many new and few old
examples gives its new classes longer weight vectors and larger biases, and so larger outputs. Three parts take that away, with
φ̄ and w̄ of length 1:

    cosine outputs     z_c = η·⟨φ̄(x), w̄_c⟩, η learned from 1: no class can be louder than another
    less forgetting    λ·mean(1 − ⟨φ̄(x), φ̄_old(x)⟩), λ = λ_base·√(old classes / new classes): features keep their direction
    margin ranking     μ·mean max(0, m − ⟨φ̄, w̄_y⟩ + ⟨φ̄, w̄_c⟩) over the old examples of a batch and the K new classes c that
                       look most like each: old classes keep a distance from the new ones

Exemplars are picked by herding and learned together with the current task, in one pass of mini-batches. The directions of new
classes start from their mean feature (weight imprinting), as long as the old ones are on average.

Choices: φ are the inputs of the output layer. The paper takes the last ReLU away, so that features may point anywhere; our
networks keep it, which leaves the formulas as they are and directions in the positive orthant. The imprint is taken from a
fair sample of the task. K is at most the number of new classes. The optional last phase of fine-tuning on a balanced set, with
which the paper reports its results once with and once without, is left out. Class scenario only: in the others no softmax runs
over the classes of several tasks.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from clcore.batch import Batch
from clcore.benchmarks.base import Task
from clcore.knobs import Knobs, knob
from clcore.methods.base import Method, Phase, Plan, Terms
from clcore.methods.parts.distillation import batch_mean
from clcore.methods.parts.exemplars import class_means, fair_sample
from clcore.methods.parts.memory import Memory, Policy
from clcore.methods.parts.teacher import Teacher
from clcore.networks.layers import Linear, Recorded, recording, replace_layers

_IMPRINT = 64  # examples a class whose mean feature a new class starts from


class CosineLinear(Linear):
    """`(K, B, in)` → `(K, B, out)`: `scale` times the cosine between input and each class's weights; no bias.

    scale (K, 1), η, is learned; weight (K, in, out) is the plain layer's, of which only the direction counts.
    """

    def __init__(self, plain: Linear):
        nn.Module.__init__(self)
        self.inputs, self.outputs, self.tape = plain.inputs, plain.outputs, None
        self.weight, self.bias = plain.weight, None
        self.scale = nn.Parameter(torch.ones_like(plain.bias[:, :1]))

    @property
    def parameter_count(self) -> int:
        return self.inputs * self.outputs + 1

    def forward(self, x: Tensor) -> Tensor:
        y = self.scale.unsqueeze(2) * self.cosines(x)
        if self.tape is not None:
            self.tape.append(Recorded(self, x, y))
        return y

    def cosines(self, x: Tensor) -> Tensor:
        """(K, B, out); 0 for inputs, and for dead units, that are all zero."""
        return torch.bmm(F.normalize(x, dim=2), F.normalize(self.weight, dim=1))


class LUCIR(Method):
    title = "LUCIR"
    summary = (
        "Outputs compare directions only, so that no class can be louder than another. "
        "Rehearsal, an old network's features and a margin keep the old classes where they are and apart from the new ones."
    )
    family = "rehearsal"
    scenarios = ("class",)
    scenario_reason = "it balances the outputs of old and new classes, which meet in one softmax in the class scenario only"
    paper = "Hou et al., CVPR 2019"
    formula = (
        r"z_c=\eta\langle\bar\varphi(x),\bar w_c\rangle;\quad "
        r"\ell+\lambda\big(1-\langle\bar\varphi,\bar\varphi_{\text{old}}\rangle\big)"
        r"+\mu\sum_{c\,\text{near}}\max\big(0,m-\langle\bar\varphi,\bar w_y\rangle+\langle\bar\varphi,\bar w_c\rangle\big)"
    )
    stores = "the memory's examples, and a copy of the network as it was before the task"
    static_step = True
    needs_boundaries = True
    uses_memory = True
    composable = False
    sweep = (0.0, 0.3, 1.0, 3.0, 5.0, 10.0, 30.0)

    class Hyper(Knobs):
        strength: float = knob(
            5.0, ge=0, axis=True, scale="log", symbol="λ_base", help="how firmly features keep the old network's directions"
        )
        ranking: float = knob(1.0, ge=0, le=1000, symbol="μ", help="weight of the margin between old and new classes")
        margin: float = knob(0.5, ge=0, le=2, symbol="m", help="by how much an old class must look nearer than a new one")
        hardest: int = knob(2, ge=1, le=100, symbol="K", help="how many of the most similar new classes the margin looks at")
        policy: Policy = knob("herding", help="which examples stay")

    def adapt(self, network: nn.Module) -> nn.Module:
        replace_layers(network, {network.head: CosineLinear(network.head)})
        return network

    def setup(self) -> None:
        self.memory = Memory(self.context, self.hyper.policy)
        self.teacher = Teacher(self.classifier.network)

    def restored(self) -> None:
        self._features: Tensor | None = None

    def begin(self, task: Task) -> None:
        if task.index:
            self.teacher.copy()
            self.imprint(task)

    def phases(self, task: Task) -> Plan:
        earlier = range(task.index)
        yield Phase(tasks=(*earlier, task.index), splits=(*self.memory.splits(earlier), task.train), rehearses=True)

    def task_loss(self, batch: Batch) -> Tensor:
        with recording(self.head) as tape:
            losses = self.classifier.sample_losses(batch)
        self._features = tape[0].inputs
        return batch_mean(losses, batch)

    def terms(self, batch: Batch) -> Terms:
        if not self.teacher:
            return {}
        weight = self.hyper.strength * (self._old.stop / (self._new.stop - self._new.start)) ** 0.5
        return {
            "features": weight * batch_mean(self.turned(batch.x, self._features), batch),
            "margin": self.hyper.ranking * self.crowding(self.head.cosines(self._features), batch),
        }

    def end(self, task: Task) -> None:
        self.memory.fill(task)

    def footprint(self):
        return self.memory.footprint() | self.teacher.footprint()

    def insight(self):
        lengths = {"scale": self.head.scale.detach()}
        return self.memory.insight() | self.teacher.insight(self.classifier, self.context.stream) | lengths

    @property
    def head(self) -> CosineLinear:
        return self.classifier.network.head

    @torch.no_grad()
    def imprint(self, task: Task) -> None:
        """Points the weights of a task's classes at their mean features, as long as the earlier classes' are on average."""
        stream = self.context.stream
        known = fair_sample(task.train, _IMPRINT * stream.classes_per_task, self.classifier.network.widths)
        means = class_means(self.classifier, [known], stream.outputs)[..., : self.head.weight.shape[1]]  # (K, O, d)
        usual = self.head.weight[..., self._old].norm(dim=1).mean(1).view(-1, 1, 1)
        found = means[:, self._new].transpose(1, 2) * usual
        own = self.head.weight[..., self._new]
        own.copy_(torch.where((found != 0).any(1, keepdim=True), found, own))  # a class with no feature at all keeps its draw

    def turned(self, x: Tensor, now: Tensor) -> Tensor:
        """(K, B): one minus the cosine between the old network's features of `x` and the present ones, `now`."""
        with torch.no_grad(), recording(self.head) as tape:
            self.teacher(x)
        then = tape[0].inputs
        return 1 - F.cosine_similarity(now, then, dim=2)

    def crowding(self, cosines: Tensor, batch: Batch) -> Tensor:
        """(K,) mean over a batch's old examples, and over the K most similar new classes, of what is missing to the margin."""
        is_old = (batch.y < self._old.stop) & (batch.weight > 0)
        own = cosines.gather(2, batch.y.unsqueeze(2))
        new = cosines[..., self._new]
        nearest = new.topk(min(self.hyper.hardest, new.shape[2]), dim=2).values
        missing = (self.hyper.margin - own + nearest).clamp_min(0).mean(2)
        return (missing * is_old).sum(1) / is_old.sum(1).clamp_min(1)

    @property
    def _old(self) -> slice:
        return self.classifier.units_before(self.classifier.learning)

    @property
    def _new(self) -> slice:
        return slice(self._old.stop, self.classifier.units_before(self.classifier.learning + 1).stop)
