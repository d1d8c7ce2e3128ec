"""MNIST, Fashion-MNIST and KMNIST: found, verified, unpacked or downloaded, and read.

torchvision knows the mirrors and checksums and reads the files. Fetching and unpacking are done here, with progress and
into a file beside the target that takes its place when it is whole: runs that start together never read half a file.
"""

from __future__ import annotations

import gzip
import hashlib
import http.client
import os
import shutil
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING

import torch

from clcore.benchmarks.sources import Source, SourceFacts
from clcore.errors import DataError

if TYPE_CHECKING:
    from torchvision.datasets import MNIST as MNISTFiles

OFFLINE = ("split-digits", "permuted-digits", "rotated-digits", "toy-2d")
_TIMEOUT = 20  # seconds without an answer
_BLOCK = 1 << 17  # bytes read at a time

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


def load_family(name: str, facts: SourceFacts, data_dir: Path, progress: Callable[[str, float | None], None]) -> Source:
    """The data set that torchvision calls `name`, from `data_dir`, downloaded where it is missing.

    Raises DataError when it cannot be downloaded, stored or read, or when a file is damaged.
    """
    progress(f"Loading {name}", None)
    from torchvision import datasets  # takes seconds, so only where it is needed

    dataset = getattr(datasets, name)
    raw = data_dir / name / "raw"
    try:
        for part, (archive, md5) in enumerate(dataset.resources):
            target = raw / archive.removesuffix(".gz")
            if not target.exists():
                _obtain(name, raw / archive, md5, dataset.mirrors, target, _portion(progress, facts, part))
            _check_size(target, _sizes(facts)[part])
        train, test = _read(dataset, raw, train=True), _read(dataset, raw, train=False)
    except OSError as error:
        raise DataError(
            f"{name} cannot be kept in {raw} ({error.strerror or error}); check that folder's permissions and free "
            "space, or choose another data directory with --data-dir or CLCORE_DATA_DIR."
        ) from error
    labels = torch.cat([train.targets, test.targets]).long()
    for file, targets, counts in (
        ("train-labels-idx1-ubyte", train.targets, facts.train_counts),
        ("t10k-labels-idx1-ubyte", test.targets, facts.test_counts),
    ):
        if tuple(torch.bincount(targets, minlength=facts.classes).tolist()) != counts:
            raise DataError(f"{raw / file} is damaged (its labels are not those of {name}); delete it and start again.")
    return Source(
        data=torch.cat([train.data, test.data]).view(-1, *facts.shape),
        scale=1 / 255,
        labels=labels,
        train_ids=torch.arange(len(train.targets)),
        test_ids=torch.arange(len(train.targets), len(labels)),
    )


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


def _portion(
    progress: Callable[[str, float | None], None], facts: SourceFacts, part: int
) -> Callable[[str, float], None]:
    """`progress` of one of the four files, as a share of all of them."""
    sizes = _sizes(facts)
    return lambda message, share: progress(message, (sum(sizes[:part]) + share * sizes[part]) / sum(sizes))


def _check_size(file: Path, expected: int) -> None:
    if (size := file.stat().st_size) != expected:
        raise DataError(f"{file} is damaged ({size} bytes instead of {expected}); delete it and start again.")


def _obtain(
    name: str, archive: Path, md5: str, mirrors: list[str], target: Path, progress: Callable[[str, float], None]
) -> None:
    """Unpacks `archive` into `target`, after downloading it where it is missing."""
    if not archive.exists():
        archive.parent.mkdir(parents=True, exist_ok=True)
        _download(name, archive, md5, mirrors, progress)
    elif _md5(archive) != md5:
        raise DataError(f"{archive} is damaged (its checksum is not {name}'s); delete it and start again.")
    progress(f"Unpacking {name}: {archive.name}", 1.0)
    with gzip.open(archive) as packed, _taking_the_place_of(target) as unpacked:
        shutil.copyfileobj(packed, unpacked, _BLOCK)


def _download(name: str, archive: Path, md5: str, mirrors: list[str], progress: Callable[[str, float], None]) -> None:
    """Fetches `archive` from the first mirror that has it. OSError is about storing it, DataError about the network."""
    reasons = []
    for mirror in mirrors:
        with _taking_the_place_of(archive) as file:
            digest = hashlib.md5(usedforsecurity=False)
            try:
                for block, done, total in _blocks(mirror + archive.name):
                    file.write(block)
                    digest.update(block)
                    of = f" of {total / 1e6:.1f}" if total else ""
                    progress(
                        f"Downloading {name}: {archive.name}, {done / 1e6:.1f}{of} MB", done / total if total else 0.0
                    )
                if digest.hexdigest() == md5:
                    return
                reasons.append("a mirror sent a damaged file")
            except _Unreachable as error:
                reasons.append(str(error))
            raise _Discard
    raise DataError(
        f"{name} is not in {archive.parent} and could not be downloaded ({'; '.join(dict.fromkeys(reasons))}): connect "
        f"to the network and start again, or choose a benchmark that needs no download: {', '.join(OFFLINE)}."
    )


class _Unreachable(Exception):
    """The network did not deliver; says why."""


class _Discard(Exception):
    """Leaves `_taking_the_place_of` without a file."""


@contextmanager
def _taking_the_place_of(target: Path) -> Iterator[IO[bytes]]:
    """A file to write that becomes `target` when the block ends well and vanishes when it does not."""
    beside = target.with_name(f".{target.name}.{os.getpid()}.part")
    try:
        with open(beside, "wb") as file:
            yield file
        os.replace(beside, target)
    except _Discard:
        pass
    finally:
        beside.unlink(missing_ok=True)


def _blocks(url: str) -> Iterator[tuple[bytes, int, int]]:
    """What is at `url`, piece by piece: (bytes, bytes so far, bytes in all or 0). Raises _Unreachable."""
    try:
        with _open(url) as response:
            total, done = int(response.headers.get("Content-Length") or 0), 0
            while block := response.read(_BLOCK):
                done += len(block)
                yield block, done, total
    except (OSError, http.client.HTTPException) as error:
        raise _Unreachable(str(getattr(error, "reason", None) or error) or type(error).__name__) from error


def _open(url: str) -> http.client.HTTPResponse:
    return urllib.request.urlopen(
        urllib.request.Request(url, headers={"User-Agent": "forgetting-lab"}), timeout=_TIMEOUT
    )


def _md5(file: Path) -> str:
    with open(file, "rb") as content:
        return hashlib.file_digest(content, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
