"""Masks learned by scores: which of a layer's weights take part is learned, the weights themselves may stand still.

Every weight has a real-valued score, (K, …) like the weights. A rule makes a mask m of 0 and 1 of the scores: those above
a threshold, or the largest share of a layer. The layer computes y = x(W ⊙ m) + b. A rule has no gradient to speak of, so it is
passed straight through (Bengio, Léonard & Courville, 2013): with G = ∂L/∂(W ⊙ m), scores S and weights get

    ∂L/∂S := ∂L/∂m = G ⊙ W        ∂L/∂W = G ⊙ m

The first is proportional to W: the scores of weights near zero hardly move, and plain SGD practically never turns a weight off.
So scores are trained with Adam, whose step does not depend on the gradient's size, and without weight decay, which would pull
them below the threshold. A score has to travel from its start to the threshold before anything changes: at least
|start − threshold| / lr steps.

Masks that are finished are kept at one bit a weight (`KeptMasks`), dead units (networks/layers.py) left out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from clcore.methods.parts.pictures import weight_layers
from clcore.networks.base import Network
from clcore.networks.convolution import Conv2d
from clcore.networks.layers import Linear, Weighted, replace_layers
from clcore.state import Stateful


class Masked(Weighted):
    """A layer whose weights are seen through a mask.

    rule   layer → bool mask like the weights, from the scores as they are now; None: no mask, the plain layer bit for bit
    mask   what to use instead of the rule: a finished mask, or a weight's share in several, from 0 to 1 (`looking_through`)
    """

    def __init__(self, plain: Weighted):
        self.take_over(plain)
        self.scores = nn.Parameter(torch.zeros_like(plain.weight))
        self.rule: Rule | None = None
        self.mask: Tensor | None = None

    def forward(self, x: Tensor) -> Tensor:
        y = self.compute(x, self.effective_weight())
        return y if self.tape is None else self.recorded(x, y)

    def effective_weight(self) -> Tensor:
        """W ⊙ m, like the weights."""
        if self.mask is not None and self.mask.dtype == torch.bool:
            return torch.where(self.mask, self.weight, 0)  # not a product: what is switched off may be anything
        if self.mask is not None:
            return self.weight * self.mask
        if self.rule is None:
            return self.weight
        return _StraightThrough.apply(self.weight, self.scores, self.current_mask())

    @torch.no_grad()
    def current_mask(self) -> Tensor:
        """The mask that the rule makes of the scores now, bool and like the weights."""
        return self.rule(self)

    @property
    def mask_bits(self) -> int:
        """Weights that a mask of this layer decides about."""
        return self.weight_count


class MaskedLinear(Masked, Linear):
    """A `Linear` behind masks (K, in, out)."""


class MaskedConv2d(Masked, Conv2d):
    """A `Conv2d` behind masks (K, out, in, h, w): every weight of a kernel has a bit of its own."""


Rule = Callable[[Masked], Tensor]


def above(threshold: float) -> Rule:
    """Weights whose score is above a threshold."""
    return lambda layer: layer.scores > threshold


def largest(share: float) -> Rule:
    """Of each layer's n weights the ⌊share·n + ½⌋ whose scores are largest in size, ties or not, and one at least."""

    def rule(layer: Masked) -> Tensor:
        sizes = layer.logical(layer.scores).abs()
        size = sizes.flatten(1)
        chosen = torch.zeros_like(size, dtype=torch.bool)
        count = max(1, int(share * size.shape[1] + 0.5))
        chosen.scatter_(1, size.topk(count, dim=1, sorted=False).indices, True)
        return layer.physical(chosen.view(sizes.shape))

    return rule


class _StraightThrough(torch.autograd.Function):
    """W ⊙ m; the scores get the gradient of m."""

    @staticmethod
    def forward(ctx, weight, scores, mask):
        ctx.save_for_backward(weight, mask)
        return torch.where(mask, weight, 0)

    @staticmethod
    def backward(ctx, gradient):
        weight, mask = ctx.saved_tensors
        of_weight = torch.where(mask, gradient, 0) if ctx.needs_input_grad[0] else None
        of_scores = gradient * weight if ctx.needs_input_grad[1] else None
        return of_weight, of_scores, None


def masked_layers(network: Network, *, head: bool) -> list[Masked]:
    """Makes a network's layers masked ones with the same weights, the head only if asked to; input side first.

    They have no rule yet, so the network computes what it did. Normalisations have no weights to mask.
    """
    plain = [layer for layer in weight_layers(network) if head or layer is not network.head]
    masked = {layer: (MaskedConv2d if isinstance(layer, Conv2d) else MaskedLinear)(layer) for layer in plain}
    replace_layers(network, masked)
    return list(masked.values())


@contextmanager
def looking_through(layers: Sequence[Masked], masks: Sequence[Tensor] | None) -> Iterator[None]:
    """Within this block the layers use these masks (None: all their weights), whatever their rules say."""
    before = [(layer.rule, layer.mask) for layer in layers]
    for layer, mask in zip(layers, [None] * len(layers) if masks is None else masks, strict=True):
        layer.rule, layer.mask = None, mask
    try:
        yield
    finally:
        for layer, (rule, mask) in zip(layers, before, strict=True):
            layer.rule, layer.mask = rule, mask


def scores_optimizer(layers: Sequence[Masked], lr: float) -> torch.optim.Optimizer:
    """Adam over the scores, without weight decay."""
    return torch.optim.Adam([layer.scores for layer in layers], lr=lr)


class KeptMasks(Stateful):
    """The finished masks of a network's layers, task by task, at one bit a weight.

    bits     per task, one (K, ⌈n/8⌉) uint8 tensor a layer; None for a task that uses all weights
    common   (K, L, T, T): how many weights of a layer two tasks both use; on the diagonal, how many one uses
    """

    context_fields = frozenset({"layers"})

    def __init__(self, layers: Sequence[Masked], tasks: int, replicas: int, device: torch.device):
        self.layers = list(layers)
        self.bits: list[list[Tensor] | None] = []
        self.common = torch.zeros(replicas, len(self.layers), tasks, tasks, dtype=torch.long, device=device)
        self.restored()

    def restored(self) -> None:
        self._unpacked: tuple[int, list[Tensor]] | None = None

    def __len__(self) -> int:
        """Tasks whose masks are kept."""
        return len(self.bits)

    @torch.no_grad()
    def keep(self) -> None:
        """The masks that the rules make of the scores now become the next task's; without rules it uses all weights."""
        task = len(self.bits)
        ruled = all(layer.rule is not None for layer in self.layers)
        self.bits.append([packed(layer.logical(layer.current_mask())) for layer in self.layers] if ruled else None)
        for at, layer in enumerate(self.layers):
            for other in range(task + 1):
                both = self._common(task, other, at, layer)
                self.common[:, at, task, other] = self.common[:, at, other, task] = both

    def of(self, task: int) -> list[Tensor] | None:
        """A task's masks, bool and like the weights for each layer; None if it uses all weights."""
        if self.bits[task] is None:
            return None
        if self._unpacked is None or self._unpacked[0] != task:  # of the latest task alone: eight times the bits
            masks = [
                layer.physical(unpacked(bits, layer.mask_bits).view(layer.logical(layer.weight).shape))
                for bits, layer in zip(self.bits[task], self.layers, strict=True)
            ]
            self._unpacked = (task, masks)
        return self._unpacked[1]

    def footprint(self) -> dict[str, int]:
        """Bytes per replica: one bit per weight and task."""
        tasks = sum(bits is not None for bits in self.bits)
        size = tasks * sum(-(-layer.mask_bits // 8) for layer in self.layers)
        return {"masks": size} if size else {}

    def insight(self) -> dict[str, Tensor]:
        """Share of each layer's weights that a task uses (K, T, L); of those that two tasks use, what both use (K, T, T)."""
        if not self.layers:
            return {}
        seen = self.common[:, :, : len(self), : len(self)].double()
        used = seen.diagonal(dim1=2, dim2=3)  # (K, L, T)
        sizes = torch.tensor([layer.mask_bits for layer in self.layers], device=used.device)
        both, alone = seen.sum(1), used.sum(1)
        either = alone.unsqueeze(1) + alone.unsqueeze(2) - both
        return {"mask_density": used.transpose(1, 2) / sizes, "mask_overlap": both / either.clamp_min(1)}

    def _common(self, task: int, other: int, at: int, layer: Masked) -> Tensor:
        """(K,) weights of layer number `at` that two tasks both use."""
        chosen = [self.bits[t][at] for t in {task, other} if self.bits[t] is not None]
        if not chosen:
            return torch.full_like(self.common[:, 0, 0, 0], layer.mask_bits)
        counts = torch.tensor([n.bit_count() for n in range(256)], device=chosen[0].device)
        return counts[(chosen[0] & chosen[-1]).long()].sum(1)


def packed(mask: Tensor) -> Tensor:
    """A mask (K, …) of n entries a replica as (K, ⌈n/8⌉) uint8; unused bits are 0."""
    flat = mask.flatten(1)
    octets = F.pad(flat, (0, -flat.shape[1] % 8)).view(len(flat), -1, 8)
    return (octets * _places(mask.device)).sum(2, dtype=torch.uint8)


def unpacked(bits: Tensor, entries: int) -> Tensor:
    """The (K, entries) bool mask that was packed."""
    return (bits.unsqueeze(2) & _places(bits.device)).bool().flatten(1)[:, :entries]


def _places(device: torch.device) -> Tensor:
    return torch.tensor([1, 2, 4, 8, 16, 32, 64, 128], dtype=torch.uint8, device=device)
