"""L2 anchor: every weight is held equally where the last task left it.

The plainest spring, Ω ≡ 1 with one anchor at the latest solution (as in Hsu et al., NeurIPS 2018 workshop): how much of EWC's
gain is any regularization at all? Penalty λ/2·Σ(θ−θ*)² (Hsu et al. write λ without the half). Output units of classes that
have not been seen have no solution to be held at, so they are left free. (Without boundaries nobody says which have been.)
"""

from __future__ import annotations

import torch

from clcore.benchmarks.base import Task
from clcore.knobs import Knobs, knob
from clcore.methods.base import Method, Terms
from clcore.methods.parts.springs import PenaltyStep, Springs, penalty_step_knob
from clcore.methods.parts.vectors import ReplicaVector, weights


class L2(Method):
    title = "L2 anchor"
    summary = (
        "Holds every weight equally firmly at its last value: regularization without knowing which weights matter."
    )
    family = "regularization"
    scenarios = ("task", "domain", "class", "task-free")
    paper = "Hsu, Liu, Ramasamy & Kira, NeurIPS Continual Learning Workshop 2018"
    formula = r"\mathcal L_t(\theta)+\frac{\lambda}{2}\sum_i(\theta_i-\theta^*_i)^2"
    stores = "the previous weights"
    static_step = True
    needs_boundaries = True
    sweep = (0.0, 0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0)

    class Hyper(Knobs):
        strength: float = knob(
            0.03,
            ge=0,
            le=1e9,
            scale="log",
            axis=True,
            symbol="λ",
            help="how firmly every weight is held at its last value",
        )
        penalty_step: PenaltyStep = penalty_step_knob()

    def setup(self) -> None:
        hyper, optimizer = self.hyper, self.context.optimizer.name
        self.springs = Springs(self.classifier.network, hyper.strength, hyper.penalty_step, optimizer)

    def terms(self, batch) -> Terms:
        return self.springs.terms()

    def after_step(self, batch, lr: float) -> None:
        self.springs.relax(lr)

    def end(self, task: Task) -> None:
        network = self.classifier.network
        held = ReplicaVector(torch.ones_like(w) for w in weights(network))
        if not self.classifier.shared:
            unseen = ~self.classifier.seen[task.index]
            for p, importance in zip(network.parameters(), held, strict=True):
                if p is network.head.weight or p is network.head.bias:
                    importance[..., : len(unseen)][..., unseen] = 0
        self.springs.replace(held)

    def footprint(self):
        sizes = self.springs.footprint()
        sizes.pop("importance", None)  # all ones: nothing to store
        return sizes

    def insight(self):
        return self.springs.stretch()
