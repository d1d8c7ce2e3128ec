"""Online EWC: one spring per weight, hooked to the latest solution, whose stiffness slowly fades.

Schwarz et al., "Progress & Compress", ICML 2018, §4. After task i the running Fisher information is F*_i = γF*_{i−1} + F_i, and
the next task is learned under λ/2·Σ γF*_i(θ−θ*_i)². γ enters twice, in the update and in the penalty, as in the paper: what
is kept here is γF*, so the update is γF* ← γ(γF* + F_i). (Some code bases have it in the update only; their λ is γ times ours.)

Choices: γ = 1 by default: nothing fades, and with two tasks this is EWC exactly. The paper normalises each F_i so that tasks of
different gradient scale count alike, without saying how; `normalize` divides by its largest entry or its mean, off by default
so that λ means what it means for EWC. The Fisher is estimated as in EWC and not after the last task.
"""

from __future__ import annotations

from clcore.knobs import knob
from clcore.methods.ewc import EWC
from clcore.methods.parts.importance import Normalization, normalized
from clcore.methods.parts.vectors import ReplicaVector


class OnlineEWC(EWC):
    title = "Online EWC"
    summary = (
        "Keeps one spring per weight, hooked to the latest solution. "
        "Its stiffness sums up what all earlier tasks need, and may slowly fade."
    )
    paper = "Schwarz et al., ICML 2018 (Progress & Compress)"
    formula = (
        r"\mathcal L_t(\theta)+\frac{\lambda}{2}\sum_i\gamma F^*_{t-1,i}\,(\theta_i-\theta^*_{t-1,i})^2,\quad "
        r"F^*_t=\gamma F^*_{t-1}+F_t"
    )

    class Hyper(EWC.Hyper):
        decay: float = knob(
            1.0, ge=0, le=1, symbol="γ", help="what remains of earlier importance after each task; 1 means all of it"
        )
        normalize: Normalization = knob(
            "none", help="divide each task's importance by its largest entry or its mean before it is added"
        )

    def hold(self, fisher: ReplicaVector) -> None:
        fisher = normalized(fisher, self.hyper.normalize, self.classifier.network.parameter_count)
        earlier = self.springs.importance  # γF*
        self.springs.replace((fisher if earlier is None else earlier + fisher) * self.hyper.decay)
