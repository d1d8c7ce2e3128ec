"""Learning without forgetting: the old network answers the new examples, and training must keep its answers.

Li & Hoiem, ECCV 2016 / TPAMI 2017. Before task t the network is copied. With p_s the copy's softmax over the outputs of old
head s, at temperature T and on the new task's examples, and q_s the network's, the loss is

    L_t(θ) + λ_o · Σ_{s<t} mean_x −Σ_i p_s,i(x) log q_s,i(x)

It constrains what the network says, not its weights, and needs no old data; it works as far as new inputs look like old ones.

task     one softmax per old head, summed over heads as in the paper (`per_head` off: one over all old outputs, as in FACIL)
domain   all earlier tasks have the same outputs, so the sum is t − 1 times the distillation of the one head
class    one softmax over all classes seen, for which the old network answers 0 where a class is new to it

The paper knows separate heads only; domain and class are as in van de Ven, Tuytelaars & Tolias (2022), whose figures depend
on it. In class, the zeros push the new classes down on every example, against the cross-entropy that pushes the old ones
down: with `class_softmax = old`, a softmax over the old classes alone, hardly anything is gained over fine-tuning.

Choices: λ_o is the same at every task, and the gradient is not multiplied by T² unless `kd_t2`. Old heads are trained by the
distillation, as in the paper; FACIL leaves them as they are. Only the current task's examples are distilled: what another
method replays has labels of its own. With plain SGD keep lr·λ_o (in domain, lr·λ_o·(t − 1)) below about 1: beyond it, steps
overshoot and the network ends up guessing.

The paper's warm-up trains the new head alone before everything is trained together (`warmup_epochs`; 0 by default, the effect
is small). It needs a new head, so it does nothing at the first task and in the domain scenario.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from clcore.batch import Batch
from clcore.benchmarks.base import Task
from clcore.knobs import Knobs, knob
from clcore.methods.base import Method, Phase, Plan, Terms
from clcore.methods.parts.distillation import batch_mean, soft_cross_entropy
from clcore.methods.parts.teacher import Teacher


class LwF(Method):
    title = "LwF"
    summary = (
        "Learning without forgetting: before each task the old network answers the new examples. "
        "While the labels are learned, the network must go on giving these answers."
    )
    family = "distillation"
    boundary_reason = "its teacher is the network as it was when the last task ended, and nobody says when that is"
    paper = "Li & Hoiem, ECCV 2016 (TPAMI 2017)"
    formula = (
        r"\mathcal L_t(\theta)-\lambda_o\sum_{s<t}\sum_i p^{(s)}_i\log q^{(s)}_i,\quad "
        r"p=\mathrm{softmax}\!\left(z_{\theta_{t-1}}/T\right),\ q=\mathrm{softmax}\!\left(z_\theta/T\right)"
    )
    stores = "a copy of the network as it was before the task"
    static_step = True
    needs_boundaries = True
    sweep = (0.0, 0.01, 0.1, 0.3, 1.0, 2.0, 3.0, 5.0, 10.0)

    class Hyper(Knobs):
        strength: float = knob(
            1.0,
            ge=0,
            le=1e6,
            scale="log",
            axis=True,
            symbol="λ_o",
            help="how much the old answers weigh beside the labels",
        )
        temperature: float = knob(
            2.0, ge=0.1, le=1000, scale="log", symbol="T", help="how far answers are softened before they are compared"
        )
        kd_t2: bool = knob(False, help="multiply the distillation by T², so that its pull does not shrink as T grows")
        per_head: bool = knob(True, help="task scenario: a softmax for each old head, or one over all old outputs")
        class_softmax: Literal["seen", "old"] = knob(
            "seen",
            help="class scenario: compare answers over all classes seen, new ones being 0 to the old network, or over old ones",
        )
        warmup_epochs: int = knob(
            0, ge=0, le=10_000, unit="epochs", help="passes that train the new outputs alone, before the task itself"
        )

    def setup(self) -> None:
        self.teacher = Teacher(self.classifier.network)

    def begin(self, task: Task) -> None:
        if task.index:
            self.teacher.copy()

    def phases(self, task: Task) -> Plan:
        warmup, share = self.hyper.warmup_epochs, 0.0
        if warmup and task.index and self.context.scenario != "domain":
            share = warmup / (warmup + self.context.epochs)
            yield Phase("warm-up", epochs=warmup, frozen=self._all_but_new(task), fresh=True, covers=(0.0, share))
        yield Phase(covers=(share, 1.0))

    def terms(self, batch: Batch) -> Terms:
        if not self.teacher:
            return {}
        now, then = self.classifier.logits(batch), self.teacher(batch.x)
        scenario, learning, temperature = self.context.scenario, self.classifier.learning, self.hyper.temperature
        units = self.classifier.units_before(learning)
        if scenario == "class" and self.hyper.class_softmax == "seen":
            then[..., units.stop :].fill_(float("-inf"))
            units = self.classifier.units_before(learning + 1)
        heads = learning if scenario == "task" and self.hyper.per_head else 1
        losses = soft_cross_entropy(now, then, temperature=temperature, units=units, heads=heads)
        weight = self.hyper.strength * (learning if scenario == "domain" else 1)
        if self.hyper.kd_t2:
            weight = weight * temperature**2
        return {"distillation": weight * batch_mean(losses, batch)}

    def trains_old_heads(self) -> Tensor:
        return self.hyper.strength > 0

    def footprint(self):
        return self.teacher.footprint()

    def insight(self):
        return self.teacher.insight(self.classifier, self.context.stream)

    def _all_but_new(self, task: Task) -> dict[torch.nn.Parameter, Tensor]:
        """What a warm-up leaves alone: everything but the new task's output units."""
        network = self.classifier.network
        everything = torch.ones((), dtype=torch.bool, device=self.context.device)
        frozen = {p: everything for p in network.parameters()}
        own = torch.ones(network.head.width, dtype=torch.bool, device=self.context.device)
        own[: len(self.classifier.groups[0])] = ~self.classifier.groups[task.index]
        return frozen | {network.head.weight: own, network.head.bias: own}
