"""Lesson: springs, EWC and MAS."""

from __future__ import annotations

from clcore.ui.learn.lessons.lesson import Lesson, Option, Question, Step, recommended, runs, with_strength
from clcore.ui.text import _

STRENGTHS = (0.0, 3.0, 30.0, 300.0, 3000.0)


def lesson() -> Lesson:
    return Lesson(
        "springs",
        _("Springs: hold what matters"),
        _("EWC and MAS hook a spring to every weight. How stiff should they be, and does it matter which weights are held?"),
        steps=(
            Step(
                "ewc", _("Task 1 on springs"),
                _("After each task EWC measures how much the network's answers depend on each weight, and pulls it "
                  "back towards where it was, the harder the more they depend on it. The stream is that of the "
                  "shuffled digits. Without springs, task 1 falls below a third by the end."),
                lambda: runs(with_strength("ewc", 30.0), "finetune"),
                Question(
                    "curve", _("With springs of strength λ = 30: how many percent of task 1 are left after each task?"),
                    (Option("ewc", "EWC"), Option("finetune", _("Fine-tuning"), run=1)),
                ),
                _("The springs hold task 1 well above fine-tuning. They are not a lock: weights that matter a "
                  "little give a little, and five tasks pull at them."),
            ),
            Step(
                "strength", _("How stiff?"),
                _("λ multiplies all springs. At 0 there are none; very stiff ones hold what matters as if nailed."),
                lambda: runs(with_strength("ewc", *STRENGTHS)),
                Question(
                    "vote", _("Which λ ends with the best average accuracy over all five tasks?"),
                    tuple(Option(f"{s:g}", f"λ = {s:g}", strength=s) for s in STRENGTHS),
                ),
                _("Too weak lets the old tasks go, and too stiff is no cure either. The best is in between, and "
                  "where it is depends on network, stream and training: it must be looked for, on validation data. "
                  "Open the run in the Lab to see which tasks suffer at each strength."),
            ),
            Step(
                "which", _("Does it matter which weights are held?"),
                _("EWC holds what its Fisher information says matters. MAS asks instead how much the outputs change"
                  " when a weight is nudged, and needs no labels. The L2 anchor asks nothing: all springs are "
                  "equal. Each has the strength that was found best on validation data."),
                lambda: runs(with_strength("ewc", 30.0), recommended("mas"), recommended("l2")),
                Question(
                    "vote", _("Which ends with the best average accuracy?"),
                    (Option("ewc", "EWC"), Option("mas", "MAS", run=1), Option("l2", _("L2 anchor"), run=2)),
                ),
                _("Measuring importance has to earn its cost against the L2 anchor. Look at the intervals: where "
                  "they overlap, three seeds cannot tell the two apart. The picture of the two valleys shows what "
                  "springs see and what they do not."),
            ),
        ),
        notes=(
            (3, _("Recall lesson 1's curve. Show the two valleys (Pictures) without springs, then with λ = 1.")),
            (5, _("Draw, lock, run. Ask what happens to task 5 if the springs are very stiff.")),
            (5, _("Strength: a vote, then the run; show plasticity falling in the Lab's sweep chart.")),
            (5, _("EWC, MAS, L2: insist on the intervals before anybody names a winner.")),
        ),
        methods=("ewc", "mas", "l2", "finetune"),
    )  # fmt: skip
