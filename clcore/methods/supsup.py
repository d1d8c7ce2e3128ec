"""SupSup: a random network holds a good sub-network for every task; only which one is remembered, and the task is guessed.

Wortsman et al., NeurIPS 2020. The weights are signed constants with the sign of the initial draw, ±√(2/inputs), or
±√(2/(inputs·share)) where a `share` is chosen, and never trained; there are no biases. Task t learns scores S and is the
network W ⊙ m_t with m_t = 1[S > 0], or the `share` of each layer with the largest |S|, one weight at least (gradients straight
through; parts/scores.py). A task costs one bit a weight.

Which task an input comes from is told in the task scenario (the paper's GG). In the others it is inferred from the input alone
(GN; `predict` never looks at the task it is given), since a mask is sure of itself on its own task's inputs:

entropy   every mask answers alone; the one with the least entropy H of its softmax is taken. One forward pass per task.
one-shot  all k masks are superposed, W ⊙ Σ α_i m_i with α_i = 1/k, and H is differentiated: the task is argmin_i ∂H/∂α_i.
          With h what enters a layer and δ the gradient of what leaves it, ∂H/∂α_i = Σ_layers δ · h(W ⊙ m_i).

Either is asked for every example by itself (`infer_from = example`) or once for all examples that are evaluated together, up
to 128 of one task (`batch`): the paper decides for a whole batch, which assumes that somebody sorted the inputs by task.

Outside the task scenario the softmax of training runs over all output units, those of other classes and `extra_outputs` beside
the classes included: they are silenced on the task's inputs only, so they give a wrong mask away (the paper's superfluous
neurons, 490 of them). All masks have equally many outputs, so entropies compare without division by log C. One-shot needs
them: on permuted digits (5 tasks, mask_lr 1e-3) it finds the task of 35 % of the examples with none, 89 with 90, 97 with 400
(entropy: 80, 83, 87; from a batch, 100). In the class scenario, which for split streams is beyond the paper, entropy is useful
and one-shot is not: 69 and 30 % on split digits. The answer is then one of the classes of the task inferred.

Choices: scores are drawn anew for every task, U(±1/√inputs), and trained with Adam (the paper: RMSprop on MNIST, Adam on
CIFAR). Normalisations have no scale and shift, as in the paper; running statistics, if there are any, are kept for each task.
Left out: log-sum-exp of the superfluous outputs (G) instead of H, binary search over tasks, and learning without being told
where a task begins (NN). The random weights count as parameters although a seed would do to remember them.
"""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from clcore.batch import Batch
from clcore.benchmarks.base import Task
from clcore.errors import RequestError
from clcore.knobs import Knobs, knob
from clcore.methods.base import Method, Phase, Plan, mean_loss
from clcore.methods.parts.own_norms import OwnNorms, norm_layers
from clcore.methods.parts.scores import (
    KeptMasks,
    Masked,
    above,
    largest,
    looking_through,
    masked_layers,
    scores_optimizer,
)
from clcore.networks.layers import recording
from clcore.networks.pictures import flattened

_EXAMPLES = 128  # of each task's validation split that the picture of inferred tasks looks at


class SupSup(Method):
    title = "SupSup"
    summary = (
        "No weight is ever trained: each task finds its own sub-network inside a random network and remembers it as a mask. "
        "When the task is not told, the mask that is surest of its answer is taken."
    )
    family = "isolation"
    paper = "Wortsman et al., NeurIPS 2020"
    formula = (
        r"f(x)=(W\odot m_{\hat t})(x),\quad \hat t=\arg\min_i H\big((W\odot m_i)(x)\big)\ \text{or}\ "
        r"\arg\min_i \partial H/\partial\alpha_i\ \text{at}\ W\odot\textstyle\sum_i\alpha_i m_i"
    )
    stores = "one bit per weight and task, and the random weights"
    static_step = True
    needs_boundaries = True
    freezes = True
    composable = False
    keeps_old_logits = True
    copies = 10  # scores, their moments, the effective weights, and the masks of 50 tasks

    class Hyper(Knobs):
        infer: Literal["entropy", "one-shot"] = knob(
            "entropy", help="domain and class: ask every mask, or all of them superposed and the gradient which one to follow"
        )
        infer_from: Literal["example", "batch"] = knob(
            "example", help="infer the task of each example by itself, or of all that are asked together, as one"
        )
        extra_outputs: int = knob(
            0, ge=0, le=10_000,
            help="domain and class: output units that mean nothing, to give wrong masks away; one-shot needs them",
        )  # fmt: skip
        share: float | None = knob(
            None, ge=0.01, le=1, help="share of each layer's weights that a task uses; none: those with a positive score"
        )
        mask_lr: float = knob(5e-3, ge=1e-7, le=1, scale="log", help="learning rate of the scores (Adam)")

    context_fields = Method.context_fields | {"layers"}

    @torch.no_grad()
    def adapt(self, network: nn.Module) -> nn.Module:
        extra = 0 if self.context.scenario == "task" else self.hyper.extra_outputs
        if extra:
            network = self.context.design.build(
                self.context.stream.input_shape, network.outputs + extra, list(self.context.generators("weights"))
            )
        self.layers = masked_layers(network, head=True)
        for layer in self.layers:
            used = layer.fan_in * (self.hyper.share or 1)
            layer.weight.requires_grad_(False).sign_().mul_((2 / used) ** 0.5)
            if layer.bias is not None:
                layer.bias.requires_grad_(False).zero_()
        for norm in norm_layers(network):
            norm.requires_grad_(False)
        return network

    @classmethod
    def held_parameters(cls, settings, network, input_shape, outputs, hidden, tasks) -> int:
        return network.count_parameters(input_shape, outputs + settings["extra_outputs"], hidden)

    def setup(self) -> None:
        context, network = self.context, self.classifier.network
        if network.batch_norms and context.scenario != "task" and self.hyper.infer == "one-shot":
            raise RequestError(
                "supsup.infer = one-shot needs a network without running statistics, of which superposed masks have none: "
                "choose norm = group, or infer = entropy."
            )
        self.norms = OwnNorms(network)
        self.masks = KeptMasks(self.layers, len(context.stream.tasks), context.replicas, context.device)
        self.draws = context.generators("scores")

    @property
    def predicts_unseen(self) -> bool:  # type: ignore[override]
        return self.context.scenario != "task"

    def note(self) -> str:
        if self.context.scenario == "task":
            return "SupSup is told the task."
        every = "each example by itself" if self.hyper.infer_from == "example" else "up to 128 examples of one task at once"
        by = "the mask of least entropy" if self.hyper.infer == "entropy" else "the one-shot gradient of the entropy"
        return f"SupSup infers the task, by {by}, for {every}."

    @torch.no_grad()
    def begin(self, task: Task) -> None:
        for layer in self.layers:
            layer.rule = above(0.0) if self.hyper.share is None else largest(self.hyper.share)
            bound = layer.fan_in**-0.5
            for scores, generator in zip(layer.logical(layer.scores), self.draws, strict=True):
                scores.copy_(torch.empty(scores.shape).uniform_(-bound, bound, generator=generator))

    def phases(self, task: Task) -> Plan:
        yield Phase("mask", optimizers=lambda parameters: [scores_optimizer(self.layers, self.hyper.mask_lr)])

    def task_loss(self, batch: Batch) -> Tensor:
        if self.context.scenario == "task":
            return mean_loss(self.classifier, batch)
        logits = self.classifier.fresh_logits(batch)
        losses = F.cross_entropy(logits.flatten(0, 1), batch.y.flatten(), reduction="none").view(batch.y.shape)
        return (losses * batch.weight).sum(1) / batch.count.clamp_min(1)

    def end(self, task: Task) -> None:
        self.masks.keep()
        if self.classifier.network.batch_norms:
            self.norms.keep()

    def predict(self, x: Tensor, task: int) -> Tensor:
        if self.context.scenario == "task":
            return self.known_task_logits(x, task)
        answers = torch.stack([self._logits(x, t) for t in range(self._candidates)])
        inferred = self.infer(x, answers)
        chosen = answers.gather(0, inferred[None, ..., None].expand(1, *answers.shape[1:]))[0]
        logits = chosen[..., : self.classifier.groups.shape[1]]
        if self.context.scenario == "class":
            logits = logits.masked_fill(~self.classifier.groups[inferred], torch.finfo(logits.dtype).min)
        return logits

    def known_task_logits(self, x: Tensor, task: int) -> Tensor:
        """Logits (K, B, O) through the mask of a task that is told."""
        return self._logits(x, task)[..., : self.classifier.groups.shape[1]]

    def infer(self, x: Tensor, answers: Tensor | None = None) -> Tensor:
        """The 0-based task (K, B) that each example seems to come from; `answers` as for `entropies`."""
        if self.hyper.infer == "one-shot":
            doubts = self.slopes(x)
        else:
            doubts = self.entropies(x, answers)
        if self.hyper.infer_from == "batch":
            doubts = doubts.mean(2, keepdim=True).expand_as(doubts)
        return doubts.argmin(0)

    def entropies(self, x: Tensor, answers: Tensor | None = None) -> Tensor:
        """(k, K, B): how unsure every mask is of its own answer; `answers` (k, K, B, outputs) if they are known."""
        if answers is None:
            answers = torch.stack([self._logits(x, t) for t in range(self._candidates)])
        return _entropy(answers)

    def slopes(self, x: Tensor) -> Tensor:
        """(k, K, B): ∂H/∂α_i of every example, with all masks superposed in equal parts."""
        share = 1 / self._candidates
        together = [torch.zeros_like(layer.weight) for layer in self.layers]
        for t in range(self._candidates):
            for total, mask in zip(together, self._masks(t), strict=True):
                total.add_(mask, alpha=share)
        with torch.enable_grad(), looking_through(self.layers, together), recording(self.classifier.network, Masked) as tape:
            doubt = _entropy(self.classifier(x.detach().requires_grad_())).sum()
        records = {record.layer: record for record in tape}  # the order of layers need not be that of the passes
        records = [records[layer] for layer in self.layers]
        deltas = torch.autograd.grad(doubt, [record.outputs for record in records])
        found = []
        for t in range(self._candidates):
            parts = zip(records, deltas, self._masks(t), strict=True)
            found.append(sum(_slope(r.layer, r.inputs.detach(), d, torch.where(m, r.layer.weight, 0)) for r, d, m in parts))
        return torch.stack(found)

    def footprint(self):
        return self.masks.footprint() | self.norms.footprint()

    def insight(self):
        """Beside the masks, `inferred_task` (K, t, t): of each task's validation examples, the share taken for each task."""
        pictures = self.masks.insight()
        splits = [task.validation for task in self.context.stream.tasks[: len(self.masks)]]
        if self.context.scenario != "task" and None not in splits:
            pictures["inferred_task"] = torch.stack([self._inferred(split) for split in splits], 1)
        return pictures

    @torch.no_grad()
    def _inferred(self, split) -> Tensor:
        """(K, t): the share of a split's first examples that is taken for each task."""
        lengths = split.lengths.to(self.context.device).unsqueeze(1)
        positions = torch.arange(_EXAMPLES, device=self.context.device).expand(len(lengths), _EXAMPLES)
        counts = positions < lengths
        x, _ = split.gather(positions % lengths)
        taken = F.one_hot(self.infer(x), self._candidates) * counts.unsqueeze(2)
        return taken.sum(1) / counts.sum(1, keepdim=True)

    @property
    def _candidates(self) -> int:
        """Tasks that an input may come from: those that are learned, or being learned."""
        return max(len(self.masks), self.classifier.learning + 1)

    def _masks(self, task: int) -> list[Tensor]:
        """A task's masks; of the task being learned, as its scores are now (before any training: all weights)."""
        if task < len(self.masks):
            return self.masks.of(task)
        ones = torch.ones((), dtype=torch.bool, device=self.context.device)
        return [ones if layer.rule is None else layer.current_mask() for layer in self.layers]

    def _logits(self, x: Tensor, task: int) -> Tensor:
        """All logits (K, B, outputs and extra ones) through the masks of one task."""
        with looking_through(self.layers, self._masks(task)):
            return self.norms.logits(x, task)


def _slope(layer: Masked, inputs: Tensor, delta: Tensor, weight: Tensor) -> Tensor:
    """(K, B): δ · h W of every example, for a layer without biases."""
    products = delta * layer.compute(inputs, weight)
    if products.dim() == 4:  # pictures lie side by side
        products = flattened(products, len(weight))
    return products.sum(-1)


def _entropy(logits: Tensor) -> Tensor:
    """Of the softmax over the last axis."""
    log_p = logits.log_softmax(-1)
    return -(log_p.exp() * log_p).sum(-1)
