"""Rotated digits: scikit-learn's handwritten digits, turned by another angle in every task."""

from __future__ import annotations

from clcore.benchmarks.base import Progress
from clcore.benchmarks.rotations import RotatedBenchmark
from clcore.benchmarks.sources import DIGITS, Source, load_digits
from clcore.catalogue import Training


class RotatedDigits(RotatedBenchmark):
    title = "Rotated digits"
    summary = "1,797 handwritten digits of 8×8 pixels; every task turns them by another angle. Needs no download."
    training = Training(epochs=10, batch_size=16, lr=0.1, hidden=(100, 100))
    facts = DIGITS

    def load(self, progress: Progress) -> Source:
        return load_digits()
