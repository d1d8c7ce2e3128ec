"""Several mini-batches through an affine map at once, each with the numbers it would have alone.

What is replayed goes through the network beside the current examples. Stacked, (K, B + R, in), they share the work of reading
the weights and of writing their gradient, which for small mini-batches is most of it. But a part without examples must leave
the others bit for bit as they were: a memory of 0 is fine-tuning, and a replica does not depend on whose memories stand
beside its own. Whether a matrix library computes the rows of a product alike whatever stands below them depends on the shapes
(on a CPU with AVX-512, those of two rows it does not), so it is asked, once for every shape, and where the answer is no that
product is made part by part.
"""

from __future__ import annotations

from functools import cache
from typing import NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable


class Agreement(NamedTuple):
    """Which products of an affine map may be made of stacked parts, none of its bits changing.

    outputs     x·W + b
    to_inputs   δ·Wᵀ, the gradient towards the inputs
    to_weights  xᵀ·δ, the gradient towards the weights, where δ is 0 for all parts but the first
    """

    outputs: bool
    to_inputs: bool
    to_weights: bool


def affine(x: Tensor, weight: Tensor, bias: Tensor, rows: tuple[int, ...]) -> Tensor:
    """`x` (K, ΣB, in), parts of so many `rows` one below another, → (K, ΣB, out); on the CPU."""
    return _Affine.apply(x, weight, bias, rows)


class _Affine(torch.autograd.Function):
    """x·W + b with gradients by hand: those of W and b are added up part by part only where they must be."""

    @staticmethod
    def forward(ctx, x: Tensor, weight: Tensor, bias: Tensor, rows: tuple[int, ...]) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.rows, ctx.agreed = rows, agreement(rows, *weight.shape, torch.get_num_threads())
        parts = x.split(rows, 1) if not ctx.agreed.outputs else (x,)
        return _joined([torch.baddbmm(bias.unsqueeze(1), part, weight) for part in parts])

    @staticmethod
    @once_differentiable
    def backward(ctx, delta: Tensor) -> tuple[Tensor | None, ...]:
        x, weight = ctx.saved_tensors
        deltas, to_x = delta.split(ctx.rows, 1), None
        if ctx.needs_input_grad[0]:
            parts = (delta,) if ctx.agreed.to_inputs else deltas
            to_x = _joined([torch.bmm(part, weight.transpose(1, 2)) for part in parts])
        if not ctx.needs_input_grad[1]:
            return to_x, None, None, None
        if ctx.agreed.to_weights:
            to_weight = torch.bmm(x.transpose(1, 2), delta)
        else:
            first, *others = zip(x.split(ctx.rows, 1), deltas, strict=True)
            to_weight = torch.bmm(first[0].transpose(1, 2), first[1])
            for part, own in others:
                to_weight.baddbmm_(part.transpose(1, 2), own)
        to_bias = deltas[0].sum(1)
        for own in deltas[1:]:
            to_bias += own.sum(1)
        return to_x, to_weight, to_bias, None


@cache
def agreement(rows: tuple[int, ...], replicas: int, inputs: int, outputs: int, threads: int) -> Agreement:
    """Makes each product both ways, of random numbers, and compares. `threads`, torch's number of them, matters too."""
    generator = torch.Generator().manual_seed(0)
    first, total = rows[0], sum(rows)
    x, weight, bias, delta = (
        torch.randn(replicas, *shape, generator=generator)
        for shape in ((total, inputs), (inputs, outputs), (1, outputs), (total, outputs))
    )
    delta[:, first:] = 0
    own_x, own_delta = x[:, :first].contiguous(), delta[:, :first].contiguous()
    return Agreement(
        torch.equal(torch.baddbmm(bias, x, weight)[:, :first], torch.baddbmm(bias, own_x, weight)),
        torch.equal(torch.bmm(delta, weight.transpose(1, 2))[:, :first], torch.bmm(own_delta, weight.transpose(1, 2))),
        torch.equal(torch.bmm(x.transpose(1, 2), delta), torch.bmm(own_x.transpose(1, 2), own_delta)),
    )


def _joined(parts: list[Tensor]) -> Tensor:
    return parts[0] if len(parts) == 1 else torch.cat(parts, 1)
