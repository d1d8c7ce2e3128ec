"""Regularization: hold the weights that earlier tasks depend on."""

from __future__ import annotations

from clcore.ui.learn.cards.sheet import Sheet
from clcore.ui.text import _

_SPRINGS = "    θ ← θ − η·(gradient of loss(batch) + {pull})\n"


def sheets() -> dict[str, Sheet]:
    no_data = _("Keeps no example of the past: nothing private is stored, and its memory does not grow with the tasks.")
    no_class = _("In the class scenario it cannot help much: classes that never met in training are not told apart.")
    return {
        "l2": Sheet(
            strengths=(
                _("The simplest spring there is: it shows how much of EWC's gain any restraint would give."),
                _("Half the memory of EWC, and no pass over the data after a task."),
            ),
            weaknesses=(
                _("Holds weights that nobody needs as firmly as those that matter: room for new tasks is lost."),
                no_class,
            ),
            steps=(
                "for batch in task t:\n"
                + _SPRINGS.format(pull="λ·(θ − θ*)")
                + "at the end of the task:\n    θ* ← θ"
            ),
            bytes=r"4P",
            count=lambda s: 4 * s.P,
        ),
        "ewc": Sheet(
            strengths=(
                no_data,
                _("Springs are as stiff as a weight matters, so weights that do not matter stay free to learn."),
            ),
            weaknesses=(
                no_class,
                _("The diagonal of the Fisher information does not see how weights act together."),
                _("Springs add up with every task: a long stream stiffens until nothing new is learned."),
            ),
            steps=(
                "for batch in task t:\n"
                + _SPRINGS.format(pull="λ·Σ_s F_s·(θ − θ*_s)")
                + "at the end of the task:\n"
                "    F_t ← mean of squared gradients of log p(y|x)\n"
                "    θ*_t ← θ"
            ),
            bytes=r"4P\ (\textstyle\sum_s F_s)+4P\ (\text{anchor})=8P",
            count=lambda s: 8 * s.P,
        ),
        "online-ewc": Sheet(
            strengths=(
                no_data,
                _("One anchor, at the latest solution, and a memory γ that can let old springs fade in long streams."),
            ),
            weaknesses=(
                no_class,
                _("With γ = 1 stiffness only grows; with γ < 1 the oldest tasks are let go first."),
            ),
            steps=(
                "for batch in task t:\n"
                + _SPRINGS.format(pull="λ·γF*·(θ − θ*)")
                + "at the end of the task:\n    F* ← γ·F* + F_t\n    θ* ← θ"
            ),
            bytes=r"8P",
            count=lambda s: 8 * s.P,
        ),
        "si": Sheet(
            strengths=(
                no_data,
                _("Importance is gathered while training: no pass over the data after a task."),
            ),
            weaknesses=(
                no_class,
                _("Noise in the gradients enters the diary, so importance depends on batch size and optimizer."),
            ),
            steps=(
                "for batch in task t:\n"
                "    g = gradient of loss(batch)\n"
                "    step with g + 2c·Ω·(θ − θ̃);  ω ← ω − g·Δθ\n"
                "at the end of the task:\n"
                "    Ω ← Ω + ω / (moved² + ξ);  θ̃ ← θ;  ω ← 0"
            ),
            bytes=r"4P\ (\Omega)+4P\ (\tilde\theta)+4P\ (\omega)=12P",
            count=lambda s: 12 * s.P,
        ),
        "mas": Sheet(
            strengths=(
                no_data,
                _("Needs no labels to measure importance: it could be measured on what the network meets in use."),
            ),
            weaknesses=(
                no_class,
                _("Importance grows with the square of the outputs, so a strength does not carry over to other networks."),
            ),
            steps=(
                "for batch in task t:\n"
                + _SPRINGS.format(pull="2λ·Ω·(θ − θ*)")
                + "at the end of the task:\n"
                "    Ω ← Ω + mean over x of |gradient of ‖f(x)‖²|\n"
                "    θ* ← θ"
            ),
            bytes=r"8P",
            count=lambda s: 8 * s.P,
        ),
        "mas-local": Sheet(
            strengths=(
                no_data,
                _("One forward pass measures importance: no labels and no gradients, a rule that a synapse could follow."),
            ),
            weaknesses=(
                no_class,
                _("Each layer is judged as if it were the last one: what later layers ignore is held all the same."),
            ),
            steps=(
                "for batch in task t:\n"
                + _SPRINGS.format(pull="2λ·Ω·(θ − θ*)")
                + "at the end of the task, for the wire from unit i to unit j:\n"
                "    Ω_ij ← Ω_ij + mean of 2·|x_i|·|y_j|\n"
                "    θ* ← θ"
            ),
            bytes=r"8P",
            count=lambda s: 8 * s.P,
        ),
        "rwalk": Sheet(
            strengths=(
                _("Judges a weight in two ways at once: how much outputs depend on it, and how much its movement helped."),
                _("Importance is gathered while training: no pass over the data after a task."),
            ),
            weaknesses=(
                _("Keeps eight numbers per weight, more than any other spring."),
                _("Its running Fisher information forgets earlier tasks; in the class scenario the paper adds a memory."),
            ),
            steps=(
                "for batch in task t:\n"
                + _SPRINGS.format(pull="2λ·(F̂ + ŝ)·(θ − θ*)")
                + "    F ← α·F_now + (1 − α)·F;  every Δt steps:\n"
                "        s ← s + max(0, −Σ g·Δθ) / (½F·Δθ² + ε)\n"
                "at the end: average s with the past, scale both to 1, θ* ← θ"
            ),
            bytes=r"5\cdot4P\ (\text{importance})+2\cdot4P\ (\text{anchors})+4P\ (\text{path})=32P",
            count=lambda s: 32 * s.P,
        ),
        "vcl": Sheet(
            strengths=(
                _("Bayes' rule decides what to hold: the last posterior is the next prior."),
                _("Knows how certain it is of each weight, and of its answers."),
            ),
            weaknesses=(
                _("Learns more slowly: outputs are noisy, and with few examples a task the prior weighs heavily."),
                _("Weights are taken as independent, which makes the posterior too narrow."),
            ),
            steps=(
                "for batch in task t:\n"
                "    draw noise, outputs from N(mean, variance)\n"
                "    loss = −log p(y|x) + β/N_t · KL(q_t ‖ q_{t−1})\n"
                "    step on means and variances\n"
                "at the end: the posterior q_t becomes the prior"
            ),
            bytes=r"4P\ (\text{variances})+8P\ (\text{prior})=12P\quad+\ \text{coresets, where they are kept}",
            count=lambda s: 12 * s.P,
        ),
        "ags-cl": Sheet(
            strengths=(
                _("Holds whole neurons exactly where they were, so that what they compute does not drift."),
                _("Frees idle neurons on purpose and starts some afresh: room for tasks to come."),
            ),
            weaknesses=(
                _("Not made for the class scenario, and in the domain scenario nothing holds the shared output layer."),
                _("Five knobs, and μ is delicate: too small and no neuron is free, too large and the network dies."),
            ),
            steps=(
                "for batch in task t:\n"
                "    θ ← θ − η·gradient of loss(batch)\n"
                "    idle neuron (Ω = 0):  shrink its weights by η·μ\n"
                "    busy neuron (Ω > 0):  pull them back to v̂ by η·λ·Ω\n"
                "at the end: Ω ← η_Ω·Ω + mean activation;  v̂ ← v;\n"
                "    cut idle → busy wires, draw a share ρ of the idle afresh"
            ),
            bytes=r"4\,(P-P_{\text{head}})\ (\hat v)+4\,n_{\text{units}}\ (\Omega)",
            count=lambda s: 4 * (s.P - s.head) + 4 * s.units,
        ),
    }  # fmt: skip
