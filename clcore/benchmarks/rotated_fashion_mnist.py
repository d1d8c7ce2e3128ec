"""Rotated Fashion-MNIST: the images of every task turned by another angle."""

from __future__ import annotations

from clcore.benchmarks.base import Progress
from clcore.benchmarks.mnist_family import FASHION_MNIST, load_family
from clcore.benchmarks.rotations import RotatedBenchmark
from clcore.benchmarks.sources import Source
from clcore.catalogue import Training


class RotatedFashionMNIST(RotatedBenchmark):
    title = "Rotated Fashion-MNIST"
    summary = "70,000 pictures of clothes of 28×28 pixels; every task turns them by another angle."
    offline = False
    downloads = "Fashion-MNIST, 31 MB"
    training = Training(epochs=1, batch_size=64, lr=0.1, hidden=(256, 256))
    facts = FASHION_MNIST

    def load(self, progress: Progress) -> Source:
        return load_family("FashionMNIST", FASHION_MNIST, self.data_dir, progress)
