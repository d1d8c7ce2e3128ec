"""A toy stream in the plane, small enough to watch every decision region move.

Eight Gaussian clouds, two in each quadrant of [−1, 1]². A task is the two clouds of one quadrant; from quadrant to
quadrant the line between them turns by 90°. In the domain scenario a network that follows the newest task therefore
answers an older quadrant with the wrong line (fine-tuning ends near 65 %), though one network can hold all four (joint
training: 99 %).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Literal

import torch

from clcore.benchmarks.base import Progress, Stream
from clcore.benchmarks.class_splits import SplitBenchmark
from clcore.benchmarks.sources import Source, SourceFacts
from clcore.catalogue import Training
from clcore.knobs import knob
from clcore.randomness import generator

_TRAIN, _TEST = 200, 100
_SPREAD = 0.09  # standard deviation of a cloud
_APART = 0.25  # distance of a cloud from the centre of its quadrant

TOY = SourceFacts(
    shape=(2,),
    train_counts=(_TRAIN,) * 8,
    test_counts=(_TEST,) * 8,
    class_names=tuple(f"{quadrant}{cloud}" for quadrant in ("NE", "NW", "SW", "SE") for cloud in "AB"),
    bytes_per_number=4,
)


class Toy2D(SplitBenchmark):
    title = "Toy 2-D"
    summary = "Eight clouds of points in the plane, two a task: small enough to watch the decision regions move."
    default_scenario = "domain"
    training = Training(epochs=20, batch_size=16, lr=0.1, hidden=(32, 32))
    facts = TOY

    class Options(SplitBenchmark.Options):
        tasks: int = knob(4, ge=1, le=8, divides=8, help="number of tasks; the 8 clouds are dealt out evenly")
        order: Literal["natural", "seeded"] = knob(
            "natural", help="natural: quadrant by quadrant; seeded: each seed shuffles the clouds"
        )

    def load(self, progress: Progress) -> Source:
        """The points, the same for every seed."""
        draw = generator(0, "toy-2d points")
        labels = torch.arange(8).repeat(_TRAIN + _TEST)
        points = cloud_centres()[labels] + _SPREAD * torch.randn(len(labels), 2, generator=draw)
        return Source(
            data=points,
            scale=1.0,
            labels=labels,
            train_ids=torch.arange(8 * _TRAIN),
            test_ids=torch.arange(8 * _TRAIN, len(labels)),
        )

    def stream(self, seeds: Sequence[int]) -> Stream:
        return replace(super().stream(seeds), bounds=((-1.1, 1.1), (-1.1, 1.1)))


def cloud_centres() -> torch.Tensor:
    """Centres (8, 2) of the clouds, by class: quadrants counter-clockwise from the upper right."""
    centres = []
    for quadrant in range(4):
        middle = math.pi / 4 + quadrant * math.pi / 2
        for side in (1, -1):
            turn = quadrant * math.pi / 2
            centres.append(
                (
                    math.sqrt(0.5) * math.cos(middle) + side * _APART * math.cos(turn),
                    math.sqrt(0.5) * math.sin(middle) + side * _APART * math.sin(turn),
                )
            )
    return torch.tensor(centres)
