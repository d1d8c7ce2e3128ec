"""Fetching the files of a data set: from the first server that has them, verified, with progress, and never half.

A file is written beside its target and takes its place when it is whole and its checksum is right: runs that start together
never read half a file.
"""

from __future__ import annotations

import gzip
import hashlib
import http.client
import os
import shutil
import tarfile
import urllib.request
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from clcore.errors import DataError

OFFLINE = ("split-digits", "permuted-digits", "rotated-digits", "toy-2d")
_TIMEOUT = 20  # seconds without an answer
_BLOCK = 1 << 17  # bytes read at a time

Portion = Callable[[str, float], None]


_OTHERWISE = f"choose a benchmark that needs no download: {', '.join(OFFLINE)}"


def obtained(
    name: str, file: Path, checksum: str, urls: Sequence[str], progress: Portion, otherwise: str = _OTHERWISE
) -> Path:
    """`file` itself, downloaded from the first of `urls` that has it, or verified where it is there already.

    `otherwise` says what to do without a network.

    `checksum` is an md5 of 32 hexadecimal digits, or the beginning of a sha256 as "sha256:5f77…". OSError is about storing
    it, DataError about the network or a damaged file.
    """
    if not file.exists():
        file.parent.mkdir(parents=True, exist_ok=True)
        _download(name, file, checksum, urls, progress, otherwise)
    elif not matches(file, checksum):
        raise DataError(f"{file} is damaged (its checksum is not {name}'s); delete it and start again.")
    return file


def unpack_gzip(archive: Path, target: Path) -> None:
    with gzip.open(archive) as packed, taking_the_place_of(target) as unpacked:
        shutil.copyfileobj(packed, unpacked, _BLOCK)


def unpack_tar(archive: Path, targets: Mapping[str, Path]) -> None:
    """Unpacks the members that `targets` names, each into its file. Other members are left alone."""
    with tarfile.open(archive, "r:gz") as packed:
        for member in packed:
            if (target := targets.get(member.name)) is not None and member.isfile():
                target.parent.mkdir(parents=True, exist_ok=True)
                with taking_the_place_of(target) as unpacked:
                    shutil.copyfileobj(packed.extractfile(member), unpacked, _BLOCK)


def unpack_zip(archive: Path, targets: Mapping[str, Path]) -> None:
    """Unpacks the members that `targets` names, each into its file; those that are gzipped once more, wholly."""
    with zipfile.ZipFile(archive) as packed:
        for name, target in targets.items():
            target.parent.mkdir(parents=True, exist_ok=True)
            with packed.open(name) as member, taking_the_place_of(target) as unpacked:
                inner = gzip.open(member) if name.endswith(".gz") else member
                shutil.copyfileobj(inner, unpacked, _BLOCK)


def matches(file: Path, checksum: str) -> bool:
    """Whether a file has this checksum (see `obtained`)."""
    kind, _, expected = checksum.rpartition(":")
    with open(file, "rb") as content:
        return hashlib.file_digest(content, lambda: _hasher(kind)).hexdigest().startswith(expected)


def bytes_of(file: Path, md5: str, name: str) -> bytes:
    """A file's content, verified: what is unpickled must be what its authors published. Raises DataError."""
    content = file.read_bytes()
    if hashlib.md5(content, usedforsecurity=False).hexdigest() != md5:
        raise DataError(f"{file} is damaged (its checksum is not {name}'s); delete it and start again.")
    return content


@contextmanager
def stored(name: str, folder: Path) -> Iterator[None]:
    """Turns what the disk refuses within the block into one sentence."""
    try:
        yield
    except OSError as error:
        raise DataError(
            f"{name} cannot be kept in {folder} ({error.strerror or error}); check that folder's permissions and free "
            "space, or choose another data directory with --data-dir or CLCORE_DATA_DIR."
        ) from error


def _download(
    name: str, file: Path, checksum: str, urls: Sequence[str], progress: Portion, otherwise: str
) -> None:  # fmt: skip
    kind, _, expected = checksum.rpartition(":")
    reasons = []
    for url in urls:
        with taking_the_place_of(file) as fresh:
            digest = _hasher(kind)
            try:
                for block, done, total in _blocks(url):
                    fresh.write(block)
                    digest.update(block)
                    of = f" of {total / 1e6:.1f}" if total else ""
                    progress(f"Downloading {name}: {file.name}, {done / 1e6:.1f}{of} MB", done / total if total else 0.0)
                if digest.hexdigest().startswith(expected):
                    return
                reasons.append("a mirror sent a damaged file")
            except _Unreachable as error:
                reasons.append(str(error))
            raise _Discard
    raise DataError(
        f"{name} is not in {file.parent} and could not be downloaded ({'; '.join(dict.fromkeys(reasons))}): connect "
        f"to the network and start again, or {otherwise}."
    )


def _hasher(kind: str):
    return hashlib.sha256() if kind == "sha256" else hashlib.md5(usedforsecurity=False)


class _Unreachable(Exception):
    """The network did not deliver; says why."""


class _Discard(Exception):
    """Leaves `taking_the_place_of` without a file."""


@contextmanager
def taking_the_place_of(target: Path) -> Iterator[IO[bytes]]:
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
