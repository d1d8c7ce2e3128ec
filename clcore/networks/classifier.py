"""One output layer for all tasks; the scenario is a mask of logits per sample.

The stream says which output units belong to which task (`groups`, (T, O)). From that and the scenario follows, for a sample
of task j while task t is learned, the set of units its softmax runs over:

    task     the units of task j
    domain   all units
    class    the units seen so far (`seen`), all of them (`all`), or those of task j (`current`)
    task-free  all units

and for a prediction: the units of the given task, all units, those seen so far, or all. No method computes offsets.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from clcore.batch import Batch
from clcore.networks.base import Network
from clcore.networks.norms import learning


class Classifier(nn.Module):
    """K networks with the scenario's masks. `learning` is the 0-based task being learned."""

    def __init__(self, network: Network, groups: Tensor, scenario: str, active_classes: str = "seen"):
        super().__init__()
        self.network = network
        self.scenario = scenario
        self.shared = scenario in ("domain", "task-free")  # every output is every task's
        self.active_classes = active_classes
        self.learning = 0
        self._follow = True
        self.register_buffer("groups", groups, persistent=False)
        seen = groups.cumsum(0) > 0
        self.register_buffer("seen", seen, persistent=False)
        self._group_spans = [_span(row) for row in groups]
        self._seen_spans = [_span(row) for row in seen]
        self._all = (0, groups.shape[1])

    def forward(self, x: Tensor) -> Tensor:
        """All logits `(K, B, O)`, unmasked."""
        return self.network(x)

    def training_units(self, task: int) -> Tensor:
        """(O,) bool: the units over which the softmax of a sample of `task` runs in training, now."""
        if self.shared or (self.scenario == "class" and self.active_classes == "all"):
            return torch.ones_like(self.groups[0])
        if self.scenario == "class" and self.active_classes == "seen":
            return self.seen[self.learning]
        return self.groups[task]

    def predicted_units(self, task: int, seen_tasks: int) -> Tensor:
        """(O,) bool: the units a prediction for a sample of `task` may choose from after `seen_tasks` tasks."""
        if self.scenario == "task":
            return self.groups[task]
        if self.shared or seen_tasks == 0:
            return torch.ones_like(self.groups[0])
        return self.seen[seen_tasks - 1]

    def units_before(self, task: int) -> slice:
        """The outputs that tasks before this one (not the first) train: all of them in domain, else a growing range."""
        return slice(*self._seen_spans[task - 1])

    def sample_losses(self, part: Batch) -> Tensor:
        """Cross-entropy of every sample of a batch or replayed part, `(K, B)`, each under its own task's mask."""
        return self.cross_entropy(self.fresh_logits(part), part)

    def fresh_logits(self, part: Batch) -> Tensor:
        """All logits `(K, B, O)` of a part, for its loss; they are kept with the part for other terms of the same step.

        With gradients, this is a pass that learns (see norms.py); without, the network answers.
        """
        norms = self.network.batch_norms
        if norms and torch.is_grad_enabled():
            with learning(norms, part.weight if part.padded else None, follow=self._follow):
                part.kept[:] = [self(part.x)]
        else:
            part.kept[:] = [self(part.x)]
        return part.kept[0]

    def all_logits(self, batch: Batch) -> list[Tensor]:
        """The fresh logits `(K, B, O)` of each of a batch's parts; as `fresh_logits` of one after another, in less time."""
        parts = batch.parts
        if len(parts) == 1 or self.network.batch_norms:  # a part's examples are normalised among themselves
            return [self.fresh_logits(part) for part in parts]
        found = self.network.several([part.x for part in parts])
        for part, logits in zip(parts, found, strict=True):
            part.kept[:] = [logits]
        return found

    def all_losses(self, batch: Batch) -> list[Tensor]:
        """`sample_losses` of each of a batch's parts."""
        return [self.cross_entropy(logits, part) for logits, part in zip(self.all_logits(batch), batch.parts, strict=True)]

    @contextmanager
    def trying_out(self) -> Iterator[None]:
        """Within this block passes leave running statistics alone: a step is tried out that is not taken."""
        self._follow = False
        try:
            yield
        finally:
            self._follow = True

    def logits(self, part: Batch) -> Tensor:
        """The logits `(K, B, O)` that a part's loss was computed from: a second term costs no second forward pass.

        They belong to the step they were computed in. Once the weights have moved, `fresh_logits` are others.
        """
        if not part.kept or (torch.is_grad_enabled() and not part.kept[0].requires_grad):
            return self.fresh_logits(part)
        return part.kept[0]

    def cross_entropy(self, logits: Tensor, part: Batch, units: Tensor | None = None) -> Tensor:
        """`sample_losses` from logits `(K, B, O)` already computed; over `units` (K, O) instead of the scenario's if given.

        The units must contain the label of every example that counts; padding costs something finite, whatever they are.
        """
        if units is not None:
            logits = logits.masked_fill(~units.unsqueeze(1), torch.finfo(logits.dtype).min)
            return _losses(logits, part.y)
        y, span = part.y, self._training_span(part.task)
        if span is None:
            units = (
                self._training_masks()[part.task] if isinstance(part.task, Tensor) else self.training_units(part.task)
            )
            logits = logits.masked_fill(~units, float("-inf"))
        elif span != self._all:
            logits = logits[..., span[0] : span[1]]
            if span[0]:
                y = y - span[0]
        return _losses(logits, y)

    def _training_span(self, task: int | Tensor) -> tuple[int, int] | None:
        """The contiguous range of active units, when it is one range for all samples; slicing it beats masking."""
        if self.shared or (self.scenario == "class" and self.active_classes == "all"):
            return self._all
        if self.scenario == "class" and self.active_classes == "seen":
            return self._seen_spans[self.learning]
        return None if isinstance(task, Tensor) else self._group_spans[task]

    def _training_masks(self) -> Tensor:
        """(T, O): `training_units` of every task."""
        return self.groups


def _losses(logits: Tensor, y: Tensor) -> Tensor:
    return F.cross_entropy(logits.flatten(0, 1), y.flatten(), reduction="none").view(y.shape)


def _span(row: Tensor) -> tuple[int, int] | None:
    chosen = row.nonzero().flatten().tolist()
    lo, hi = chosen[0], chosen[-1] + 1
    return (lo, hi) if hi - lo == len(chosen) else None
