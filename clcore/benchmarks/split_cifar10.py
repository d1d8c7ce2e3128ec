"""Split CIFAR-10: 60,000 small photographs, two kinds of things a task (Krizhevsky, 2009; as a stream: Zenke et al., 2017)."""

from __future__ import annotations

from clcore.benchmarks.base import Progress
from clcore.benchmarks.cifar import CIFAR10, load_cifar
from clcore.benchmarks.colour import ColourSplit
from clcore.benchmarks.sources import Source
from clcore.catalogue import Training


class SplitCIFAR10(ColourSplit):
    title = "Split CIFAR-10"
    summary = "60,000 colour photographs of 32×32 pixels in 10 classes; new classes arrive with every task."
    offline = False
    downloads = "CIFAR-10, 170 MB"
    training = Training(epochs=1, batch_size=32, lr=0.03, hidden=(256, 256))
    pictures = CIFAR10

    def images(self, progress: Progress) -> Source:
        return load_cifar("CIFAR10", CIFAR10, self.data_dir, progress)
