"""Hidden nodes as the unit of continual learning: how busy a node is, and what can be done to it as a whole.

A node is what feeds it and what it feeds: node j of a hidden layer is column j of the layer's weight (K, in, out) with entry j
of its bias (its *incoming* group), and row j of the next layer's weight (its *outgoing* one). Of a convolution, a node is a
channel: its filter with its bias, and what it feeds is one input of every filter of the next convolution, or as many rows of
a linear layer as its picture has pixels. `hidden_layers` is the graph of a network in these terms; what asks for nodes never
asks how they are stored. There must be nothing but ReLU and pooling between the layers.

Per-node values are (K, width) with width the layer's physical outputs; dead units (see networks/layers.py) are no nodes: they
are silent for ever, so `real` leaves them out wherever silence has consequences.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor, nn

from clcore.benchmarks.base import Split
from clcore.methods.parts.pictures import weight_layers
from clcore.networks.base import Network
from clcore.networks.convolution import Conv2d
from clcore.networks.layers import Linear, aligned_rows, recording


@dataclass(frozen=True)
class HiddenLayer:
    """The nodes of `own`, whose activations go into `next`."""

    own: Linear | Conv2d
    next: Linear | Conv2d

    @property
    def nodes(self) -> int:
        return self.own.outputs

    @property
    def parameter_count(self) -> int:
        """Trained numbers that feed this layer's nodes, biases included."""
        return self.own.parameter_count

    @property
    def incoming(self) -> tuple[nn.Parameter, nn.Parameter]:
        """Weight and bias of the layer: a node's group is a column (of a convolution, a filter) and an entry."""
        return self.own.weight, self.own.bias

    @property
    def real(self) -> Tensor:
        """(width,) bool: nodes, not dead units."""
        return torch.arange(self.own.bias.shape[1], device=self.own.weight.device) < self.own.outputs

    def arriving(self, values: Tensor) -> Tensor:
        """One value per node, (K, width), to be combined with the weight of this layer."""
        return values[..., None, None, None] if isinstance(self.own, Conv2d) else values.unsqueeze(1)

    def leaving(self, values: Tensor) -> Tensor:
        """One value per node, (K, width), to be combined with the weight of the next layer."""
        if isinstance(self.next, Conv2d):
            return values[:, None, :, None, None]
        return values.repeat_interleave(self.next.weight.shape[1] // values.shape[1], 1).unsqueeze(2)

    @torch.no_grad()
    def pull(self, centre: Sequence[Tensor], reach: Tensor) -> None:
        """The proximal step of Σ_j reach_j·‖v_j − c_j‖: every node's group moves towards its centre by `reach` (K, width).

        v ← c + max(0, 1 − reach/‖v − c‖)·(v − c). A group within reach arrives exactly; reach 0 leaves every bit as it is.
        """
        offsets = [p - c for p, c in zip(self.incoming, centre, strict=True)]
        squares = offsets[0] * offsets[0]
        squares = squares.flatten(2).sum(2) if isinstance(self.own, Conv2d) else squares.sum(1)
        distance = (squares + offsets[1] * offsets[1]).sqrt()
        share = torch.where(distance > reach, reach / distance, (reach > 0).to(distance.dtype))
        for p, c in zip(self.incoming, centre, strict=True):
            p.lerp_(c, self.arriving(share) if p is self.own.weight else share)  # exact at both ends, 0 and 1

    @torch.no_grad()
    def silence(self, which: Tensor, units: Tensor | None = None) -> None:
        """Cuts the outgoing weights of the nodes `which` (K, width); into `units` (out,) only, where given."""
        cut = self.leaving(which)
        if units is not None:
            cut = cut & nn.functional.pad(units, (0, self.next.width - len(units)))
        self.next.weight.masked_fill_(cut, 0)

    @torch.no_grad()
    def renew(self, which: Tensor, generators: Iterable[torch.Generator]) -> None:
        """Draws the incoming weights and biases of the nodes `which` (K, width) afresh, as their layer does."""
        fed = self.parameter_count // self.nodes - 1  # numbers that a node is fed by
        bound = 1 / math.sqrt(fed)
        for k, generator in enumerate(generators):
            chosen = which[k].nonzero().flatten()
            drawn = torch.empty(len(chosen), fed + 1).uniform_(-bound, bound, generator=generator)
            drawn = drawn.to(self.own.weight.device)
            if isinstance(self.own, Conv2d):
                self.own.weight[k][chosen] = drawn[:, :-1].view(-1, *self.own.weight.shape[2:])
            else:
                self.own.weight[k][: self.own.inputs, chosen] = drawn[:, :-1].T
            self.own.bias[k][chosen] = drawn[:, -1]


def hidden_layers(network: Network) -> list[HiddenLayer]:
    """The layers whose nodes are hidden, input side first: all but the head."""
    return [HiddenLayer(own, following) for own, following in pairwise(weight_layers(network))]


@torch.no_grad()
def activity(
    network: Network,
    layers: Sequence[HiddenLayer],
    split: Split,
    *,
    chunk: int = 256,
    pulse: Callable[[], None] = lambda: None,
) -> list[Tensor]:
    """Each node's mean output after its ReLU, over all examples of a split and all pixels: one (K, width) for each layer.

    Exactly 0 for a node that no example excites. `pulse` is called between chunks, so that a person can pause or cancel.
    """
    totals = [torch.zeros_like(layer.own.bias) for layer in layers]
    lengths = split.lengths.to(totals[0].device).unsqueeze(1) if totals else split.lengths
    longest = int(lengths.max()) if totals else 0
    chunk = aligned_rows(chunk, network.widths)
    for start in range(0, longest, chunk):
        pulse()
        positions = torch.arange(start, start + chunk, device=lengths.device).expand(len(lengths), chunk)
        valid = positions < lengths
        x, _ = split.gather(torch.where(valid, positions, 0))
        with recording(network) as tape:
            network(x)
        outputs = {id(record.layer): record.outputs for record in tape}
        for total, layer in zip(totals, layers, strict=True):
            excited = torch.relu(outputs[id(layer.own)])
            if isinstance(layer.own, Conv2d):
                excited = excited.mean((2, 3)).unflatten(1, total.shape).transpose(0, 1)
            total += (excited * valid.unsqueeze(2)).sum(1)
    return [total / lengths for total in totals]


def draw_share(which: Tensor, share: float, generators: Iterable[torch.Generator]) -> Tensor:
    """A random part of the nodes `which` (K, width) of each replica: n − ⌊n·(1 − share)⌋ of its n."""
    drawn = torch.zeros(which.shape, dtype=torch.bool)
    for k, generator in enumerate(generators):
        candidates = which[k].nonzero().flatten().cpu()
        n = len(candidates)
        order = torch.randperm(n, generator=generator)
        drawn[k, candidates[order[: n - int(n * (1 - share))]]] = True
    return drawn.to(which.device)
