"""The gradients that harm no past task, in two dimensions: GEM's cone, its projection, and A-GEM's.

A step θ ← θ − ηz lowers the loss of a task with gradient g_k as long as ⟨z, g_k⟩ > 0 and raises it where that is negative,
to first order. GEM takes the nearest z to g with ⟨z, g_k⟩ ≥ 0 for all k (Lopez-Paz & Ranzato, NeurIPS 2017, with γ = 0),
A-GEM the nearest with ⟨z, mean_k g_k⟩ ≥ 0 (Chaudhry et al., ICLR 2019).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

SATISFIED = -1e-9  # an inner product of unit vectors above this does not count as harm: rounding alone reaches -1e-16


class Vector(NamedTuple):
    x: float
    y: float

    @property
    def length(self) -> float:
        return math.hypot(self.x, self.y)

    @property
    def angle(self) -> float | None:
        """Degrees in (-180, 180], counter-clockwise from the right; None for the zero vector."""
        return math.degrees(math.atan2(self.y, self.x)) if self.length > 1e-12 else None


def at_angle(degrees: float, length: float = 1.0) -> Vector:
    turn = math.radians(degrees)
    return Vector(length * math.cos(turn), length * math.sin(turn))


def inner(a: Vector, b: Vector) -> float:
    return a.x * b.x + a.y * b.y


def mean(vectors: Sequence[Vector]) -> Vector:
    return Vector(sum(v.x for v in vectors) / len(vectors), sum(v.y for v in vectors) / len(vectors))


def gem(g: Vector, past: Sequence[Vector]) -> Vector:
    """The nearest vector to g that no past gradient objects to.

    In the plane it is g itself, or lies on the edge of one past gradient's half-plane, or is 0: the best of these few
    that all accept is the exact answer.
    """
    edges = (_without(g, other) for other in past)
    accepted = [z for z in (g, *edges, Vector(0.0, 0.0)) if all(_accepts(z, other) for other in past)]
    return min(accepted, key=lambda z: math.hypot(z.x - g.x, z.y - g.y))


def agem(g: Vector, past: Sequence[Vector]) -> Vector:
    """g, without its part against the mean of the past gradients."""
    reference = mean(past)
    return g if _accepts(g, reference) else _without(g, reference)


def allowed(past: Sequence[Vector]) -> tuple[float, float] | None:
    """The directions that nobody objects to, from one angle in degrees to another; None where only standing still is left.

    A half-plane allows 90° to either side of its gradient. The result's second angle may exceed 180.
    """
    first = past[0].angle or 0.0
    low, high = -90.0, 90.0
    for other in past[1:]:
        off = (((other.angle or 0.0) - first + 180) % 360) - 180
        low, high = max(low, off - 90), min(high, off + 90)
    return (first + low, first + high) if low <= high else None


def harmed(z: Vector, past: Sequence[Vector]) -> list[int]:
    """The positions of the past gradients whose loss a step along z raises, to first order."""
    return [k for k, other in enumerate(past) if not _accepts(z, other)]


def _accepts(z: Vector, other: Vector) -> bool:
    return inner(z, other) >= SATISFIED


def _without(g: Vector, other: Vector) -> Vector:
    """g without its part along `other`."""
    square = inner(other, other)
    share = inner(g, other) / square if square > 1e-18 else 0.0
    return Vector(g.x - share * other.x, g.y - share * other.y)
