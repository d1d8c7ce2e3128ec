"""The data sets behind the benchmarks: whether they are here, where they lie, and where they would come from. No torch."""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from clcore.catalogue import BenchmarkCard

State = Literal["included", "present", "packed", "missing", "damaged", "unknown", "own"]
# Unpacked: 60,000 and 10,000 images of 28×28 after a header of 16 bytes, and their labels after one of 8.
_IDX = {
    "train-images-idx3-ubyte": 16 + 60_000 * 784, "train-labels-idx1-ubyte": 8 + 60_000,
    "t10k-images-idx3-ubyte": 16 + 10_000 * 784, "t10k-labels-idx1-ubyte": 8 + 10_000,
}  # fmt: skip


_LETTERS = {
    "emnist-letters-train-images-idx3-ubyte": 16 + 124_800 * 784, "emnist-letters-train-labels-idx1-ubyte": 8 + 124_800,
    "emnist-letters-test-images-idx3-ubyte": 16 + 20_800 * 784, "emnist-letters-test-labels-idx1-ubyte": 8 + 20_800,
}  # fmt: skip


@dataclass(frozen=True)
class DataSet:
    """`title` as cards name it, `folder` below the data directory, `origin` the server asked first.

    files    the bytes of each; None where only the loader's checksum tells a whole file from a damaged one
    archive  what they are unpacked from, below the data directory; empty: each from a gzip of its own
    """

    title: str
    folder: str
    origin: str
    files: dict[str, int | None]
    archive: str = ""


KNOWN = (
    DataSet("MNIST", "MNIST/raw", "ossci-datasets.s3.amazonaws.com", _IDX),
    DataSet("Fashion-MNIST", "FashionMNIST/raw", "fashion-mnist.s3-website.eu-central-1.amazonaws.com", _IDX),
    DataSet("KMNIST", "KMNIST/raw", "codh.rois.ac.jp", _IDX),
    DataSet("EMNIST", "EMNIST/raw", "biometrics.nist.gov", _LETTERS, "EMNIST/raw/gzip.zip"),
    DataSet(
        "CIFAR-10", "cifar-10-batches-py", "www.cs.toronto.edu",
        {**{f"data_batch_{i}": None for i in range(1, 6)}, "test_batch": None}, "cifar-10-python.tar.gz",
    ),
    DataSet(
        "CIFAR-100", "cifar-100-python", "www.cs.toronto.edu", {"train": 155_249_918, "test": 31_049_707},
        "cifar-100-python.tar.gz",
    ),
    DataSet("SVHN", "", "ufldl.stanford.edu", {"train_32x32.mat": None, "test_32x32.mat": None}),
    DataSet(
        "Omniglot", "omniglot-py", "raw.githubusercontent.com", {"images_background.zip": None, "images_evaluation.zip": None}
    ),
)  # fmt: skip


@dataclass(frozen=True)
class Availability:
    """One data set. `where`: its folder, or the program that brings it; `size`: of the download, as the card states it."""

    title: str
    state: State
    benchmarks: tuple[str, ...]
    where: str = ""
    origin: str = ""
    size: str = ""
    bytes: int = 0
    wrong: tuple[str, ...] = ()


def availability(cards: Sequence[BenchmarkCard], data_dir: Path) -> list[Availability]:
    """Every data set that the benchmarks use, in their order: those that need no download first, as in the catalogue."""
    users: dict[tuple[str, str], list[str]] = {}
    for card in cards:
        for needed in _needs(card):
            users.setdefault(needed, []).append(card.title)
    return [_look(title, size, tuple(names), data_dir) for (title, size), names in users.items()]


def _needs(card: BenchmarkCard) -> list[tuple[str, str]]:
    """(data set, size of its download) of each that a card says it needs, as "MNIST, 12 MB"."""
    if card.own_data:
        return [("own", "")]
    if card.offline:
        return [("digits" if card.name.endswith("digits") else "generated", "")]
    parts = (part.partition(",") for part in card.downloads.split(";"))
    return [(title.strip(), size.strip()) for title, _, size in parts]


def _look(title: str, size: str, names: tuple[str, ...], data_dir: Path) -> Availability:
    if title == "digits":
        return Availability(title, "included", names, where=_scikit_learn())
    if title == "generated":
        return Availability(title, "included", names)
    if title == "own":
        return Availability(title, "own", names)
    known = next((data for data in KNOWN if data.title == title), None)
    if known is None:  # a benchmark that is newer than this list
        return Availability(title, "unknown", names, where=str(data_dir), size=size)
    folder = data_dir / known.folder
    sizes = {name: _size(folder / name) for name in known.files}
    expected = known.files
    wrong = tuple(n for n, found in sizes.items() if None not in (found, expected[n]) and found != expected[n])
    lacking = [name for name, found in sizes.items() if found is None]
    if wrong:
        state: State = "damaged"
    elif not lacking:
        state = "present"
    else:
        packed = [data_dir / known.archive] if known.archive else [folder / f"{name}.gz" for name in lacking]
        state = "packed" if all(map(_size, packed)) else "missing"
    total = sum(found or 0 for found in sizes.values())
    return Availability(title, state, names, str(folder), known.origin, size, total, wrong)


def _size(file: Path) -> int | None:
    try:
        return file.stat().st_size
    except OSError:
        return None


def _scikit_learn() -> str:
    """The folder of the digits, found without importing the package, which takes seconds."""
    found = importlib.util.find_spec("sklearn")
    return str(Path(found.origin).parent / "datasets" / "data") if found and found.origin else ""
