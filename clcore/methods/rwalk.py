"""Riemannian Walk: EWC's Fisher information and SI's diary together, both gathered while training.

Chaudhry, Dokania, Ajanthan & Torr, ECCV 2018. Two numbers say how much a weight matters:

    F   a moving average of the Fisher information, F ← αF_now + (1−α)F                                  (EWC++, eq. 6)
    s   how much loss its movement saved per distance moved, the distance being measured in how far the outputs' distribution
        moved (KL): every Δt steps, s += max(0, ΔL) / (½FΔθ² + ε) with ΔL = −Σ g·Δθ over them              (eq. 7)

After a task s is averaged with the earlier tasks' (½ each), both are divided by their largest entry, and λ·Σ(F+s)(θ−θ*)² holds
the weights (eq. 8; no ½). F is not averaged per task: with α = 0.9 it forgets earlier tasks, which only s remembers.

Choices: F_now is the mean over Δt steps of squared gradients per sample, read off the training step's own backward pass (the
data's labels, replayed examples included). The authors' code squares the mini-batch's mean gradient instead, which near a
solution is the Fisher divided by the batch size, with far more noise; it takes the same mean over Δt steps, where eq. 6 moves F
every step. The F that divides ΔL is the one that includes the steps in question. ε is that of the authors' code; the scores are
averaged as in the paper (their code adds). In class-incremental learning the paper replays as well: `er+rwalk`.
"""

from __future__ import annotations

import torch

from clcore.batch import Batch
from clcore.benchmarks.base import Task
from clcore.knobs import Knobs, knob
from clcore.methods.base import Method, Terms
from clcore.methods.parts.importance import StepSquares, normalized
from clcore.methods.parts.path import PathIntegral
from clcore.methods.parts.springs import PenaltyStep, Springs, penalty_step_knob
from clcore.methods.parts.vectors import ReplicaVector, per_replica, trained_numbers, weights


class RWalk(Method):
    title = "Riemannian Walk"
    summary = (
        "Holds weights that earlier tasks depend on, judged in two ways at once: how strongly the outputs react to them, "
        "and how much loss their movement saved. Both are gathered while training, without a pass over the data."
    )
    family = "regularization"
    paper = "Chaudhry, Dokania, Ajanthan & Torr, ECCV 2018"
    formula = (
        r"\mathcal L_t(\theta)+\lambda\sum_i(\hat F_i+\hat s_i)\,(\theta_i-\theta^*_i)^2,\quad "
        r"s_i=\sum_{\Delta t}\frac{\max(0,\,-\sum g_i\,\Delta\theta_i)}{\frac12F_i\,\Delta\theta_i^2+\epsilon}"
    )
    stores = "eight numbers per weight: running importance and path scores, and where it is held"
    needs_boundaries = True
    copies = 16
    sweep = (0.0, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0)

    class Hyper(Knobs):
        strength: float = knob(
            3.0, ge=0, le=1e9, scale="log", axis=True, symbol="λ", help="how firmly important weights are held"
        )
        averaging: float = knob(
            0.9, ge=0, le=1, symbol="α", help="share of the latest interval in the running Fisher information"
        )
        interval: int = knob(10, ge=1, le=100_000, symbol="Δt", unit="steps", help="steps over which a score is taken")
        damping: float = knob(
            1e-3, ge=1e-12, le=100, scale="log", symbol="ε", help="keeps the score of weights that hardly moved finite"
        )
        penalty_step: PenaltyStep = penalty_step_knob()

    def setup(self) -> None:
        network, hyper = self.classifier.network, self.hyper
        # Springs have λ/2, the paper has λ.
        self.springs = Springs(network, 2 * hyper.strength, hyper.penalty_step, self.context.optimizer.name)
        self.path = PathIntegral(network)
        self.squares = StepSquares(network)
        self.fisher = ReplicaVector(torch.zeros_like(p) for p in network.parameters())
        self.score = self.fisher.copy()
        self.earlier_score: ReplicaVector | None = None
        self.start = weights(network).copy()  # of the interval
        self.taken = torch.zeros(self.context.replicas, device=self.context.device)  # (K,) its steps so far
        self.restored()

    def restored(self) -> None:
        self._steps = 0  # in this phase, the same for all replicas that have not stopped

    def mix(self, batch: Batch) -> Batch:
        self.squares.listen()
        return batch

    def terms(self, batch: Batch) -> Terms:
        self.squares.stop()
        return self.springs.terms()

    def edit_gradients(self, batch: Batch) -> None:
        self.path.depart()

    def after_step(self, batch: Batch, lr: float) -> None:
        self.springs.relax(lr)

    def observe(self, batch: Batch) -> None:
        self.squares.collect(sum(part.count for part in batch.parts))
        self.path.arrive(self.springs)
        self.taken += 1
        self._steps += 1
        if self._steps % self.hyper.interval == 0:
            self._close_interval()

    @torch.no_grad()
    def _close_interval(self) -> None:
        """Moves F, adds to s, and starts the next interval; replicas that took no step since the last are left as they are."""
        share = torch.where(self.taken > 0, self.hyper.averaging, 0.0)
        steps = self.taken.clamp_min(1)
        moving = (weights(self.classifier.network), self.start, self.squares.total, self.path.omega)
        for p, start, square, saved, fisher, score in zip(*moving, self.fisher, self.score, strict=True):
            fisher.lerp_(square / per_replica(steps, square), per_replica(share, square))
            moved = p - start
            score.add_(torch.relu(saved / (fisher * moved * moved / 2 + self.hyper.damping)))
            start.copy_(p)
            square.zero_()
        self.path.reset()
        self.taken.zero_()

    @torch.no_grad()
    def end(self, task: Task) -> None:
        self._close_interval()
        earlier = self.earlier_score
        self.earlier_score = self.score.copy() if earlier is None else (earlier + self.score) * 0.5
        count = self.classifier.network.parameter_count
        self.springs.replace(normalized(self.fisher, "max", count) + normalized(self.earlier_score, "max", count))
        for score in self.score:
            score.zero_()

    def footprint(self):
        """Beside the springs: F, its squares, s and the earlier tasks' s; the interval's start; the path integral."""
        size = 4 * trained_numbers(self.classifier.network)
        held = self.springs.footprint()
        held["importance"] = held.get("importance", 0) + (3 if self.earlier_score is None else 4) * size
        held["anchors"] = held.get("anchors", 0) + size
        return {**held, **self.path.footprint()}

    def insight(self):
        return self.springs.insight(self.context.stream.input_shape)
