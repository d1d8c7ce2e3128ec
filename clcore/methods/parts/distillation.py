"""Distillation: give the answers that another network gives, not only the right ones.

With p = softmax(z/T) of the teacher's logits and q that of the student's, the loss is the cross-entropy −Σ p log q (Hinton et
al., 2015). It is least, the entropy of p, where the student answers like the teacher; its gradient in the student's logits is
(q − p)/T, which a factor T² brings back to the size it has at T = 1. Everything is computed from log-softmax, so no confident
answer turns into the logarithm of zero.

Losses are per example, (K, B): `batch_mean` averages them under a batch's weights, which are 0 for padding.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from clcore.batch import Batch
from clcore.methods.parts import binary

ALL = slice(None)


def soft_cross_entropy(
    student: Tensor, teacher: Tensor, *, temperature: float = 1.0, units: slice = ALL, heads: int = 1
) -> Tensor:
    """(K, B) cross-entropy of the student's softened answers with the teacher's, from logits (K, B, O).

    `units` are the outputs that are compared. They are answers of one softmax, or of `heads` equal ones, side by side: then
    the loss is the sum over the heads. A teacher's logit of −inf is an answer of 0.
    """
    log_p = _softened(teacher, temperature, units, heads)
    log_q = _softened(student, temperature, units, heads)
    return -(log_p.exp() * log_q).flatten(2).sum(-1)


def entropy(teacher: Tensor, *, temperature: float = 1.0, units: slice = ALL, heads: int = 1) -> Tensor:
    """(K, B) the least value that `soft_cross_entropy` can take."""
    return torch.special.entr(_softened(teacher, temperature, units, heads).exp()).flatten(2).sum(-1)


def binary_cross_entropy(student: Tensor, targets: Tensor, units: slice = ALL) -> Tensor:
    """(K, B) sum over `units` of the binary cross-entropies of sigmoid outputs with `targets` (K, B, O) from 0 to 1."""
    return binary.cross_entropy(student[..., units], targets[..., units]).sum(-1)


def batch_mean(losses: Tensor, batch: Batch) -> Tensor:
    """(K,) mean of per-example losses (K, B) over a batch's examples."""
    return (losses * batch.weight).sum(1) / batch.count.clamp_min(1)


def _softened(logits: Tensor, temperature: float, units: slice, heads: int) -> Tensor:
    """Log-probabilities (K, B, heads, C)."""
    return F.log_softmax(logits[..., units].unflatten(-1, (heads, -1)) / temperature, dim=-1)
