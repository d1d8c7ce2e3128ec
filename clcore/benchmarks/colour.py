"""Split streams of images that may be augmented, or seen through a pretrained backbone (features.py)."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from functools import cached_property
from typing import Any, Literal

from clcore.benchmarks.augmentation import Augmentation
from clcore.benchmarks.base import Progress, Stream
from clcore.benchmarks.class_splits import SplitBenchmark
from clcore.benchmarks.features import SUGGESTED, Backbone, facts_of, featured
from clcore.benchmarks.sources import Source, SourceFacts
from clcore.errors import RequestError
from clcore.knobs import knob


class ColourSplit(SplitBenchmark):
    """A split stream of images. Subclasses declare `pictures`, the facts of the images, and read them in `images`."""

    pictures: SourceFacts

    class Options(SplitBenchmark.Options):
        augment: Literal["none", "crop", "crop-flip"] = knob(
            "none",
            help="vary images in training and replay: crop: cut from a border of 4 zeros; crop-flip: every other one mirrored "
            "too. Evaluation sees them as they are",
        )
        features: str = knob(
            "none", suggestions=SUGGESTED,
            help="none: the stream is images; or a classifier of torchvision by name, which turns every image into features, "
            "once: then training takes seconds",
        )  # fmt: skip
        weights: str = knob(
            "default",
            help="of the features' network: torchvision's default, downloaded on first use, or a file of your own (.pth)",
        )
        feature_size: int | None = knob(
            None, ge=16, le=1024, unit="pixels",
            help="side of the images that the features' network is shown; none: what its weights expect, mostly 224",
        )  # fmt: skip

    def __init__(self, options: dict[str, Any], **settings: Any):
        super().__init__(options, **settings)
        chosen = self.options
        if chosen.features == "none":
            for name, default in (("weights", "default"), ("feature_size", None)):
                if (value := getattr(chosen, name)) != default:
                    raise RequestError(
                        f"{self.name}.{name} = {value} needs a network that computes features: give features a name such as "
                        f"resnet18, or leave {name} out."
                    )
        elif chosen.augment != "none":
            raise RequestError(
                f"{self.name}.augment = {chosen.augment} needs images, but features = {chosen.features} sees each of them "
                "once: leave one of the two at none."
            )

    @cached_property
    def backbone(self) -> Backbone | None:
        chosen = self.options
        return None if chosen.features == "none" else Backbone(chosen.features, chosen.weights, chosen.feature_size)

    @cached_property
    def facts(self) -> SourceFacts:
        return self.pictures if self.backbone is None else facts_of(self.backbone, self.pictures)

    @abstractmethod
    def images(self, progress: Progress) -> Source:
        """Reads the images. Raises DataError."""

    def load(self, progress: Progress) -> Source:
        source = self.images(progress)
        if self.backbone is None:
            return source
        return featured(source, self.backbone, self.data_dir, self.device, progress)

    def stream(self, seeds: Sequence[int]) -> Stream:
        stream = super().stream(seeds)
        if self.options.augment != "none":
            stream.examples.inputs.augmentation = Augmentation(flip=self.options.augment == "crop-flip")
        return stream

    def ways_to_shrink(self) -> str:
        if self.backbone is None and self.facts.numbers > 1024:
            smaller = "the features of a network instead of images (features = resnet18)"
            return " or ".join(filter(None, [super().ways_to_shrink(), smaller]))
        return super().ways_to_shrink()
