"""EWC: springs as stiff as the Fisher information says a weight matters.

Kirkpatrick et al., PNAS 2017, eq. 3: after each task a quadratic penalty λ/2·Σ_i F_i(θ_i−θ*_i)² is added, one per past task,
with F the diagonal of the Fisher information at that task's solution θ*. The sum of these quadratics is kept as one (see
parts/springs.py): the same gradient, constant memory.

Choices: the Fisher is exact by default (expectation over the model's own labels, squared per sample), over the classes that
are active for the task; it is not estimated after the last task, where nothing would use it.
"""

from __future__ import annotations

from clcore.benchmarks.base import Task
from clcore.knobs import Knobs, knob
from clcore.methods.base import Method, Terms
from clcore.methods.parts.importance import Estimator, fisher_diagonal
from clcore.methods.parts.springs import PenaltyStep, Springs, penalty_step_knob
from clcore.methods.parts.vectors import ReplicaVector


class EWC(Method):
    title = "EWC"
    summary = "Hooks a spring to every weight, stiff where earlier tasks depend on it and slack where they do not."
    family = "regularization"
    scenarios = ("task", "domain", "class", "task-free")
    paper = "Kirkpatrick et al., PNAS 2017"
    formula = r"\mathcal L_t(\theta)+\frac{\lambda}{2}\sum_{s<t}\sum_i F_{s,i}\,(\theta_i-\theta^*_{s,i})^2"
    stores = "two numbers per weight: its stiffness and where it is held"
    static_step = True
    needs_boundaries = True
    sweep = (0.0, 1.0, 3.0, 10.0, 30.0, 100.0, 300.0, 1000.0)

    class Hyper(Knobs):
        strength: float = knob(
            30.0, ge=0, le=1e12, scale="log", axis=True, symbol="λ", help="how stiff the springs are"
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
        if self.is_last(task):
            self.springs.note_drift()
        else:
            self.hold(self.measured(task))

    def measured(self, task: Task) -> ReplicaVector:
        """F of one task, at the present weights."""
        return fisher_diagonal(
            self.classifier, task.train, task.index,
            estimator=self.hyper.fisher, samples=self.hyper.fisher_samples, generators=self.draws,
            pulse=self.context.pulse, charge=self.context.charge,
        )  # fmt: skip

    def hold(self, fisher: ReplicaVector) -> None:
        """One more quadratic, anchored here."""
        self.springs.add(fisher)

    def footprint(self):
        return self.springs.footprint()

    def insight(self):
        return self.springs.insight(self.context.stream.input_shape)
