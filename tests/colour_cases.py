"""A CIFAR-10 small enough to train on in a test: forty images, four of a class, with a colour of its own."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from clcore.benchmarks import split_cifar10
from clcore.benchmarks.cifar import CIFAR10
from clcore.benchmarks.sources import Source, SourceFacts

TRAIN, TEST = 12, 4  # images of a class


def small_cifar10(monkeypatch: pytest.MonkeyPatch) -> None:
    """From now on Split CIFAR-10 is this. Training images come first, class by class, then the test images."""
    facts = SourceFacts(CIFAR10.shape, (TRAIN,) * 10, (TEST,) * 10, CIFAR10.class_names)
    monkeypatch.setattr(split_cifar10.SplitCIFAR10, "pictures", facts)

    def load(name: str, facts: SourceFacts, data_dir: Path, progress) -> Source:
        labels = torch.cat([torch.arange(10).repeat_interleave(n) for n in (TRAIN, TEST)])
        draw = torch.Generator().manual_seed(0)
        colours = torch.randint(40, 216, (10, 3, 1, 1), generator=draw)
        noise = torch.randint(-40, 40, (len(labels), *facts.shape), generator=draw)
        data = (colours[labels] + noise).to(torch.uint8)
        train = 10 * TRAIN
        return Source(data, 1 / 255, labels, torch.arange(train), torch.arange(train, len(labels)), parts=3)

    monkeypatch.setattr(split_cifar10, "load_cifar", load)
