"""Split streams of colour images: what they have in common beside their classes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from clcore.benchmarks.augmentation import Augmentation
from clcore.benchmarks.base import Stream
from clcore.benchmarks.class_splits import SplitBenchmark
from clcore.knobs import knob


class ColourSplit(SplitBenchmark):
    """A split stream whose training images may be augmented."""

    class Options(SplitBenchmark.Options):
        augment: Literal["none", "crop", "crop-flip"] = knob(
            "none",
            help="vary images in training and replay: crop: cut from a border of 4 zeros; crop-flip: every other one mirrored "
            "too. Evaluation sees them as they are",
        )

    def stream(self, seeds: Sequence[int]) -> Stream:
        stream = super().stream(seeds)
        if self.options.augment != "none":
            stream.examples.inputs.augmentation = Augmentation(flip=self.options.augment == "crop-flip")
        return stream
