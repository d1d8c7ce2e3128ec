"""What a method's own passes cost, for `Context.charge`."""

from __future__ import annotations

from torch import Tensor

from clcore.benchmarks.base import Split


def examples_used(split: Split, samples: int | None) -> Tensor:
    """(K,) examples in one pass over a split, of which at most `samples` are drawn (None: all)."""
    return split.lengths if samples is None else split.lengths.clamp_max(samples)
