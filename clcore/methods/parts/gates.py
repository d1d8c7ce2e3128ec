"""Gates: a number between 0 and 1 for every hidden unit, learned, and pressed towards either end as training goes on.

A unit of a hidden layer passes on a·relu(…), with a = σ(s·e): e is learned, (K, units), and the pace s rises from 1/s_max,
where every gate is half open, to s_max, where it is open or shut. The gate of a unit stands at the entrance of the next layer,
so a gated layer is a layer together with the gates of the units that feed it. The units of a convolution are its channels: one
gate closes a channel at all places, and where pictures are flattened it stands before as many inputs as they have pixels.

Group normalisation needs the gates once more, in front of it. The statistics of a group are those of all its channels, so
a closed one would still be felt, and what other tasks make of it. Batch normalisation keeps channels apart.

The derivative s·σ'(s·e) all but vanishes while s is large, so HAT makes up for it: e is given the derivative s_max·σ'(e),
which is free of s, for as long as the gate is not saturated. It is computed here as it stands. Serrà et al. multiply what
autograd gives by s_max·[cosh(s·e)+1] / (s·[cosh(e)+1]): the same number, but 0·∞ for large s·e, and 0 in float32 once σ(s·e)
rounds to 1, at s·e = 17. That is more than a flaw: through most of an epoch the tax cannot reach an open gate. Without it
(`saturate` off) the published c = 0.75 at s_max = 400 shuts all gates on permuted digits. So saturation stays.

That it holds on both sides is our choice. Near 0 float32 has no such edge, and the published product is as it should be down to
s·e = −50, their clamp: a closed gate feels the loss far longer than an open one. Here both rest from 17 on. Which is better
depends: with theirs, permuted digits are learned up to 3 points better in batches of 64, split digits up to 2 points worse, and
in batches of 16 they are within 1.3 points of each other (c from 0.05 to 0.75, s_max 200 and 400).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import pairwise

import torch
from torch import Tensor, nn

from clcore.methods.parts.binary import sigmoid
from clcore.methods.parts.own_norms import norm_layers
from clcore.methods.parts.pictures import weight_layers
from clcore.networks.base import Network
from clcore.networks.convolution import Conv2d
from clcore.networks.layers import Layer, Linear, Weighted, replace_layers
from clcore.networks.norms import GroupNorm

LARGEST = 6.0  # |e| is kept within this: beyond it σ'(e) is next to nothing
SATURATED = 17.0  # from this |s·e| on, σ(s·e) is 1 to the last bit, or less than 5e-8
_SHUT = -LARGEST


class Gated(Weighted):
    """A layer whose inputs pass through gates.

    embedding  e (K, units), learned; that of dead units (networks/layers.py) is shut
    pace       s, (K, 1), set before every step
    gates      gates (K, units) to use instead; set by `through`
    units      that feed it, dead ones left out; each is `spread` inputs
    """

    def __init__(self, plain: Weighted, units: int, steepest: float, saturate: bool = True):
        self.take_over(plain)
        self.units, self.spread = units, plain.inputs // units
        replicas = len(plain.weight)
        self.embedding = nn.Parameter(plain.weight.new_full((replicas, plain.rows // self.spread), _SHUT))
        self.steepest, self.saturate = steepest, saturate
        self.pace = torch.full_like(self.embedding[:, :1], steepest, requires_grad=False)
        self.gates: Tensor | None = None

    def forward(self, x: Tensor) -> Tensor:
        x = self.let_through(x)
        y = self.compute(x, self.weight)
        return y if self.tape is None else self.recorded(x, y)

    def let_through(self, x: Tensor) -> Tensor:
        """What of the layer's inputs passes the gates."""
        raise NotImplementedError

    def present_gates(self) -> Tensor:
        """The gates that are in use, (K, units)."""
        return self.gates if self.gates is not None else self.current_gates()

    def per_input(self, values: Tensor) -> Tensor:
        """(K, rows): the values (K, units) of units as values of the inputs that they are."""
        return values if self.spread == 1 else values.repeat_interleave(self.spread, 1)

    def current_gates(self) -> Tensor:
        """a = σ(s·e), (K, units), with the compensated derivative."""
        return Gate.apply(self.embedding, self.pace, self.steepest, self.saturate)

    @torch.no_grad()
    def soft_gates(self) -> Tensor:
        """The gates at their steepest, σ(s_max·e)."""
        return sigmoid(self.steepest * self.embedding)

    @torch.no_grad()
    def hard_gates(self) -> Tensor:
        """1[e > 0]; the most open one where none would be, since a layer without any passes nothing on."""
        e = self.embedding
        most = torch.zeros_like(e).scatter_(1, e[:, : self.units].argmax(1, keepdim=True), 1.0)
        return torch.where((e > 0).any(1, keepdim=True), (e > 0).to(e.dtype), most)

    @torch.no_grad()
    def draw(self, generators: Sequence[torch.Generator]) -> None:
        """New embeddings, N(0, 1)."""
        for e, generator in zip(self.embedding, generators, strict=True):
            e[: self.units] = torch.empty(self.units).normal_(generator=generator)
        self.clamp()

    @torch.no_grad()
    def clamp(self) -> None:
        self.embedding.clamp_(-LARGEST, LARGEST)


class GatedLinear(Gated, Linear):
    """A `Linear` behind gates."""

    def let_through(self, x: Tensor) -> Tensor:
        return x * self.per_input(self.present_gates()).unsqueeze(1)


class GatedConv2d(Gated, Conv2d):
    """A `Conv2d` behind gates, one for each channel that it reads."""

    def let_through(self, x: Tensor) -> Tensor:
        return _times_channels(x, self.present_gates())


class GatedGroupNorm(GroupNorm):
    """A `GroupNorm` that sees closed channels as 0; their gates stand at the entrance of the layer `following`."""

    def __init__(self, plain: GroupNorm, following: Gated):
        nn.Module.__init__(self)
        self.channels, self.groups = plain.channels, plain.groups
        self.weight, self.bias = plain.weight, plain.bias
        self._following = (following,)  # in a tuple, else its parameters would be this module's too

    def compute(self, x: Tensor, weight: Tensor | None, bias: Tensor | None) -> Tensor:
        return super().compute(_times_channels(x, self._following[0].present_gates()), weight, bias)


def _times_channels(x: Tensor, gates: Tensor) -> Tensor:
    """Pictures (B, K·C, H, W), each channel times its gate (K, C)."""
    return x * gates.reshape(1, -1, 1, 1)


class Gate(torch.autograd.Function):
    """σ(s·e), of which the derivative is taken to be s_max·σ'(e), and 0 where the gate is saturated."""

    @staticmethod
    def forward(ctx, embedding, pace, steepest, saturate):
        reach = pace * embedding
        ctx.save_for_backward(embedding, reach)
        ctx.steepest, ctx.saturate = steepest, saturate
        return sigmoid(reach)

    @staticmethod
    def backward(ctx, gradient):
        embedding, reach = ctx.saved_tensors
        opening = sigmoid(embedding)
        slope = ctx.steepest * opening * (1 - opening)
        if ctx.saturate:
            slope = slope.masked_fill(reach.abs() > SATURATED, 0)
        return gradient * slope, None, None, None


def pace(batch: int, batches: int, steepest: float) -> float:
    """s at the 0-based `batch` of an epoch of `batches`: from 1/s_max to s_max in equal steps; an epoch of one has s_max."""
    if batches == 1:
        return steepest
    return 1 / steepest + (steepest - 1 / steepest) * batch / (batches - 1)


def gated_layers(network: Network, steepest: float, saturate: bool = True) -> list[Gated]:
    """Gives every hidden unit of a network a gate; the layers that the units feed, input side first.

    Every layer must read what the one before it computes, and nothing else.
    """
    layers = weight_layers(network)
    gated: dict[Layer, Layer] = {}
    for below, layer in pairwise(layers):
        build = GatedConv2d if isinstance(layer, Conv2d) else GatedLinear
        gated[layer] = build(layer, below.outputs, steepest, saturate)
    found = list(gated.values())
    for norm, following in zip(norm_layers(network), found, strict=False):  # none, or one after each convolution
        if isinstance(norm, GroupNorm):
            gated[norm] = GatedGroupNorm(norm, following)
    replace_layers(network, gated)
    return found


@contextmanager
def through(layers: Sequence[Gated], gates: Sequence[Tensor]) -> Iterator[None]:
    """Within this block the layers use these gates."""
    before = [layer.gates for layer in layers]
    for layer, given in zip(layers, gates, strict=True):
        layer.gates = given
    try:
        yield
    finally:
        for layer, given in zip(layers, before, strict=True):
            layer.gates = given
