"""Permuted Fashion-MNIST: the pixels of every task in another order."""

from __future__ import annotations

from clcore.benchmarks.base import Progress
from clcore.benchmarks.mnist_family import FASHION_MNIST, load_family
from clcore.benchmarks.permutations import PermutedBenchmark
from clcore.benchmarks.sources import Source
from clcore.catalogue import Training
from clcore.knobs import knob


class PermutedFashionMNIST(PermutedBenchmark):
    title = "Permuted Fashion-MNIST"
    summary = "70,000 pictures of clothes of 28×28 pixels; every task shuffles the pixels its own way."
    offline = False
    downloads = "Fashion-MNIST, 31 MB"
    training = Training(epochs=1, batch_size=64, lr=0.1, hidden=(256, 256))
    facts = FASHION_MNIST

    class Options(PermutedBenchmark.Options):
        tasks: int = knob(10, ge=1, le=50, help="number of tasks, each with a permutation of its own")

    def load(self, progress: Progress) -> Source:
        return load_family("FashionMNIST", FASHION_MNIST, self.data_dir, progress)
