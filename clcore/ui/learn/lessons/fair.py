"""Lesson: how to compare fairly."""

from __future__ import annotations

from clcore.ui.learn.lessons.lesson import Lesson, Option, Question, Step, runs, with_strength
from clcore.ui.text import _

AS_MANY_BYTES = 1956
"""Examples of 8 × 8 pixels, at 64 + 8 bytes, in the 8 · 17,610 bytes that EWC's springs take for 2 × 100 units."""
TEN = 10
STIFF = (0.0, 0.1, 1000.0)


def lesson() -> Lesson:
    ewc, replay = Option("ewc", "EWC"), Option("er", _("Experience replay"), run=1)
    return Lesson(
        "fair",
        _("How to compare fairly"),
        _("Seeds, bytes, and what a metric does not say: three ways in which a table can mislead."),
        steps=(
            Step(
                "one-seed", _("A winner"),
                _("EWC with λ = 30 against experience replay with 50 examples, on shuffled digits. One network "
                  "each, from the same initial weights, over the same stream."),
                lambda: runs(with_strength("ewc", 30.0), "er", memories=(50,), seeds=1),
                Question("vote", _("Which ends with the better average accuracy?"), (ewc, replay)),
                _("One run each always has a winner. Another shuffle, other initial weights, and it may be the "
                  "other one: a single number does not say how far it would move."),
            ),
            Step(
                "ten-seeds", _("The same with ten seeds"),
                _("Each method is now trained ten times. A seed sets the shuffles, the initial weights and the "
                  "order of the examples, and both methods get the same ten. The bar is the 95 % interval of the "
                  "mean."),
                lambda: runs(with_strength("ewc", 30.0), "er", memories=(50,), seeds=TEN),
                Question("vote", _("Which ends with the better average accuracy now?"), (ewc, replay)),
                _("If the bars overlap, these seeds do not settle it, and the table should say so. If they do not, "
                  "ask next whether the two were given the same: here one kept 141 kB beside its network, the other"
                  " less than 4 kB."),
            ),
            Step(
                "bytes", _("The same bytes"),
                _("EWC's springs are two numbers for each of 17,610 weights: 141 kB. An example of this stream "
                  "takes 72 bytes. Now replay gets as many bytes: 1,956 examples, about a third of the stream."),
                lambda: runs(with_strength("ewc", 30.0), "er", memories=(AS_MANY_BYTES,)),
                Question("levels", _("What average accuracy does each end with, in percent?"), (ewc, replay)),
                _("On pictures of 8 × 8 pixels memory is cheap. One colour photograph of 224 × 224 pixels takes 151"
                  " kB, more than all of these springs: what is fair depends on what is scarce. So say what was "
                  "equal: examples, bytes, time, or gradient steps."),
            ),
            Step(
                "metric", _("The best metric is not the best method"),
                _("The L2 anchor, which holds all weights equally, with three strengths. At 1,000 no weight can "
                  "move any more once the first task is learned. Forgetting counts the points lost since the best."),
                lambda: runs(with_strength("l2", *STIFF)),
                Question(
                    "vote", _("Which forgets least?"),
                    tuple(Option(f"{s:g}", f"λ = {s:,g}", strength=s) for s in STIFF),
                    metric="forgetting", best="lowest",
                ),
                _("Who learns nothing has nothing to forget. Look at the average accuracy of the same runs in the "
                  "Lab, and at the learning accuracy: forgetting is worth something only beside them."),
            ),
        ),
        notes=(
            (3, _("A vote on one seed, run, and a round of applause for the winner.")),
            (6, _("Ten seeds take a minute or two: meanwhile ask what a seed changes and why both get the same.")),
            (5, _("Bytes: let somebody compute 8 · 17,610 / 72.")),
            (5, _("Forgetting: after the vote, open the run in the Lab and look at the diagonal of the matrix.")),
        ),
        methods=("ewc", "er", "l2"),
    )  # fmt: skip
