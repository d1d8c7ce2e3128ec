"""Lesson: new rooms, what methods that isolate tasks hold, and what it costs in size."""

from __future__ import annotations

from clcore.ui.learn.lessons.lesson import Lesson, Option, Question, Step, runs
from clcore.ui.text import _

TURNED, LITTLE = "rotated-digits", {"max_angle": 60.0}
TASK = {"scenario": "task"}


def lesson() -> Lesson:
    pnn, packnet, piggyback = (
        Option("pnn", "PNN"), Option("packnet", "PackNet", run=1), Option("piggyback", "Piggyback", run=2),
    )  # fmt: skip
    return Lesson(
        "rooms",
        _("New rooms: nobody touches the old ones"),
        _("Give every task weights of its own, and nothing can be forgotten. What it costs in size, and at the test."),
        steps=(
            Step(
                "columns", _("A column for every task"),
                _("Progressive networks (PNN) train a new network for every task, a column. It may read what the earlier "
                  "columns compute, but these are frozen for good. The tasks are the shuffled digits; at the test the "
                  "network is told which task it is asked about, so that it can answer with the right column. Fine-tuning is "
                  "told too: it has outputs of its own for every task, above layers that all tasks share."),
                lambda: runs("pnn", "finetune", **TASK),
                Question(
                    "curve", _("How many percent of task 1 are left after each task?"),
                    (pnn, Option("finetune", _("Fine-tuning"), run=1)),
                ),
                _("The line is not just flat: after every task the outputs for old examples are compared with what they "
                  "were, and not one bit differs. No training step ever reaches an old column, so this is no matter of "
                  "strength or luck. Now look at the last columns of the table: that is what it costs."),
                sizes=True,
            ),
            Step(
                "size", _("What grows, and how?"),
                _("The plain network keeps 87 kB of weights, with outputs for five tasks. PNN's first column needs 70 kB, as "
                  "it answers one task only. PackNet and Piggyback stay inside one network instead: PackNet prunes what a "
                  "task does not need and leaves it to the next; Piggyback freezes the network after task 1 and learns a "
                  "stencil for each later task, one bit a weight."),
                lambda: runs("pnn", "packnet", "piggyback", **TASK),
                Question(
                    "curve", _("How many kB does PNN keep after each task?"), (pnn, packnet, piggyback), metric="size",
                ),
                _("It grows faster than the number of tasks: the second column adds 196 kB, the fifth 436, because each new "
                  "one has connections to all before it. Connections grow with the square of the tasks. PackNet "
                  "and Piggyback end within a tenth of the plain network: one network, and bits that say whose is what."),
                sizes=True,
            ),
            Step(
                "share", _("Does the large one know more?"),
                _("The same three, now by accuracy. PNN keeps more than ten times as many bytes as the others. None of them "
                  "forgets anything, so what counts is how well each task is learned when it is its turn."),
                lambda: runs("pnn", "packnet", "piggyback", **TASK),
                Question("vote", _("Which ends with the best average accuracy?"), (pnn, packnet, piggyback)),
                _("Size buys nothing here: PackNet, in one network, is as good as PNN as far as three seeds can tell. "
                  "Piggyback is the lowest of the three by its mean: it can only cover weights that task 1 has trained, and "
                  "for other shuffles these are hardly better than random ones. PackNet's room does run out when there are "
                  "tasks enough; PNN's never does."),
                sizes=True,
            ),
            Step(
                "den", _("Growing, but not locked"),
                _("DEN retrains the units that a new task needs, adds units while the loss stays high, and splits units that "
                  "have drifted far: the copy goes on, the original gets its old weights back. Old weights are held by "
                  "springs, not frozen. CPG locks what a task owns, lets the next one pick from it, and grows only where a "
                  "task misses its goal: the accuracy of a network of its own, less one point."),
                lambda: runs("den", "cpg", **TASK),
                Question(
                    "curve", _("How many percent of task 1 does DEN hold after each task?"),
                    (Option("den", "DEN"), Option("cpg", "CPG", run=1)),
                ),
                _("DEN does forget, less than fine-tuning did in the first step, and CPG does not: a unit that drifts by "
                  "less than the threshold is not split, and what it lost stays lost. So DEN promises nothing and has no "
                  "badge, whereas CPG's line is flat to the last bit."),
                sizes=True,
            ),
            Step(
                "grow", _("Growing only when asked to"),
                _("The same two on two streams: shuffled digits, and digits turned by up to 60 degrees, whose tasks look "
                  "alike. The plain network keeps 87 kB. DEN keeps a copy of its weights beside them, and may add as many "
                  "units as it started with."),
                lambda: (*runs("den", "cpg", **TASK), *runs("den", "cpg", benchmark=TURNED, options=LITTLE, **TASK)),
                Question(
                    "levels", _("How many kB does each keep after five tasks?"),
                    (Option("den", _("DEN, shuffled")), Option("den-turned", _("DEN, turned"), run=2),
                     Option("cpg", _("CPG, shuffled"), run=1), Option("cpg-turned", _("CPG, turned"), run=3)),
                    metric="size",
                ),
                _("Under another shuffle about half of the units drift past DEN's threshold and are split, until the first "
                  "layer's reserve is used up, in task 3. Turned digits move few units that far, so it hardly grows, and "
                  "with each of the three seeds it forgets more there, not less: what is not split keeps what it lost. CPG "
                  "asks for a goal instead: of its three networks one missed a goal on shuffled digits and grew by a half; "
                  "on turned ones none did. Growth answers to a criterion and to the stream, so neither size nor accuracy "
                  "says enough alone."),
                sizes=True,
            ),
            Step(
                "price", _("The price: who says which room?"),
                _("All of these must be told the task at the test, and tables mostly compare them where everybody is told. "
                  "SupSup never trains a weight: it finds a mask for every task in a random network. It can be told the "
                  "task, or guess it for each example: the mask that is surest of its answer wins."),
                lambda: (*runs("supsup", **TASK), *runs("supsup", scenario="domain")),
                Question(
                    "levels", _("What average accuracy over the five tasks does SupSup end with, in percent?"),
                    (Option("told", _("SupSup, told")), Option("guessed", _("SupSup, guessing"), run=1)),
                ),
                _("The masks stay the same bits to the end in both cases, and yet points are lost where the task must be "
                  "guessed, more of them the more masks there are to choose from. The knowledge is all there; the door is "
                  "the wrong one. Never put a method that is told the task beside one that is not."),
                sizes=True,
            ),
        ),
        notes=(
            (3, _("Draw a house: a room for every task. Ask what could still be forgotten. Draw, lock, run.")),
            (5, _("Size: let somebody count the connections of column 5 before the lock; then the curve.")),
            (4, _("The vote is on the same runs, so the answer is there at once. Insist on the intervals.")),
            (5, _("DEN and CPG: ask what holds an old weight, a spring or a lock? The badge tells them apart.")),
            (5, _("Growing: while it trains ask what a method should look at before it adds a unit.")),
            (4, _("SupSup: first the number when told, then how much a wrong guess costs.")),
        ),
        methods=("pnn", "den", "packnet", "piggyback", "cpg", "supsup", "finetune"),
    )  # fmt: skip
