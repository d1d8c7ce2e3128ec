"""State that can be saved, restored, and held still for some replicas while others train on.

An object's state is its attributes: tensors, numbers, text, None, `Generators`, other `Stateful` objects, and lists,
tuples and dicts of these. `context_fields` names the attributes that are not state (they are set anew when it is built).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, ClassVar

import torch
from torch import Tensor

from clcore.randomness import Generators

_PLAIN = (bool, int, float, str, type(None))


class Stateful:
    """Base of methods and their parts."""

    context_fields: ClassVar[frozenset[str]] = frozenset()
    _kinds: ClassVar[dict[str, type[Stateful]]] = {}

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        Stateful._kinds[cls.__qualname__] = cls

    def state_fields(self) -> dict[str, Any]:
        """Attributes that are state; a leading underscore marks a cache that can be computed again."""
        return {n: v for n, v in vars(self).items() if n not in self.context_fields and not n.startswith("_")}

    def state_dict(self) -> dict[str, Any]:
        return {name: _save(value, f"{type(self).__name__}.{name}") for name, value in self.state_fields().items()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        for name, saved in state.items():
            setattr(self, name, _load(getattr(self, name, None), saved))
        self.restored()

    def restored(self) -> None:
        """Called after the state was loaded and at the start of a phase: drop what was computed ahead."""


def _save(value: Any, where: str) -> Any:
    if isinstance(value, _PLAIN):
        return value
    if isinstance(value, Tensor):
        return value.detach()
    if isinstance(value, Generators):
        return {"generators": value.state_dict()["states"]}
    if isinstance(value, Stateful):
        return {"stateful": value.state_dict(), "kind": type(value).__qualname__}
    if isinstance(value, (list, tuple)):
        return [_save(v, f"{where}[{i}]") for i, v in enumerate(value)]
    if isinstance(value, dict):
        return {"dict": {k: _save(v, f"{where}[{k!r}]") for k, v in value.items()}}
    raise TypeError(f"{where} is a {type(value).__name__}, which cannot be saved; make it Stateful or a context field.")


def _load(current: Any, saved: Any) -> Any:
    if isinstance(saved, list):
        old = (
            list(current) if isinstance(current, (list, tuple)) and len(current) == len(saved) else [None] * len(saved)
        )
        return [_load(o, s) for o, s in zip(old, saved, strict=True)]
    if isinstance(saved, dict) and "generators" in saved:
        current.load_state_dict({"states": saved["generators"]})
        return current
    if isinstance(saved, dict) and "stateful" in saved:
        if current is None:  # made while training (an anchor, say): its attributes are all there is to it
            kind = Stateful._kinds[saved["kind"]]
            current = kind.__new__(kind)
        current.load_state_dict(saved["stateful"])
        return current
    if isinstance(saved, dict):
        old = current if isinstance(current, dict) else {}
        return {k: _load(old.get(k), v) for k, v in saved["dict"].items()}
    return saved


def leaves(value: Any, path: str = "") -> Iterator[tuple[str, Tensor | Generators]]:
    """Every tensor and every set of generators below `value`, with its path."""
    if isinstance(value, (Tensor, Generators)):
        yield path, value
    elif isinstance(value, Stateful):
        for name, v in value.state_fields().items():
            yield from leaves(v, f"{path}.{name}")
    elif isinstance(value, (list, tuple)):
        for i, v in enumerate(value):
            yield from leaves(v, f"{path}[{i}]")
    elif isinstance(value, dict):
        for k, v in value.items():
            yield from leaves(v, f"{path}[{k!r}]")


def drop_caches(value: Any) -> None:
    """Calls `restored` on every `Stateful` below `value`: what they computed ahead is forgotten."""
    if isinstance(value, Stateful):
        value.restored()
        value = value.state_fields()
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, (list, tuple)):
        for v in value:
            drop_caches(v)


class StandStill:
    """Keeps the state of some replicas as it is while the others train on.

    Replicas never influence one another, so it is enough to remember an inactive replica's rows when it becomes inactive
    and to put them back before anybody looks; what the shared tensor operations do to those rows in between is discarded.
    Caches (a leading underscore) stay: what they hold for the others must not depend on who stands still.
    """

    def __init__(self, replicas: int):
        self.replicas = replicas
        self._held: list[tuple[Tensor, dict[str, Tensor]]] = []

    @torch.no_grad()
    def hold(self, which: Tensor, *roots: Any) -> None:
        """Remember the rows `which` (indices) of every tensor `(K, …)` and every generator below `roots`."""
        rows = {}
        for path, leaf in leaves(list(roots)):
            if isinstance(leaf, Generators):
                rows[path] = leaf.state_dict()["states"][which.cpu()]
            elif leaf.dim() and leaf.shape[0] == self.replicas:
                rows[path] = leaf[which.to(leaf.device)].clone()
        self._held.append((which, rows))

    @torch.no_grad()
    def put_back(self, *roots: Any) -> None:
        """Write the remembered rows back; they stay remembered until `release`."""
        for which, rows in self._held:
            for path, leaf in leaves(list(roots)):
                if path not in rows:
                    continue
                if isinstance(leaf, Generators):
                    states = leaf.state_dict()["states"]
                    states[which.cpu()] = rows[path]
                    leaf.load_state_dict({"states": states})
                else:
                    leaf[which.to(leaf.device)] = rows[path]

    def release(self) -> None:
        self._held.clear()
