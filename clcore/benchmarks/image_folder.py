"""A person's own pictures as a stream: a folder of class folders, or a CSV of paths and labels (see picture_folders.py).

Every picture becomes a square of `size` pixels once: turned upright as its camera noted, transparent parts white, cut to its
middle square and reduced. The result is kept in the data directory under the names, sizes and times of the files, so that
only the first run reads them.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from pathlib import Path

import numpy as np
import torch

from clcore.benchmarks import downloads
from clcore.benchmarks.base import Progress
from clcore.benchmarks.colour import ColourSplit
from clcore.benchmarks.sources import Source, SourceFacts
from clcore.catalogue import Training
from clcore.errors import DataError
from clcore.knobs import knob
from clcore.picture_folders import Pictures, look
from clcore.randomness import generator

_VERSION = 1  # of how pictures are read; a new one leaves old files alone
_TOGETHER = 64  # pictures between two reports of progress


class ImageFolder(ColourSplit):
    title = "Your own pictures"
    summary = "A folder of yours that holds a folder of images for each class, or a CSV file of paths and labels."
    own_data = True
    training = Training(epochs=5, batch_size=16, lr=0.03, hidden=(256, 256))

    class Options(ColourSplit.Options):
        path: str | None = knob(
            None,
            help="a folder that holds a folder of images for each class, or a CSV file with the columns path, label and, if "
            "there is a test set, split (train or test); on the machine that trains",
        )
        tasks: int = knob(2, ge=1, le=1000, help="number of tasks; it must divide the number of classes")
        size: int = knob(32, ge=8, le=512, unit="pixels", help="side of the square that every picture becomes")
        grey: bool = knob(False, help="one channel instead of three")
        test_share: float = knob(
            0.2, ge=0.01, le=0.9, help="share of each class's pictures kept for testing, where no test set is given"
        )

    @cached_property
    def found(self) -> Pictures:
        """What lies at the path. Raises RequestError, DataError."""
        found = look(self.options.path, self.options.test_share)
        found.check_tasks(self.options.tasks)
        return found

    @cached_property
    def pictures(self) -> SourceFacts:
        found, size = self.found, self.options.size
        tested = found.test_counts(self.options.test_share)
        return SourceFacts(
            shape=(1 if self.options.grey else 3, size, size),
            train_counts=tuple(n - test for n, test in zip(found.counts, tested, strict=True)),
            test_counts=tested,
            class_names=found.classes,
        )

    def images(self, progress: Progress) -> Source:
        found = self.found
        labels = torch.tensor(found.labels)
        tested = self._test_split(labels)
        return Source(
            data=torch.from_numpy(self._pixels(progress)),
            scale=1 / 255,
            labels=labels,
            train_ids=(~tested).nonzero()[:, 0],
            test_ids=tested.nonzero()[:, 0],
            parts=1 if self.options.grey else 3,
        )

    def _test_split(self, labels: torch.Tensor) -> torch.Tensor:
        """(N,) bool: the test pictures, as declared, or a share of each class drawn once for all seeds."""
        if self.found.tested is not None:
            return torch.tensor(self.found.tested)
        tested = torch.zeros(len(labels), dtype=torch.bool)
        draw = generator(0, "image-folder test split")
        for label, count in enumerate(self.pictures.test_counts):
            members = (labels == label).nonzero()[:, 0]
            tested[members[torch.randperm(len(members), generator=draw)[:count]]] = True
        return tested

    def _pixels(self, progress: Progress) -> np.ndarray:
        """(N, channels, size, size) bytes, from the file kept by an earlier run or from the pictures."""
        files, shape = self.found.files, (len(self.found.files), *self.pictures.shape)
        place = self.data_dir / "image-folder" / f"{self._digest()}.npy"
        try:
            kept = np.load(place, allow_pickle=False)
            if kept.shape == shape and kept.dtype == np.uint8:
                return kept
        except (OSError, ValueError, EOFError):
            pass
        pixels, broken = np.empty(shape, np.uint8), []
        with ThreadPoolExecutor(max_workers=min(8, os.cpu_count() or 1)) as readers:
            for start in range(0, len(files), _TOGETHER):
                progress(f"Reading pictures: {start:,} of {len(files):,}", start / len(files))
                part = files[start : start + _TOGETHER]
                for i, one in enumerate(readers.map(self._read, part), start):
                    if isinstance(one, np.ndarray):
                        pixels[i] = one
                    else:
                        broken.append(one)
        _check_readable(broken, len(files))
        with downloads.stored("The pictures", place.parent):
            place.parent.mkdir(parents=True, exist_ok=True)
            with downloads.taking_the_place_of(place) as target:
                np.save(target, pixels)
        return pixels

    def _read(self, file: Path) -> np.ndarray | str:
        """One picture (channels, size, size); its name where it cannot be read."""
        from PIL import Image, ImageOps

        size, mode = self.options.size, "L" if self.options.grey else "RGB"
        try:
            with Image.open(file) as opened:
                picture = ImageOps.exif_transpose(opened)
                if picture.has_transparency_data:
                    over = picture.convert("RGBA")
                    picture = Image.alpha_composite(Image.new("RGBA", over.size, "white"), over)
                reduced = ImageOps.fit(picture.convert(mode), (size, size), Image.Resampling.LANCZOS)
        except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
            return f"{file} ({' '.join(str(error).split())[:80]})"
        return np.asarray(reduced).reshape(size, size, -1).transpose(2, 0, 1)

    def _digest(self) -> str:
        """Tells the files as they are now, and how they are read, apart from all others."""
        digest = hashlib.sha256(f"{_VERSION}/{self.options.size}/{self.options.grey}".encode())
        for file in self.found.files:
            known = file.stat()
            digest.update(f"/{file}/{known.st_size}/{known.st_mtime_ns}".encode())
        return digest.hexdigest()[:20]

    def ways_to_shrink(self) -> str:
        if self.backbone is None and self.options.size > 8:
            smaller = f"smaller pictures (size = {self.options.size // 2} takes a quarter)"
            return " or ".join(filter(None, [smaller, super().ways_to_shrink()]))
        return super().ways_to_shrink()


def _check_readable(broken: Sequence[str], of: int) -> None:
    """Raises DataError naming pictures that cannot be read."""
    if broken:
        more = f" and {len(broken) - 3} more" if len(broken) > 3 else ""
        verb = "is" if len(broken) == 1 else "are"
        raise DataError(
            f"{len(broken)} of {of} files {verb} no picture that can be read: {', '.join(broken[:3])}{more}. Remove or repair "
            f"{'it' if len(broken) == 1 else 'them'}."
        )
