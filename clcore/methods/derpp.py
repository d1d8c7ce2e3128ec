"""DER++: dark experience replay that is told the right answers as well.

Buzzega et al., NeurIPS 2020. To DER's objective (see der.py: former logits z, α, choices) comes the cross-entropy of a second,
independent draw from the memory:

    L_t(θ) + α·mean_{(x,z) ⊂ M} ‖h_θ(x) − z‖² / C + β·mean_{(x',y') ⊂ M} ℓ(θ; x', y')

The labels repair what the logits have wrong, above all those of examples met early in a task.

Choices: `one_draw` lets the same examples serve both terms, for one forward pass instead of two, as Avalanche does. With it
and α = 0, β = 1 the method is experience replay with the sum of two means and an online memory, bit for bit; α = β = 0 is
fine-tuning.
"""

from __future__ import annotations

import torch
from torch import Tensor

from clcore.batch import Batch
from clcore.knobs import knob
from clcore.methods.base import Terms
from clcore.methods.der import DER
from clcore.methods.parts.distillation import batch_mean


class DERpp(DER):
    title = "DER++"
    summary = (
        "Keeps a few old examples with their labels and the answers the network gave when it first met them. "
        "While it learns on, it rehearses both."
    )
    formula = (
        r"\mathcal L_t(\theta)+\alpha\,\mathbb E_{(x,z)\sim M}\,\tfrac1C\lVert h_\theta(x)-z\rVert_2^2"
        r"+\beta\,\mathbb E_{(x',y')\sim M}\,\ell(\theta;x',y')"
    )

    class Hyper(DER.Hyper):
        beta: float = knob(0.5, ge=0, le=1000, symbol="β", help="how much the labels of remembered examples weigh")
        one_draw: bool = knob(
            False, help="take the same examples for answers and labels (cheaper), instead of two independent draws"
        )

    def mix(self, batch: Batch) -> Batch:
        mixed = super().mix(batch)
        if self.hyper.one_draw or not mixed.replay:
            return mixed
        return mixed.with_replay(self._draw())

    def terms(self, batch: Batch) -> Terms:
        labels = torch.zeros_like(batch.count)
        if batch.replay:
            labelled = batch.replay[0 if self.hyper.one_draw else 1]
            losses = self.classifier.cross_entropy(self.classifier.logits(labelled), labelled)
            labels = self.hyper.beta * batch_mean(losses, labelled)
        return {**super().terms(batch), "labels": labels}

    def trains_old_heads(self) -> Tensor:
        return super().trains_old_heads() if self.hyper.beta == 0 else self.context.memories > 0
