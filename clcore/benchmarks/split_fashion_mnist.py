"""Split Fashion-MNIST: 70,000 pictures of clothes, two kinds a task (Xiao et al., 2017)."""

from __future__ import annotations

from clcore.benchmarks.base import Progress
from clcore.benchmarks.class_splits import SplitBenchmark
from clcore.benchmarks.mnist_family import FASHION_MNIST, load_family
from clcore.benchmarks.sources import Source
from clcore.catalogue import Training


class SplitFashionMNIST(SplitBenchmark):
    title = "Split Fashion-MNIST"
    summary = "70,000 pictures of clothes of 28×28 pixels; new kinds arrive with every task."
    offline = False
    downloads = "Fashion-MNIST, 31 MB"
    training = Training(epochs=1, batch_size=64, lr=0.1, hidden=(256, 256))
    facts = FASHION_MNIST

    def load(self, progress: Progress) -> Source:
        return load_family("FashionMNIST", FASHION_MNIST, self.data_dir, progress)
