"""A small VGG: pairs of 3×3 convolutions with pooling between them, then fully connected layers.

The layout of Simonyan & Zisserman, ICLR 2015, at the size that HAT and later isolation papers train on CIFAR: 32-32, 64-64
and 128-128 channels and 256 fully connected units. No shortcuts, so every channel feeds the next layer and nothing else: what
masks, gates and prunes needs that. Theirs has dropout, ours GroupNorm.
"""

from __future__ import annotations

from clcore.knobs import Knobs, knob
from clcore.networks.norms import Norm
from clcore.networks.stacked import Stacked


class VGGSmall(Stacked):
    """Three stages of two convolutions each."""

    title = "Small VGG"
    summary = "Three pairs of convolutions with pooling between them, then a fully connected layer; no shortcuts."
    hidden = (256,)
    layers, halvings = 2, 3

    class Options(Knobs):
        channels: int = knob(32, ge=1, le=512, help="channels of the first pair of convolutions; every pair doubles them")
        norm: Norm = knob("group", help="normalisation: of every example by itself, over the batch, or none")
