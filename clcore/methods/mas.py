"""MAS: springs as stiff as the network's output is sensitive to a weight. No labels are needed to measure that.

Aljundi et al., "Memory Aware Synapses", ECCV 2018, eq. 2: after each task Ω_i = 1/N Σ_n |∂‖f(x_n)‖²/∂θ_i|, the size taken per
example; the penalty is λ·Σ_i Ω_i(θ_i−θ*_i)², without EWC's half, and every weight is held where the latest task left it.

Choices: ‖f‖² is over the logits of the units that are active for the task. Ω is summed over tasks as in the official code;
later code bases take a running mean over tasks or mix old and new in fixed shares, which keeps a long stream from stiffening.
Batch-averaged gradients, whose signs cancel before the absolute value, are what many code bases use instead; we never do.
Ω grows with the square of the logits, so strengths do not carry over between networks (the paper has λ = 1). It is not measured
after the last task, where nothing would use it.
"""

from __future__ import annotations

from typing import Literal

from clcore.benchmarks.base import Task
from clcore.knobs import Knobs, knob
from clcore.methods.base import Method, Terms
from clcore.methods.parts.importance import output_sensitivity
from clcore.methods.parts.springs import PenaltyStep, Springs, penalty_step_knob
from clcore.methods.parts.vectors import ReplicaVector


class MAS(Method):
    title = "MAS"
    summary = (
        "Measures how much the network's output would change if a weight were nudged, and holds the weights that count. "
        "It needs no labels for that."
    )
    family = "regularization"
    scenarios = ("task", "domain", "class", "task-free")
    paper = "Aljundi, Babiloni, Elhoseiny, Rohrbach & Tuytelaars, ECCV 2018"
    formula = (
        r"\mathcal L_t(\theta)+\lambda\sum_i\Omega_i\,(\theta_i-\theta^*_i)^2,\quad "
        r"\Omega_i=\sum_{s<t}\frac1N\sum_n\Big|\frac{\partial\lVert f(x_n)\rVert^2}{\partial\theta_i}\Big|"
    )
    stores = "two numbers per weight: its importance and where it is held"
    static_step = True
    needs_boundaries = True
    sweep = (0.0, 0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0)

    class Hyper(Knobs):
        strength: float = knob(
            0.01, ge=0, le=1e12, scale="log", axis=True, symbol="λ", help="how stiff the springs are"
        )
        samples: int | None = knob(
            1000, ge=1, help="training inputs, without labels, used to measure importance; none means all"
        )
        accumulate: Literal["sum", "mean", "ema"] = knob(
            "sum",
            help="how the tasks' importances are merged: added up, their mean, or old and new mixed in fixed shares",
        )
        old_share: float = knob(0.5, ge=0, le=1, symbol="α", help="with `ema`, the share of the old importance")
        penalty_step: PenaltyStep = penalty_step_knob()

    def setup(self) -> None:
        hyper, optimizer = self.hyper, self.context.optimizer.name
        # Springs have λ/2.
        self.springs = Springs(self.classifier.network, 2 * hyper.strength, hyper.penalty_step, optimizer)
        self.draws = self.context.generators("importance")

    def terms(self, batch) -> Terms:
        return self.springs.terms()

    def after_step(self, batch, lr: float) -> None:
        self.springs.relax(lr)

    def end(self, task: Task) -> None:
        if not self.is_last(task):
            self.springs.replace(self.merged(self.measured(task), task.index))
        else:
            self.springs.note_drift()

    def measured(self, task: Task) -> ReplicaVector:
        """Ω of one task, at the present weights."""
        return output_sensitivity(
            self.classifier, task.train, task.index,
            generators=self.draws, samples=self.hyper.samples,
            pulse=self.context.pulse, charge=self.context.charge,
        )  # fmt: skip

    def merged(self, new: ReplicaVector, earlier: int) -> ReplicaVector:
        """Ω of all tasks so far, from that of the `earlier` ones and that of the `new` one."""
        old = self.springs.importance
        if old is None:
            return new
        if self.hyper.accumulate == "sum":
            return old + new
        share = earlier / (earlier + 1) if self.hyper.accumulate == "mean" else self.hyper.old_share
        return old * share + new * (1 - share)

    def footprint(self):
        return self.springs.footprint()

    def insight(self):
        return self.springs.insight(self.context.stream.input_shape)
