"""CPG: compact what a task has learned, pick old weights that help the next one, grow when its accuracy goal is missed.

Hung, Tu, Wu, Chen, Chan & Chen, "Compacting, Picking and Growing for Unforgetting Continual Learning", NeurIPS 2019. Weights
have owners as in PackNet (parts/ownership.py), but task t does not have to take all old weights along. It learns which to pick:

    Ŵ = W ⊙ ( 1[A = t] + m_t ⊙ 1[A < t] ),   m_t = 1[S_t > τ]        trained: {A = t} and the scores S_t

Everything is measured against a goal, validation accuracy g_t. For each task:

    reference   a network of the run's original size learns the task alone, for as long as the task itself is trained; g_t is
                what it reaches on validation data, less `slack`. It is a throw-away copy: its passes are gradient samples like
                any other, and count. The first task needs none: it is such a network
    train       the task claims all free weights, and trains them and its picks
    grow        where the goal is missed, units in reserve are switched on and training starts again, until the network has
                `largest` times its parameters (widths grow with the square root)
    compact     in `stages` equal steps the smallest of the task's own weights are freed, up to 95 %, and the rest trained on.
                Within a step sparsity follows Zhu & Gupta's s(n) = s₁ + (s₀ − s₁)(1 − n/n₁)³. The sparsest stage that reaches
                the goal is taken; if none does, nothing is freed. A task that missed its goal at full size is freed down to
                1/(tasks still to come + 1) of what it claimed, so that room is left: the step in which that is reached
                ends there (95 % is the most here, too)
    retrain     from the second task on, own weights and picks are trained once more; accepted only if better

What a task owns and picks never changes afterwards, so old answers stay the same bit for bit, with any optimizer; every run
proves it. Nothing is held softly: there is no strength.

Choices: the authors take goals, pruning and retraining decisions on test data; here only validation data decides, so a goal can
be missed in the test. They also demand 95 % training accuracy, which is left out. Retraining is one phase judged at its end,
without early stopping. Picks train to the end of a phase (theirs stop at 70 %), and with `pick_lr = 0` all old weights are
used, which is PAE (Hung et al., ICMR 2019). Claimed weights are drawn at random, not left at 0 (see packnet.py). Passes are the
paper's shares of the run's epochs: a fifth for each stage, 0.3 for retraining, at a tenth of the learning rate. Within a stage
the ramp takes the first fifth of the steps. Hidden units have biases for each task, and normalisations are each task's own, as
theirs. Convolutions are pruned and picked like other layers, every weight of a kernel by itself, and grow by channels, where
these are normalised in groups by whole groups. The head is neither pruned nor shared.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from clcore.batch import Batch
from clcore.benchmarks.base import Task
from clcore.errors import RequestError
from clcore.knobs import Knobs, knob
from clcore.methods.base import Method, Phase, Plan
from clcore.methods.parts import reserve
from clcore.methods.parts.own_norms import norm_layers
from clcore.methods.parts.ownership import Ownership, gradual
from clcore.methods.parts.pictures import weight_layers
from clcore.methods.parts.scores import KeptMasks, Masked, looking_through, masked_layers, scores_optimizer
from clcore.methods.parts.vectors import per_replica, snapshot
from clcore.networks.base import Design, Network
from clcore.optimizers import make_optimizer

_THRESHOLD, _START = 0.005, 0.01  # τ, and where every score begins
_SPARSEST = 0.95
_RAMP, _EVERY = 0.2, 10  # share of a stage in which sparsity rises; steps between two prunings
_GROWTH = 0.5  # times the original parameters that one growth adds
_ROUNDING = 1e-9  # accuracies are fractions: a goal that is met exactly is met


class CPG(Method):
    title = "CPG"
    summary = (
        "Compacting, picking, growing: each task keeps as few weights as its accuracy allows, the next picks which old ones "
        "help it. The network only grows where a task would fall short of a network of its own."
    )
    family = "isolation"
    scenarios = ("task",)
    scenario_reason = "it must be told the task at test, because every task computes with weights of its own"
    networks = ("mlp", "cnn", "vgg-small")
    network_reason = "it widens layer by layer, and shortcuts tie the widths of layers together"
    paper = "Hung et al., NeurIPS 2019"
    formula = (
        r"\hat W=W\odot\big(\mathbb 1[A=t]+m_t\odot\mathbb 1[A<t]\big),\quad m_t=\mathbb 1[S_t>\tau];\quad "
        r"\text{freed: as many }|w|\text{ as }\mathrm{acc}_{\mathrm{val}}\ge g_t\text{ allows}"
    )
    stores = "for every weight, which task owns it; one bit per old weight and task; each task's biases"
    needs_boundaries = True
    freezes = True
    keeps_old_logits = True
    composable = False
    predicts_unseen = False
    whole_epochs = 2  # fifths of them compact, three tenths retrain: ten would be exact, and too dear to try
    copies = 20  # scores and their moments, masks, a copy to go back to and the best one so far

    class Hyper(Knobs):
        slack: float = knob(
            0.01, ge=0, le=1, help="accuracy that a task may lose against a network of its own, to keep fewer weights"
        )
        largest: float = knob(
            1.5, ge=1, le=4, symbol="M", help="how many times its first parameters the network may come to have"
        )
        stages: int = knob(4, ge=0, le=50, help="steps in which a task's weights are freed")
        stage_epochs: int | None = knob(
            None, ge=1, le=10_000, unit="epochs", help="passes in each of these steps; none: a fifth of the run's"
        )
        retrain_epochs: int | None = knob(
            None, ge=0, le=10_000, unit="epochs", help="passes after compacting; none: three tenths of the run's"
        )
        slow_lr: float = knob(
            0.1, ge=1e-4, le=10, scale="log", help="learning rate of compacting and retraining, as a multiple of the run's"
        )
        pick_lr: float = knob(
            5e-4, ge=0, le=1, scale="log", help="learning rate of the picks (Adam); 0: all old weights are used (PAE)"
        )

    context_fields = Method.context_fields | {"layers", "initial"}

    @classmethod
    def held_parameters(
        cls, settings: dict[str, Any], network: type[Network] | Design, input_shape: Sequence[int], outputs: int,
        hidden: Sequence[int], tasks: int,
    ) -> int:  # fmt: skip
        kind = network.kind if isinstance(network, Design) else network
        if not kind.pictures:
            return network.count_parameters(input_shape, outputs, reserve.widths(hidden, settings["largest"]))
        return math.ceil(network.count_parameters(input_shape, outputs, hidden) * settings["largest"])

    def adapt(self, network: Network) -> nn.Module:
        stream = self.context.stream
        if len(weight_layers(network)) == 1:
            raise RequestError("cpg grows hidden layers, but the network has none; give widths with --hidden.")
        network = reserve.roomy(network, stream.input_shape, self.hyper.largest, stream.groups).to(self.context.device)
        self.initial = snapshot(network).tensors
        self.layers: list[Masked] = masked_layers(network, head=False)
        return network

    def setup(self) -> None:
        context, network = self.context, self.classifier.network
        replicas, tasks, layers = context.replicas, len(context.stream.tasks), len(self.layers)
        self.ownership = Ownership(network, self.classifier.groups, network.units)
        self.masks = KeptMasks(self.layers, tasks, replicas, context.device)
        self.draws = context.generators("fresh weights")
        self.referring = False  # whether the network is the throw-away reference
        self.ramp: list[tuple[float, float]] = []  # per replica, sparsity at the start and end of the stage in training
        # What is decided per replica is decided on the CPU.
        self.size = torch.ones(replicas, dtype=torch.float64)  # M
        book = torch.full((replicas, tasks), torch.nan, dtype=torch.float64)
        self.books = {name: book.clone() for name in ("goal", "reached", "freed", "size")}
        self.picked = torch.full((replicas, tasks, layers), torch.nan, dtype=torch.float64)
        self.units = torch.zeros(replicas, tasks, layers, dtype=torch.long)
        self.pick_bits = torch.zeros(replicas, dtype=torch.long)
        self.restored()

    def restored(self) -> None:
        self._step = 0  # of a stage

    # --- a task, phase by phase ---

    def begin(self, task: Task) -> None:
        for layer in self.layers:
            layer.scores.data.fill_(_START)

    def phases(self, task: Task) -> Plan:
        t, goal = task.index, None
        clock = _Spans(self._passes(t))
        if t:
            goal = (yield from self._reference(clock)) - self.hyper.slack
        self.ownership.claim(t, self.draws if t else None)
        begun = self._copy()
        reached = (yield self._phase("train", t, clock("train"), picking=True)).validation_accuracy()
        if goal is None:
            goal = reached - self.hyper.slack
        while bool((missed := (reached < goal - _ROUNDING) & (self.size < self.hyper.largest)).any()):
            self._put_back(begun, missed)
            self._grow(t, missed)
            self.ownership.claim(t, self.draws, missed)
            phase = self._phase("grow", t, clock.now, picking=True, active=missed)
            reached = (yield phase).validation_accuracy()
        reached, freed = yield from self._compact(t, goal, reached, clock)
        if t and self._retrain_epochs:
            kept = self._copy()
            phase = self._phase("retrain", t, clock("retrain"), picking=True, epochs=self._retrain_epochs, slow=True)
            again = (yield phase).validation_accuracy()
            self._put_back(kept, ~(again > reached))
            reached = torch.maximum(again, reached)
        for name, values in (("goal", goal), ("reached", reached), ("freed", freed), ("size", self.size)):
            self.books[name][:, t] = values

    def _reference(self, clock: _Spans) -> Plan:
        """(K,) what networks of the original size reach on validation data that learn the task alone; they are thrown away."""
        present = self._copy()
        with torch.no_grad():
            for values, begun in zip((*self._weights(), *self.classifier.network.statistics), self.initial, strict=True):
                values.copy_(begun)
        self.referring = True
        self._see_through(None, picking=False)
        phase = Phase("reference", optimizers=self._optimizers(1.0), covers=clock("reference"), watched=False)
        reached = (yield phase).validation_accuracy()
        self.referring = False
        self._put_back(present, torch.ones_like(self.size, dtype=torch.bool))
        return reached

    def _compact(self, t: int, goal: Tensor, reached: Tensor, clock: _Spans) -> Plan:
        """Frees the task's smallest weights, stage by stage. Returns accuracy and share freed (K,) at the stage taken."""
        met = ~(reached < goal - _ROUNDING)
        least = 1 - 1 / (len(self.context.stream.tasks) - t)  # what a task that missed its goal gives back
        best, freed = self._copy(), torch.zeros_like(reached)
        for stage in range(self.hyper.stages):
            lo, hi = (_SPARSEST * s / self.hyper.stages for s in (stage, stage + 1))
            active = met | (lo < least - _ROUNDING)
            if not bool(active.any()):
                break
            # A task that missed its goal gives back what it must, and no more.
            ends = torch.full_like(reached, hi).masked_fill(~met, min(hi, least))
            self.ramp = [(lo, end) for end in ends.tolist()]
            name, epochs = f"compact {stage + 1}", self._stage_epochs
            phase = self._phase(name, t, clock(name), picking=False, epochs=epochs, slow=True, active=active)
            now = (yield phase).validation_accuracy()
            self.ramp = []
            taken = active & (~met | (now >= goal - _ROUNDING))
            self._note(best, taken)
            freed, reached = torch.where(taken, ends, freed), torch.where(taken, now, reached)
        self._put_back(best, torch.ones_like(met))
        return reached, freed

    @torch.no_grad()
    def after_step(self, batch: Batch, lr: float) -> None:
        """Within a stage: sparsity rises along its ramp, and what was freed stays 0 whatever the optimizer does."""
        if not self.ramp:
            return
        self._step += 1
        shares = []
        for passes, (lo, hi) in zip(batch.passes, self.ramp, strict=True):
            end = max(1, math.ceil(_RAMP * passes * self._stage_epochs))
            due = self._step == end or (self._step < end and self._step % _EVERY == 0)
            shares.append(gradual(lo, hi, self._step / end) if due else 0.0)
        if any(shares):
            self.ownership.prune(self.classifier.learning, torch.tensor(shares, dtype=torch.float64))
        self.ownership.clear_free()

    @torch.no_grad()
    def end(self, task: Task) -> None:
        t = task.index
        self.masks.keep()
        self.ownership.keep_biases()
        self.units[:, t] = self.classifier.network.units
        if t:
            for at, (owner, mask) in enumerate(zip(self.ownership.owner, self.masks.of(t), strict=True)):
                old = owner < t
                bits = old.flatten(1).sum(1).cpu()
                self.picked[:, t, at] = (old & mask).flatten(1).sum(1).cpu() / bits.double()
                self.pick_bits += bits

    def predict(self, x: Tensor, task: int) -> Tensor:
        """Through a finished task's weights and picks; the task being learned is seen as it is now."""
        if self.referring:
            return self.classifier(x)
        masks = self.masks.of(task) if task < len(self.masks) else [layer.current_mask() for layer in self.layers]
        with looking_through(self.layers, None):
            return self.ownership.logits(x, task, masks)

    def footprint(self):
        learned = len(self.masks)
        if not learned:
            return {}
        sizes = {"masks": (self.ownership.owner_bits().cpu() + 7) // 8 + (self.pick_bits + 7) // 8}
        if learned > 1:
            before = self.units[:, : learned - 1]
            sizes["biases"] = 4 * before.sum((1, 2))
            if norms := norm_layers(self.classifier.network):
                numbers = 4 if self.classifier.network.batch_norms else 2  # scale and shift, mean and variance
                sizes["normalisations"] = 4 * numbers * before[..., : len(norms)].sum((1, 2))
        return sizes

    def insight(self):
        """Shares of owners (K, L, T + 1), of old weights picked (K, T, L), and what was decided about each task (K, T)."""
        return self.ownership.insight() | {"picked": self.picked} | self.books

    # --- parts of the plan ---

    def _phase(self, name: str, t: int, covers: tuple[float, float], *, picking: bool, slow: bool = False, **more) -> Phase:
        self._see_through(t, picking and t > 0 and self.hyper.pick_lr > 0)
        pace = self.hyper.slow_lr if slow else 1.0
        return Phase(name, frozen=self.ownership.frozen(t), optimizers=self._optimizers(pace), covers=covers, **more)

    def _see_through(self, t: int | None, picking: bool) -> None:
        """The layers compute with what task t owns and picks; without a task, with all their weights."""
        for layer, owner in zip(self.layers, self.ownership.owner, strict=True):
            layer.rule = None if t is None else _own_and_picked(owner, t)
            layer.scores.requires_grad_(picking)

    def _optimizers(self, pace: float) -> Callable[[Sequence[nn.Parameter]], list[torch.optim.Optimizer]]:
        """The run's optimizer for weights at `pace` times its learning rate; Adam for the scores, while they are learned."""
        choice = self.context.optimizer.model_copy(update={"lr": self.context.optimizer.lr * pace})

        def build(parameters: Sequence[nn.Parameter]) -> list[torch.optim.Optimizer]:
            optimizers = [make_optimizer(choice, self._weights())]
            if self.layers[0].scores.requires_grad:
                optimizers.append(scores_optimizer(self.layers, self.hyper.pick_lr))
            return optimizers

        return build

    @torch.no_grad()
    def _grow(self, t: int, which: Tensor) -> None:
        """One step larger: units in reserve are there for `which` (K,), seen by the outputs of this task and later ones."""
        network = self.classifier.network
        self.size = torch.where(which, (self.size + _GROWTH).clamp_max(self.hyper.largest), self.size)
        units = [network.units_at(size) for size in self.size.tolist()]
        network.widen(torch.tensor(units, device=network.units.device), t)
        self.ownership.open(network.units)
        head, later = network.head, self.classifier.groups[t:].any(0)
        for k in which.nonzero().flatten().tolist():
            before = int(network.heads[k, t - 1]) if t else network.first[-1]
            new = slice(before * network.inputs_per_unit[-1], units[k][-1] * network.inputs_per_unit[-1])
            bound = 1 / math.sqrt(new.stop)
            drawn = torch.empty(head.inputs, head.outputs).uniform_(-bound, bound, generator=self.draws[k])
            head.weight[k, new, : head.outputs] = torch.where(later, drawn[new].to(head.weight), 0)

    # --- going back ---

    def _weights(self) -> list[nn.Parameter]:
        """The network's parameters without the scores."""
        scores = {layer.scores for layer in self.layers}
        return [p for p in self.classifier.network.parameters() if p not in scores]

    def _tensors(self) -> list[Tensor]:
        """What a phase changes: parameters, scores, running statistics, owners."""
        network = self.classifier.network
        return [*network.parameters(), *network.statistics, *self.ownership.owner]

    def _copy(self) -> list[Tensor]:
        return [tensor.detach().clone() for tensor in self._tensors()]

    @torch.no_grad()
    def _put_back(self, copy: list[Tensor], which: Tensor) -> None:
        """The replicas `which` (K,) are again as they were when the copy was made."""
        for now, then in zip(self._tensors(), copy, strict=True):
            now.copy_(torch.where(per_replica(which.to(now.device), now), then, now))

    @torch.no_grad()
    def _note(self, copy: list[Tensor], which: Tensor) -> None:
        """In the copy, the replicas `which` (K,) become as they are now."""
        for now, then in zip(self._tensors(), copy, strict=True):
            then.copy_(torch.where(per_replica(which.to(now.device), now), now, then))

    # --- passes ---

    @property
    def _stage_epochs(self) -> int:
        chosen = self.hyper.stage_epochs
        return math.ceil(self.context.epochs / 5) if chosen is None else chosen

    @property
    def _retrain_epochs(self) -> int:
        chosen = self.hyper.retrain_epochs
        return math.ceil(3 * self.context.epochs / 10) if chosen is None else chosen

    def _passes(self, t: int) -> dict[str, int]:
        """Phases of a task that is not short of its goal, and their epochs."""
        passes = {"reference": self.context.epochs} if t else {}
        passes["train"] = self.context.epochs
        passes |= {f"compact {stage + 1}": self._stage_epochs for stage in range(self.hyper.stages)}
        return passes | ({"retrain": self._retrain_epochs} if t and self._retrain_epochs else {})


def _own_and_picked(owner: Tensor, t: int) -> Callable[[Masked], Tensor]:
    """What task t computes with: its own weights, and of older ones those whose scores are above the threshold."""
    return lambda layer: (owner == t) | ((owner < t) & (layer.scores > _THRESHOLD))


class _Spans:
    """Where the phases of a task lie between 0 and 1, by their epochs."""

    def __init__(self, passes: dict[str, int]):
        total, at = sum(passes.values()), 0
        self._spans: dict[str, tuple[float, float]] = {}
        for name, epochs in passes.items():
            self._spans[name] = (at / total, (at + epochs) / total)
            at += epochs
        self.now = (0.0, 0.0)

    def __call__(self, name: str) -> tuple[float, float]:
        span = self._spans[name]
        self.now = (span[1], span[1])  # what is repeated after this phase takes no room
        return span
