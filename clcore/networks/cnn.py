"""A small convolutional network: a few blocks of convolution, normalisation, ReLU and pooling, then a linear output layer."""

from __future__ import annotations

from clcore.knobs import Knobs, knob
from clcore.networks.norms import Norm
from clcore.networks.stacked import Stacked


class CNN(Stacked):
    """Blocks of one convolution each. GroupNorm is the default: BatchNorm's running statistics are those of the latest task,
    so that it forgets also where no weight moves."""

    title = "Small convolutional network"
    summary = "A few blocks of convolution, normalisation, ReLU and pooling; every block doubles the channels."
    hidden = ()
    layers, halvings = 1, "blocks"

    class Options(Knobs):
        channels: int = knob(16, ge=1, le=1024, help="channels of the first block; every block doubles them")
        blocks: int = knob(2, ge=1, le=6, help="how many blocks; each halves height and width of the picture")
        norm: Norm = knob("group", help="normalisation: of every example by itself, over the batch, or none")
