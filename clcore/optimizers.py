"""The run's optimizer, from torch."""

from __future__ import annotations

from collections.abc import Iterable

import torch

from clcore.spec import OptimizerChoice


def make_optimizer(choice: OptimizerChoice, parameters: Iterable[torch.nn.Parameter]) -> torch.optim.Optimizer:
    """SGD (momentum, weight decay) or Adam (weight decay as L2) over all replicas' parameters at once."""
    if choice.name == "adam":
        return torch.optim.Adam(parameters, lr=choice.lr, weight_decay=choice.weight_decay)
    return torch.optim.SGD(parameters, lr=choice.lr, momentum=choice.momentum, weight_decay=choice.weight_decay)
