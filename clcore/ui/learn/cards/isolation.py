"""Isolation: give every task weights of its own."""

from __future__ import annotations

import math

from clcore.ui.learn.cards.sheet import Sheet
from clcore.ui.text import _


def sheets() -> dict[str, Sheet]:
    exact = _("Forgetting is exactly 0: nothing that an old task uses is written again.")
    told = _("Must be told the task at test, to choose what belongs to it.")
    return {
        "pnn": Sheet(
            strengths=(exact, _("New columns read what earlier ones compute: features can be used again, and stay unharmed.")),
            weaknesses=(
                told,
                _("Grows with every task, and the wires between columns grow with the square of the tasks."),
                _("Old tasks never gain from new ones: nothing is learned backwards."),
            ),
            steps=(
                "add a column θ_t with wires U from all earlier columns; freeze these\n"
                "for batch in task t:\n"
                "    h_i = ReLU(W_t·h_{i−1} + Σ_{j<t} U_tj·h_{i−1} of column j)\n"
                "    step on θ_t and U_t only\n"
                "predict(x, task s): columns 1 … s, output of column s"
            ),
            bytes=r"4\sum_{t=2}^{T}\big(P-P_{\text{head}}+\text{wires}_t\big),\quad \text{wires}_t\propto t-1",
        ),
        "den": Sheet(
            strengths=(
                _("Grows only where a task cannot be learned otherwise, and only by as many units as it needs."),
                _("Retrains the few units that matter for the new task and leaves the others alone."),
            ),
            weaknesses=(
                _("Does forget: shared units drift within a threshold, and what is split must be learned again."),
                _("Three thresholds and three penalties to choose, and several trainings a task."),
                told,
            ),
            steps=(
                "train the new outputs alone; find the units they use\n"
                "retrain these units only                              # selective retraining\n"
                "if loss > τ:  add k units, train them with group sparsity, drop idle ones\n"
                "for units that moved more than σ:  restore, continue in a copy   # split\n"
                "predict(x, task s): only units that existed at task s  # timestamp"
            ),
            bytes=(
                r"4\,(P_{\text{grown}}-P)+4\,P_{\text{hidden, grown}}\ (\text{as the last task left them})"
                r"+\text{a byte and }T-1\text{ bits per hidden unit}"
            ),
        ),
        "packnet": Sheet(
            strengths=(
                exact,
                _("The network keeps its size: tasks share it, and later ones may read all earlier weights."),
            ),
            weaknesses=(
                told,
                _("Room runs out: each task takes its part for good, and the last ones get what is left."),
                _("Two trainings a task: before and after pruning."),
            ),
            steps=(
                "train the free weights on task t (owned ones are read, not moved)\n"
                "in each layer: keep the largest of them, free the others (set to 0)\n"
                "retrain the kept ones; they belong to task t from now on\n"
                "predict(x, task s): use weights of owners 1 … s only"
            ),
            bytes=r"\tfrac18\lceil\log_2(T+1)\rceil\,W\ (\text{owner of each hidden weight, without biases})",
            count=lambda s: -(-_owner_bits(s.T) * s.hidden_weights // 8),
        ),
        "piggyback": Sheet(
            strengths=(
                exact,
                _("One bit per weight and task: 32 times smaller than a network of its own."),
            ),
            weaknesses=(
                told,
                _("Only as good as its frozen backbone: a task that it has no features for is learned badly."),
            ),
            steps=(
                "freeze the backbone W;  scores m ← 0.01 for every weight\n"
                "for batch in task t:\n"
                "    forward with W ⊙ [m > 0.005]\n"
                "    step on the scores as if the threshold were not there\n"
                "at the end: keep the bits [m > 0.005], drop the scores"
            ),
            bytes=r"\tfrac18W\,(T-1)\ (\text{one bit per hidden weight and task, but for the first})",
            count=lambda s: -(-s.hidden_weights // 8) * (s.T - 1),
        ),
        "cpg": Sheet(
            strengths=(
                exact,
                _("Picks the old weights that help instead of dragging all along, and grows only when a goal is missed."),
            ),
            weaknesses=(
                told,
                _("Many trainings a task: learn, prune step by step, retrain, and again when the network has grown."),
                _("Needs an accuracy goal for every task, judged on validation data."),
            ),
            steps=(
                "train free weights and picks over old ones; if the goal is missed: grow, again\n"
                "prune the new weights little by little while the goal holds   # compact\n"
                "retrain picks and kept weights a little                       # pick\n"
                "freeze: they belong to task t\n"
                "predict(x, task s): own weights of s and its picks among older ones"
            ),
            bytes=(
                r"\tfrac18\lceil\log_2(T+1)\rceil\,W_{\text{grown}}+\tfrac18\sum_t(\text{older weights})"
                r"+4\,(P_{\text{grown}}-P)+4\,(T-1)\,\text{biases}"
            ),
        ),
        "hat": Sheet(
            strengths=(
                _("Hardly any forgetting: units that a task switched on are locked for later ones (none with hard gates)."),
                _("Learns by itself how many units a task needs, and shares those that fit."),
            ),
            weaknesses=(
                told,
                _("Once most units are locked, later tasks find no room; the tax c decides how thrifty tasks are."),
                _("Sensitive to how gates harden: they need many mini-batches an epoch."),
            ),
            steps=(
                "for batch b in task t:\n"
                "    s rises from 1/s_max to s_max within the epoch\n"
                "    each layer's output × a = σ(s·e_t);  loss + c·(new units switched on)\n"
                "    gradient of w_ij × (1 − min(a_i, a_j of earlier tasks))\n"
                "at the end: a_past ← max(a_past, a_t)"
            ),
            bytes=r"\tfrac18\,\text{units}\cdot T\ (\text{one bit per hidden unit and task; soft gates: 4 bytes})",
            count=lambda s: -(-s.units // 8) * s.T,
        ),
        "supsup": Sheet(
            strengths=(
                exact,
                _("Weights are random and never trained, so they could be drawn again from a seed: only masks are kept."),
                _("Can guess the task: the mask whose answers are most certain."),
            ),
            weaknesses=(
                _("Needs a wide network: a good mask must exist among random weights."),
                _("Nothing is shared between tasks, and with few outputs or similar tasks the guess is unreliable."),
            ),
            steps=(
                "W random and fixed;  scores S_t random\n"
                "for batch in task t:\n"
                "    forward with W ⊙ [S_t > 0]\n"
                "    step on S_t as if the mask were not there\n"
                "predict(x): task given, or the one whose mask answers with the least entropy"
            ),
            bytes=r"\tfrac18W\,T\ (\text{one bit per weight and task, without biases})",
            count=lambda s: -(-(s.P - s.units - s.outputs) // 8) * s.T,
        ),
    }  # fmt: skip


def _owner_bits(tasks: int) -> int:
    """Of one weight's owner: a task, or nobody."""
    return math.ceil(math.log2(tasks + 1))
