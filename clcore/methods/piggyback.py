"""Piggyback: one frozen backbone for all tasks, and for each task a mask that says which of its weights to use.

Mallya, Davis & Lazebnik, ECCV 2018. Task t learns a real-valued score S for every weight W of the backbone, and a head:

    y = (W ⊙ m)ᵀ x + b,    m = 1[S > τ],    ∂L/∂S := ∂L/∂m = (∂L/∂(W ⊙ m)) ⊙ W        (straight through; parts/scores.py)

The backbone, its biases and normalisations included (running statistics, too), never moves again, so nothing can be forgotten:
at a task's end the mask is kept at one bit a weight and the scores are dropped. In a convolution every weight of a kernel has a
bit. All masks start full (S = `start` > τ), that is from the backbone's own features; a start that is not above τ is refused.

The authors' backbone has been trained on ImageNet. Here it is one of two things, and every run says which:

first task  (default) everything is trained on task 1 as in fine-tuning, then the hidden layers are frozen. Later tasks depend
            on what task 1 needed: on permuted inputs its first layer is as good as random for them, which is SupSup.
file        `backbone` names a .npz or .pt file with a trained network's hidden layers: outside knowledge that other methods
            do not get. Task 1 then learns a mask as well.

There is no held-out "upstream" part of a stream to train on: a split benchmark has all its classes in its tasks, and permuted
and rotated ones show the same images in every task, so pre-training on a part would be training on the tasks.

Choices: output units are never masked, each task has its own (the scenario's groups). Scores are trained with Adam as the
authors do (their learning rate 1e-4 suits 30 epochs; 1e-3 short runs: a bit flips after (0.01 − τ)/lr steps in one direction at
the earliest), heads with the run's optimizer. A new mask starts full, not from the last task's.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from clcore.benchmarks.base import Task
from clcore.errors import RequestError
from clcore.knobs import Knobs, knob
from clcore.methods.base import Method, Phase, Plan
from clcore.methods.parts.own_norms import norm_layers, settle
from clcore.methods.parts.scores import KeptMasks, above, looking_through, masked_layers, scores_optimizer
from clcore.networks.base import Network
from clcore.networks.layers import Layer, Weighted
from clcore.optimizers import make_optimizer

_NAMED = 8  # tensors of a backbone that a refusal lists


class Piggyback(Method):
    title = "Piggyback"
    summary = (
        "One network is trained and frozen; each further task only learns a stencil that covers some of its weights. "
        "Nothing can be forgotten, and a stencil costs one bit per weight."
    )
    family = "isolation"
    scenarios = ("task",)
    scenario_reason = "it must be told which task's mask to look through"
    paper = "Mallya, Davis & Lazebnik, ECCV 2018"
    formula = (
        r"y=(W\odot m_t)^{\!\top}x+b,\quad m_t=\mathbf 1[S_t>\tau],\quad "
        r"\partial\mathcal L/\partial S_t:=\partial\mathcal L/\partial m_t"
    )
    stores = "one bit per weight and task, and the frozen network"
    static_step = True
    needs_boundaries = True
    freezes = True
    composable = False
    keeps_old_logits = True
    predicts_unseen = False
    copies = 10  # scores, their moments, the effective weights, and the masks of 50 tasks

    class Hyper(Knobs):
        backbone: str | None = knob(
            None, help="file (.npz, .pt) with the hidden layers of a trained network; none: they are trained on the first task"
        )
        threshold: float = knob(0.005, ge=-1, le=1, symbol="τ", help="a weight takes part while its score is above this")
        start: float = knob(0.01, ge=-1, le=1, help="score of every weight when a task begins; it must be above the threshold")
        mask_lr: float = knob(1e-3, ge=1e-7, le=1, scale="log", help="learning rate of the scores (Adam)")

    context_fields = Method.context_fields | {"layers", "digest"}

    def adapt(self, network: nn.Module) -> nn.Module:
        # An empty mask passes no signal on, so next to nothing would tell a score to rise.
        if not torch.tensor(self.hyper.start) > self.hyper.threshold:  # compared as scores are, in their precision
            raise RequestError(
                f"piggyback.start = {self.hyper.start:g} is not above piggyback.threshold = {self.hyper.threshold:g}, so every "
                f"mask would start empty; give a start above {self.hyper.threshold:g}, or a lower threshold."
            )
        self.layers = masked_layers(network, head=False)
        if self.hyper.backbone is not None:
            load_hidden_layers(self.hyper.backbone, network)
            # Now: at the end of the run the file may be another, or gone.
            self.digest = hashlib.sha256(Path(self.hyper.backbone).read_bytes()).hexdigest()[:12]
        return network

    def setup(self) -> None:
        context = self.context
        self.masks = KeptMasks(self.layers, len(context.stream.tasks), context.replicas, context.device)

    def note(self) -> str:
        if self.hyper.backbone is None:
            return "Piggyback's backbone is trained on task 1, then frozen."
        return f"Piggyback's backbone comes from the file {Path(self.hyper.backbone).name} (SHA-256 {self.digest}…)."

    def begin(self, task: Task) -> None:
        masking = self._masking(task.index)
        settle(self.classifier.network, masking)
        for layer in self.layers:
            layer.rule = above(self.hyper.threshold) if masking else None
            layer.scores.data.fill_(self.hyper.start)
        for module in (*self.layers, *norm_layers(self.classifier.network)):
            for name, parameter in module.named_parameters(recurse=False):
                parameter.requires_grad_(masking == (name == "scores"))

    def phases(self, task: Task) -> Plan:
        yield Phase("masks" if self._masking(task.index) else "backbone", optimizers=self._optimizers)

    def end(self, task: Task) -> None:
        self.masks.keep()

    def predict(self, x: Tensor, task: int) -> Tensor:
        """Through the mask of a finished task; the task being learned is seen as its scores are now."""
        if task >= len(self.masks):
            return self.classifier(x)
        with looking_through(self.layers, self.masks.of(task)):
            return self.classifier(x)

    def footprint(self):
        return self.masks.footprint()

    def insight(self):
        return self.masks.insight()

    def _masking(self, task: int) -> bool:
        """Whether this task learns a mask, or is the one that trains the backbone."""
        return task > 0 or self.hyper.backbone is not None

    def _optimizers(self, parameters: Sequence[nn.Parameter]) -> list[torch.optim.Optimizer]:
        """The run's for what is trained densely; Adam for scores."""
        scores = {layer.scores for layer in self.layers}
        dense = [p for p in parameters if p.requires_grad and p not in scores]
        optimizers = [make_optimizer(self.context.optimizer, dense)]
        if self.layers and self.layers[0].scores.requires_grad:
            optimizers.append(scores_optimizer(self.layers, self.hyper.mask_lr))
        return optimizers


@torch.no_grad()
def load_hidden_layers(path: str, network: Network) -> None:
    """Reads all layers but the head, as clcore names the state of one such network: `layers.0.weight` (in, out) and so on.

    A leading axis of length 1 may stand before them; what else the file holds is ignored. Raises RequestError.
    """
    state, held = _read(path), _held(network)
    for name, (tensor, shape) in held.items():
        values = state.get(name)
        if values is None:
            raise RequestError(f"piggyback.backbone: {path} has no '{name}'; it must hold {_wanted(held)}.")
        found = tuple(values.shape[1:] if values.ndim == len(shape) + 1 and len(values) == 1 else values.shape)
        if found not in (shape, tuple(tensor.shape[1:])):
            shape_found = tuple(values.shape)
            raise RequestError(
                f"piggyback.backbone: '{name}' in {path} has the shape {shape_found}; it must hold {_wanted(held)}."
            )
        here = tuple(slice(n) for n in shape)  # without dead units
        tensor[(slice(None), *here)] = torch.as_tensor(values).reshape(found)[here].to(tensor)


def _held(network: Network) -> dict[str, tuple[Tensor, tuple[int, ...]]]:
    """By name, what a backbone consists of: the tensor (K, …), and its shape for one network without dead units."""
    held: dict[str, tuple[Tensor, tuple[int, ...]]] = {}
    for module_name, layer in network.named_modules():
        if not isinstance(layer, Layer) or layer is network.head:
            continue
        for name, tensor in (*layer.named_parameters(recurse=False), *layer.named_buffers(recurse=False)):
            if name == "scores":
                continue
            shape = tensor.shape[1:]
            if isinstance(layer, Weighted):
                shape = layer.logical(tensor).shape[1:] if name == "weight" else (layer.outputs,)
            held[f"{module_name}.{name}"] = tensor, tuple(shape)
    return held


def _read(path: str) -> dict[str, np.ndarray | Tensor]:
    try:
        if path.endswith(".npz"):
            with np.load(path, allow_pickle=False) as file:
                return dict(file)
        if path.endswith((".pt", ".pth")):
            state = torch.load(path, map_location="cpu", weights_only=True)
            return {name: v for name, v in dict(state).items() if isinstance(v, Tensor)}
    except Exception as error:  # a file that is something else makes its reader raise whatever it likes
        why = " ".join(str(error).split())[:120]
        raise RequestError(f"piggyback.backbone = {path!r} cannot be read ({why}); give a .npz or .pt file.") from error
    raise RequestError(f"piggyback.backbone = {path!r} is not allowed: give a .npz or .pt file.")


def _wanted(held: dict[str, tuple[Tensor, tuple[int, ...]]]) -> str:
    said = [f"{name} {shape}" for name, (_, shape) in held.items()]
    return ", ".join(said[:_NAMED] + [f"and {len(said) - _NAMED} more"] * (len(said) > _NAMED))
