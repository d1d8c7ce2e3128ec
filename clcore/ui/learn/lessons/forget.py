"""Lesson: why networks forget."""

from __future__ import annotations

from clcore.ui.learn.lessons.lesson import Lesson, Option, Question, Step, runs
from clcore.ui.text import _


def lesson() -> Lesson:
    return Lesson(
        "forget",
        _("Why do networks forget?"),
        _("One network, five tasks, one after the other: what is left of the first, and what is to blame."),
        steps=(
            Step(
                "task-one", _("What is left of the first task?"),
                _("A small network learns to read handwritten digits whose pixels were shuffled, always in the same"
                  " way: that is task 1. Task 2 has another shuffle, and so on: five in all. Nobody reminds the "
                  "network of earlier tasks (fine-tuning). Right after task 1 it reads 19 of 20 digits."),
                lambda: runs("finetune", "joint"),
                Question(
                    "curve", _("How many percent of task 1 does it still read after each task?"),
                    (Option("finetune", _("Fine-tuning")), Option("joint", _("Joint training"), run=1)),
                ),
                _("Nothing was broken: every step made the present task better. But the weights are shared, and "
                  "what lowers the new loss moves them away from where the old one was low. The upper curve is the "
                  "same network trained on all tasks together: there is room for all of them, so the network did "
                  "not forget for want of room."),
            ),
            Step(
                "size", _("Would a larger network forget less?"),
                _("If room were the trouble, a wider network would help. The same five tasks again, fine-tuned, "
                  "with three widths of the two hidden layers."),
                lambda: (
                    *runs("finetune", hidden=(30, 30)), *runs("finetune"), *runs("finetune", hidden=(300, 300)),
                ),
                Question(
                    "levels", _("What average accuracy over all five tasks does each end with, in percent?"),
                    (Option("30", _("2 × 30 units")), Option("100", _("2 × 100 units"), run=1),
                     Option("300", _("2 × 300 units"), run=2)),
                ),
                _("Ten times the units win some points and are no cure: joint training comes to about 97 % with 2 ×"
                  " 100 units. What is missing is not room but a reason to leave old weights alone."),
            ),
            Step(
                "alike", _("Do similar tasks hurt each other less?"),
                _("Now the tasks differ in other ways. In one stream the pixels are shuffled anew for each task; in"
                  " the second the digits are turned, a little further with each task, up to half a circle; in the "
                  "third they are turned up to 60 degrees only. Fine-tuning again."),
                lambda: (
                    *runs("finetune"), *runs("finetune", benchmark="rotated-digits"),
                    *runs("finetune", benchmark="rotated-digits", options={"max_angle": 60.0}),
                ),
                Question(
                    "vote", _("Which stream is forgotten least, in points lost since the best?"),
                    (Option("permuted", _("shuffled pixels")), Option("half", _("turned, up to 180°"), run=1),
                     Option("little", _("turned, up to 60°"), run=2)),
                    metric="forgetting", best="lowest",
                ),
                _("How much is forgotten depends on the tasks, not only on the method: tasks that look alike keep "
                  "each other alive, and a digit upside down is as foreign as a shuffled one. So methods can be "
                  "compared only on the same stream, with the same seeds."),
            ),
        ),
        notes=(
            (3, _("Tell the story of the shuffled digits. Let everybody draw the curve alone, then lock.")),
            (2, _("Show the class's band before pressing Run: most expect a gentle slope.")),
            (5, _("Run. While it trains ask who sees the drop come at once, in the first steps of task 2.")),
            (5, _("Width: collect arguments for and against before the lock.")),
            (5, _("Similar tasks: a vote by hands, then the run. End with the question what could hold the old weights.")),
        ),
        methods=("finetune", "joint"),
    )  # fmt: skip
