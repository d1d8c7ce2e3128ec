"""Progressive networks: a column for every task, frozen when it is learned, which later columns may read.

Rusu et al., "Progressive Neural Networks", 2016. Task k trains a network of its own, beside the k−1 earlier ones, and at every
depth but the first it also sees what they have there, through an adapter (eq. 2; parts/columns.py has the equations):

    h_i^(k) = f( W_i h_{i−1}^(k) + U_i f( V_i [α_i^(1) h_{i−1}^(1) … α_i^(k−1) h_{i−1}^(k−1)] ) )

Nothing of an earlier column is ever written again, so old outputs stay the same bits; the price is a number of parameters that
grows with the square of the number of tasks. Old columns are no part of the optimizer, and no gradient is computed for them.

Choices: α starts uniformly between 0 and `alpha` (the paper: "small random values"; N(0, 1) as in some code lets noise in).
Earlier columns are read as they are, sideways connections included, and not recomputed without them. The output layer has its
adapter too, with the f inside. The first column starts from the run's initial weights. With `width` = shared all columns get
the widest equal width with which they together have no more parameters than the plain network, for which the number of tasks
must be known; where even columns of one unit a layer have more, the run is refused. (One published comparison takes 1.117 of
the width divided by the number of tasks, found for its own network.) With `adapter` = none the columns are independent
networks, the control that says what reading is worth. There is no strength: the past is held absolutely. The task must be known
at test; choosing a column by its confidence is not part of the paper.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Any, Literal

import torch
from torch import Tensor, nn

from clcore.benchmarks.base import Task
from clcore.errors import RequestError
from clcore.knobs import Knobs, knob
from clcore.methods.base import Method, Phase, Plan
from clcore.methods.parts.columns import Adapter, Columns, columns_parameters
from clcore.methods.parts.pictures import linear_layers
from clcore.networks.base import Network
from clcore.optimizers import make_optimizer


class PNN(Method):
    title = "Progressive networks"
    summary = (
        "Gives every task a network of its own, freezes it for good, and lets later networks look at what it has computed. "
        "Nothing is forgotten, but the number of weights grows with the square of the number of tasks."
    )
    family = "isolation"
    scenarios = ("task",)
    scenario_reason = "only the task's identity says which column answers"
    networks = ("mlp",)
    network_reason = "its columns are made of fully connected layers"
    paper = "Rusu et al., 2016 (Progressive Neural Networks)"
    formula = (
        r"h_i^{(k)}=f\Big(W_i^{(k)}h_{i-1}^{(k)}+U_i^{(k)}f\big(V_i^{(k)}\,"
        r"[\alpha_{i-1}^{(1)}h_{i-1}^{(1)};\dots;\alpha_{i-1}^{(k-1)}h_{i-1}^{(k-1)}]\big)\Big)"
    )
    stores = "a network per task, and its connections to all earlier ones"
    static_step = True
    needs_boundaries = True
    freezes = True
    keeps_old_logits = True
    composable = False
    predicts_unseen = False
    copies = 4  # gradients and moments are one column's only

    class Hyper(Knobs):
        adapter: Adapter = knob(
            "mlp",
            help="how a column reads earlier ones: through a small layer that condenses them (mlp), directly (linear), or not",
        )
        alpha: float = knob(
            0.1, ge=0.001, le=1, scale="log", symbol="α", help="upper limit of the scales of earlier features at the start"
        )
        width: Literal["full", "shared"] = knob(
            "full", help="every column as wide as the network, or all together no larger than the network"
        )

    def adapt(self, network: Network) -> nn.Module:
        layers, groups = linear_layers(network), self.classifier.groups
        inputs, hidden = layers[0].inputs, [layer.outputs for layer in layers[:-1]]
        hyper, draws = self.hyper, list(self.context.generators("columns"))
        if hyper.width == "shared":
            hidden = shared_widths(network.parameter_count, inputs, hidden, groups, hyper.adapter)
        columns = Columns(inputs, hidden, groups.cpu(), hyper.adapter, hyper.alpha, draws)
        if hyper.width == "full":
            _copy(layers, columns.columns[0].layers)
        return columns

    def setup(self) -> None:
        self.begun = 1  # columns in use

    def restored(self) -> None:
        self.classifier.network.train_column(self.begun - 1)

    def begin(self, task: Task) -> None:
        self.begun = task.index + 1
        self.classifier.network.train_column(task.index)

    def phases(self, task: Task) -> Plan:
        yield Phase(optimizers=self._optimizer)

    def predict(self, x: Tensor, task: int) -> Tensor:
        return self.classifier.network(x, task)

    def insight(self):
        """How strongly column k reads column j (K, T, T), and how many numbers each column in use has (K, T)."""
        columns = self.classifier.network.columns
        replicas, tasks = self.context.replicas, len(columns)
        sizes = [columns_parameters(self.classifier.network.sizes, k, self.hyper.adapter) for k in range(tasks + 1)]
        counts = torch.tensor([b - a if k < self.begun else 0 for k, (a, b) in enumerate(pairwise(sizes))])
        pictures = {"columns": counts.expand(replicas, -1)}
        if self.hyper.adapter != "none" and len(columns[0].layers) > 1:
            strength = torch.zeros(replicas, tasks, tasks)
            for k in range(1, self.begun):
                strength[:, k, :k] = columns[k].attention().cpu()
            pictures["lateral_strength"] = strength
        return pictures

    @classmethod
    def held_parameters(
        cls, settings: dict[str, Any], network: type[Network], input_shape: Sequence[int], outputs: int,
        hidden: Sequence[int], tasks: int,
    ) -> int:  # fmt: skip
        plain = network.count_parameters(input_shape, outputs, hidden)
        if settings["width"] == "shared":
            return plain  # at the most: `shared_widths` refuses what would be larger
        sizes = (math.prod(input_shape), *hidden, outputs // tasks)
        return columns_parameters(sizes, tasks, settings["adapter"])

    def _optimizer(self, parameters: Sequence[nn.Parameter]) -> list[torch.optim.Optimizer]:
        """The run's optimizer over the new column alone."""
        return [make_optimizer(self.context.optimizer, [p for p in parameters if p.requires_grad])]


def shared_widths(budget: int, inputs: int, hidden: Sequence[int], groups: Tensor, adapter: Adapter) -> list[int]:
    """The widest hidden layers, in the network's proportions, with which all columns together stay within `budget` numbers.

    Raises RequestError where there are none.
    """
    tasks, classes = len(groups), int(groups[0].sum())
    widest = max(hidden, default=1)
    for n in range(widest, 0, -1):
        scaled = [max(1, width * n // widest) for width in hidden]
        total = columns_parameters((inputs, *scaled, classes), tasks, adapter)
        if total <= budget:
            return scaled
    raise RequestError(
        f"pnn.width = shared: with hidden widths {list(hidden)} the network has {budget:,} parameters, and {tasks} columns of "
        f"one unit a layer have {total:,}; give wider layers with --hidden, take fewer tasks, or choose pnn.width = full."
    )


@torch.no_grad()
def _copy(plain: Sequence[nn.Module], own: Sequence[nn.Module]) -> None:
    """The initial weights of the plain network, as far as they reach (the head has one task's units, its first)."""
    for source, target in zip(plain, own, strict=True):
        target.weight[:, :, : target.outputs] = source.weight[:, : target.inputs, : target.outputs]
        target.bias[:, : target.outputs] = source.bias[:, : target.outputs]
