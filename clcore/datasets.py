"""The data sets behind the benchmarks: whether they are here, where they lie, and where they would come from. No torch."""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from clcore.catalogue import BenchmarkCard

State = Literal["included", "present", "packed", "missing", "damaged", "unknown"]
# Unpacked: 60,000 and 10,000 images of 28×28 after a header of 16 bytes, and their labels after one of 8.
_IDX = {
    "train-images-idx3-ubyte": 16 + 60_000 * 784, "train-labels-idx1-ubyte": 8 + 60_000,
    "t10k-images-idx3-ubyte": 16 + 10_000 * 784, "t10k-labels-idx1-ubyte": 8 + 10_000,
}  # fmt: skip


@dataclass(frozen=True)
class DataSet:
    """`title` as cards name it, `folder` below the data directory, `origin` the server asked first, `files` with bytes."""

    title: str
    folder: str
    origin: str
    files: dict[str, int]


KNOWN = (
    DataSet("MNIST", "MNIST/raw", "ossci-datasets.s3.amazonaws.com", _IDX),
    DataSet("Fashion-MNIST", "FashionMNIST/raw", "fashion-mnist.s3-website.eu-central-1.amazonaws.com", _IDX),
    DataSet("KMNIST", "KMNIST/raw", "codh.rois.ac.jp", _IDX),
)


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
        users.setdefault(_needs(card), []).append(card.title)
    return [_look(title, size, tuple(names), data_dir) for (title, size), names in users.items()]


def _needs(card: BenchmarkCard) -> tuple[str, str]:
    """(data set, size of its download); a card says it as "MNIST, 12 MB"."""
    if card.offline:
        return ("digits" if card.name.endswith("digits") else "generated"), ""
    title, _, size = card.downloads.partition(",")
    return title.strip(), size.strip()


def _look(title: str, size: str, names: tuple[str, ...], data_dir: Path) -> Availability:
    if title == "digits":
        return Availability(title, "included", names, where=_scikit_learn())
    if title == "generated":
        return Availability(title, "included", names)
    known = next((data for data in KNOWN if data.title == title), None)
    if known is None:  # a benchmark that is newer than this list
        return Availability(title, "unknown", names, where=str(data_dir), size=size)
    folder = data_dir / known.folder
    sizes = {name: _size(folder / name) for name in known.files}
    wrong = tuple(name for name, found in sizes.items() if found not in (None, known.files[name]))
    lacking = [name for name, found in sizes.items() if found is None]
    if wrong:
        state: State = "damaged"
    elif not lacking:
        state = "present"
    else:
        state = "packed" if all(_size(folder / f"{name}.gz") for name in lacking) else "missing"
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
