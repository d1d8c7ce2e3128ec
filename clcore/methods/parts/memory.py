"""Replay memories: which examples of the past are kept, and how they come back.

One module serves every method that stores examples. A memory holds at most `budget` examples per replica, whatever the
stream brings. Every example offered gets a *key*, and what is kept follows from keys alone, so that an example can be
offered at any time, in batches of any size, and a smaller budget keeps a prefix of what a larger one keeps:

    policy      key                                             groups        literature
    reservoir   drawn at random                                 none          Vitter's reservoir as random keys: exactly uniform
    balanced    drawn at random                                 class         class-balanced reservoir, GDumb's greedy sampler
    ring        the later, the larger                           task, class   FIFO per class: Chaudhry et al., 2019
    herding     order in which iCaRL's herding picks them       task, class   Rebuffi et al., CVPR 2017
    k-center    order in which farthest-first picks them        task, class   Sener & Savarese, ICLR 2018

Within a group examples are ranked by key. Groups share the budget in one of two ways. `shrinking`, for when nobody
knows what is to come: the examples of the best ranks stay, all groups' first, then all groups' second, …, until the
budget is full (in an order of groups drawn once). So groups are equal up to one example, one that has few leaves its
share to the others, and all shrink as new ones appear. `reserved`, for a known number of tasks: each group's share (M/T
for tasks) is set aside from the beginning and never changes. Levels only ever fall, so what was dropped is never
missed: offering bit by bit keeps what offering all at once would.

On a stream without boundaries nobody knows tasks: groups by task are groups by class there or none, and an example is offered
when it comes by for the first time. The `tasks` below are views then (see benchmarks/course.py).

What is stored is where an example lies in the data set (task and id) and what a method adds to it (`fields`: logits,
losses, … as (K, M, …) tensors). `footprint` charges the bytes that a memory of real examples would take.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from clcore.batch import Batch
from clcore.benchmarks.base import Split, Task, example_codes
from clcore.errors import RequestError
from clcore.methods.context import Context
from clcore.methods.parts import exemplars
from clcore.methods.parts.vectors import per_replica
from clcore.networks.layers import aligned_rows
from clcore.state import Stateful

Policy = Literal["reservoir", "balanced", "ring", "herding", "k-center"]
Groups = Literal["none", "class", "task", "task_class"]
Division = Literal["shrinking", "reserved"]

_GROUPS: dict[str, Groups] = {
    "reservoir": "none", "balanced": "class", "ring": "task_class", "herding": "task_class", "k-center": "task_class",
}  # fmt: skip
_UNTOLD: dict[str, Groups] = {"none": "none", "class": "class", "task": "none", "task_class": "class"}
_WHOLE_TASKS = ("herding", "k-center")
_PREDRAWN_FLOATS = 1 << 20
_SHOWN = 16  # examples in a picture of the memory,
_SHOWN_NUMBERS = 1 << 15  # or fewer, where their pixels would be more than this


class Memory(Stateful):
    """K memories with budgets `(K,)`. `keys`, `tasks`, `ids` and `units` are `(K, M)` with M the largest budget.

    Slots are sorted: the first `counts[k]` of replica k hold examples, in the order of their worth; the others have key −1.

    keys    (K, M) float64, ≥ 0 where a slot holds an example
    tasks   (K, M) the task each example comes from
    ids     (K, M) its position in the data set
    units   (K, M) its output unit (its label)
    fields  name → (K, M, …) float32 on the training device: whatever else a method stores with an example
    """

    context_fields = frozenset({"stream", "classifier", "pulse", "policy", "by", "division"})

    def __init__(
        self,
        context: Context,
        policy: Policy = "reservoir",
        *,
        by: Groups | None = None,
        division: Division = "shrinking",
        fields: Mapping[str, tuple[int, ...]] | None = None,
    ):
        """Budgets come from `context.memories`.

        `by` overrides the policy's groups; `fields` gives the shape per example of every further tensor to store.
        """
        self.stream, self.classifier, self.pulse = context.stream, context.classifier, context.pulse
        self.policy, self.by, self.division = policy, by or _GROUPS[policy], division
        if self.stream.course is not None:
            self.by = _UNTOLD[self.by]
        self.insertions, self.draws = context.generators("memory"), context.generators("replay")
        self.budgets = context.memories.to("cpu", torch.long)
        everything = sum(task.train.width for task in self.stream.tasks)
        shape = (len(self.budgets), max(1, min(int(self.budgets.max()), everything)))
        self.keys = torch.full(shape, -1.0, dtype=torch.float64)
        # An empty slot names some example of the first task: it enters replay batches with weight 0, so it must be one.
        self.tasks = torch.zeros(shape, dtype=torch.long)
        self.ids = self.stream.tasks[0].train.indices[:, :1].cpu().repeat(1, shape[1])
        self.units = torch.zeros(shape, dtype=torch.long)
        # Whose turn it is when not every group can have one more: a random order, else the newest or oldest would always win.
        orders = context.generators("memory turns")
        self.turns = torch.stack([torch.rand(self._group_count, generator=g, dtype=torch.float64) for g in orders])
        self.offered = torch.zeros(shape[0], dtype=torch.long)
        self.fields = {n: torch.zeros(*shape, *s, device=self.stream.device) for n, s in (fields or {}).items()}
        self.restored()

    def restored(self) -> None:
        self._deck: Iterator[Batch] = iter(())
        self._counts: Tensor | None = None
        self._places: tuple[Tensor, Tensor] | None = None

    @property
    def counts(self) -> Tensor:
        """(K,) examples held, on the CPU."""
        if self._counts is None:
            self._counts = self.held.sum(1)
        return self._counts

    @property
    def held(self) -> Tensor:
        """(K, M) bool: the slots that hold an example."""
        return self.keys >= 0

    # --- filling ---

    def fill(self, task: Task, values: Mapping[str, Tensor] | None = None) -> None:
        """Offers a whole task's training split, at its end. `values`: fields `(K, N, …)`, aligned with `train.indices`."""
        ids = task.train.indices
        valid = torch.arange(ids.shape[1]) < task.train.lengths.cpu().unsqueeze(1)
        keys = None
        if self.policy in _WHOLE_TASKS:
            keys = self._picked(task, valid)
        if task.train.fresh is not None:
            valid = valid & task.train.fresh.cpu()
        self.offer(task.train.all_tasks(), ids, valid, values=values, keys=keys)

    def observe(self, batch: Batch, values: Mapping[str, Tensor] | None = None) -> None:
        """Offers a mini-batch of the stream, after its step: the examples that come by for the first time.

        Later passes would store copies. `values`: fields `(K, B, …)`.
        """
        self.check_streaming()
        if all(batch.epoch):  # nobody's first pass
            return
        first_pass = torch.tensor([epoch == 0 for epoch in batch.epoch])
        valid = (batch.weight.cpu() > 0) & first_pass.unsqueeze(1)
        if batch.fresh is not None:
            valid = valid & batch.fresh.cpu()
        if bool(valid.any()):
            self.offer(batch.task, batch.ids, valid, values=values)

    def check_streaming(self) -> None:
        """Raises RequestError when this policy cannot take examples one by one."""
        if self.policy in _WHOLE_TASKS:
            raise RequestError(
                f"policy = {self.policy} chooses among all examples of a task, so it cannot fill the memory while the stream "
                "passes: choose memory_update = task_end, or another policy (reservoir, balanced, ring)."
            )

    def offer(
        self,
        task: int | Tensor,
        ids: Tensor,
        valid: Tensor,
        *,
        values: Mapping[str, Tensor] | None = None,
        keys: Tensor | None = None,
    ) -> None:
        """Offers `ids` `(K, B)` of a task (or of one each, `(K, B)`) where `valid` (K, B); an example may be offered once.

        `keys` (K, B) float64 ≥ 0 replace the policy's: the larger, the longer an example stays.
        """
        ids, valid = ids.cpu(), valid.cpu() & (self.budgets > 0).unsqueeze(1)
        tasks = torch.as_tensor(task).cpu().expand(ids.shape)
        keys = (self._keys(valid) if keys is None else keys.cpu()).masked_fill(~valid, -1.0)
        units = self.stream.units(tasks.to(self.stream.device), ids.to(self.stream.device)).cpu()
        keys = torch.cat([self.keys, keys], 1)
        tasks, units = torch.cat([self.tasks, tasks], 1), torch.cat([self.units, units], 1)
        self.keys, order = self._best(keys, tasks, units)
        self.tasks, self.units = tasks.gather(1, order), units.gather(1, order)
        self.ids = torch.cat([self.ids, ids], 1).gather(1, order)
        for name, stored in self.fields.items():
            everything = torch.cat([stored, values[name].to(stored)], 1)
            index = order.to(stored.device).view(*order.shape, *[1] * (stored.dim() - 2))
            self.fields[name] = everything.gather(1, index.expand(*order.shape, *stored.shape[2:]))
        self.restored()

    def _keys(self, valid: Tensor) -> Tensor:
        """(K, B) keys of newly offered examples by the policy; draws are made for valid ones only, in order."""
        keys = torch.full(valid.shape, -1.0, dtype=torch.float64)
        if self.policy == "ring":
            keys = (self.offered.unsqueeze(1) + valid.cumsum(1) - 1).double()
            self.offered = self.offered + valid.sum(1)
            return keys
        for k, generator in enumerate(self.insertions):
            n = int(valid[k].sum())
            if n:
                keys[k, valid[k]] = torch.rand(n, generator=generator, dtype=torch.float64)
        return keys

    def _best(self, keys: Tensor, tasks: Tensor, units: Tensor) -> tuple[Tensor, Tensor]:
        """Keys (K, M) and positions (K, M) of what is kept of (K, N) candidates, the most worthy first."""
        size = self.keys.shape[1]
        places = torch.arange(size)
        if self.by == "none":
            best, order = keys.topk(size, dim=1)
            return best.masked_fill(places >= self.budgets.unsqueeze(1), -1.0), order
        groups = self._group(tasks, units)
        rank = ranks(keys, groups)
        if self.division == "reserved":
            rank = rank.masked_fill(rank >= self._shares().gather(1, groups), keys.shape[1])
        by_turn = self.turns.gather(1, groups).argsort(dim=1, stable=True)
        rank, order = rank.gather(1, by_turn).sort(dim=1, stable=True)
        order = by_turn.gather(1, order)[:, :size]
        dropped = (rank[:, :size] >= keys.shape[1]) | (places >= self.budgets.unsqueeze(1))
        return keys.gather(1, order).masked_fill(dropped, -1.0), order

    def _group(self, tasks: Tensor, units: Tensor) -> Tensor:
        if self.by == "task":
            return tasks
        if self.by == "class":
            return units
        return tasks * self.stream.classes_per_task + units % self.stream.classes_per_task

    @property
    def _group_count(self) -> int:
        tasks = len(self.stream.tasks)
        return {"task": tasks, "class": self.stream.outputs}.get(self.by, tasks * self.stream.classes_per_task)

    def _shares(self) -> Tensor:
        """(K, G) each group's reserved share: as equal as whole numbers allow, M in all.

        Which groups get one more: of every task as many as of the others (give or take one), in the order of `turns`.
        """
        groups, tasks = self._group_count, len(self.stream.tasks)
        each, left = self.budgets // groups, self.budgets % groups
        turn = self.turns.argsort(dim=1).argsort(dim=1)
        if self.by == "task_class":  # a task's first in turn, then every task's second, …
            within = self.turns.view(-1, tasks, groups // tasks).argsort(dim=2).argsort(dim=2).flatten(1)
            turn = (within * groups + turn).argsort(dim=1).argsort(dim=1)
        return each.unsqueeze(1) + (turn < left.unsqueeze(1))

    def _picked(self, task: Task, valid: Tensor) -> Tensor:
        """(K, N) keys by the order in which the policy picks a task's examples, each class by itself."""
        choose = exemplars.herd if self.policy == "herding" else exemplars.farthest_first
        most = int(self.budgets.max())
        if self.by == "task_class":  # old examples that the new ones push out leave fewer places to pick for
            ids = task.train.indices
            units = self.stream.units(task.index, ids).cpu()
            groups = self._group(torch.full_like(units, task.index), units)
            sizes = _histogram(self._group(self.tasks, self.units), self.held, self._group_count)
            most = int(_level(sizes + _histogram(groups, valid, self._group_count), self.budgets).max())
        return exemplars.keys_in_order(self.classifier, task, self.stream.classes_per_task, choose, most, self.pulse)

    # --- reading ---

    def draw(self, size: int, *, ahead: int = 1, before: int | None = None) -> Batch | None:
        """A replay batch `(K, size)`: without replacement while a memory holds that many, else every example once.

        Where the stream augments its images, these are augmented too, each draw anew.

        None while there is nothing to draw in any memory. `before` leaves out the examples of that task and later ones.
        `ahead` draws may be made at once while the memory does not change. The batch has `slots` and what is `stored` there.
        """
        batch = next(self._deck, None)
        if batch is None:
            usable = self.held if before is None else self.held & (self.tasks < before)
            if not bool(usable.any()):
                return None
            self._deck = self._deal(usable, size, ahead)
            batch = next(self._deck)
        return batch

    def _deal(self, usable: Tensor, size: int, ahead: int) -> Iterator[Batch]:
        """`ahead` draws; the draws are made at once, examples are read a few draws at a time."""
        rows = aligned_rows(size, self.classifier.network.widths)
        per_draw = max(self.keys.shape[1], rows * math.prod(self.stream.input_shape))
        # The number of draws made at once decides how far generators run, so it must not depend on other replicas.
        augmentation = self.stream.augmentation
        chosen, weights, views = [], [], []
        for k, generator in enumerate(self.draws):
            candidates = usable[k].nonzero().flatten()
            held = len(candidates)
            slots = torch.zeros(ahead, rows, dtype=torch.long)
            weight = torch.zeros(ahead, rows)
            if held >= size:
                slots[:, :size] = candidates[torch.rand(ahead, held, generator=generator).topk(size, dim=1).indices]
                weight[:, :size] = 1
            elif held:
                slots[:, :held] = candidates
                weight[:, :held] = 1
            chosen.append(slots)
            weights.append(weight)
            if augmentation is not None:
                blank = torch.zeros(ahead * rows, 3, dtype=torch.uint8)
                views.append(augmentation.draw(ahead * rows, generator) if held else blank)
        slots = torch.stack(chosen).flatten(1)  # (K, ahead·rows)
        weight = torch.stack(weights).flatten(1)
        together = max(1, _PREDRAWN_FLOATS // (per_draw * len(self.budgets)))
        for start in range(0, ahead, together):
            part = slice(start * rows, min(ahead, start + together) * rows)
            shown = torch.stack([own[part] for own in views]) if views else None
            yield from self._read(slots[:, part], weight[:, part], rows, shown)

    def _read(self, slots: Tensor, weight: Tensor, rows: int, views: Tensor | None = None) -> list[Batch]:
        """The examples in `slots` (K, n·rows) as n batches; augmented where `views` (K, n·rows, 3) are given."""
        device = self.stream.device
        padded = (weight.view(len(weight), -1, rows) == 0).any(2).any(0).tolist()
        tasks, ids = self.tasks.gather(1, slots).to(device), self.ids.gather(1, slots).to(device)
        weight, slots = weight.to(device), slots.to(device)
        x, y = self.stream.gather(tasks, ids, None if views is None else views.to(device))
        batches = []
        for n, start in enumerate(range(0, slots.shape[1], rows)):
            at = slice(start, start + rows)
            w, here = weight[:, at], slots[:, at]
            stored = {name: _gathered(values, here) for name, values in self.fields.items()}
            batches.append(
                Batch(x[:, at], y[:, at], w, w.sum(1), tasks[:, at], ids[:, at], slots=here, stored=stored, padded=padded[n])
            )
        return batches

    def everything(self, rows: int = 64, *, tasks: Sequence[int] | None = None) -> Iterator[Batch]:
        """All examples held, the most worthy first, in batches `(K, rows)` of one fixed size; those of n `tasks` in batches
        `(K, n·rows)`, as many rows of every task, one task's below another's.

        The number of batches is the fullest memory's; others have weight 0 there, and so have tasks of which fewer are held.
        """
        rows = aligned_rows(rows, self.classifier.network.widths)
        sets = [self.held] if tasks is None else [self.held & (self.tasks == task) for task in tasks]
        wanted = torch.stack(sets, 1)  # (K, n, M)
        most = int(wanted.sum(2).max())
        order = (~wanted).long().argsort(dim=2, stable=True)
        for start in range(0, most, rows):
            slots = order[..., start : start + rows]
            weight = wanted.gather(2, slots).float()
            short = rows - slots.shape[2]
            slots, weight = F.pad(slots, (0, short)), F.pad(weight, (0, short))
            yield from self._read(slots.flatten(1), weight.flatten(1), len(sets) * rows)

    def splits(self, tasks: Iterable[int]) -> tuple[Split, ...]:
        """The examples held of each of `tasks`, the most worthy first, as a phase's training data."""
        found = []
        for task in tasks:
            held = self.held & (self.tasks == task)
            some = self.stream.tasks[task].train.indices[:, :1].cpu()  # padding must be an example of the task too
            ids = torch.where(held, self.ids, some).gather(1, (~held).long().argsort(dim=1, stable=True))
            found.append(self.stream.split(task, ids.to(self.stream.device), held.sum(1).to(self.stream.device)))
        return tuple(found)

    def split(self) -> Split:
        """Everything held, of whatever task, as a phase's training data. A memory without examples is a split without them."""
        device = self.stream.device
        return self.stream.split(self.tasks.to(device), self.ids.to(device), self.counts.to(device))

    def refresh(self, batch: Batch, values: Mapping[str, Tensor]) -> None:
        """Replaces fields of those examples of the stream's mini-batch that are held: they pass again.

        `values`: fields `(K, B, …)`.
        """
        if self._places is None:
            self._places = example_codes(self.tasks, self.ids).masked_fill(~self.held, -1).sort(dim=1)
        codes, order = self._places
        wanted = example_codes(torch.as_tensor(batch.task).cpu(), batch.ids.cpu())
        place = torch.searchsorted(codes, wanted.contiguous()).clamp_max(codes.shape[1] - 1)
        found = (codes.gather(1, place) == wanted) & (batch.weight.cpu() > 0)
        slots = order.gather(1, place)
        rows = found.nonzero(as_tuple=True)
        for name, field in self.fields.items():
            field[rows[0], slots[rows]] = values[name].detach()[rows].to(field)

    def write(self, name: str, batch: Batch, values: Tensor) -> None:
        """Replaces a field of the examples of a drawn batch; `values` `(K, B, …)`. The memory must not have changed since."""
        field = self.fields[name]
        kept = (batch.weight > 0).nonzero(as_tuple=True)
        field[kept[0], batch.slots[kept]] = values[kept].detach().to(field)

    # --- telling ---

    def counts_by_task(self) -> Tensor:
        """(K, T) examples held of each task."""
        return _histogram(self.stream.task_of(self.tasks), self.held, len(self.stream.tasks))

    def counts_by_class(self) -> Tensor:
        """(K, O) examples held for each output unit."""
        return _histogram(self.units, self.held, self.stream.outputs)

    def footprint(self) -> dict[str, Tensor]:
        """(K,) bytes: inputs as the data set keeps them and 8 bytes of label and task each, and the further fields."""
        sizes = {"memory_samples": self.counts * (self.stream.example_bytes + 8)}
        for name, values in self.fields.items():
            sizes[f"memory_{name}"] = self.counts * (4 * math.prod(values.shape[2:]))
        return sizes

    def insight(self) -> dict[str, Tensor]:
        """What the memory holds: how many by class (K, O) and, as their age, by task (K, T).

        Some of them are shown (K, n, *input), with their output units (K, n).
        """
        found = {
            "memory_by_class": self.counts_by_class().float(),
            "memory_by_task": self.counts_by_task().float(),
        }
        return found | self._some() if bool(self.counts.any()) else found

    def _some(self) -> dict[str, Tensor]:
        """Examples spread evenly over what is held, with their units; blank, and unit −1, where a memory is empty."""
        numbers = math.prod(self.stream.picture_shape)
        some = max(1, min(_SHOWN, _SHOWN_NUMBERS // numbers))
        slots = (torch.arange(some) / some * self.counts.unsqueeze(1)).long()
        device = self.stream.device
        ids = self.ids.gather(1, slots).to(device)
        x, _ = self.stream.gather(self.tasks.gather(1, slots).to(device), ids)
        shown = self.stream.shown(x, ids)
        full = (self.counts > 0).unsqueeze(1)
        return {
            "memory_examples": shown * per_replica(full[:, 0].to(device), shown),
            "memory_examples_unit": torch.where(full, self.units.gather(1, slots), -1),
        }


def ranks(keys: Tensor, groups: Tensor) -> Tensor:
    """(K, N) each candidate's rank by key within its group, from 0; N where the key is negative (an empty place)."""
    n = keys.shape[1]
    by_key = keys.argsort(dim=1, descending=True, stable=True)
    group, order = groups.gather(1, by_key).sort(dim=1, stable=True)
    order = by_key.gather(1, order)
    place = torch.arange(n).expand(keys.shape)
    first = torch.cat([torch.ones_like(group[:, :1], dtype=torch.bool), group[:, 1:] != group[:, :-1]], 1)
    start = place.masked_fill(~first, 0).cummax(1).values
    found = torch.empty_like(place).scatter(1, order, place - start)
    return found.masked_fill(keys < 0, n)


def _level(sizes: Tensor, budgets: Tensor) -> Tensor:
    """(K,) the smallest number n such that n of every group `sizes` (K, G) fill the budget; the budget if none do."""
    low, high = torch.zeros_like(budgets), budgets
    for _ in range(int(budgets.max()).bit_length() + 1):
        middle = (low + high) // 2
        enough = sizes.minimum(middle.unsqueeze(1)).sum(1) >= budgets
        low, high = torch.where(enough, low, middle + 1).minimum(high), torch.where(enough, middle, high)
    return high


def _gathered(values: Tensor, slots: Tensor) -> Tensor:
    index = slots.view(*slots.shape, *[1] * (values.dim() - 2)).expand(*slots.shape, *values.shape[2:])
    return values.gather(1, index)


def _histogram(values: Tensor, held: Tensor, size: int) -> Tensor:
    return torch.zeros(len(values), size, dtype=torch.long).scatter_add_(1, values, held.long())
