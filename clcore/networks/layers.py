"""Layers that own the replica axis: K networks side by side, one tensor operation for all of them.

Weights are `(K, in, out)`, inputs `(K, B, in)`. Replicas never mix, and what one of them computes does not depend on how many
stand beside it. On the CPU that takes one precaution: the matrix library's last bits depend on whether a matrix starts at a
16-byte boundary, so each replica's block of a batched matrix must have a multiple of four floats. `aligned_width` adds dead
units where a width would break that (33 outputs of 17 inputs become 36), and `aligned_rows` does the same for mini-batches.
A dead unit has zero weights in and out; its gradient is exactly zero, so it stays dead.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

_BLOCK = 4  # floats in 16 bytes


def aligned_width(inputs: int, outputs: int) -> int:
    """The smallest width of at least `outputs` whose `(inputs, width)` weight block keeps the next replica aligned."""
    step = _BLOCK // math.gcd(_BLOCK, inputs)
    return math.ceil(outputs / step) * step


def aligned_rows(rows: int, widths: Sequence[int]) -> int:
    """The smallest number of rows of at least `rows` that keeps activations of all these widths aligned."""
    step = math.lcm(*(_BLOCK // math.gcd(_BLOCK, width) for width in widths))
    return math.ceil(rows / step) * step


@dataclass
class Recorded:
    """One layer's part of a forward pass: what went in and what came out, `(K, B, in)` and `(K, B, out)` for a `Linear`."""

    layer: Layer
    inputs: Tensor
    outputs: Tensor


class Layer(nn.Module):
    """A module with parameters `(K, …)` of its own, to which `recording` can listen."""

    tape: list[Recorded] | None = None

    @property
    def parameter_count(self) -> int:
        """Trained numbers of one replica, dead units left out."""
        raise NotImplementedError

    def recorded(self, inputs: Tensor, outputs: Tensor) -> Tensor:
        """`outputs`, noted on the tape while somebody listens."""
        if self.tape is not None:
            self.tape.append(Recorded(self, inputs, outputs))
        return outputs


class Weighted(Layer):
    """A layer that leads from `inputs` units to `outputs` units: fully connected, or a convolution, whose units are channels.

    `weight` is (K, …), `bias` (K, out) or None. What masks, owners and gates need to know of either kind is here, so that they
    do not ask which it is.
    """

    sizes: ClassVar[tuple[str, ...]] = ("inputs", "outputs")  # attributes that describe it, beside its parameters
    inputs: int
    outputs: int

    def take_over(self, plain: Weighted) -> None:
        """Becomes a layer with the very parameters of a plain one; stands in for `__init__`."""
        nn.Module.__init__(self)
        for name in (*self.sizes, "weight", "bias"):
            setattr(self, name, getattr(plain, name))

    @property
    def rows(self) -> int:
        """Units that it physically reads, dead ones included."""
        raise NotImplementedError

    @property
    def width(self) -> int:
        """Physical outputs, dead units included."""
        raise NotImplementedError

    @property
    def fan_in(self) -> int:
        """Numbers that one output is a weighted sum of."""
        raise NotImplementedError

    @property
    def weight_count(self) -> int:
        """Weights of one replica without biases, and without those of dead units."""
        return self.logical(self.weight[:1]).numel()

    def forward(self, x: Tensor) -> Tensor:
        y = self.compute(x, self.weight)
        return y if self.tape is None else self.recorded(x, y)

    def compute(self, x: Tensor, weight: Tensor) -> Tensor:
        """What the layer makes of `x` if its weights are `weight`."""
        raise NotImplementedError

    def logical(self, values: Tensor) -> Tensor:
        """Of values (K, …), one per physical weight, those that belong to no dead unit."""
        return values

    def physical(self, values: Tensor) -> Tensor:
        """Values, one per logical weight, with 0 for the weights of dead units."""
        return values

    def along_inputs(self, values: Tensor) -> Tensor:
        """Values (K, rows), one per unit that is read, to be combined with the weights."""
        raise NotImplementedError

    def along_outputs(self, values: Tensor) -> Tensor:
        """Values (K, width), one per unit that is computed, to be combined with the weights."""
        raise NotImplementedError


class Linear(Weighted):
    """K affine maps at once: `(K, B, in)` → `(K, B, out)`, initialised per replica as `torch.nn.Linear` does.

    `weight` is `(K, in, out)` and `bias` `(K, out)`; physical sizes may exceed `inputs` and `outputs` by dead units.
    """

    def __init__(self, inputs: int, outputs: int, generators: Sequence[torch.Generator], physical_inputs: int = 0):
        super().__init__()
        self.inputs, self.outputs = inputs, outputs
        rows = physical_inputs or inputs
        columns = aligned_width(rows, outputs)
        self.weight = nn.Parameter(torch.zeros(len(generators), rows, columns))
        self.bias = nn.Parameter(torch.zeros(len(generators), columns))
        bound = 1 / math.sqrt(inputs)
        with torch.no_grad():
            for k, generator in enumerate(generators):
                # The order of draws and the (out, in) shape are torch.nn.Linear's, so that seeds mean the same there.
                drawn = torch.empty(outputs, inputs).uniform_(-bound, bound, generator=generator)
                self.weight[k, :inputs, :outputs] = drawn.T
                self.bias[k, :outputs].uniform_(-bound, bound, generator=generator)

    @property
    def rows(self) -> int:
        return self.weight.shape[1]

    @property
    def width(self) -> int:
        return self.weight.shape[2]

    @property
    def fan_in(self) -> int:
        return self.inputs

    @property
    def parameter_count(self) -> int:
        """Trained numbers of one replica, dead units left out."""
        return (self.inputs + 1) * self.outputs

    def compute(self, x: Tensor, weight: Tensor) -> Tensor:
        return torch.baddbmm(self.bias.unsqueeze(1), x, weight)

    def logical(self, values: Tensor) -> Tensor:
        return values[:, : self.inputs, : self.outputs]

    def physical(self, values: Tensor) -> Tensor:
        return F.pad(values, (0, self.width - self.outputs, 0, self.rows - self.inputs))

    def along_inputs(self, values: Tensor) -> Tensor:
        return values.unsqueeze(2)

    def along_outputs(self, values: Tensor) -> Tensor:
        return values.unsqueeze(1)


def replace_layers(network: nn.Module, replacements: Mapping[Layer, Layer]) -> None:
    """Puts other layers in the place of a network's own, under all names that the network has for them."""
    for module in list(network.modules()):
        for name, child in list(module._modules.items()):
            if child in replacements:
                setattr(module, name, replacements[child])


@contextmanager
def recording(network: nn.Module, kind: type[Layer] = Layer) -> Iterator[list[Recorded]]:
    """Collects what passes through every `Layer` of a kind while the block runs: the raw material of per-sample gradients.

    `network` may be a single layer.
    """
    tape: list[Recorded] = []
    layers = [m for m in network.modules() if isinstance(m, kind)]
    for layer in layers:
        layer.tape = tape
    try:
        yield tape
    finally:
        for layer in layers:
            layer.tape = None
