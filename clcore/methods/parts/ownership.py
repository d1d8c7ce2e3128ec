"""Who owns each weight: nobody yet, or the one task that trained it.

For every layer but the head, fully connected or a convolution, there is a tensor A like its weights of small numbers: the
0-based task that owns the weight, FREE, or RESERVED for what does not exist yet (and for dead units, see networks/layers.py).
Task t computes with {A ≤ t} and trains {A = t}, so what it computes is settled once its own weights stand still. The head needs
no such tensor: its output units belong to their tasks. Nor do normalisations: see own_norms.py.

Two rules keep this exact. A weight that is free is 0, so the network as it stands is the one of the task being learned, and
training pays for no mask. And earlier tasks are asked through a copy of the weights in which everything that is not theirs is
0, at the very shapes they were trained with: nothing is written into the network, and their bits cannot change.

Pruning counts: of n weights a share p frees exactly round(p·n) (halves to the even number, as Python rounds), the smallest
first, of equal ones those that come first. A threshold at the k-th smallest size would free all that are tied with it. One
weight of a layer stays with its task whatever rounding says, unless p is 1: without any the layer passes nothing on.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call

from clcore.methods.parts.own_norms import OwnNorms, norm_layers
from clcore.methods.parts.pictures import weight_layers
from clcore.methods.parts.vectors import per_replica
from clcore.networks.base import Network
from clcore.networks.layers import Weighted
from clcore.state import Stateful

FREE, RESERVED = 255, 254
MOST_TASKS = 254


class Ownership(Stateful):
    """The owner of every weight of a network's hidden layers, and the network as each task sees it.

    owner   one uint8 tensor like its weights per hidden layer: a task, FREE or RESERVED
    fan_in  per hidden layer (K,), on the CPU: numbers that one unit is a weighted sum of, reserved ones left out
    biases  per task whose own biases were kept, one tensor (K, out) per hidden layer that has any
    norms   the normalisations of these tasks
    """

    context_fields = frozenset({"network", "layers", "biased", "groups"})

    def __init__(self, network: Network, groups: Tensor, widths: Tensor | None = None):
        """`groups` (T, O): which output units are a task's; `widths` (K, L): the hidden units that exist (None: all).

        With `widths`, every layer must read what the one before it computes.
        """
        if len(groups) > MOST_TASKS:
            raise ValueError(f"{len(groups)} tasks do not fit into one byte a weight; at most {MOST_TASKS} do.")
        self.network = network
        self.layers: list[Weighted] = [layer for layer in weight_layers(network) if layer is not network.head]
        self.biased = [layer for layer in self.layers if layer.bias is not None]
        self.groups = F.pad(groups, (0, network.head.width - groups.shape[1]))
        self.owner = [torch.full_like(layer.weight, RESERVED, dtype=torch.uint8) for layer in self.layers]
        replicas = len(network.head.bias)
        self.fan_in = [torch.full((replicas,), layer.fan_in) for layer in self.layers]
        if widths is None:
            for layer, owner in zip(self.layers, self.owner, strict=True):
                layer.logical(owner).fill_(FREE)
        else:
            self.open(widths)
        self.biases: list[list[Tensor]] = []
        self.norms = OwnNorms(network)

    # --- a task's life ---

    def open(self, widths: Tensor) -> None:
        """Weights between the first `widths` (K, L) units of the layers exist: those in reserve are free now."""
        below, units = torch.full_like(widths[:, 0], self.layers[0].inputs), self.layers[0].inputs
        for at, (layer, owner, width) in enumerate(zip(self.layers, self.owner, widths.unbind(1), strict=True)):
            below = below * (layer.inputs // units)  # a channel that is flattened is as many inputs as it has pixels
            self.fan_in[at] = (below * (layer.fan_in // layer.inputs)).cpu()
            exists = layer.along_inputs(_first(below, layer.rows)) & layer.along_outputs(_first(width, layer.width))
            owner.masked_fill_(exists & (owner == RESERVED), FREE)
            below, units = width, layer.outputs

    @torch.no_grad()
    def claim(self, task: int, draws: Sequence[torch.Generator] | None = None, which: Tensor | None = None) -> None:
        """Everything free is the task's from now on; with `draws` it starts at random instead of 0, as `Linear` does
        in a network of the units that there are.

        `which` (K,) bool names the replicas that claim, and draw (None: all).
        """
        if which is None:
            which = torch.ones(len(self.network.head.bias), dtype=torch.bool)
        free = [(owner == FREE) & per_replica(which.to(owner.device), owner) for owner in self.owner]
        if draws is not None:
            for layer, new, values in zip(self.layers, free, self._drawn(draws, which), strict=True):
                layer.weight.copy_(torch.where(new, values, layer.weight))
        for owner, new in zip(self.owner, free, strict=True):
            owner.masked_fill_(new, task)

    @torch.no_grad()
    def prune(self, task: int, share: float | Tensor) -> None:
        """Frees a task's smallest weights until, in every layer, `share` of what it had claimed is free.

        `share` is one number or one per replica, (K,) on the CPU. What was freed before counts: shares may come in a series.
        """
        for layer, owner in zip(self.layers, self.owner, strict=True):
            own, free = (owner == task).flatten(1), (owner == FREE).flatten(1).sum(1).cpu()
            owned = own.sum(1).cpu()
            wanted = (share * (owned + free).double()).round().long() - free
            wanted = torch.minimum(wanted, owned - (torch.as_tensor(share) < 1).long())
            gone = smallest(layer.weight.abs().flatten(1), own, wanted.to(owner.device)).view_as(owner)
            owner.masked_fill_(gone, FREE)
            layer.weight.masked_fill_(gone, 0)

    @torch.no_grad()
    def clear_free(self) -> None:
        """Puts free weights back to 0: in the middle of a phase, the optimizer may have moved them."""
        for layer, owner in zip(self.layers, self.owner, strict=True):
            layer.weight.masked_fill_(owner == FREE, 0)

    def frozen(self, task: int) -> dict[nn.Parameter, Tensor]:
        """What must not move while a task trains: weights of others, free ones, and the output units of other tasks."""
        others = ~self.groups[task]
        head = {self.network.head.weight: others, self.network.head.bias: others}
        return head | {layer.weight: owner != task for layer, owner in zip(self.layers, self.owner, strict=True)}

    def keep_biases(self) -> None:
        """The hidden layers' biases and normalisations as they are now become the next task's own."""
        self.biases.append([layer.bias.detach().clone() for layer in self.biased])
        self.norms.keep()

    def frozen_biases(self) -> dict[nn.Parameter, Tensor]:
        """What must not move where the first task's biases, scales and shifts are those of all."""
        everything = torch.ones((), dtype=torch.bool, device=self.groups.device)
        norms = (p for norm in norm_layers(self.network) for p in norm.parameters())
        return dict.fromkeys((*(layer.bias for layer in self.biased), *norms), everything)

    # --- what a task computes ---

    def visible(self, task: int) -> list[Tensor]:
        """Bool and like the weights for each hidden layer: those that a task computes with."""
        return [owner <= task for owner in self.owner]

    @torch.no_grad()
    def logits(self, x: Tensor, task: int, visible: Sequence[Tensor] | None = None) -> Tensor:
        """(K, B, O) what a task's own network answers, 0 for the output units of other tasks. Changes nothing.

        `visible` stands for the weights that the task computes with, where those are not all of {A ≤ t}.
        """
        seen = self._seen_by(task, self.visible(task) if visible is None else visible)
        return functional_call(self.network, seen, (x,), tie_weights=False)

    def _seen_by(self, task: int, visible: Sequence[Tensor]) -> dict[str, Tensor]:
        """What the network holds, by name, through a task's eyes: its weights, biases, normalisations and output units.

        Everything else is 0.
        """
        head, own = self.network.head, self.groups[task]
        # `where` and not a product: what is hidden may be anything, even infinite.
        seen = {p: torch.where(own, p, 0) for p in (head.weight, head.bias)}
        for layer, mask in zip(self.layers, visible, strict=True):
            seen[layer.weight] = torch.where(mask, layer.weight, 0)
        if task < len(self.biases):
            seen |= {layer.bias: bias for layer, bias in zip(self.biased, self.biases[task], strict=True)}
        return {name: seen[p] for name, p in self.network.named_parameters() if p in seen} | self.norms.of(task)

    # --- books and pictures ---

    def counts(self, tasks: int) -> Tensor:
        """(K, L, tasks + 1): weights of each hidden layer owned by each task, free ones last."""
        labels = (*range(tasks), FREE)
        by_layer = [torch.stack([(owner == n).flatten(1).sum(1) for n in labels], 1) for owner in self.owner]
        return torch.stack(by_layer, 1)

    def insight(self) -> dict[str, Tensor]:
        """`ownership` (K, L, T + 1): each task's share of each hidden layer's weights, and last what is free."""
        if not self.layers:
            return {}
        counts = self.counts(len(self.groups)).cpu().double()
        return {"ownership": counts / counts.sum(2, keepdim=True)}

    def footprint(self) -> dict[str, Tensor | int]:
        """Bytes: ⌈log₂(T + 1)⌉ bits for every weight that has a name in A, and what every task but the last has of its own."""
        sizes = {"masks": (self.owner_bits() + 7) // 8} if self.layers else {}
        if len(self.biases) > 1 and self.biased:
            sizes["biases"] = 4 * (len(self.biases) - 1) * sum(layer.outputs for layer in self.biased)
        return sizes | self.norms.footprint()

    def owner_bits(self) -> Tensor:
        """(K,): bits of A, for the weights that exist."""
        weights = sum((owner != RESERVED).flatten(1).sum(1) for owner in self.owner)
        return weights * math.ceil(math.log2(len(self.groups) + 1))

    def _drawn(self, draws: Sequence[torch.Generator], which: Tensor) -> list[Tensor]:
        """New values like the weights for each hidden layer; how much is drawn does not depend on what is free."""
        values = [torch.zeros_like(layer.weight, device="cpu") for layer in self.layers]
        for k in which.nonzero().flatten().tolist():
            generator = draws[k]
            for layer, value, fan_in in zip(self.layers, values, self.fan_in, strict=True):
                bound = 1 / math.sqrt(fan_in[k])
                layer.logical(value)[k].uniform_(-bound, bound, generator=generator)
        return [value.to(layer.weight.device) for layer, value in zip(self.layers, values, strict=True)]


def _first(count: Tensor, of: int) -> Tensor:
    """(K, of) bool: the first `count` (K,) units."""
    return torch.arange(of, device=count.device) < count.unsqueeze(1)


def smallest(sizes: Tensor, candidates: Tensor, count: Tensor) -> Tensor:
    """(K, n) bool: exactly `count` (K,) of the `candidates` (K, n) with the smallest `sizes` (K, n), or all if there are fewer.

    Of equal sizes those that come first; a count below 1 takes none.
    """
    order = sizes.masked_fill(~candidates, torch.inf).sort(dim=1, stable=True).indices
    count = torch.minimum(count, candidates.sum(1)).unsqueeze(1)
    first = torch.arange(sizes.shape[1], device=sizes.device) < count
    return torch.zeros_like(candidates).scatter_(1, order, first) & candidates


def equal_share(task: int, tasks: int) -> float:
    """The share p_t of a task's weights that it gives back so that each of `tasks` ends with as many: (T − t)/(T − t + 1)."""
    left = tasks - task - 1
    return left / (left + 1)


def gradual(start: float, end: float, progress: float) -> float:
    """The sparsity after a part `progress` (0 to 1) of a ramp from `start` to `end`: fast first (Zhu & Gupta, 2018, eq. 1)."""
    return end + (start - end) * (1 - min(max(progress, 0.0), 1.0)) ** 3
