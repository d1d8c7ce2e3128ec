"""Several methods at once: `er+ewc` replays and anchors.

Seams are chained in list order, but in `mix` and `terms` the parts that bring in examples come before those that watch the
pass over them. The task loss is computed once, and a part's terms carry its name (`ewc.penalty`). A ★ seam can have one owner
only.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from clcore.batch import Batch
from clcore.benchmarks.base import Task
from clcore.methods.base import Method, Plan, Terms
from clcore.methods.context import Context
from clcore.spec import check_composable, check_seams

_EXCLUSIVE = ("adapt", "phases", "task_loss", "predict")


def seam_owners(methods: Sequence[type[Method]], names: Sequence[str]) -> dict[str, int]:
    """Which part owns each ★ seam (its index). Raises RequestError when two parts claim one."""
    owned = [owned_seams(method) for method in methods]
    check_seams(names, owned)
    return {seam: i for i, seams in enumerate(owned) for seam in seams}


def owned_seams(method: type[Method]) -> tuple[str, ...]:
    """The ★ seams that a method overrides."""
    return tuple(seam for seam in _EXCLUSIVE if getattr(method, seam) is not getattr(Method, seam))


class Composition(Method):
    """The chain of several methods. It is built by the engine and has no file name of its own."""

    title = "Composition"
    family = "composition"

    def __init__(self, context: Context, parts: Sequence[tuple[str, type[Method], dict[str, Any], Tensor | None]]):
        self.context = context
        names = [name for name, *_ in parts]
        classes = [cls for _, cls, *_ in parts]
        check_composable(names, classes)
        self._owners = seam_owners(classes, names)
        self.parts: dict[str, Method] = {
            name: cls(replace(context, strengths=strengths), settings) for name, cls, settings, strengths in parts
        }
        # An order that does not depend on the name: whoever watches the pass over a batch must see all of it.
        self._replay_first = sorted(self.parts.items(), key=lambda item: item[1].family == "regularization")

    def _owner(self, seam: str) -> Method:
        parts = list(self.parts.values())
        return parts[self._owners[seam]] if seam in self._owners else parts[0]

    def adapt(self, network: torch.nn.Module) -> torch.nn.Module:
        return self._owner("adapt").adapt(network)

    def setup(self) -> None:
        for part in self.parts.values():
            part.setup()

    def begin(self, task: Task) -> None:
        for part in self._told():
            part.begin(task)

    def _told(self) -> list[Method]:
        """The parts that hear of a task's beginning and end: on a stream without boundaries those that keep time by a clock."""
        return [part for part in self.parts.values() if part.needs_boundaries or not self.boundless]

    def phases(self, task: Task) -> Plan:
        return self._owner("phases").phases(task)

    def mix(self, batch: Batch) -> Batch:
        for _, part in self._replay_first:
            batch = part.mix(batch)
        return batch

    def task_loss(self, batch: Batch) -> Tensor:
        return self._owner("task_loss").task_loss(batch)

    def terms(self, batch: Batch) -> Terms:
        return {f"{name}.{term}": value for name, p in self._replay_first for term, value in p.terms(batch).items()}

    def edit_gradients(self, batch: Batch) -> None:
        for part in self.parts.values():
            part.edit_gradients(batch)

    def after_step(self, batch: Batch, lr: float) -> None:
        for part in self.parts.values():
            part.after_step(batch, lr)

    def observe(self, batch: Batch) -> None:
        for part in self.parts.values():
            part.observe(batch)

    def end(self, task: Task) -> None:
        for part in self._told():
            part.end(task)

    def predict(self, x: Tensor, task: int) -> Tensor:
        return self._owner("predict").predict(x, task)

    def known_task_logits(self, x: Tensor, task: int) -> Tensor:
        return self._owner("predict").known_task_logits(x, task)

    def promises_old_logits(self) -> bool:
        return any(part.promises_old_logits() for part in self.parts.values())

    def trains_old_heads(self) -> Tensor:
        return torch.stack([part.trains_old_heads().cpu() for part in self.parts.values()]).any(0)

    def footprint(self) -> dict[str, Tensor | int]:
        total: dict[str, Tensor | int] = {}
        for part in self.parts.values():
            for kind, size in part.footprint().items():
                total[kind] = total.get(kind, 0) + size
        return total

    def note(self) -> str:
        return " ".join(filter(None, (part.note() for part in self.parts.values())))

    def insight(self) -> dict[str, Tensor]:
        return {f"{name}.{key}": v for name, part in self.parts.items() for key, v in part.insight().items()}

    @property
    def predicts_unseen(self) -> bool:  # type: ignore[override]
        return all(part.predicts_unseen for part in self.parts.values())

    @property
    def needs_boundaries(self) -> bool:  # type: ignore[override]
        return any(part.needs_boundaries for part in self.parts.values())

    @property
    def uses_memory(self) -> bool:  # type: ignore[override]
        return any(part.uses_memory for part in self.parts.values())

    @property
    def static_step(self) -> bool:  # type: ignore[override]
        return all(part.static_step for part in self.parts.values())

    @property
    def freezes(self) -> bool:  # type: ignore[override]
        return any(part.freezes for part in self.parts.values())
