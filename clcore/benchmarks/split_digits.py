"""Split digits: scikit-learn's handwritten digits, two classes a task."""

from __future__ import annotations

from clcore.benchmarks.base import Progress
from clcore.benchmarks.class_splits import SplitBenchmark
from clcore.benchmarks.sources import DIGITS, Source, load_digits
from clcore.catalogue import Training


class SplitDigits(SplitBenchmark):
    title = "Split digits"
    summary = "1,797 handwritten digits of 8×8 pixels; new digits arrive with every task. Needs no download."
    training = Training(epochs=10, batch_size=16, lr=0.1, hidden=(100, 100))
    facts = DIGITS

    def load(self, progress: Progress) -> Source:
        return load_digits()
