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
from clcore.methods.parts.vectors import ReplicaVector, per_replica, trained_numbers, weights
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
        self.drift: Tensor | None = None  # (K, L), see `note_drift`
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
        self.note_drift()
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
        self.note_drift()
        self.importance = importance
        self.anchor()
        self.restored()

    @torch.no_grad()
    def anchor(self) -> None:
        """Moves the anchors to the present weights. Before the first importance they hold nothing: a mark to measure from."""
        self.centre = weights(self.network).copy()

    @torch.no_grad()
    def note_drift(self) -> None:
        """Remembers how far each layer is from its anchors: for `insight`, because the next anchors take their place."""
        if self.centre is not None:
            self.drift = pictures.drift_by_layer(self.network, self.centre)

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
        for p, stiffness, centre in zip(self.network.parameters(), self.stiffness, self.centre, strict=True):
            offset = p - centre
            if p.grad is None:
                p.grad = stiffness * offset
            else:
                p.grad.addcmul_(stiffness, offset)

    @property
    def stiffness(self) -> list[Tensor]:
        """λΛ, one tensor per parameter."""
        if self._stiffness is None:
            self._stiffness = (self.importance * self.strength).tensors
        return self._stiffness

    @torch.no_grad()
    def gradient_at(self, points: Sequence[Tensor]) -> list[Tensor] | None:
        """λΛ(θ−c) at other weights than the present ones, which `add_gradient` added there; None where it adds nothing."""
        if self.importance is None or self.implicit:
            return None
        return [(p - c).mul_(s) for p, c, s in zip(points, self.centre, self.stiffness, strict=True)]

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
        """Bytes per replica: importance and centre of every trained number, once they exist."""
        kept = {"importance": self.importance, "anchors": self.centre}
        return {kind: 4 * trained_numbers(self.network) for kind, vector in kept.items() if vector is not None}

    def insight(self, input_shape: Sequence[int]) -> dict[str, Tensor]:
        """Where the springs are stiff, by layer (K, L) and by input (K, *image), and how far they were stretched."""
        if self.importance is None:
            return self.stretch()
        return {
            "importance_by_layer": pictures.by_layer(self.network, self.importance),
            **pictures.by_input(self.network, self.importance, input_shape),
            **self.stretch(),
        }

    def stretch(self) -> dict[str, Tensor]:
        """(K, L): how far each layer ended from where its springs held it, the mean of |θ−c|."""
        return {} if self.drift is None else {"drift_by_layer": self.drift}
