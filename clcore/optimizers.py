"""The run's optimizer: torch's SGD, Adam or AdamW over all replicas' parameters at once."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch

from clcore.spec import OptimizerChoice


class PlainSGD(torch.optim.SGD):
    """torch's SGD where there is neither momentum nor weight decay: p ← p − lr·g, the same bits for half the overhead.

    On the digits network torch's own bookkeeping around these six subtractions takes a tenth of a step.
    """

    @torch.no_grad()
    def plain_step(self) -> None:
        for group in self.param_groups:
            lr = group["lr"]
            for parameter in group["params"]:
                if parameter.grad is not None:
                    parameter.add_(parameter.grad, alpha=-lr)


_ADAMS = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW}


def make_optimizer(choice: OptimizerChoice, parameters: Iterable[torch.nn.Parameter]) -> torch.optim.Optimizer:
    """SGD (momentum, weight decay as L2), Adam (weight decay as L2) or AdamW (decoupled weight decay)."""
    if choice.name in _ADAMS:
        return _ADAMS[choice.name](parameters, lr=choice.lr, weight_decay=choice.weight_decay)
    if choice.momentum == 0 and choice.weight_decay == 0:
        return PlainSGD(parameters, lr=choice.lr)
    return torch.optim.SGD(parameters, lr=choice.lr, momentum=choice.momentum, weight_decay=choice.weight_decay)


def steps_of(optimizers: Iterable[torch.optim.Optimizer]) -> list[Callable[[], Any]]:
    """What to call for a step of each optimizer."""
    return [o.plain_step if isinstance(o, PlainSGD) else o.step for o in optimizers]
