"""Split MNIST: 70,000 handwritten digits, two classes a task (Zenke et al., ICML 2017)."""

from __future__ import annotations

from clcore.benchmarks.base import Progress
from clcore.benchmarks.class_splits import SplitBenchmark
from clcore.benchmarks.mnist_family import MNIST, load_family
from clcore.benchmarks.sources import Source
from clcore.catalogue import Training


class SplitMNIST(SplitBenchmark):
    title = "Split MNIST"
    summary = "70,000 handwritten digits of 28×28 pixels; new digits arrive with every task."
    offline = False
    downloads = "MNIST, 12 MB"
    training = Training(epochs=1, batch_size=64, lr=0.1, hidden=(256, 256))
    facts = MNIST

    def load(self, progress: Progress) -> Source:
        return load_family("MNIST", MNIST, self.data_dir, progress)
