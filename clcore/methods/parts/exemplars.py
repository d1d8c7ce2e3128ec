"""Choosing exemplars by their features: herding and farthest-first.

Features are what enters the output layer. Both choosers are greedy and take one example of every class of every replica
in each round, so n rounds cost n passes over the features whatever K and the number of classes; the first m picks are
the choice for m. Examples are laid out by class in blocks of a fixed size: a replica's arithmetic does not depend on
who stands beside it.

    herding         k-th pick: argmin ‖μ − (φ_i + Σ_picked φ)/k‖, φ and μ of length 1 (iCaRL, Rebuffi et al., CVPR 2017, alg. 4)
    farthest first  first the example nearest to the mean, then whichever is farthest from all picked (k-center greedy,
                    Sener & Savarese, ICLR 2018); Euclidean distance of plain features
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from clcore.benchmarks.base import Split, Task
from clcore.networks.classifier import Classifier
from clcore.networks.layers import aligned_rows, recording

_ROWS = 64  # of a block

Chooser = Callable[[Tensor, Tensor], Iterator[Tensor]]


@torch.no_grad()
def features(classifier: Classifier, x: Tensor) -> Tensor:
    """(K, B, d) what enters the output layer for inputs `x` (K, B, …); d is a multiple of four."""
    head = classifier.network.head
    with recording(head) as tape:
        classifier(x)
    found = tape[0].inputs.flatten(2)
    return F.pad(found, (0, -found.shape[-1] % 4))


@torch.no_grad()
def class_means(
    classifier: Classifier,
    known: Iterable[tuple[Tensor, Tensor, Tensor]],
    outputs: int,
    pulse: Callable[[], None] = lambda: None,
) -> Tensor:
    """(K, O, d) the mean feature of every class, of length 1 and over features of length 1; zeros without examples.

    `known`: inputs (K, B, …), output units (K, B) and weights (K, B), 0 for what does not count.
    """
    total = 0
    for x, y, weight in known:
        member = F.one_hot(y, outputs).float() * weight.unsqueeze(-1)
        total = total + torch.bmm(member.transpose(1, 2), F.normalize(features(classifier, x), dim=-1))
        pulse()
    return F.normalize(total, dim=-1)


def fair_sample(split: Split, size: int, widths: Sequence[int]) -> tuple[Tensor, Tensor, Tensor]:
    """The first `size` examples of a split, whose order is random: inputs, output units and weights, padded for `widths`."""
    rows = aligned_rows(size, widths)
    lengths = split.lengths.clamp_max(size).unsqueeze(1)
    positions = torch.arange(rows, device=lengths.device).expand(len(lengths), rows)
    meant = positions < lengths
    x, y = split.gather(torch.where(meant, positions, 0))
    return x, y, meant.float()


@torch.no_grad()
def keys_in_order(
    classifier: Classifier,
    task: Task,
    classes: int,
    choose: Chooser,
    most: int,
    pulse: Callable[[], None] = lambda: None,
) -> Tensor:
    """(K, N) float64 keys of a task's training examples: 1 for a class's first pick, then ½, ⅓, …; −1 for the unpicked.

    `classes` is how many the task has; at most `most` are picked of each.
    """
    positions, left = _by_class(task, classes)  # (K, C, n)
    replicas, _, n = positions.shape
    rows = aligned_rows(_ROWS, classifier.network.widths)
    found = []
    for here in positions.flatten(1).split(rows, dim=1):
        pulse()
        x, _ = task.train.gather(F.pad(here, (0, rows - here.shape[1])))
        found.append(features(classifier, x)[:, : here.shape[1]])
    picks = choose(torch.cat(found, 1).view(replicas, classes, n, -1), left)
    keys = torch.full((replicas, task.train.width), -1.0, dtype=torch.float64)
    for number in range(1, most + 1):
        some = left.any(2).cpu()  # classes that have examples left
        if not bool(some.any()):
            break
        picked = next(picks).unsqueeze(2)
        left.scatter_(2, picked, False)
        worth = torch.where(some, 1 / number, -1.0).double()
        keys.scatter_reduce_(1, positions.gather(2, picked).squeeze(2).cpu(), worth, "amax")
        if number % 16 == 0:
            pulse()
    return keys


def herd(found: Tensor, left: Tensor) -> Iterator[Tensor]:
    """Picks (K, C) of `found` (K, C, n, d) among those `left` (K, C, n), which the caller updates."""
    unit = F.normalize(found, dim=-1) * left.unsqueeze(-1)
    lengths = (unit * unit).sum(-1)
    mean = F.normalize(_sum(unit), dim=-1)
    wish = mean  # kμ − Σ: ‖kμ − Σ − φ‖² = ‖φ‖² − 2⟨φ, kμ − Σ⟩ + a constant
    while True:
        best = (2 * _dots(unit, wish) - lengths).masked_fill(~left, -torch.inf).argmax(2)
        yield best
        wish = wish + mean - _row(unit, best)


def farthest_first(found: Tensor, left: Tensor) -> Iterator[Tensor]:
    """Picks (K, C) of `found` (K, C, n, d) among those `left` (K, C, n), which the caller updates."""
    lengths = (found * found).sum(-1)
    centre = _sum(found * left.unsqueeze(-1)) / left.sum(2, keepdim=True).clamp_min(1)
    nearest, best = torch.full_like(lengths, torch.inf), None
    while True:
        distance = lengths - 2 * _dots(found, centre) + (centre * centre).sum(-1, keepdim=True)
        if best is None:
            best = distance.masked_fill(~left, torch.inf).argmin(2)
        else:
            nearest = torch.minimum(nearest, distance)
            best = nearest.masked_fill(~left, -torch.inf).argmax(2)
        yield best
        centre = _row(found, best)


def _by_class(task: Task, classes: int) -> tuple[Tensor, Tensor]:
    """Positions (K, C, n) in the task's training split, class by class, and which of them are meant; n in whole blocks."""
    split = task.train
    every = torch.arange(split.width, device=split.indices.device).expand(len(split.lengths), -1)
    meant = every < split.lengths.unsqueeze(1)
    of_class = split.units(every) % classes
    member = (of_class.unsqueeze(1) == torch.arange(classes, device=every.device).view(1, -1, 1)) & meant.unsqueeze(1)
    n = -(-int(member.sum(2).max()) // _ROWS) * _ROWS
    order = (~member).long().argsort(dim=2, stable=True)[..., :n]
    short = n - order.shape[2]
    return F.pad(order, (0, short)), F.pad(member.gather(2, order), (0, short))


def _dots(found: Tensor, direction: Tensor) -> Tensor:
    """(K, C, n) inner products of `found` (K, C, n, d) with `direction` (K, C, d), in blocks of fixed size."""
    replicas, classes, n, d = found.shape
    right = direction.unsqueeze(2).expand(-1, -1, n // _ROWS, -1).reshape(-1, d, 1)
    return torch.bmm(found.reshape(-1, _ROWS, d), right).view(replicas, classes, n)


def _sum(found: Tensor) -> Tensor:
    """(K, C, d) the sum over n, block after block: how much padding follows must not show in the last bits."""
    total = torch.zeros_like(found[:, :, 0])
    for block in found.split(_ROWS, dim=2):
        total = total + block.sum(2)
    return total


def _row(found: Tensor, which: Tensor) -> Tensor:
    """(K, C, d) the rows `which` (K, C) of `found` (K, C, n, d)."""
    return found.gather(2, which.view(*which.shape, 1, 1).expand(*which.shape, 1, found.shape[-1])).squeeze(2)
