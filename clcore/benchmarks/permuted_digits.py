"""Permuted digits: scikit-learn's handwritten digits, the pixels of every task in another order."""

from __future__ import annotations

from clcore.benchmarks.base import Progress
from clcore.benchmarks.permutations import PermutedBenchmark
from clcore.benchmarks.sources import DIGITS, Source, load_digits
from clcore.catalogue import Training


class PermutedDigits(PermutedBenchmark):
    title = "Permuted digits"
    summary = "1,797 handwritten digits of 8×8 pixels; every task shuffles the pixels its own way. Needs no download."
    training = Training(epochs=10, batch_size=16, lr=0.1, hidden=(100, 100))
    facts = DIGITS

    def load(self, progress: Progress) -> Source:
        return load_digits()
