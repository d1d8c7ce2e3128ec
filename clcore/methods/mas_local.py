"""Local MAS: what fires together is held together.

Aljundi et al., "Memory Aware Synapses", ECCV 2018, the local version: the output sensitivity of MAS taken layer by layer, each
as if it were the network's only one. For y = ReLU(Wx + b) that is ∂‖y‖²/∂W_ij = 2·x_i·y_j (W from input i to output j), so the
importance of a weight is the correlation of what enters and what leaves it, a Hebbian rule, and costs one forward pass: no
gradients. Everything else is MAS.

Choices: the factor 2 stays, so that on one layer local and global MAS are equal. Inputs may be negative and the output layer
has no ReLU: sizes |x_i|·|y_j| there, and only the active units' logits. Biases have the input 1.
"""

from __future__ import annotations

from clcore.benchmarks.base import Task
from clcore.knobs import knob
from clcore.methods.mas import MAS
from clcore.methods.parts.importance import input_output_correlation
from clcore.methods.parts.vectors import ReplicaVector


class LocalMAS(MAS):
    title = "Local MAS"
    networks = ("mlp",)
    network_reason = "it reads what enters and leaves fully connected layers"
    summary = (
        "Holds a weight the more firmly, the more often the units at its two ends are active together. "
        "It needs neither labels nor gradients for that."
    )
    formula = (
        r"\mathcal L_t(\theta)+\lambda\sum_{ij}\Omega_{ij}\,(\theta_{ij}-\theta^*_{ij})^2,\quad "
        r"\Omega_{ij}=\sum_{s<t}\frac1N\sum_n 2\,|x_{n,i}|\,|y_{n,j}|"
    )
    sweep = (0.0, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0)

    class Hyper(MAS.Hyper):
        strength: float = knob(0.1, ge=0, le=1e12, scale="log", axis=True, symbol="λ", help="how stiff the springs are")

    def measured(self, task: Task) -> ReplicaVector:
        return input_output_correlation(
            self.classifier, task.train, task.index,
            generators=self.draws, samples=self.hyper.samples,
            pulse=self.context.pulse, charge=self.context.charge,
        )  # fmt: skip
