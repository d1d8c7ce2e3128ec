"""AGS-CL: nodes that were busy are held, nodes that were idle are handed to the next task.

Jung, Ahn, Cha & Moon, NeurIPS 2020. A node's group v_n is all its incoming weights and its bias; its importance Ω_n is its
mean activation after the ReLU over the training data, Ω_n ← ηΩ_n + new. Beside the task's loss act two group penalties,

    μ Σ_{Ω_n=0} ‖v_n‖  +  λ Σ_{Ω_n>0} Ω_n ‖v_n − v̂_n‖        (v̂: where the last task ended)

whose norms are not squared, so that their proximal steps end exactly: a free node shrinks until it is silent, an important one
returns to v̂ bit for bit when its drift is within reach. While a task is learned, weights from free into important nodes stay 0.
At its end the outgoing weights of free nodes are cut, also into the task's own head, and a share ρ of the free nodes is drawn
afresh for the next task; so whatever free nodes do later, heads of earlier tasks cannot notice.

Choices: the proximal steps have the learning rate as their size. The authors take them once an epoch; here they are taken
after every step, with μ and λ divided by the steps of an epoch (`prox_every`): what an epoch learned with drifted nodes is
lost when they are put back at its end, and short runs never recover (Split MNIST, λ = 10⁴, 5 epochs: 96 against 77 %). The
authors' μ takes 1.0 off a norm in a task (lr·μ·epochs); ours by default 0.6, whatever the learning rate and the epochs.
Only hidden nodes have anchors, since heads carry no penalty. In the domain scenario the shared head is not cut (fresh nodes
reach it at once) and nothing holds it, so λ must stay small there: a head that is fitted anew on frozen features forgets
more than fine-tuning. Of a convolution a node is a channel, as busy as its picture is on average; a normalisation would make a
silent channel speak, so there must be none. The class scenario is left out; the method was not meant for it. The learning
rate is the run's throughout (the authors lower it, and restore the best weights, on validation data). λ = 0 alone is not
fine-tuning, since μ, ρ and the cuts act without it; with all of them 0 and `isolate` off it is, bit for bit.
"""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import Tensor

from clcore.batch import Batch
from clcore.benchmarks.base import Task
from clcore.knobs import Knobs, knob
from clcore.methods.base import Method, Phase, Plan
from clcore.methods.parts.nodes import HiddenLayer, activity, draw_share, hidden_layers

# Off a norm that is 1/√3 = 0.58 for a fresh node of any width: what nothing supports is gone when the task ends, and a task
# of one or two epochs, too short to support anything, does not silence the network.
_SHRINK_IN_A_TASK, _SHRINK_IN_AN_EPOCH = 0.6, 0.2


class AGSCL(Method):
    title = "AGS-CL"
    summary = (
        "Holds the neurons that were busy in earlier tasks and keeps the idle ones away from them. "
        "Idle neurons shrink to nothing, and some are started afresh for the next task."
    )
    family = "regularization"
    scenarios = ("task", "domain")
    networks = ("mlp", "cnn", "vgg-small")
    network_settings = {"norm": "none"}
    network_reason = "it silences neurons for good, which normalisation and shortcuts would undo"
    paper = "Jung, Ahn, Cha & Moon, NeurIPS 2020"
    formula = (
        r"\mathcal L_t(\theta)+\mu\sum_{\Omega_n=0}\lVert v_n\rVert"
        r"+\lambda\sum_{\Omega_n>0}\Omega_n\lVert v_n-\hat v_n\rVert"
    )
    stores = "the previous weights of the hidden neurons, and one number per neuron: how busy it was"
    needs_boundaries = True
    freezes = True
    not_beside = ("regularization",)
    composition_reason = "it starts idle neurons afresh when a task ends, and a regularizer would pull them back"
    sweep = (0.0, 0.3, 1.0, 3.0, 10.0, 100.0, 1000.0, 10_000.0)

    class Hyper(Knobs):
        strength: float = knob(
            10_000.0, ge=0, le=1e12, scale="log", axis=True, symbol="λ", help="how strongly important neurons are held"
        )
        mu: float | None = knob(
            None, ge=0, le=1e9, scale="log", symbol="μ",
            help="how strongly idle neurons are shrunk; none takes 0.6 off each one's norm in a task, 0.2 in an epoch at most",
        )  # fmt: skip
        rho: float = knob(0.7, ge=0, le=1, symbol="ρ", help="share of the idle neurons that start afresh in the next task")
        eta: float = knob(0.9, ge=0, le=1, symbol="η", help="how much of a neuron's importance stays after another task")
        prox_every: Literal["step", "epoch"] = knob(
            "step", help="shrink and hold a little after every step, or at the end of every epoch as the authors do"
        )
        isolate: bool = knob(True, help="cut the wires from idle neurons to important ones and keep them cut")

    context_fields = Method.context_fields | {"layers", "mu"}

    @property
    def static_step(self) -> bool:  # type: ignore[override]
        return self.hyper.prox_every == "step"  # else one step of an epoch is unlike the others

    @classmethod
    def needs_whole_epochs(cls, settings: dict[str, Any]) -> bool:
        return settings["prox_every"] == "epoch"  # a whole epoch's pull, whatever was learned in it

    def setup(self) -> None:
        self.layers = hidden_layers(self.classifier.network)
        self.importance = [torch.zeros_like(layer.own.bias) for layer in self.layers]
        # What a node is pulled to: v̂ if it is important, 0 (silence) if it is free.
        self.centres = [[torch.zeros_like(p) for p in layer.incoming] for layer in self.layers]
        self.anchored = False
        self.mu = self.hyper.mu
        if self.mu is None:
            per_epoch = min(_SHRINK_IN_A_TASK / self.context.epochs, _SHRINK_IN_AN_EPOCH)
            self.mu = per_epoch / self.context.optimizer.lr
        self.draws = self.context.generators("fresh nodes")
        self.restored()

    def restored(self) -> None:
        self._pace: Tensor | None = None
        self._cut: list[tuple[HiddenLayer, Tensor]] | None = None

    def phases(self, task: Task) -> Plan:
        """One, in which the weights from free to important nodes stay where `end` left them: at 0."""
        yield Phase(frozen={layer.own.weight: cut for layer, cut in self._cuts()})

    @torch.no_grad()
    def after_step(self, batch: Batch, lr: float) -> None:
        """The proximal steps, for the replicas whose turn it is; reach 0 leaves the others bit for bit as they are."""
        if self.hyper.prox_every == "step":
            if self._pace is None:
                self._pace = lr / torch.tensor(batch.passes, device=self.context.device)
            pace = self._pace
        elif any(batch.ends):
            pace = lr * torch.tensor(batch.ends, device=self.context.device)
        else:
            return
        if self._cut is None:
            self._cut = self._cuts()
        for layer, cut in self._cut:
            layer.own.weight.masked_fill_(cut, 0)  # what the optimizer just did there is no drift of a node
        hold, shrink = (pace * self.hyper.strength).unsqueeze(1), (pace * self.mu).unsqueeze(1)
        for layer, importance, centre in zip(self.layers, self.importance, self.centres, strict=True):
            layer.pull(centre, torch.where(importance > 0, hold * importance, shrink))

    @torch.no_grad()
    def end(self, task: Task) -> None:
        fresh = activity(self.classifier.network, self.layers, task.train, pulse=self.context.pulse)
        self.importance = [self.hyper.eta * old + new for old, new in zip(self.importance, fresh, strict=True)]
        free = self._free()
        if self.hyper.isolate:
            for layer, idle in zip(self.layers, free, strict=True):
                if layer.next is not self.classifier.network.head:
                    layer.silence(idle)
                elif self.context.scenario == "task":
                    layer.silence(idle, self.classifier.groups[task.index])
        if task.index + 1 < len(self.context.stream.tasks):
            for layer, idle in zip(self.layers, free, strict=True):
                layer.renew(draw_share(idle, self.hyper.rho, self.draws), self.draws)
        self.centres = [
            [torch.where(important, p, 0) for p, important in zip(layer.incoming, (layer.arriving(o > 0), o > 0), strict=True)]
            for layer, o in zip(self.layers, self.importance, strict=True)
        ]
        self.anchored = True

    def footprint(self):
        if not self.anchored:
            return {}
        return {
            "importance": 4 * sum(layer.nodes for layer in self.layers),
            "anchors": 4 * sum(layer.parameter_count for layer in self.layers),
        }

    def insight(self):
        """Free and important nodes by layer (K, L), and for each layer how important its nodes are (K, nodes)."""
        if not self.layers:
            return {}
        nodes = [o[:, : layer.nodes] for layer, o in zip(self.layers, self.importance, strict=True)]
        return {
            "free_nodes": torch.stack([(o == 0).sum(1) for o in nodes], 1),
            "important_nodes": torch.stack([(o > 0).sum(1) for o in nodes], 1),
            "node_states": torch.cat([o > 0 for o in nodes], 1),
            **{f"node_importance_{i}": o for i, o in enumerate(nodes, 1)},
        }

    def _free(self) -> list[Tensor]:
        """(K, width) for each layer: the nodes that no training example has excited."""
        return [(o == 0) & layer.real for layer, o in zip(self.layers, self.importance, strict=True)]

    def _cuts(self) -> list[tuple[HiddenLayer, Tensor]]:
        """For each layer that has hidden nodes before it: which of its weights lead from a free node to an important one."""
        if not (self.hyper.isolate and self.anchored):
            return []
        return [
            (layer, below.leaving(idle) & layer.arriving(importance > 0))
            for below, idle, layer, importance in zip(
                self.layers, self._free(), self.layers[1:], self.importance[1:], strict=False
            )
        ]
