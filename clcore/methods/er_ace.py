"""ER-ACE: new examples compete among themselves only, so that newcomers do not push the old classes away.

Caccia et al., "New Insights on Reducing Abrupt Representation Change in Online Continual Learning", ICLR 2022. When a class
arrives, cross-entropy over all classes drives the old outputs down and, through them, moves the features they rest on. The
asymmetric loss takes it over the classes C_curr that the incoming mini-batch contains, and only for replayed examples over
all classes seen:

    L(θ) = ℓ(B_t; C_curr) + ℓ(R; C_old ∪ C_curr)

An absent class gets no gradient from the current examples at all: it is told apart from the new ones by rehearsal alone.

The method is told of no boundary: the memory fills as the stream passes, and which classes have been seen it notes itself,
from the labels of each mini-batch. (With `active_classes = all` or `current` the replayed examples' softmax runs over those.)

Choices: the two means are added, as in the paper. The mask is the mini-batch's, per replica: masking by the classes of the
task, as Avalanche does, costs points where a task has many; Mammoth also leaves every unit after the largest class seen
unmasked and swaps the head for a cosine classifier, both left out here. A replayed example may come from the present task,
but on the first pass over it never from the present mini-batch. Without a memory this is fine-tuning under the mask; in the
domain scenario, and where every mini-batch contains all classes, it is replay with the sum of two means.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from clcore.batch import Batch
from clcore.knobs import Knobs, knob
from clcore.methods.base import Method
from clcore.methods.parts.distillation import batch_mean
from clcore.methods.parts.memory import Memory


class ERACE(Method):
    title = "ER-ACE"
    summary = (
        "Replays old examples from a small memory. "
        "New examples compete only among the classes in their own mini-batch, so they do not push old classes away."
    )
    family = "rehearsal"
    scenarios = ("task", "domain", "class", "task-free")
    paper = "Caccia et al., ICLR 2022"
    formula = (
        r"\frac1B\sum_{(x,y)\in B_t}\ell_{C_\text{curr}}(x,y)"
        r"+\frac1R\sum_{(x,y)\in R\subset M}\ell_{C_\text{old}\cup C_\text{curr}}(x,y)"
    )
    stores = "the memory's examples"
    uses_memory = True

    class Hyper(Knobs):
        replay_batch: int | None = knob(
            None, ge=1, le=65536, help="remembered examples per step; none means the batch size"
        )
        policy: Literal["reservoir", "balanced"] = knob(
            "reservoir", help="which examples stay: a uniform sample of the stream, or as many of every class"
        )

    def setup(self) -> None:
        self.memory = Memory(self.context, self.hyper.policy)
        shape = (self.context.replicas, self.context.stream.outputs)
        self.seen = torch.zeros(shape, dtype=torch.bool, device=self.context.device)

    def mix(self, batch: Batch) -> Batch:
        self.seen = self.seen | _classes(batch, self.context.stream.outputs)
        replayed = self.memory.draw(self.hyper.replay_batch or self.context.batch_size)
        return batch if replayed is None else batch.with_replay(replayed)

    def task_loss(self, batch: Batch) -> Tensor:
        classifier, present = self.classifier, _classes(batch, self.context.stream.outputs)
        own, *replayed = classifier.all_logits(batch)
        total = batch_mean(classifier.cross_entropy(own, batch, present), batch)
        notes = classifier.scenario == "class" and classifier.active_classes == "seen"
        for logits, part in zip(replayed, batch.replay, strict=True):
            losses = classifier.cross_entropy(logits, part, self.seen if notes else None)
            total = total + batch_mean(losses, part)
        return total

    def observe(self, batch: Batch) -> None:
        self.memory.observe(batch)

    def footprint(self):
        return self.memory.footprint()

    def insight(self):
        return self.memory.insight()


def _classes(batch: Batch, outputs: int) -> Tensor:
    """(K, O) bool: the output units that occur among each replica's examples."""
    counts = torch.zeros(len(batch.y), outputs, device=batch.y.device)
    return counts.scatter_add_(1, batch.y, batch.weight) > 0
