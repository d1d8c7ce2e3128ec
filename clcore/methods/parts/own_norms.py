"""Normalisations that belong to their task, for methods whose old answers must not change.

A normalisation has scale and shift for every channel, and batch normalisation running statistics beside. All tasks use them,
so they are what is forgotten where no other weight moves. A method that isolates tasks does one of two things:

settled   they are trained with the first task, then nothing moves them: `settle`, and the loop's guard for scale and shift
own       every task has its own, which begin as those of the task before and are kept at the task's end: `OwnNorms`. That
          costs two numbers a channel and task, four with batch normalisation
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.func import functional_call

from clcore.networks.base import Network
from clcore.networks.norms import BatchNorm2d, GroupNorm
from clcore.state import Stateful


def norm_layers(network: nn.Module) -> list[GroupNorm | BatchNorm2d]:
    """The network's normalisations, input side first."""
    return [m for m in network.modules() if isinstance(m, GroupNorm | BatchNorm2d)]


def settle(network: Network, settled: bool) -> None:
    """Whether batch normalisations answer with their running statistics also while the network learns, and leave them."""
    for norm in network.batch_norms:
        norm.settled = settled


class OwnNorms(Stateful):
    """The normalisations of every finished task.

    kept   per task, the scales, shifts and running statistics (K, C) of all normalisations, by their names in the network
    """

    context_fields = frozenset({"network"})

    def __init__(self, network: Network):
        self.network = network
        self.kept: list[dict[str, Tensor]] = []

    def keep(self) -> None:
        """The normalisations as they are now become the next task's own."""
        self.kept.append({name: values.detach().clone() for name, values in self._present().items()})

    def of(self, task: int) -> dict[str, Tensor]:
        """A task's normalisations, by their names in the network; none for a task that is not finished: the present ones."""
        return self.kept[task] if task < len(self.kept) else {}

    def logits(self, x: Tensor, task: int) -> Tensor:
        """(K, B, O) what the network answers with a task's normalisations. Changes nothing."""
        own = self.of(task)
        return functional_call(self.network, own, (x,), tie_weights=False) if own else self.network(x)

    def footprint(self) -> dict[str, int]:
        """Bytes per replica: what was kept, but for the last task's, which the network has."""
        numbers = sum(values[0].numel() for values in self._present().values())
        size = 4 * numbers * (len(self.kept) - 1)
        return {"normalisations": size} if size > 0 else {}

    def _present(self) -> dict[str, Tensor]:
        norms = {norm for norm in norm_layers(self.network)}
        return {
            f"{name}.{own}": values
            for name, module in self.network.named_modules()
            if module in norms
            for own, values in (*module.named_parameters(recurse=False), *module.named_buffers(recurse=False))
        }
