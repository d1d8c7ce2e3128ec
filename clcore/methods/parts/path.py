"""The path integral: how much of the loss's decrease each weight's own movement accounts for.

    ω_i = −Σ_steps g_i · Δθ_i ,      Σ_i ω_i ≈ L(start) − L(end)

with g the gradient before a step and Δθ what the step changed (Zenke, Poole & Ganguli, ICML 2017, eq. 4).

g is the task's gradient: what reached the optimizer, less the pull of the method's own springs where they act through the
gradient (with implicit steps they never do). It includes replayed examples and whatever else another part of a composition
adds to the loss. With the springs' pull in it, old anchors would look important again.

Δθ is the whole change: the optimizer's step with its momentum, moments and decay, and the springs' implicit step. Only the
guard's correction of frozen weights comes later; there g is 0 (output units of other tasks) or Ω does not matter.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from clcore.methods.parts.springs import Springs
from clcore.methods.parts.vectors import ReplicaVector, trained_numbers, weights
from clcore.state import Stateful


class PathIntegral(Stateful):
    """ω of every parameter of a network, one per replica: `depart` before each step, `arrive` after it."""

    context_fields = frozenset({"network"})

    def __init__(self, network: nn.Module):
        self.network = network
        self.omega = ReplicaVector(torch.zeros_like(p) for p in network.parameters())
        self.restored()

    def restored(self) -> None:
        self._before: list[Tensor] | None = None

    @torch.no_grad()
    def depart(self) -> None:
        """Remembers the weights from which the coming step is taken."""
        if self._before is None:
            self._before = [torch.empty_like(p) for p in self.network.parameters()]
        for before, p in zip(self._before, self.network.parameters(), strict=True):
            before.copy_(p)

    @torch.no_grad()
    def arrive(self, springs: Springs) -> None:
        """Adds −g·Δθ of the step just taken, g being the parameters' `grad` without the pull of `springs`."""
        pulls = springs.gradient_at(self._before) or [None] * len(self._before)
        for p, before, pull, omega in zip(self.network.parameters(), self._before, pulls, self.omega, strict=True):
            if p.grad is None:
                continue
            g = p.grad if pull is None else torch.sub(p.grad, pull, out=pull)
            omega.addcmul_(g, before.sub_(p))  # before − θ = −Δθ

    @torch.no_grad()
    def importance(self, start: ReplicaVector, damping: float) -> ReplicaVector:
        """ω/(Δ²+ξ) with Δ = θ − start. For a bowl ½aθ² followed to its minimum this is a/2."""
        moved = weights(self.network) - start
        return self.omega.map(lambda omega, delta: omega / (delta * delta + damping), moved)

    @torch.no_grad()
    def reset(self) -> None:
        """A new path begins."""
        for omega in self.omega:
            omega.zero_()

    def footprint(self) -> dict[str, int]:
        """Bytes per replica that stay between steps."""
        return {"path_integral": 4 * trained_numbers(self.network)}
