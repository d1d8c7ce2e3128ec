"""A sheet: strengths, weaknesses, pseudo-code and bytes of one method."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Sizes:
    """What the bytes of a method depend on. A number takes 4 bytes; an example 8 beside its input: label and task."""

    P: int  # numbers (weights and biases) of the plain network
    head: int  # those of its output layer
    units: int  # hidden units
    features: int  # units of the last hidden layer
    outputs: int
    classes: int
    T: int  # tasks
    M: int  # examples in the memory
    b: int  # bytes of one input, as the data set keeps it
    N: int  # training examples of all tasks

    @property
    def hidden_weights(self) -> int:
        """Weights of the hidden layers, without biases."""
        return self.P - self.head - self.units

    @property
    def memory(self) -> int:
        return self.M * (self.b + 8)


def example_sizes() -> Sizes:
    """Those of the experiment that the Lab opens with: permuted digits, five tasks, 200 examples (a test compares)."""
    return Sizes(P=17_610, head=1_010, units=200, features=100, outputs=10, classes=10, T=5, M=200, b=64, N=6_070)


@dataclass(frozen=True)
class Sheet:
    """One method's.

    bytes   LaTeX: what one network's method keeps at the end of the stream, beside the plain network's 4P bytes
    count   the same as a number, where it follows from `Sizes` alone; a test compares it with a trained run's footprint
    steps   pseudo-code of about five lines
    """

    strengths: tuple[str, ...]
    weaknesses: tuple[str, ...]
    steps: str
    bytes: str
    count: Callable[[Sizes], int] | None = None
