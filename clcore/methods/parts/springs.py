"""Quadratic penalties: a spring per weight, anchored where earlier tasks left it.

    penalty(θ) = λ/2 · Σ_i Λ_i (θ_i − c_i)²  +  constant

A sum of quadratics, one per past task with importance F and anchor θ*, has exactly the gradient of one quadratic with
Λ = ΣF and centre c = ΣFθ*/Λ. Keeping Λ and c needs the memory of two networks however many tasks there were.

The step can be explicit (the gradient λΛ(θ−c) is added; it diverges once lr·λΛ exceeds about 2) or implicit: after the task's
step of size η, the exact proximal step θ ← (θ + ηλΛc)/(1 + ηλΛ), which is finite for every λ and agrees with the explicit
step to first order in η.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn

from clcore.knobs import knob
from clcore.methods.parts import pictures
from clcore.methods.parts.vectors import ReplicaVector, per_replica, weights
from clcore.state import Stateful

PenaltyStep = Literal["auto", "implicit", "explicit"]


def penalty_step_knob():
    """The option every quadratic penalty has."""
    return knob(
        "auto",
        help="how the penalty acts: `explicit` adds its gradient, `implicit` takes the exact proximal step after the task's "
        "step (finite for any strength); `auto` is implicit with SGD and explicit with Adam",
    )


class Springs(Stateful):
    """The merged quadratic penalty of a network's parameters. A `ClosedForm` term (see methods/base.py)."""

    context_fields = frozenset({"network", "strength", "implicit"})

    def __init__(self, network: nn.Module, strength: Tensor, step: PenaltyStep, optimizer: str):
        """`strength` (K,); `step` as asked for, "auto" being decided by the run's optimizer."""
        self.network = network
        self.strength = strength
        self.implicit = step == "implicit" or (step == "auto" and optimizer == "sgd")
        self.importance: ReplicaVector | None = None
        self.centre: ReplicaVector | None = None
        self.restored()

    def restored(self) -> None:
        self._stiffness: list[Tensor] | None = None
        self._pull: tuple[float, list[Tensor]] | None = None

    @torch.no_grad()
    def add(self, importance: ReplicaVector) -> None:
        """One more quadratic, anchored at the present weights."""
        if self.importance is None:
            self.replace(importance)
            return
        merged = self.importance + importance
        # c += (θ − c)·F/(Λ+F): no difference of large sums, and entries that nothing holds keep any centre.
        self.centre = ReplicaVector(
            c + (w.detach() - c) * torch.where(total > 0, new / total, 0)
            for c, w, new, total in zip(self.centre, weights(self.network), importance, merged, strict=True)
        )
        self.importance = merged
        self.restored()

    @torch.no_grad()
    def replace(self, importance: ReplicaVector) -> None:
        """A single quadratic, anchored at the present weights; earlier ones are dropped."""
        self.importance, self.centre = importance, weights(self.network).copy()
        self.restored()

    def terms(self) -> dict[str, Springs]:
        """The penalty as a term of the loss; nothing before the first anchor or with implicit steps."""
        return {} if self.importance is None or self.implicit else {"penalty": self}

    @torch.no_grad()
    def value(self) -> Tensor:
        """(K,) λ/2 · ΣΛ(θ−c)²: the penalty up to the constant that merging leaves out."""
        if self.importance is None:
            return torch.zeros_like(self.strength)
        offset = weights(self.network) - self.centre
        return self.strength / 2 * self.importance.dot(offset * offset)

    @torch.no_grad()
    def add_gradient(self) -> None:
        """Adds λΛ(θ−c) to the gradients."""
        if self._stiffness is None:
            self._stiffness = (self.importance * self.strength).tensors
        for p, stiffness, centre in zip(self.network.parameters(), self._stiffness, self.centre, strict=True):
            offset = p - centre
            if p.grad is None:
                p.grad = stiffness * offset
            else:
                p.grad.addcmul_(stiffness, offset)

    @torch.no_grad()
    def unstable(self, lr: float) -> Tensor:
        """(K,) bool: lr·λ·max Λ > 2, beyond which explicit gradient descent on the penalty diverges."""
        return lr * self.strength * self.importance.largest() > 2

    @torch.no_grad()
    def relax(self, lr: float) -> None:
        """The implicit step of size `lr`: θ moves towards c by the share ηλΛ/(1+ηλΛ)."""
        if self.importance is None or not self.implicit:
            return
        if self._pull is None or self._pull[0] != lr:
            shares = []
            for importance in self.importance:
                stiffness = lr * per_replica(self.strength, importance) * importance
                shares.append(stiffness / (1 + stiffness))
            self._pull = (lr, shares)
        for p, centre, share in zip(self.network.parameters(), self.centre, self._pull[1], strict=True):
            p.lerp_(centre, share)

    def footprint(self) -> dict[str, int]:
        """Bytes per replica: importance and centre of every trained number, once something is anchored."""
        if self.importance is None:
            return {}
        return {"importance": 4 * self.network.parameter_count, "anchors": 4 * self.network.parameter_count}

    def insight(self, input_shape: Sequence[int]) -> dict[str, Tensor]:
        """Where the springs are stiff: by layer (K, L) and by input (K, *image)."""
        if self.importance is None:
            return {}
        return {
            "importance_by_layer": pictures.by_layer(self.network, self.importance),
            "importance_by_input": pictures.by_input(self.network, self.importance, input_shape),
        }
