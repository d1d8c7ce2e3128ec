"""The old network, kept to be asked: what would it have said to these inputs?

A teacher is a copy of the weights that the network had at one moment, adapted layers and running statistics included. It
answers through the very code of the network, so network and teacher answer alike bit for bit until the network moves, and no
gradient flows into it. (A network with batch normalisation that *learns* normalises otherwise than its teacher.)

Its answers are computed at every step, which is a fifth to a quarter of LwF's step on the digits. Asking once per task and
keeping N·O numbers per replica would save that where a task has many epochs, and nothing where it has one; and it would not
serve replayed or generated inputs.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.func import functional_call

from clcore.benchmarks.base import Split, Stream
from clcore.methods.parts import pictures
from clcore.methods.parts.vectors import ReplicaVector, trained_numbers
from clcore.networks.classifier import Classifier
from clcore.state import Stateful

_PROBES = 128  # inputs on which a teacher and its pupil are compared


class Teacher(Stateful):
    """K frozen networks; there are none until the first `copy`. Truthy once there are."""

    context_fields = frozenset({"network"})

    def __init__(self, network: nn.Module):
        self.network = network
        self.weights: dict[str, Tensor] = {}

    def __bool__(self) -> bool:
        return bool(self.weights)

    @torch.no_grad()
    def copy(self) -> None:
        """Takes the network as it is now; the former teacher is forgotten."""
        tensors = (*self.network.named_parameters(), *self.network.named_buffers())
        self.weights = {name: tensor.detach().clone() for name, tensor in tensors}

    @torch.no_grad()
    def __call__(self, x: Tensor) -> Tensor:
        """Logits (K, B, O) of the old network, without a gradient."""
        # A network names its head twice (`layers.2`, `head`). With `tie_weights` torch would swap it twice and put the
        # teacher's tensor back in the network's place.
        return functional_call(self.network, self.weights, (x,), tie_weights=False)

    def footprint(self) -> dict[str, int]:
        """Bytes per replica: every trained number once more, and the running statistics."""
        if not self:
            return {}
        statistics = sum(v[0].numel() for name, v in self.weights.items() if name.endswith(("running_mean", "running_var")))
        return {"old_networks": 4 * (trained_numbers(self.network) + statistics)}

    @torch.no_grad()
    def insight(self, classifier: Classifier, stream: Stream) -> dict[str, Tensor]:
        """How far the network has gone from this teacher while it learned the present task, in weights and in answers.

        `drift_by_layer` (K, L) is how far each layer has moved. `answers_kept` (K, t) is the share of the task's training
        inputs to which the outputs of each earlier task (domain: the one head, t = 1) still give the teacher's answer.
        """
        if not self:
            return {}
        x, valid = _probes(stream.tasks[classifier.learning].train)
        old = classifier.groups[: 1 if classifier.scenario == "domain" else classifier.learning]
        then, now = self(x), classifier(x)
        same = torch.stack([then[..., units].argmax(-1) == now[..., units].argmax(-1) for units in old], -1)
        before = ReplicaVector(self.weights[name] for name, _ in self.network.named_parameters())
        return {
            "drift_by_layer": pictures.drift_by_layer(self.network, before),
            "answers_kept": (same & valid.unsqueeze(-1)).sum(1) / valid.sum(1, keepdim=True),
        }


def _probes(split: Split) -> tuple[Tensor, Tensor]:
    """Inputs (K, n, …) of the first examples of a split, which are a fair sample, and which of them count (K, n)."""
    device = split.indices.device
    lengths = split.lengths.to(device).unsqueeze(1)
    positions = torch.arange(_PROBES, device=device).expand(len(lengths), _PROBES)
    valid = positions < lengths
    x, _ = split.gather(torch.where(valid, positions, 0))
    return x, valid
