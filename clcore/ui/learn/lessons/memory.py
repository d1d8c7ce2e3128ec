"""Lesson: memory, ER, GEM and A-GEM."""

from __future__ import annotations

from clcore.ui.learn.lessons.lesson import Lesson, Option, Question, Step, runs, with_strength
from clcore.ui.text import _

MEMORIES = (0, 10, 50, 200)


def lesson() -> Lesson:
    return Lesson(
        "memory",
        _("Memory: a few old examples"),
        _("Keep a handful of examples and rehearse them, or let them object to a step. How few are enough?"),
        steps=(
            Step(
                "replay", _("Fifty examples"),
                _("Experience replay keeps 50 examples of all that came before, out of about 1,200 a task, and "
                  "mixes them into every mini-batch. Fifty examples are five of each digit while there is one old "
                  "task; for four old tasks little more than one."),
                lambda: runs("er", "finetune", memories=(50,)),
                Question(
                    "curve", _("How many percent of task 1 are left after each task?"),
                    (Option("er", _("Experience replay")), Option("finetune", _("Fine-tuning"), run=1)),
                ),
                _("A few dozen examples hold much of a task that had more than a thousand: they need not teach it "
                  "again, only keep the weights from leaving."),
            ),
            Step(
                "budget", _("How many are enough?"),
                _("The same with other budgets, for the whole stream. With 0 examples it is fine-tuning."),
                lambda: runs("er", memories=MEMORIES),
                Question(
                    "levels", _("What average accuracy over all five tasks, in percent?"),
                    tuple(Option(f"{m}", _("{n} examples").format(n=m), memory=m) for m in MEMORIES),
                ),
                _("The first examples are worth most. Twenty times as many do not help twenty times as much, "
                  "because they say similar things. The budget is a memory in bytes: compare it with what springs "
                  "need."),
            ),
            Step(
                "use", _("Same memory, three uses"),
                _("ER trains on the stored examples. GEM asks every past task's examples before each step, and "
                  "bends the step until nobody is hurt. A-GEM asks one random batch of all. Each keeps 50 examples."),
                lambda: runs("er", with_strength("gem", 0.5), "agem", memories=(50,)),
                Question(
                    "vote", _("Which ends with the best average accuracy?"),
                    (Option("er", "ER"), Option("gem", "GEM", run=1), Option("agem", "A-GEM", run=2)),
                ),
                _("A constraint that only forbids harm uses the memory less than training on it does. A-GEM "
                  "protects the average and may hurt a single task; the picture of the cone shows how."),
            ),
        ),
        notes=(
            (3, _("Ask how many examples a person needs to keep a skill. Draw, lock, run.")),
            (5, _("Budgets: let the class enter four numbers; show its boxes before the run.")),
            (4, _("Pictures: the cone with two past tasks, then three that contradict each other.")),
            (5, _("Vote and run. Ask for the time each took (Runs page): what does GEM pay?")),
        ),
        methods=("er", "gem", "agem", "finetune"),
    )  # fmt: skip
