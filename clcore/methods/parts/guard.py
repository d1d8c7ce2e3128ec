"""Keeps frozen weights frozen.

A zero gradient does not freeze a weight: momentum and weight decay still move it. After every step the guard writes the frozen
entries back, whatever the optimizer, the penalties or the method did.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn


class Guard:
    """Restores the entries of parameters that `frozen` marks (bool, broadcastable to the parameter) to their present values."""

    @torch.no_grad()
    def __init__(self, frozen: Mapping[nn.Parameter, Tensor]):
        self._entries = [(p, mask, p.detach().clone()) for p, mask in frozen.items() if bool(mask.any())]

    def __bool__(self) -> bool:
        return bool(self._entries)

    @torch.no_grad()
    def restore(self) -> None:
        for parameter, mask, reference in self._entries:
            parameter.copy_(torch.where(mask, reference, parameter))
