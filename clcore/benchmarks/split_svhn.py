"""Split SVHN: house numbers photographed in the street, two digits a task (Netzer et al., 2011)."""

from __future__ import annotations

from clcore.benchmarks.base import Progress
from clcore.benchmarks.colour import ColourSplit
from clcore.benchmarks.sources import Source
from clcore.benchmarks.svhn import SVHN, load_svhn
from clcore.catalogue import Training


class SplitSVHN(ColourSplit):
    title = "Split SVHN"
    summary = "99,289 photographs of house numbers of 32×32 pixels; new digits arrive with every task."
    offline = False
    downloads = "SVHN, 246 MB"
    training = Training(epochs=1, batch_size=32, lr=0.03, hidden=(256, 256))
    pictures = SVHN

    def images(self, progress: Progress) -> Source:
        return load_svhn(self.data_dir, progress)
