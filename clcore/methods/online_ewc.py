"""Online EWC: one spring per weight, hooked to the latest solution, whose stiffness slowly fades.

Schwarz et al., "Progress & Compress", ICML 2018, §4. After task i the running Fisher information is F*_i = γF*_{i−1} + F_i, and
the next task is learned under λ/2·Σ γF*_i(θ−θ*_i)². γ enters twice, in the update and in the penalty, as in the paper: what
is kept here is γF*, so the update is γF* ← γ(γF* + F_i). (Some code bases have it in the update only; their λ is γ times ours.)

Choices: γ = 1 by default: nothing fades, and with two tasks this is EWC exactly. The paper normalises each F_i so that tasks of
different gradient scale count alike, without saying how; `normalize` divides by its largest entry or its mean, off by default
so that λ means what it means for EWC. The Fisher is estimated as in EWC and not after the last task.
"""

from __future__ import annotations

from clcore.benchmarks.base import Task
from clcore.knobs import Knobs, knob
from clcore.methods.base import Method, Terms
from clcore.methods.parts.importance import Estimator, Normalization, fisher_diagonal, normalized
from clcore.methods.parts.springs import PenaltyStep, Springs, penalty_step_knob


class OnlineEWC(Method):
    title = "Online EWC"
    summary = (
        "Keeps one spring per weight, hooked to the latest solution. "
        "Its stiffness sums up what all earlier tasks need, and may slowly fade."
    )
    family = "regularization"
    paper = "Schwarz et al., ICML 2018 (Progress & Compress)"
    formula = (
        r"\mathcal L_t(\theta)+\frac{\lambda}{2}\sum_i\gamma F^*_{t-1,i}\,(\theta_i-\theta^*_{t-1,i})^2,\quad"
        r"F^*_t=\gamma F^*_{t-1}+F_t"
    )
    stores = "two numbers per weight: its stiffness and where it is held"
    needs_boundaries = True
    sweep = (0.0, 1.0, 3.0, 10.0, 30.0, 100.0, 300.0, 1000.0)

    class Hyper(Knobs):
        strength: float = knob(
            30.0, ge=0, le=1e12, scale="log", axis=True, symbol="λ", help="how stiff the springs are"
        )
        decay: float = knob(
            1.0, ge=0, le=1, symbol="γ", help="what remains of earlier importance after each task; 1 means all of it"
        )
        normalize: Normalization = knob(
            "none", help="divide each task's importance by its largest entry or its mean before it is added"
        )
        fisher: Estimator = knob(
            "exact",
            help="whose labels the Fisher information uses: all of the model's, one drawn from it, or the data's",
        )
        fisher_samples: int | None = knob(1000, ge=1, help="training examples used to estimate it; none means all")
        penalty_step: PenaltyStep = penalty_step_knob()

    def setup(self) -> None:
        hyper, optimizer = self.hyper, self.context.optimizer.name
        self.springs = Springs(self.classifier.network, hyper.strength, hyper.penalty_step, optimizer)
        self.draws = self.context.generators("fisher")

    def terms(self, batch) -> Terms:
        return self.springs.terms()

    def after_step(self, batch, lr: float) -> None:
        self.springs.relax(lr)

    def end(self, task: Task) -> None:
        if task.index + 1 == len(self.context.stream.tasks):
            self.springs.note_drift()
            return
        fisher = fisher_diagonal(
            self.classifier, task.train, task.index,
            estimator=self.hyper.fisher, samples=self.hyper.fisher_samples, generators=self.draws,
            pulse=self.context.pulse,
        )  # fmt: skip
        fisher = normalized(fisher, self.hyper.normalize, self.classifier.network.parameter_count)
        earlier = self.springs.importance  # γF*
        self.springs.replace((fisher if earlier is None else earlier + fisher) * self.hyper.decay)

    def footprint(self):
        return self.springs.footprint()

    def insight(self):
        return self.springs.insight(self.context.stream.input_shape)
