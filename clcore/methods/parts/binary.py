"""Yes-or-no outputs: the sigmoid and its cross-entropy, from logits.

torch's own `sigmoid`, and with it the gradient of `binary_cross_entropy_with_logits`, computes the last numbers of a tensor,
which do not fill a vector register, by another routine than the others. Where a replica's block is no multiple of 32 numbers,
the last bit of its gradient would depend on whether another replica follows it. These are made of operations that do not.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor


def sigmoid(logits: Tensor) -> Tensor:
    """σ(z), without a gradient to rely on: it is 0/0 far below zero."""
    return 1 / (1 + (-logits.detach()).exp())


def cross_entropy(logits: Tensor, targets: Tensor) -> Tensor:
    """−t·log σ(z) − (1 − t)·log σ(−z), elementwise, for `targets` t from 0 to 1."""
    return (1 - targets) * logits - F.logsigmoid(logits)
