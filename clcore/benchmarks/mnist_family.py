"""MNIST, Fashion-MNIST, KMNIST and the letters of EMNIST: found, verified, unpacked or downloaded, and read.

torchvision knows the mirrors and checksums and reads the files; `downloads` fetches and unpacks them.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from clcore.benchmarks import downloads
from clcore.benchmarks.sources import Source, SourceFacts
from clcore.errors import DataError

if TYPE_CHECKING:
    from torchvision.datasets import MNIST as MNISTFiles

Progress = Callable[[str, float | None], None]

MNIST = SourceFacts(
    shape=(1, 28, 28),
    train_counts=(5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949),
    test_counts=(980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009),
    class_names=tuple("0123456789"),
)
FASHION_MNIST = SourceFacts(
    shape=(1, 28, 28),
    train_counts=(6000,) * 10,
    test_counts=(1000,) * 10,
    class_names=("T-shirt", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "ankle boot"),
)
KMNIST = SourceFacts(
    shape=(1, 28, 28),
    train_counts=(6000,) * 10,
    test_counts=(1000,) * 10,
    class_names=("o", "ki", "su", "tsu", "na", "ha", "ma", "ya", "re", "wo"),
)

# Letters of both cases under one name, balanced. (The 47 classes of the "balanced" split cannot be dealt out: 47 is prime.)
EMNIST_LETTERS = SourceFacts(
    shape=(1, 28, 28),
    train_counts=(4800,) * 26,
    test_counts=(800,) * 26,
    class_names=tuple("ABCDEFGHIJKLMNOPQRSTUVWXYZ"),
)


def load_family(name: str, facts: SourceFacts, data_dir: Path, progress: Progress) -> Source:
    """The data set that torchvision calls `name`, from `data_dir`, downloaded where it is missing.

    Raises DataError when it cannot be downloaded, stored or read, or when a file is damaged.
    """
    progress(f"Loading {name}", None)
    from torchvision import datasets  # takes seconds, so only where it is needed

    dataset = getattr(datasets, name)
    raw = data_dir / name / "raw"
    with downloads.stored(name, raw):
        for part, (archive, md5) in enumerate(dataset.resources):
            target = raw / archive.removesuffix(".gz")
            if not target.exists():
                urls = [mirror + archive for mirror in dataset.mirrors]
                portion = _portion(progress, facts, part)
                packed = downloads.obtained(name, raw / archive, md5, urls, portion)
                portion(f"Unpacking {name}: {archive}", 1.0)
                downloads.unpack_gzip(packed, target)
            _check_size(target, _sizes(facts)[part])
        train, test = _read(dataset, raw, train=True), _read(dataset, raw, train=False)
    labels = torch.cat([train.targets, test.targets]).long()
    _check_labels(name, facts, labels, raw / "train-labels-idx1-ubyte", raw / "t10k-labels-idx1-ubyte")
    return Source(
        data=torch.cat([train.data, test.data]).view(-1, *facts.shape),
        scale=1 / 255,
        labels=labels,
        train_ids=torch.arange(len(train.targets)),
        test_ids=torch.arange(len(train.targets), len(labels)),
    )


def load_letters(data_dir: Path, progress: Progress, name: str = "EMNIST", facts: SourceFacts = EMNIST_LETTERS) -> Source:
    """The letters of EMNIST, upright: its files hold every image with rows and columns exchanged. Raises DataError."""
    progress(f"Loading {name}", None)
    from torchvision import datasets
    from torchvision.datasets.mnist import read_image_file, read_label_file

    dataset = getattr(datasets, name)
    raw = data_dir / name / "raw"
    files = [raw / f"emnist-letters-{part}-ubyte" for part in _LETTER_PARTS]
    with downloads.stored(name, raw):
        if not all(file.exists() for file in files):
            archive = downloads.obtained(name, raw / Path(dataset.url).name, dataset.md5, [dataset.url], progress)
            progress(f"Unpacking {name}: {archive.name}", 1.0)
            downloads.unpack_zip(archive, {f"gzip/{file.name}.gz": file for file in files})
        for file, size in zip(files, _sizes(facts), strict=True):
            _check_size(file, size)
    try:
        parts = [read(file) for read, file in zip([read_image_file, read_label_file] * 2, map(str, files), strict=True)]
    except (AssertionError, RuntimeError, ValueError, TypeError, KeyError) as error:
        raise DataError(
            f"{raw}/emnist-letters-*-ubyte are damaged ({error or 'bad header'}); delete them and start again."
        ) from error
    labels = torch.cat([parts[1], parts[3]]).long() - 1  # A is 1 there
    _check_labels(name, facts, labels, files[1], files[3])
    train = sum(facts.train_counts)
    return Source(
        data=torch.cat([parts[0], parts[2]]).transpose(1, 2).contiguous().view(-1, *facts.shape),
        scale=1 / 255,
        labels=labels,
        train_ids=torch.arange(train),
        test_ids=torch.arange(train, facts.examples),
    )


_LETTER_PARTS = ("train-images-idx3", "train-labels-idx1", "test-images-idx3", "test-labels-idx1")


def _check_labels(name: str, facts: SourceFacts, labels: torch.Tensor, *files: Path) -> None:
    """Raises DataError naming one of `files` (training and test) whose labels are not those of the data set."""
    train = sum(facts.train_counts)
    parts = (labels[:train], labels[train:])
    for file, part, counts in zip(files, parts, (facts.train_counts, facts.test_counts), strict=True):
        if int(part.min()) < 0 or tuple(torch.bincount(part, minlength=facts.classes).tolist()) != counts:
            raise DataError(f"{file} is damaged (its labels are not those of {name}); delete it and start again.")


def _read(dataset: type[MNISTFiles], raw: Path, train: bool) -> MNISTFiles:
    try:
        return dataset(raw.parents[1], train=train)
    except (AssertionError, RuntimeError, ValueError, TypeError, KeyError) as error:
        # What torchvision raises for a bad header depends on which of its bytes are bad.
        which = "train" if train else "t10k"
        raise DataError(
            f"{raw}/{which}-*-ubyte are damaged ({error or 'bad header'}); delete them and start again."
        ) from error


def _sizes(facts: SourceFacts) -> tuple[int, int, int, int]:
    """Bytes of the four files: training images and labels, test images and labels."""
    train, test = sum(facts.train_counts), sum(facts.test_counts)
    return 16 + train * facts.numbers, 8 + train, 16 + test * facts.numbers, 8 + test


def _portion(progress: Progress, facts: SourceFacts, part: int) -> downloads.Portion:
    """`progress` of one of the four files, as a share of all of them."""
    sizes = _sizes(facts)
    return lambda message, share: progress(message, (sum(sizes[:part]) + share * sizes[part]) / sum(sizes))


def _check_size(file: Path, expected: int) -> None:
    if (size := file.stat().st_size) != expected:
        raise DataError(f"{file} is damaged ({size} bytes instead of {expected}); delete it and start again.")
