"""Two tasks as valleys over two weights, and what EWC's springs do between them. Everything is quadratic, so exact.

The loss of task s is L_s(θ) = ½ (θ − s)ᵀ H_s (θ − s), with its minimum at s. For such a valley the Fisher information at
the minimum is H_s; EWC (Kirkpatrick et al., PNAS 2017) keeps its diagonal only. Training on task B starts in A's minimum
and descends on

    L_B(θ) + λ/2 Σ_i F_i (θ_i − a_i)²        F = diag(H_A);  the L2 anchor has F = 1, the full Fisher F = H_A

whose minimum is (H_B + λF)⁻¹ (H_B b + λF a).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np

Springs = Literal["diagonal", "equal", "full"]
STEPS = 60


@dataclass(frozen=True)
class Valleys:
    """Task A's minimum, its steepness along and across, how far it is turned (degrees); task B likewise."""

    a: tuple[float, float] = (-1.0, 0.4)
    b: tuple[float, float] = (1.0, -0.3)
    steep_a: tuple[float, float] = (0.15, 3.0)
    steep_b: tuple[float, float] = (1.0, 0.4)
    turn_a: float = 0.0
    turn_b: float = 20.0

    def loss(self, task: Literal["a", "b"], theta: np.ndarray) -> np.ndarray:
        """L_s of points (…, 2)."""
        d = np.asarray(theta) - np.array(self.a if task == "a" else self.b)
        return 0.5 * np.einsum("...i,ij,...j->...", d, self.curvature(task), d)

    def curvature(self, task: Literal["a", "b"]) -> np.ndarray:
        """H_s, (2, 2)."""
        steep, turn = (self.steep_a, self.turn_a) if task == "a" else (self.steep_b, self.turn_b)
        c, s = math.cos(math.radians(turn)), math.sin(math.radians(turn))
        axes = np.array([[c, -s], [s, c]])
        return axes @ np.diag(steep) @ axes.T

    def springs(self, kind: Springs = "diagonal") -> np.ndarray:
        """F, (2, 2)."""
        H = self.curvature("a")
        return {"diagonal": np.diag(np.diag(H)), "equal": np.eye(2), "full": H}[kind]

    def minimiser(self, strength: float, kind: Springs = "diagonal") -> np.ndarray:
        """Where training on B ends under springs of this strength (2)."""
        H, F = self.curvature("b"), strength * self.springs(kind)
        return np.linalg.solve(H + F, H @ np.array(self.b) + F @ np.array(self.a))

    def joint(self) -> np.ndarray:
        """The minimum of L_A + L_B (2)."""
        return self.minimiser(1.0, "full")

    def path(self, strength: float, kind: Springs = "diagonal", steps: int = STEPS) -> tuple[np.ndarray, float]:
        """Gradient descent from A's minimum: (steps + 1, 2), and its learning rate.

        The rate is the inverse of the steepest curvature, springs included, and 0.3 at most: no spring makes it diverge.
        """
        H, F = self.curvature("b"), strength * self.springs(kind)
        a, b = np.array(self.a), np.array(self.b)
        lr = min(0.3, 1 / float(np.linalg.eigvalsh(H + F)[-1]))
        theta, found = a.copy(), [a.copy()]
        for _ in range(steps):
            theta = theta - lr * (H @ (theta - b) + F @ (theta - a))
            found.append(theta)
        return np.array(found), lr

    def ellipse(self, kind: Springs = "diagonal", level: float = 0.5, points: int = 72) -> np.ndarray:
        """(points + 1, 2): where ½ (θ − a)ᵀ F (θ − a) is `level`: as far as the springs let a weight go for one price."""
        values, axes = np.linalg.eigh(self.springs(kind))
        turn = np.linspace(0, 2 * np.pi, points + 1)
        circle = np.stack([np.cos(turn), np.sin(turn)]) * np.sqrt(2 * level / values)[:, None]
        return np.array(self.a) + (axes @ circle).T
