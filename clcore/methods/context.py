"""What a method and its parts may know about their run."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from clcore.benchmarks.base import Stream
from clcore.networks.base import Design
from clcore.networks.classifier import Classifier
from clcore.randomness import Generators
from clcore.spec import OptimizerChoice


@dataclass(frozen=True)
class Context:
    """What a method may know about its run. Tensors `(K,)` follow the order of the group's replicas.

    A method that computes for longer than a step calls `pulse` now and then: there a person may pause or cancel. What it
    puts through a backward pass outside the loop's own (importance passes, gradients of a memory, virtual steps) it reports
    to `charge`: examples × backward passes, a number or one per replica (K,). Replicas that take no part are left out.
    `epochs` are the passes over a task; equal compute may cut the last one short (`Method.needs_whole_epochs`).
    """

    classifier: Classifier
    design: Design
    stream: Stream
    scenario: str
    seeds: Sequence[int]
    strengths: Tensor | None
    memories: Tensor
    optimizer: OptimizerChoice
    batch_size: int
    epochs: float
    device: torch.device
    pulse: Callable[[], None] = lambda: None
    charge: Callable[[Tensor | int], None] = lambda samples: None

    @property
    def replicas(self) -> int:
        return len(self.seeds)

    def generators(self, purpose: str) -> Generators:
        """One generator per replica; the purpose keeps a method's draws apart from everybody else's."""
        return Generators(self.seeds, purpose)
