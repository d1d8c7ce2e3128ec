"""BiC: measure on a few held-out examples by how much the new classes are favoured, and turn them down by two numbers.

Wu et al., "Large Scale Incremental Learning", CVPR 2019. A network trained on many new and few old examples gives its new
classes too large outputs, nearly linearly so. Each task t ≥ 2 is learned in two stages:

    1   (1 − λ)·ℓ + λ·KD on the new examples and the exemplars,   λ = n_old / (n_old + n_new) classes
    2   the network is frozen; two numbers α_t > 0, β_t are fitted by cross-entropy on held-out examples, equally many of
        every class seen; from then on the outputs of task t's classes are  α_t·z + β_t

KD is the cross-entropy with the old network's answers over the old classes, softened by T. There is one pair for every task
but the first, and each is part of the network from then on: training, the old network and prediction see corrected outputs.
(Were they corrected for prediction only, the student, who imitates corrected answers, would be corrected twice.)

The held-out examples are a share of the memory. They are set aside before a task is trained on and never enter stage 1, in
their own task or a later one: exemplars for training and for validation are two memories, which together hold M examples.
A class never gives more than that share of its own examples.

Choices: α = exp(a), so no correction ever turns a ranking round. The two numbers are fitted by fifty small steps of Adam
from α = 1, β = 0, each on the whole held-out set. That is not always the minimum, on purpose: where a handful of examples can
be told apart without a mistake, the minimum lies at infinity. KD is not multiplied by T² unless `kd_t2`, as some
implementations do: at T = 2 and the last of five tasks it would weigh sixteen times as much as the labels. Class scenario
only: in the others no softmax runs over the classes of several tasks.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from clcore.batch import Batch
from clcore.benchmarks.base import Split, Task
from clcore.errors import RequestError
from clcore.knobs import Knobs, knob
from clcore.methods.base import Method, Phase, Plan, Terms, mean_over_parts
from clcore.methods.parts.distillation import batch_mean, soft_cross_entropy
from clcore.methods.parts.memory import Memory, Policy, ranks
from clcore.methods.parts.teacher import Teacher


class BiC(Method):
    title = "BiC"
    summary = (
        "Rehearses examples from a memory and imitates the old network. "
        "Then two numbers, measured on held-out examples, turn down the outputs of the newest classes."
    )
    family = "rehearsal"
    scenarios = ("class",)
    paper = "Wu et al., CVPR 2019"
    formula = (
        r"(1-\lambda)\,\ell(x,y)-\lambda\sum_{i\ \text{old}}p_i\log q_i;\quad "
        r"z_i\mapsto\alpha_t z_i+\beta_t\ \text{for the classes of task } t"
    )
    stores = "the memory's examples, a copy of the network as it was before the task, and two numbers per task"
    static_step = True
    needs_boundaries = True
    uses_memory = True

    class Hyper(Knobs):
        temperature: float = knob(
            2.0, ge=0.1, le=1000, scale="log", symbol="T", help="how far answers are softened before they are compared"
        )
        kd_t2: bool = knob(False, help="multiply the distillation by T², so that its pull does not shrink as T grows")
        validation: float = knob(
            0.1, ge=0.01, le=0.5, help="share of the memory that is held out of training, to fit the correction on"
        )
        policy: Policy = knob("herding", help="which examples stay for rehearsal (see er.policy)")
        bias_steps: int = knob(
            50, ge=0, le=100_000, help="steps that fit the two numbers; 0: outputs stay as they are"
        )
        bias_lr: float = knob(
            0.01, ge=1e-5, le=10, scale="log", help="learning rate of the Adam that fits the two numbers"
        )

    def setup(self) -> None:
        stream, memories = self.context.stream, self.context.memories
        held = (self.hyper.validation * memories.double() + 1e-9).long()
        if bool((held < stream.outputs).any()):
            least = min(memories.tolist())
            raise RequestError(
                f"bic.validation = {self.hyper.validation:g} of a memory of {least} is {int(held.min())} held-out examples, "
                f"too few for one of each of {stream.outputs} classes: give a larger memory or a larger share."
            )
        self.memory = Memory(replace(self.context, memories=memories - held), self.hyper.policy)
        self.validation = Memory(replace(self.context, memories=held), "balanced")
        self.teacher = Teacher(self.classifier.network)
        shape = (self.context.replicas, len(stream.tasks))
        self.log_scale = torch.zeros(shape, device=self.context.device)  # log α
        self.shift = torch.zeros(shape, device=self.context.device)  # β

    def begin(self, task: Task) -> None:
        if task.index:
            self.teacher.copy()
        # Rounded up where it does not come out even: the memory then drops the excess of old and new classes alike.
        each = -(-self.validation.budgets // self._classes_before(task.index + 1))
        spared = self.hyper.validation * task.train.lengths.cpu() / self.context.stream.classes_per_task
        held, self._learned = _apart(task.train, each.minimum((spared + 1e-9).long()))
        self.validation.fill(replace(task, train=held))

    def phases(self, task: Task) -> Plan:
        earlier = range(task.index)
        splits = (*self.memory.splits(earlier), self._learned)
        yield Phase("train", tasks=(*earlier, task.index), splits=splits, rehearses=True)

    def task_loss(self, batch: Batch) -> Tensor:
        classifier = self.classifier
        answers = zip(classifier.all_logits(batch), batch.parts, strict=True)
        losses = [classifier.cross_entropy(self.corrected(logits), part) for logits, part in answers]
        return (1 - self._share_of_old()) * mean_over_parts(losses, batch.parts)

    def terms(self, batch: Batch) -> Terms:
        if not self.teacher:
            return {}
        now, then = self.corrected(self.classifier.logits(batch)), self.corrected(self.teacher(batch.x))
        old = self.classifier.units_before(self.classifier.learning)
        losses = soft_cross_entropy(now, then, temperature=self.hyper.temperature, units=old)
        weight = self._share_of_old() * (self.hyper.temperature**2 if self.hyper.kd_t2 else 1)
        return {"distillation": weight * batch_mean(losses, batch)}

    def end(self, task: Task) -> None:
        if task.index:
            self._fit(task)
        self.memory.fill(replace(task, train=self._learned))

    def predict(self, x: Tensor, task: int) -> Tensor:
        return self.corrected(self.classifier(x))

    def corrected(self, outputs: Tensor) -> Tensor:
        """(K, B, O) outputs under every task's α and β; what has no pair yet stays as it is."""
        task_of_unit = self.classifier.groups.long().argmax(0)
        scale, shift = self.log_scale.exp()[:, task_of_unit], self.shift[:, task_of_unit]
        return outputs * scale.unsqueeze(1) + shift.unsqueeze(1)

    def footprint(self):
        kept = self.memory.footprint()
        kept["memory_samples"] = kept["memory_samples"] + self.validation.footprint()["memory_samples"]
        pairs = {"bias_corrections": 8 * self.classifier.learning} if self.classifier.learning else {}
        return kept | self.teacher.footprint() | pairs

    def insight(self):
        """α and β of every task (K, T), what the memory holds, and how far the network went from the old one."""
        pairs = {"bias_scale": self.log_scale.exp(), "bias_shift": self.shift}
        return self.memory.insight() | pairs | self.teacher.insight(self.classifier, self.context.stream)

    def _share_of_old(self) -> float:
        """λ: old classes among all classes seen."""
        learning = self.classifier.learning
        return self._classes_before(learning) / self._classes_before(learning + 1)

    def _classes_before(self, task: int) -> int:
        return self.classifier.units_before(task).stop if task else 0

    def _fit(self, task: Task) -> None:
        """Stage 2: α and β of the task's classes; the network is not touched.

        Where none of their examples is held out there is nothing to measure them on: they stay 1 and 0.
        """
        measured = self.validation.counts_by_task()[:, task.index] > 0
        if not bool(measured.any()):
            return
        with torch.no_grad():
            held = [(part, self.classifier(part.x)) for part in self.validation.everything()]
        examples = self.validation.counts.to(self.context.device).clamp_min(1)
        column = torch.arange(self.shift.shape[1], device=self.shift.device) == task.index
        column = column & measured.to(column.device).unsqueeze(1)
        fitted = [torch.zeros_like(self.shift[:, :1]).requires_grad_() for _ in range(2)]
        optimizer = torch.optim.Adam(fitted, lr=self.hyper.bias_lr)
        before = self.log_scale, self.shift
        for _ in range(self.hyper.bias_steps):
            self.context.pulse()
            self.log_scale, self.shift = (values + column * new for values, new in zip(before, fitted, strict=True))
            losses = ((self.classifier.cross_entropy(self.corrected(z), part) * part.weight).sum(1) for part, z in held)
            optimizer.zero_grad()
            (sum(losses) / examples).sum().backward()
            optimizer.step()
        self.log_scale, self.shift = (v + column * new.detach() for v, new in zip(before, fitted, strict=True))


def _apart(split: Split, each: Tensor) -> tuple[Split, Split]:
    """The first `each` (K,) examples of every class of a split, whose order is random, and the other examples."""
    positions = torch.arange(split.width, device=split.indices.device).expand(len(split.lengths), -1)
    meant = (positions < split.lengths.unsqueeze(1)).cpu()
    earlier_first = (split.width - positions.cpu()).double().masked_fill(~meant, -1)
    held = meant & (ranks(earlier_first, split.units(positions).cpu()) < each.unsqueeze(1))
    device, parts = positions.device, (held, meant & ~held)
    orders = [(~part).long().argsort(dim=1, stable=True).to(device) for part in parts]
    return tuple(split.subset(order, part.sum(1).to(device)) for order, part in zip(orders, parts, strict=True))
