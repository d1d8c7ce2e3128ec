"""Rotated MNIST: the images of every task turned by another angle (Lopez-Paz & Ranzato, NeurIPS 2017)."""

from __future__ import annotations

from clcore.benchmarks.base import Progress
from clcore.benchmarks.mnist_family import MNIST, load_family
from clcore.benchmarks.rotations import RotatedBenchmark
from clcore.benchmarks.sources import Source
from clcore.catalogue import Training


class RotatedMNIST(RotatedBenchmark):
    title = "Rotated MNIST"
    summary = "70,000 handwritten digits of 28×28 pixels; every task turns them by another angle."
    offline = False
    downloads = "MNIST, 12 MB"
    training = Training(epochs=1, batch_size=64, lr=0.1, hidden=(256, 256))
    facts = MNIST

    def load(self, progress: Progress) -> Source:
        return load_family("MNIST", MNIST, self.data_dir, progress)
