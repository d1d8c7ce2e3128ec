"""Five data sets: a task is a whole data set of ten classes (Ebrahimi et al., ECCV 2020).

The paper's are CIFAR-10, MNIST, SVHN, notMNIST and Fashion-MNIST. torchvision has no notMNIST, and its servers come and go:
KMNIST stands in for it, so figures are not the paper's. Images of 28×28 grey pixels get a border of two zeros and three equal
channels, as in the code of later papers (GPM: Saha et al., ICLR 2021). Test sets differ in size (10,000, and 26,032 of SVHN):
the average over tasks counts every task alike.
"""

from __future__ import annotations

from dataclasses import replace
from functools import cached_property
from typing import Literal

import torch
import torch.nn.functional as F

from clcore.benchmarks.base import Progress
from clcore.benchmarks.cifar import CIFAR10, load_cifar
from clcore.benchmarks.colour import ColourSplit
from clcore.benchmarks.mnist_family import FASHION_MNIST, KMNIST, MNIST, load_family
from clcore.benchmarks.sources import Source, SourceFacts
from clcore.benchmarks.svhn import SVHN, load_svhn
from clcore.catalogue import Training
from clcore.knobs import knob

SETS = {"CIFAR-10": CIFAR10, "MNIST": MNIST, "SVHN": SVHN, "KMNIST": KMNIST, "Fashion-MNIST": FASHION_MNIST}
_EACH = 10  # classes


def _counts(chosen: list[SourceFacts]) -> SourceFacts:
    return SourceFacts(
        shape=(3, 32, 32),
        train_counts=sum((facts.train_counts for facts in chosen), ()),
        test_counts=sum((facts.test_counts for facts in chosen), ()),
        class_names=sum((facts.class_names for facts in chosen), ()),
    )


class FiveDatasets(ColourSplit):
    title = "Five data sets"
    summary = (
        "CIFAR-10, MNIST, SVHN, KMNIST and Fashion-MNIST one after another, 32×32 pixels, ten classes each. KMNIST stands in "
        "for the paper's notMNIST."
    )
    default_scenario = "task"
    offline = False
    downloads = "CIFAR-10, 170 MB; MNIST, 12 MB; SVHN, 246 MB; KMNIST, 21 MB; Fashion-MNIST, 31 MB"
    training = Training(epochs=1, batch_size=64, lr=0.03, hidden=(256, 256))
    together = _EACH

    class Options(ColourSplit.Options):
        tasks: int = knob(5, ge=1, le=5, help="number of data sets, the first so many: CIFAR-10, MNIST, SVHN, KMNIST, Fashion")
        order: Literal["natural", "seeded"] = knob(
            "natural", help="natural: in the order of the paper, CIFAR-10 first; seeded: each seed shuffles the data sets"
        )

    @cached_property
    def pictures(self) -> SourceFacts:
        return _counts(list(SETS.values())[: self.options.tasks])

    def name_of_task(self, classes: list[int]) -> str:
        return list(SETS)[classes[0] // _EACH]

    def images(self, progress: Progress) -> Source:
        readers = {
            "CIFAR-10": lambda: load_cifar("CIFAR10", CIFAR10, self.data_dir, progress),
            "MNIST": lambda: load_family("MNIST", MNIST, self.data_dir, progress),
            "SVHN": lambda: load_svhn(self.data_dir, progress),
            "KMNIST": lambda: load_family("KMNIST", KMNIST, self.data_dir, progress),
            "Fashion-MNIST": lambda: load_family("FashionMNIST", FASHION_MNIST, self.data_dir, progress),
        }
        data = torch.empty(self.pictures.examples, *self.pictures.shape, dtype=torch.uint8)
        labels, train, test, first = [], [], [], 0
        for number, name in enumerate(list(SETS)[: self.options.tasks]):
            found = readers[name]()
            data[first : first + len(found.data)] = as_colour(found.data)
            labels.append(found.labels + number * _EACH)
            train.append(found.train_ids + first)
            test.append(found.test_ids + first)
            first += len(found.data)
        return replace(
            found, data=data, labels=torch.cat(labels), train_ids=torch.cat(train), test_ids=torch.cat(test), parts=3
        )

    def ways_to_shrink(self) -> str:
        others = super().ways_to_shrink()
        return " or ".join(filter(None, ["fewer tasks", others])) if self.options.tasks > 1 else others


def as_colour(images: torch.Tensor) -> torch.Tensor:
    """Images (n, channels, h, w) as (n, 3, 32, 32): grey ones three times, with a border of zeros."""
    border = (32 - images.shape[-1]) // 2
    return F.pad(images, (border,) * 4).expand(-1, 3, -1, -1)
