"""Where examples come from: what a data set is, and scikit-learn's handwritten digits."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from clcore.randomness import generator


@dataclass(frozen=True)
class SourceFacts:
    """What is known of a data set before it is loaded: enough for estimates and for names of tasks."""

    shape: tuple[int, ...]
    train_counts: tuple[int, ...]
    test_counts: tuple[int, ...]
    class_names: tuple[str, ...]
    bytes_per_number: int = 1

    @property
    def numbers(self) -> int:
        """Numbers in one example."""
        return math.prod(self.shape)

    @property
    def classes(self) -> int:
        return len(self.class_names)

    @property
    def examples(self) -> int:
        return sum(self.train_counts) + sum(self.test_counts)

    @property
    def bytes(self) -> int:
        """Of the data and its labels on the training device."""
        return self.examples * (self.numbers * self.bytes_per_number + 8)


@dataclass(frozen=True)
class Source:
    """A data set: `data` (N, *shape) as stored, `scale` and `shift` bring it to what networks see, `labels` (N,).

    Ids are on the CPU. Images are scaled to [0, 1] unless `standardised`, which treats `parts` equal parts of an example,
    one after another, apart: a colour image's three channels, or every number of a feature vector. Of several parts, scale
    and shift are (parts,). `pictures` (N, C, H, W) are the images that features were computed from; None where `data` are
    what a person would be shown.
    """

    data: Tensor
    scale: float | Tensor
    labels: Tensor
    train_ids: Tensor
    test_ids: Tensor
    shift: float | Tensor = 0.0
    parts: int = 1
    pictures: Tensor | None = None

    def standardised(self) -> Source:
        """The same data, shown with mean 0 and standard deviation 1 over the training examples, part by part."""
        mean, spread = _moments(self.data, self.train_ids, self.parts)
        if self.parts == 1:
            spread = float(spread) or 1.0  # all numbers alike
            return replace(self, scale=1 / spread, shift=-float(mean) / spread)
        spread = torch.where(spread > 0, spread, 1.0)  # a feature that never fires stays 0
        return replace(self, scale=(1 / spread).float(), shift=(-mean / spread).float())

    def to(self, device: torch.device) -> Source:
        return replace(self, data=self.data.to(device), labels=self.labels.to(device))


def _moments(data: Tensor, ids: Tensor, parts: int) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation (parts,) in float64, without a copy of the data in a wider type: from sums over blocks.

    Bytes are summed exactly; other numbers relative to the first example, whose subtraction spares their last digits.
    """
    rows = data.flatten(1).view(len(data), parts, -1)
    whole = data.dtype == torch.uint8
    origin = 0 if whole else rows[ids[:1]].double().mean(2)  # (1, parts)
    total = square = torch.zeros(parts, dtype=torch.int64 if whole else torch.float64)
    for block in ids.split(max(1, (1 << 22) // rows[0].numel())):
        values = rows[block].to(total.dtype)
        values = values if whole else values - origin.unsqueeze(2)
        total, square = total + values.sum((0, 2)), square + (values * values).sum((0, 2))
    n = len(ids) * rows.shape[2]
    mean = total.double() / n
    # Var = Σx²/n − (Σx/n)²; of bytes both terms are exact to the last digit of a float64.
    spread = (square.double() / n - mean**2).clamp_min(0).sqrt()
    return mean + (0 if whole else origin[0]), spread


_NUMERALS = tuple("0123456789")
DIGITS = SourceFacts(
    shape=(1, 8, 8),
    train_counts=(134, 137, 133, 137, 136, 137, 136, 134, 131, 135),
    test_counts=(44, 45, 44, 46, 45, 45, 45, 45, 43, 45),
    class_names=_NUMERALS,
)


def load_digits() -> Source:
    """scikit-learn's 1,797 handwritten digits, 8×8, 0..16; a quarter of each class is test data, for every seed."""
    from sklearn.datasets import load_digits as read

    pixels, classes = read(return_X_y=True)
    labels = torch.from_numpy(classes).long()
    draw = generator(0, "digits test split")
    test = torch.zeros(len(labels), dtype=torch.bool)
    for label, count in enumerate(DIGITS.test_counts):
        members = (labels == label).nonzero()[:, 0]
        test[members[torch.randperm(len(members), generator=draw)[:count]]] = True
    return Source(
        data=torch.from_numpy(pixels).to(torch.uint8).view(-1, *DIGITS.shape),
        scale=1 / 16,
        labels=labels,
        train_ids=(~test).nonzero()[:, 0],
        test_ids=test.nonzero()[:, 0],
    )
