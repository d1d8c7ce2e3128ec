"""HAT: every task learns which units it needs; what those units have learned is locked for the others.

Serrà, Surís, Miron & Karatzoglou, ICML 2018. Task t has a gate a = σ(s·e) for every hidden unit (parts/gates.py), and the
layers compute h'_l = a_l ⊙ relu(h'_{l−1}W_l + b_l). Within every epoch s rises from 1/s_max to s_max, so gates begin half open
and end open or shut. With a^{<t} the largest gate of each unit over the tasks before, gradients are scaled by what is free,

    g_{l,ij} ← (1 − min(a_{l,i}^{<t}, a_{l−1,j}^{<t}))·g_{l,ij}        (first layer and biases: 1 − a_{l,i}^{<t})

(the units of a convolution are its channels, and all places of a kernel share its i and j) and a tax on units that are not in
use yet keeps room for later tasks (c is the strength):

    L = L_t + c·R,    R = Σ a·(1 − a^{<t}) / Σ (1 − a^{<t}), over all units

hard  (default) When a task is finished its gates become 1[e > 0], and from then on the task is answered with these. Weights
      between units that both count are not merely spared a gradient but put back after every step, so that neither momentum
      nor decay nor Adam's moments move them: old outputs stay the same bits.
soft  As published: gates stay σ(s_max·e), of which some lie between the ends, and gradients are scaled, which is all. The
      weights of units between move a little, under Adam, whose step does not depend on a gradient's size, as far as free
      ones; and weight decay moves every weight, of open units too. It forgets somewhat, and promises nothing.

Choices: the derivative of the gates is the compensated one in a form that cannot overflow (parts/gates.py says what `saturate`
is about). Embeddings start from N(0, 1) and are kept within ±6, without weight decay; a layer whose gates would all be shut
keeps its most open one. Normalisations, which the authors' networks do not have, are each task's own (parts/own_norms.py), and
those over groups of channels see closed channels as 0 (parts/gates.py). R is a mean over units, so in a network of some hundred
units a gate feels far more of it than in the authors' of 4000: c = 0.75, theirs, shuts nearly all of 100 units within some
epochs, and the default is 0.25. The learning rate is the run's throughout, without the authors' schedule, clipping and dropout.
c = 0 is not fine-tuning: gates are learned and weights locked without any tax.

It takes more steps to learn a task than a plain network does, and with few it ends near chance. By the number of steps in a
task for each of its classes it is behind `single` by (points of validation accuracy, 3 seeds, SGD 0.1, widths 100 and 100)

    steps per class           10    20    40    80
    permuted digits           34    24     7     3
    rotated digits            36    29     7     3
    split digits, 5 classes   26    17     1     1
    split digits, 2 classes   19     6     2     0

What counts is how many there are in all, not how finely s rises within an epoch: 5 epochs of 76 steps do no better than 20 of
19. Below 40 steps per class the run's note says so. Adam needs fewer (on permuted digits it is 6 points behind with 20).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from clcore.batch import Batch
from clcore.benchmarks.base import Task
from clcore.knobs import Knobs, knob
from clcore.methods.base import Method, Phase, Plan, Terms
from clcore.methods.parts.gates import gated_layers, pace, through
from clcore.methods.parts.own_norms import OwnNorms
from clcore.methods.parts.pictures import weight_layers
from clcore.optimizers import make_optimizer

_STEPS = 40  # per class of a task: with fewer, HAT is clearly behind a plain network


class HAT(Method):
    title = "HAT"
    summary = (
        "Every task learns a gate for each neuron, and what the neurons it opens have learned is locked afterwards. "
        "A tax on opening unused neurons keeps room for later tasks."
    )
    family = "isolation"
    scenarios = ("task",)
    scenario_reason = "it must be told which task's gates to open"
    networks = ("mlp", "cnn", "vgg-small")
    network_reason = "a shortcut leads units past their gates, into sums with others"
    paper = "Serrà, Surís, Miron & Karatzoglou, ICML 2018"
    formula = (
        r"\mathcal L_t(\theta,a)+c\,\frac{\sum_i a_i(1-a_i^{<t})}{\sum_i(1-a_i^{<t})},\quad a=\sigma(s\,e_t),\quad "
        r"g_{ij}\leftarrow\big(1-\min(a_i^{<t},a_j^{<t})\big)\,g_{ij}"
    )
    stores = "a gate per hidden neuron and task: one bit if they are hard"
    static_step = True
    needs_boundaries = True
    freezes = True
    composable = False
    keeps_old_logits = True
    predicts_unseen = False
    sweep = (0.0, 0.05, 0.1, 0.25, 0.5, 0.75, 1.0, 2.0)

    class Hyper(Knobs):
        strength: float = knob(
            0.25, ge=0, le=1e6, scale="log", axis=True, symbol="c", help="how much opening a neuron that no task uses yet costs"
        )
        s_max: float = knob(
            200.0, ge=1, le=1e4, scale="log", symbol="s_max", help="how steep gates are at the end of an epoch, and in use"
        )
        saturate: bool = knob(
            True, help="gates that are fully open or shut rest until s is small again; off: the tax reaches them all the time"
        )
        hard: bool = knob(True, help="finished gates are open or shut and what they use is locked exactly; off: as published")

    context_fields = Method.context_fields | {"gated"}

    def adapt(self, network: nn.Module) -> nn.Module:
        self.gated = gated_layers(network, self.hyper.s_max, self.hyper.saturate)
        return network

    def setup(self) -> None:
        self.norms = OwnNorms(self.classifier.network)
        self.gates: list[list[Tensor]] = []  # per finished task, (K, units) for each hidden layer
        self.used = [torch.zeros_like(layer.embedding) for layer in self.gated]  # a^{<t}
        self.draws = self.context.generators("gates")
        self.restored()

    def restored(self) -> None:
        self._step = 0
        self._paces: Sequence[Tensor] = ()
        self._free: dict[nn.Parameter, Tensor] | None = None

    @classmethod
    def needs_whole_epochs(cls, settings: dict[str, Any]) -> bool:
        return True  # gates are hard at the end of an epoch only

    def promises_old_logits(self) -> bool:
        return self.hyper.hard

    def note(self) -> str:
        if self.boundless or not self.gated:
            return ""
        tasks, epochs, size = self.context.stream.tasks, self.context.epochs, self.context.batch_size
        steps = [epochs * math.ceil(int(task.train.lengths.min()) / size) for task in tasks]
        classes = self.classifier.groups.sum(1).tolist()
        fewest, wanted = min(zip(steps, (_STEPS * n for n in classes), strict=True), key=lambda pair: pair[0] / pair[1])
        if fewest >= wanted:
            return ""
        return (
            f"HAT has {fewest} {'step' if fewest == 1 else 'steps'} for a task here; below about {wanted} ({_STEPS} per class) "
            f"it falls behind a network without gates, and with few it ends near chance: take more epochs or smaller batches."
        )

    def begin(self, task: Task) -> None:
        for layer in self.gated:
            layer.draw(self.draws)

    def phases(self, task: Task) -> Plan:
        # Soft gates scale gradients and nothing else: most of those that are open round to 1, and the guard would lock these.
        frozen = {p: locked >= 1 for p, locked in self._locked().items()} if self.hyper.hard else {}
        yield Phase(frozen=frozen, optimizers=self._optimizers)

    def mix(self, batch: Batch) -> Batch:
        """Sets the pace of this step, for every replica by its own epochs."""
        if self._step == len(self._paces):
            self._paces = self._epoch(batch.passes)
            self._step = 0
        for layer in self.gated:
            layer.pace.copy_(self._paces[self._step])
        self._step += 1
        return batch

    def terms(self, batch: Batch) -> Terms:
        if not self.gated:
            return {}
        spent = room = 0
        for layer, used in zip(self.gated, self.used, strict=True):
            free = 1 - used[:, : layer.units]
            spent = spent + (layer.current_gates()[:, : layer.units] * free).sum(1)
            room = room + free.sum(1)
        return {"capacity": self.hyper.strength * spent / room.clamp_min(1e-6)}

    @torch.no_grad()
    def edit_gradients(self, batch: Batch) -> None:
        """Soft gates lock in part. Hard ones lock altogether, which the loop's guard sees to."""
        if self.hyper.hard or not self.gates:
            return
        if self._free is None:
            self._free = {p: 1 - locked for p, locked in self._locked().items()}
        for parameter, free in self._free.items():
            parameter.grad.mul_(free)

    def after_step(self, batch: Batch, lr: float) -> None:
        for layer in self.gated:
            layer.clamp()

    def end(self, task: Task) -> None:
        self.gates.append(self._present())
        self.norms.keep()
        self.used = [torch.maximum(used, gates) for used, gates in zip(self.used, self.gates[-1], strict=True)]
        self.restored()

    def predict(self, x: Tensor, task: int) -> Tensor:
        """Through the gates of a finished task; the task being learned has the gates that it would have now."""
        with through(self.gated, self.gates[task] if task < len(self.gates) else self._present()):
            return self.norms.logits(x, task)

    def footprint(self):
        units = sum(layer.units for layer in self.gated)
        size = len(self.gates) * (-(-units // 8) if self.hyper.hard else 4 * units)
        return ({"masks": size} if size else {}) | self.norms.footprint()

    @torch.no_grad()
    def insight(self):
        """Every task's gates by layer (K, t, units), and how much of each layer's weights is locked (K, L) from 0 to 1."""
        pictures = {
            f"gates_layer_{i}": torch.stack([gates[i - 1] for gates in self.gates], 1)[..., : layer.units]
            for i, layer in enumerate(self.gated, 1)
        }
        if self.gated:
            layers, locked = weight_layers(self.classifier.network)[:-1], self._locked()
            shares = [x.logical(locked[x.weight].expand_as(x.weight)).flatten(1).mean(1) for x in layers]
            pictures["capacity_used"] = torch.stack(shares, 1)
        return pictures

    def _present(self) -> list[Tensor]:
        """The gates of the task being learned, as they would be if it ended now."""
        return [layer.hard_gates() if self.hyper.hard else layer.soft_gates() for layer in self.gated]

    @torch.no_grad()
    def _locked(self) -> dict[nn.Parameter, Tensor]:
        """How much of each hidden weight and bias belongs to earlier tasks, from 0 to 1: min(a_i^{<t}, a_j^{<t})."""
        locked: dict[nn.Parameter, Tensor] = {}
        feeding: Tensor | None = None
        for layer, used in zip(weight_layers(self.classifier.network), self.used, strict=False):
            both = layer.along_outputs(used)
            if feeding is not None:
                both = torch.minimum(layer.along_inputs(layer.per_input(feeding)), both)
            locked |= {layer.weight: both, layer.bias: used}
            feeding = used
        return locked

    def _epoch(self, passes: Sequence[int]) -> Sequence[Tensor]:
        """s (K, 1) for every step of the phase; replicas whose epochs differ in length are at different places in theirs."""
        steps = max(passes) * self.context.epochs
        by_length = {n: [pace(b % n, n, self.hyper.s_max) for b in range(steps)] for n in set(passes)}
        table = torch.tensor([by_length[n] for n in passes]).to(self.context.device)  # (K, steps)
        return table.T.unsqueeze(2).contiguous().unbind(0)

    def _optimizers(self, parameters: Sequence[nn.Parameter]) -> list[torch.optim.Optimizer]:
        """The run's, without weight decay on the embeddings."""
        embeddings = {layer.embedding for layer in self.gated}
        groups = [
            {"params": [p for p in parameters if p not in embeddings]},
            {"params": [p for p in parameters if p in embeddings], "weight_decay": 0.0},
        ]
        return [make_optimizer(self.context.optimizer, groups)]
