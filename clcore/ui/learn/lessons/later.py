"""Lesson: positive backward transfer, when later tasks make an earlier one better."""

from __future__ import annotations

from typing import Any

from clcore.spec import RunSpec
from clcore.ui.learn.lessons.lesson import Lesson, Option, Question, Step, recommended, runs
from clcore.ui.text import _

TURNED, TEN, EPOCHS, WIDEST = "rotated-digits", 10, 150, 40.0
"""150 epochs: task 1 is learned until more practice hardly gains, so that a later gain is no practice made up for."""


def overlapping(*methods: Any, widest: float = WIDEST, tasks: int = 5, epochs: int = EPOCHS) -> tuple[RunSpec, ...]:
    """Digits turned a little further each time, 40 new ones a task; a memory of 100 is half of all examples."""
    options = {"max_angle": widest, "train_per_task": 40, **({} if tasks == 5 else {"tasks": tasks})}
    watched = {"live_examples": 500}  # all that there are: a part of them would lie some points beside the ends
    return runs(*methods, benchmark=TURNED, options=options, epochs=epochs, seeds=TEN, memories=(100,), **watched)


def lesson() -> Lesson:
    replay, plain = Option("er", _("Experience replay")), Option("finetune", _("Fine-tuning"), run=1)
    return Lesson(
        "later",
        _("When a network remembers better later"),
        _("Tasks that overlap: what was learned first can become better while other things are learned."),
        steps=(
            Step(
                "gain", _("Better than when it was learned"),
                _("Task 1 is 40 handwritten digits, turned by a few degrees. Task 2 has 40 other digits, turned a little "
                  "further, and so on, up to 40 degrees. A network learns each task until more practice hardly gains. One "
                  "network is fine-tuned; the other one also rehearses 100 old digits (experience replay)."),
                lambda: overlapping("er", "finetune"),
                Question(
                    "curve", _("How many percent of task 1 does replay read after each task?"), (replay, plain),
                ),
                _("40 digits are too few to learn reading from. The digits of task 2 look almost the same, so they teach task "
                  "1 as well, even without replay: both curves rise. Later tasks are less and less alike. Fine-tuning then "
                  "loses what it had won and more, replay keeps it. This is positive backward transfer."),
            ),
            Step(
                "practice", _("Only more practice?"),
                _("After five tasks a network has taken five times as many steps as after the first. Perhaps task 1 only "
                  "needed more of them. So a third network stays with the 40 digits of task 1 and practises them five times "
                  "as long."),
                lambda: (
                    *overlapping("er", "finetune"),
                    *overlapping("finetune", widest=WIDEST / 5, tasks=1, epochs=5 * EPOCHS),
                ),
                Question(
                    "levels", _("How many percent of task 1 does each read at the end?"),
                    (replay, plain, Option("practice", _("Task 1 alone, longer"), run=2)), metric="first",
                ),
                _("Five times the practice gains about a point. What replay won came from the other tasks: from their new "
                  "digits, and from a memory that kept them together. It is the difference to this control that shows "
                  "transfer, not the rising curve."),
            ),
            Step(
                "alike", _("How alike must tasks be?"),
                _("Replay once more, on three streams: the digits are turned up to 40 degrees as before, up to 90, or up to "
                  "180. Backward transfer is what the earlier tasks have won, on average, since each was learned; below 0 "
                  "they have lost."),
                lambda: (
                    *overlapping("er"), *overlapping("er", widest=90.0), *overlapping("er", widest=180.0),
                ),
                Question(
                    "levels", _("What backward transfer does replay end with, in points?"),
                    (Option("40", _("up to 40°")), Option("90", _("up to 90°"), run=1), Option("180", _("up to 180°"), run=2)),
                    metric="bwt",
                ),
                _("The further the tasks are apart, the less one gives to another. A method cannot win what the stream does "
                  "not offer: a table of backward transfer says as much about the tasks as about the methods."),
            ),
            Step(
                "who", _("Who lets earlier tasks win?"),
                _("The stream up to 40 degrees with three ways to remember: the springs of EWC hold the weights, replay "
                  "rehearses 100 old digits, and joint training trains on everything so far."),
                lambda: overlapping(recommended("ewc", TURNED), "er", "joint"),
                Question(
                    "vote", _("Which has the highest backward transfer?"),
                    (Option("ewc", "EWC"), Option("er", _("Experience replay"), run=1),
                     Option("joint", _("Joint training"), run=2)),
                    metric="bwt",
                ),
                _("A spring can only keep what was known when it was hooked on. To become better, an earlier task has to be "
                  "looked at again beside the new one, which replay does and joint training does with every example. Where "
                  "their intervals overlap, ten seeds do not tell the two apart."),
            ),
        ),
        notes=(
            (3, _("Ask first whether anybody got better at something by learning something else.")),
            (5, _("The curve: most draw it falling. Let both sides give reasons before the run.")),
            (5, _("The control: ask how one could object to the first picture, before showing this step.")),
            (4, _("How alike: draw the three streams on the board as arcs.")),
            (4, _("Close with the survey's demand: report backward transfer, and say for which tasks.")),
        ),
        methods=("finetune", "er", "ewc", "joint"),
    )  # fmt: skip
