"""Lesson: what the task's identity changes."""

from __future__ import annotations

from clcore.spec import RunSpec
from clcore.ui.learn.lessons.lesson import Lesson, Option, Question, Step, recommended, runs
from clcore.ui.text import _

SPLIT = "split-digits"
SCENARIOS = ("task", "domain", "class")


def lesson() -> Lesson:
    labels = (_("task: told which"), _("domain: first or second of a pair"), _("class: one of ten"))
    scenarios = tuple(Option(s, label, run=i) for i, (s, label) in enumerate(zip(SCENARIOS, labels, strict=True)))
    return Lesson(
        "identity",
        _("Who tells it the task?"),
        _("The same digits in the same order, asked in three ways. What is easy in one is out of reach in another."),
        steps=(
            Step(
                "scenarios", _("One stream, three questions"),
                _("The ten digits come in pairs: 0 and 1, then 2 and 3, and so on. At the end the network is tested"
                  " in three ways. Task: it is told the pair, and says which of the two. Domain: it is not told the"
                  " pair, and says whether it is the first or the second of its pair. Class: it is told nothing, "
                  "and must name one of ten digits. It is fine-tuned each time."),
                lambda: tuple(run for s in SCENARIOS for run in runs("finetune", benchmark=SPLIT, scenario=s)),
                Question("levels", _("What average accuracy over all pairs does it end with, in percent?"), scenarios),
                _("Chance is 50, 50 and 10 %. In the task scenario each pair has outputs of its own, which later "
                  "pairs do not touch: only what is shared below them is lost. In the class scenario the newest "
                  "pair takes it all: the network says 8 or 9 whatever it sees, and is right for one pair in five."),
            ),
            Step(
                "cures", _("Which cure works where nothing is told?"),
                _("The class scenario, with three cures: springs (EWC), the old network's answers (LwF), and 50 "
                  "remembered examples (experience replay). Strengths are those found best on validation data."),
                _class_runs,
                Question(
                    "vote", _("Which ends with the best average accuracy?"),
                    (Option("ewc", "EWC"), Option("lwf", "LwF", run=1), Option("er", _("Experience replay"), run=2)),
                ),
                _("To tell a 3 from an 8 the network must at some time see both. Springs hold what was known about "
                  "each pair, but nobody ever compared the pairs. A few examples bring old and new together in one "
                  "mini-batch."),
            ),
            Step(
                "springs", _("Springs in the three scenarios"),
                _("EWC once more, in each scenario with the strength that was found best for it on validation data."),
                lambda: tuple(
                    run for s in SCENARIOS for run in runs(recommended("ewc", SPLIT, s), benchmark=SPLIT, scenario=s)
                ),
                Question("levels", _("What average accuracy does EWC end with, in percent?"), scenarios),
                _("A method is not good or bad by itself: a table that leaves the scenario out says nothing. That "
                  "is why this lab never ranks runs of different scenarios together."),
            ),
        ),
        notes=(
            (4, _("Act it out: show a 7 and ask the three questions.")),
            (5, _("Three numbers from everybody, then run. Ask why the class scenario comes to about 20 %.")),
            (5, _("Vote on the cures; let one defend each.")),
            (4, _("Springs in three scenarios. End with a published table: which scenario is it?")),
        ),
        methods=("finetune", "ewc", "lwf", "er"),
    )  # fmt: skip


def _class_runs() -> tuple[RunSpec, ...]:
    return runs(
        recommended("ewc", SPLIT, "class"), recommended("lwf", SPLIT, "class"), "er", benchmark=SPLIT, scenario="class",
        memories=(50,),
    )  # fmt: skip
