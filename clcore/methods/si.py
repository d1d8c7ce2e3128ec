"""Synaptic Intelligence: every weight keeps a diary of how much loss its own movement has saved.

Zenke, Poole & Ganguli, ICML 2017. Along a task's path each weight sums ω_i = −Σ g_i·Δθ_i (see parts/path.py). At the task's
end its importance grows by ω_i/(Δ_i²+ξ), Δ_i being how far it moved in the task (eq. 5), and the penalty c·Σ_i Ω_i(θ_i−θ̃_i)²
(eq. 4; no ½) holds it at the task's solution θ̃. There is no pass over the data: everything is measured while training.

Choices: ω uses the gradient without the penalty's, and Δθ is the whole step. A noisy path can end in a negative Ω, which would
reward drift (weight decay does that; plain descent cannot), so it is cut off at 0 when a task ends, as in the authors' code;
`clamp` turns that off. Ω grows after the last task too, where only pictures use it. An optimizer that keeps its moments from
task to task puts some of the earlier task's direction into the first steps of ω.
"""

from __future__ import annotations

import torch

from clcore.benchmarks.base import Task
from clcore.knobs import Knobs, knob
from clcore.methods.base import Method, Terms
from clcore.methods.parts.path import PathIntegral
from clcore.methods.parts.springs import PenaltyStep, Springs, penalty_step_knob


class SI(Method):
    title = "Synaptic Intelligence"
    summary = (
        "Every weight notes how much its own movement lowers the loss while a task is learned. "
        "Weights that contributed much are held in place afterwards."
    )
    family = "regularization"
    scenarios = ("task", "domain", "class", "task-free")
    paper = "Zenke, Poole & Ganguli, ICML 2017"
    formula = (
        r"\mathcal L_t(\theta)+c\sum_i\Omega_i\,(\theta_i-\tilde\theta_i)^2,\quad "
        r"\Omega_i=\sum_{s<t}\frac{-\sum g_i\,\Delta\theta_i}{(\Delta_i^s)^2+\xi}"
    )
    stores = "three numbers per weight: its importance, where it is held, and its diary of the present task"
    static_step = True
    needs_boundaries = True
    copies = 10
    sweep = (0.0, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0)

    class Hyper(Knobs):
        strength: float = knob(
            0.1, ge=0, le=1e9, scale="log", axis=True, symbol="c", help="how firmly important weights are held"
        )
        damping: float = knob(
            0.1,
            ge=1e-9,
            le=100,
            scale="log",
            symbol="ξ",
            help="keeps the importance of weights that hardly moved finite",
        )
        clamp: bool = knob(True, help="cut negative importance off at 0 when a task ends")
        penalty_step: PenaltyStep = penalty_step_knob()

    def setup(self) -> None:
        network, hyper = self.classifier.network, self.hyper
        # Springs have λ/2, the paper has c.
        self.springs = Springs(network, 2 * hyper.strength, hyper.penalty_step, self.context.optimizer.name)
        self.path = PathIntegral(network)

    def begin(self, task: Task) -> None:
        if self.springs.centre is None:
            self.springs.anchor()  # the first task's path starts here

    def terms(self, batch) -> Terms:
        return self.springs.terms()

    def edit_gradients(self, batch) -> None:
        self.path.depart()

    def after_step(self, batch, lr: float) -> None:
        self.springs.relax(lr)

    def observe(self, batch) -> None:
        self.path.arrive(self.springs)

    @torch.no_grad()
    def end(self, task: Task) -> None:
        importance = self.path.importance(self.springs.centre, self.hyper.damping)
        if self.springs.importance is not None:
            importance = self.springs.importance + importance
        self.springs.replace(importance.map(torch.relu) if self.hyper.clamp else importance)
        self.path.reset()

    def footprint(self):
        return {**self.springs.footprint(), **self.path.footprint()}

    def insight(self):
        return self.springs.insight(self.context.stream.input_shape)
