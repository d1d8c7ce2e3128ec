"""Split EMNIST: the 26 letters, both cases under one name, two a task (Cohen et al., IJCNN 2017).

EMNIST has six ways of counting its classes. Letters are taken because 26 = 13 · 2 can be dealt out: the 47 classes of the
"balanced" split cannot, 47 is prime, and its digits are MNIST's again.
"""

from __future__ import annotations

from typing import Literal

from clcore.benchmarks.base import Progress
from clcore.benchmarks.class_splits import SplitBenchmark
from clcore.benchmarks.mnist_family import EMNIST_LETTERS, load_letters
from clcore.benchmarks.sources import Source
from clcore.catalogue import Training
from clcore.knobs import knob


class SplitEMNIST(SplitBenchmark):
    title = "Split EMNIST"
    summary = "145,600 handwritten letters of 28×28 pixels; new letters arrive with every task."
    offline = False
    downloads = "EMNIST, 562 MB"
    training = Training(epochs=1, batch_size=64, lr=0.1, hidden=(256, 256))
    facts = EMNIST_LETTERS

    class Options(SplitBenchmark.Options):
        tasks: int = knob(13, ge=1, le=26, divides=26, help="number of tasks; the 26 letters are dealt out evenly")
        order: Literal["natural", "seeded"] = knob(
            "natural", help="natural: letters by the alphabet; seeded: each seed shuffles them"
        )

    def load(self, progress: Progress) -> Source:
        return load_letters(self.data_dir, progress)
