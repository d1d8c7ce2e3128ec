"""DER: rehearse not the labels of old examples but the network's own former answers to them.

Buzzega et al., "Dark Experience for General Continual Learning", NeurIPS 2020. Beside each example the memory keeps the logits
z that the network gave it in the very step in which it passed, before that step's update. The network is asked to give them
again,

    L_t(θ) + α·mean_{(x,z) ⊂ M} ‖h_θ(x) − z‖² / C

with h_θ the logits and C their number. So it is distilled along its whole trajectory, without an old network, and without
task boundaries: the memory is a uniform sample that fills as the stream passes.

Choices: where the data is gone through several times, an example is offered to the memory in the first pass, and its logits
are replaced whenever it passes again. (The authors' code offers it in every pass, so that it may lie there several times, each
with logits of its own.) First-pass logits alone would recall a network that had hardly begun to learn.

The error is the mean over the batch and over the units, as in the authors' code; α therefore does not compare with versions
that sum over units. The head has its full size from the beginning, so in the class scenario old logits also hold the outputs
of classes still to come where they were (a bias that X-DER removes); this is the published method. In the task scenario the
error is taken over the units of the example's own task: no other output is ever used for it, and heads of tasks to come stay
as they are. (The authors average over all heads there too.) α = 0 is fine-tuning, though the memory fills.
"""

from __future__ import annotations

import torch
from torch import Tensor

from clcore.batch import Batch
from clcore.knobs import Knobs, knob
from clcore.methods.base import Method, Terms
from clcore.methods.parts.distillation import batch_mean
from clcore.methods.parts.memory import Memory


class DER(Method):
    title = "Dark experience replay"
    summary = (
        "Keeps a few old examples with the answers the network gave when it first met them. "
        "While it learns on, it must keep giving these answers."
    )
    family = "rehearsal"
    scenarios = ("task", "domain", "class", "task-free")
    paper = "Buzzega et al., NeurIPS 2020"
    formula = r"\mathcal L_t(\theta)+\alpha\,\mathbb E_{(x,z)\sim M}\,\tfrac1C\lVert h_\theta(x)-z\rVert_2^2"
    stores = "the memory's examples, each with the logits it once had"
    uses_memory = True
    sweep = (0.0, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0)

    class Hyper(Knobs):
        strength: float = knob(
            0.5, ge=0, le=1000, scale="log", axis=True, symbol="α", help="how much the former answers weigh"
        )
        replay_batch: int | None = knob(
            None, ge=1, le=65536, help="remembered examples per draw; none means the batch size"
        )

    def setup(self) -> None:
        self.memory = Memory(self.context, fields={"logits": (self.context.stream.outputs,)})

    def mix(self, batch: Batch) -> Batch:
        replayed = self._draw()
        return batch if replayed is None else batch.with_replay(replayed)

    def task_loss(self, batch: Batch) -> Tensor:
        """The current examples' alone: what is replayed enters by the other terms."""
        own, *_ = self.classifier.all_logits(batch)
        return batch_mean(self.classifier.cross_entropy(own, batch), batch)

    def terms(self, batch: Batch) -> Terms:
        if not batch.replay:  # nothing is held yet
            return {"logits": torch.zeros_like(batch.count)}
        recalled = batch.replay[0]
        return {"logits": self.hyper.strength * batch_mean(self._changes(recalled), recalled)}

    def observe(self, batch: Batch) -> None:
        said = {"logits": self.classifier.logits(batch).detach()}
        self.memory.observe(batch, said)
        self.memory.refresh(batch, said)

    def trains_old_heads(self) -> Tensor:
        return super().trains_old_heads() & (self.hyper.strength > 0).cpu()

    def footprint(self):
        return self.memory.footprint()

    def insight(self):
        return self.memory.insight()

    def _draw(self) -> Batch | None:
        return self.memory.draw(self.hyper.replay_batch or self.context.batch_size)

    def _changes(self, recalled: Batch) -> Tensor:
        """(K, B) how far the answers to remembered examples are from those stored: mean squares over the units."""
        squares = (self.classifier.logits(recalled) - recalled.stored["logits"]).square()
        if self.context.scenario != "task":
            return squares.mean(-1)
        own = self.classifier.groups[recalled.task].to(squares.dtype)
        return (squares * own).sum(-1) / own.sum(-1)
