"""Split MNIST with every digit turned at random and laid over a background, after the MNIST variations.

Larochelle et al., "An Empirical Evaluation of Deep Architectures on Problems with Many Factors of Variation", ICML 2007, made
the variations; DEN (Yoon et al., ICLR 2018) was shown on rotated digits over patches of photographs. Those patches cannot be
had without a download of their own, so the backgrounds here are drawn: `clouds`, smooth textures in their place, or `noise`,
independent pixels as in the variation `back-rand`. Digits are opaque where they are dark ink: x = d + (1 − d)·b.

The data set is drawn once and for all, so that seeds differ in stream and network, not in the images. DEN's tasks are one digit
against the rest, measured by the area under the ROC curve; here they are two digits each, measured by accuracy like every
stream of this program.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from clcore.benchmarks.base import Progress
from clcore.benchmarks.class_splits import SplitBenchmark
from clcore.benchmarks.mnist_family import MNIST, load_family
from clcore.benchmarks.sources import Source
from clcore.catalogue import Training
from clcore.knobs import knob
from clcore.randomness import generator

_TOGETHER = 2000  # images varied at a time
_CLOUDS = 5  # points a side between which a cloudy background is interpolated


class SplitMNISTVariation(SplitBenchmark):
    title = "Split MNIST variation"
    summary = "MNIST's digits, each turned at random and laid over a background of its own; new digits arrive with every task."
    default_scenario = "task"
    offline = False
    downloads = "MNIST, 12 MB"
    training = Training(epochs=5, batch_size=64, lr=0.1, hidden=(312, 128))
    facts = MNIST

    class Options(SplitBenchmark.Options):
        background: Literal["clouds", "noise", "none"] = knob(
            "clouds", help="what lies behind the digits: smooth textures, independent pixels, or nothing"
        )
        turn: float = knob(360.0, ge=0, le=360, unit="°", help="digits are turned by an angle between 0 and this")

    def load(self, progress: Progress) -> Source:
        source = load_family("MNIST", MNIST, self.data_dir, progress)
        draw = generator(0, "MNIST variation")
        varied = []
        for images in source.data.split(_TOGETHER):
            progress("Turning digits", len(varied) * _TOGETHER / len(source.data))
            varied.append(self._varied(images.float() / 255, draw))
        return replace(source, data=torch.cat(varied))

    def _varied(self, digits: Tensor, draw: torch.Generator) -> Tensor:
        """(n, 1, h, w) bytes of digits (n, 1, h, w) in 0..1. Whatever the options, the same numbers are drawn."""
        n, _, height, width = digits.shape
        angles = torch.rand(n, generator=draw) * math.radians(self.options.turn)
        coarse = torch.rand(n, 1, _CLOUDS, _CLOUDS, generator=draw)
        pixels = torch.rand(n, 1, height, width, generator=draw)
        turned = F.grid_sample(digits, _turns(angles, digits.shape), align_corners=False)
        if self.options.background == "none":
            behind = torch.zeros_like(turned)
        elif self.options.background == "noise":
            behind = pixels
        else:
            behind = F.interpolate(coarse, size=(height, width), mode="bicubic", align_corners=True).clamp(0, 1)
        return ((turned + (1 - turned) * behind) * 255).round().to(torch.uint8)


def _turns(angles: Tensor, shape: torch.Size) -> Tensor:
    """Sampling grids that turn images counter-clockwise by `angles` (n,), in radians."""
    cos, sin, zero = angles.cos(), angles.sin(), torch.zeros_like(angles)
    return F.affine_grid(torch.stack([cos, -sin, zero, sin, cos, zero], 1).view(-1, 2, 3), list(shape), align_corners=False)
