"""Split KMNIST: 70,000 handwritten Japanese characters, two a task (Clanuwat et al., 2018)."""

from __future__ import annotations

from clcore.benchmarks.base import Progress
from clcore.benchmarks.class_splits import SplitBenchmark
from clcore.benchmarks.mnist_family import KMNIST, load_family
from clcore.benchmarks.sources import Source
from clcore.catalogue import Training


class SplitKMNIST(SplitBenchmark):
    title = "Split KMNIST"
    summary = "70,000 handwritten Japanese characters of 28×28 pixels; new ones arrive with every task."
    offline = False
    downloads = "KMNIST, 21 MB"
    training = Training(epochs=1, batch_size=64, lr=0.1, hidden=(256, 256))
    facts = KMNIST

    def load(self, progress: Progress) -> Source:
        return load_family("KMNIST", KMNIST, self.data_dir, progress)
