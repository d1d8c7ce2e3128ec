"""SVHN: photographs of house numbers, cropped to one digit each (Netzer et al., 2011). Found, verified, downloaded and read.

torchvision knows the addresses and the checksums. The digit 0, which the files label 10, is class 0. The set of 531,131 easier
"extra" examples is left out, as in every stream of tasks in the literature.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from clcore.benchmarks import downloads
from clcore.benchmarks.base import Progress
from clcore.benchmarks.sources import Source, SourceFacts
from clcore.errors import DataError

SVHN = SourceFacts(
    shape=(3, 32, 32),
    train_counts=(4948, 13861, 10585, 8497, 7458, 6882, 5727, 5595, 5045, 4659),
    test_counts=(1744, 5099, 4149, 2882, 2523, 2384, 1977, 2019, 1660, 1595),
    class_names=tuple("0123456789"),
)


def load_svhn(data_dir: Path, progress: Progress, name: str = "SVHN", facts: SourceFacts = SVHN) -> Source:
    """The cropped digits, from `data_dir`, downloaded where they are missing. Raises DataError."""
    progress(f"Loading {name}", None)
    from torchvision import datasets

    listed = getattr(datasets, name).split_list
    found = []
    for part, counts in (("train", facts.train_counts), ("test", facts.test_counts)):
        url, file, md5 = listed[part]
        with downloads.stored(name, data_dir):
            downloads.obtained(name, data_dir / file, md5, [url], progress)
        found.append(_read(data_dir / file, name, counts))
    train = sum(facts.train_counts)
    return Source(
        data=torch.from_numpy(np.concatenate([images for images, _ in found])),
        scale=1 / 255,
        labels=torch.from_numpy(np.concatenate([labels for _, labels in found])),
        train_ids=torch.arange(train),
        test_ids=torch.arange(train, facts.examples),
        parts=3,
    )


def _read(file: Path, name: str, counts: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
    """Images (n, 3, 32, 32) and labels (n,) of one file."""
    from scipy.io import loadmat

    try:
        content = loadmat(file)
        images = np.ascontiguousarray(content["X"].transpose(3, 2, 0, 1))
        labels = content["y"].astype(np.int64).ravel() % 10
    except (ValueError, KeyError, TypeError) as error:
        raise DataError(f"{file} is damaged ({error}); delete it and start again.") from error
    if tuple(np.bincount(labels, minlength=10).tolist()) != counts or images.shape[1:] != (3, 32, 32):
        raise DataError(f"{file} is damaged (its images are not those of {name}); delete it and start again.")
    return images, labels
