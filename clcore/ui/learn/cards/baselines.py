"""Baselines and references: nothing is done, or what could be reached."""

from __future__ import annotations

from clcore.ui.learn.cards.sheet import Sheet
from clcore.ui.text import _


def sheets() -> dict[str, Sheet]:
    return {
        "finetune": Sheet(
            strengths=(
                _("Learns each new task as well as the network can: the measure of plasticity."),
                _("Costs nothing beside the network; every other method's time is told in multiples of its time."),
            ),
            weaknesses=(
                _("Nothing protects old tasks: what their weights held is overwritten."),
                _("In the class scenario only the newest classes are ever predicted."),
            ),
            steps="for batch in task t:\n    g = gradient of loss(batch)\n    θ ← θ − η·g",
            bytes=r"0",
            count=lambda s: 0,
        ),
        "gdumb": Sheet(
            strengths=(
                _("A hard test for others: what does not beat it has gained nothing from learning continually."),
                _("The order of the tasks cannot matter, as every test starts from a fresh network."),
            ),
            weaknesses=(
                _("All that is not in the memory is lost, however much data streamed past."),
                _("Trains from scratch before every test, and its forgetting means little: networks that never met."),
            ),
            steps=(
                "for example in the stream:\n"
                "    keep it while its class has a place in M\n"
                "before a test:\n"
                "    θ ← initial weights\n"
                "    train θ on M alone, many epochs"
            ),
            bytes=r"M\,(b+8)",
            count=lambda s: s.memory,
        ),
        "joint": Sheet(
            strengths=(
                _("Nothing is ever gone, so nothing can be forgotten: it shows what the network could reach."),
                _("The reference for intransigence: how much a method has not learned."),
            ),
            weaknesses=(
                _("Breaks the rules of continual learning: it keeps all data of all tasks."),
                _("Every task costs a training on everything so far; the time grows with the square of the tasks."),
            ),
            steps="D ← D ∪ data of task t\nfor batch in D:\n    θ ← θ − η·gradient of loss(batch)",
            bytes=r"N\,(b+8)\quad(N\text{: examples of all tasks})",
            count=lambda s: s.N * (s.b + 8),
        ),
        "single": Sheet(
            strengths=(
                _("No task can harm another: forgetting is exactly 0."),
                _("The reference for transfer: a method that scores higher on a task has learned from the others."),
            ),
            weaknesses=(
                _("Needs to be told the task at test, and no task helps another."),
                _("Grows by a whole network with every task."),
            ),
            steps=(
                "θ_t ← initial weights\n"
                "for batch in task t:\n"
                "    θ_t ← θ_t − η·gradient of loss(batch)\n"
                "predict(x, task s): network θ_s"
            ),
            bytes=r"4P\,(T-1)",
            count=lambda s: 4 * s.P * (s.T - 1),
        ),
    }  # fmt: skip
