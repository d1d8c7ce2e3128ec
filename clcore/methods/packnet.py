"""PackNet: each task prunes its weights down to a share of the network, locks them, and leaves the rest to those to come.

Mallya & Lazebnik, CVPR 2018. Every weight of a hidden layer has an owner A (parts/ownership.py). Task t claims all free weights
and is trained on them beside everything that earlier tasks own; then, in each layer, the smallest share p_t of its own weights
is freed, and what remains is trained again for a while. From then on nothing moves it:

    ŷ = f(x; W ⊙ 1[A ≤ t])        trained: {A = t}        pruned: the round(p_t·n_t) smallest |w| with A = t

Later tasks compute with the locked weights too but cannot change them, so the answers of earlier tasks stay the same bit for
bit, with any optimizer; every run proves it. Nothing is held softly, so there is no strength to choose. What a task pays is
room: it has the weights that earlier ones left. No regularizer goes with it: a free weight is 0 but has a gradient, so that to
a regularizer it seems to matter, and the next task that claims it would be pulled back to 0 for nobody's sake.

Choices: by default each of the T tasks ends with 1/T of every layer, p_t = (T − t)/(T − t + 1), which takes knowing T. The
paper's constant p (`constant`) leaves task t (1 − p)·p^{t−1}; with p = 0.5 the fifth task has a sixteenth, the tenth next to
nothing. A task that finds a free weight in a layer keeps at least one: in layers of fewer weights than there are tasks, early
ones have one each and late ones use theirs. The last task prunes nothing in either, so it is not retrained. The weights that a
later task claims are drawn at random. The authors leave them at 0 (`start = zero`), which suits the large pretrained network
they begin with; in a small one, whose first task keeps a fifth of it, a unit cut off on both sides gets no gradient and stays
dead (split digits: 97 against 99 % on validation data). Retraining takes half the passes and a tenth of the learning rate, as
in the paper. Biases of hidden layers are trained with the first task and locked with it, the authors' default; they also offer
biases for each task (`task`), which cost a number per unit. Normalisations go with the biases: trained with the first task,
then settled, running statistics included, or kept for each task (parts/own_norms.py). Convolutions are pruned like other
layers, every weight of a kernel by itself. The head is not pruned or shared: output units belong to their task. Which weights
to use depends on the task, so the method must be told at test; the authors' code evaluates an old task by writing zeros into
the network, here it is asked through a copy.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor

from clcore.benchmarks.base import Task
from clcore.knobs import Knobs, knob
from clcore.methods.base import Method, Phase, Plan
from clcore.methods.parts.own_norms import settle
from clcore.methods.parts.ownership import Ownership, equal_share
from clcore.optimizers import make_optimizer


class PackNet(Method):
    title = "PackNet"
    summary = (
        "Every task keeps only its most important weights and locks them; the small ones are freed for the next task. "
        "Later tasks may use locked weights but not change them, so nothing is forgotten."
    )
    family = "isolation"
    scenarios = ("task",)
    scenario_reason = "it must be told the task at test, because every task computes with weights of its own"
    paper = "Mallya & Lazebnik, CVPR 2018"
    formula = (
        r"\hat y=f(x;\,W\odot\mathbb 1[A\le t]),\quad \text{trained: }A=t;\quad "
        r"\text{freed: the }p_t\,n_t\text{ smallest }|w|\text{ with }A=t"
    )
    stores = "for every weight, which task owns it"
    static_step = True
    needs_boundaries = True
    freezes = True
    not_beside = ("regularization",)
    composition_reason = "it locks every weight that old tasks use, so a regularizer could only hold back the others"
    keeps_old_logits = True
    predicts_unseen = False
    whole_epochs = 2  # half of them retrain
    copies = 10

    class Hyper(Knobs):
        shares: Literal["equal", "constant"] = knob(
            "equal", help="every task ends with as many weights, or every task but the last gives back the same share"
        )
        prune: float = knob(0.5, ge=0, le=0.99, symbol="p", help="constant: share of its weights that a task gives back")
        retrain_epochs: int | None = knob(
            None, ge=0, le=10_000, unit="epochs", help="passes after pruning; none: half as many as before it"
        )
        retrain_lr: float = knob(
            0.1, ge=1e-4, le=10, scale="log", help="learning rate after pruning, as a multiple of the run's"
        )
        start: Literal["fresh", "zero"] = knob(
            "fresh", help="what a later task finds in the free weights: random numbers, or 0 as pruning left them"
        )
        biases: Literal["first", "task"] = knob(
            "first",
            help="biases of hidden units, and normalisations: trained with the first task and locked, or kept for each task",
        )

    def setup(self) -> None:
        self.ownership = Ownership(self.classifier.network, self.classifier.groups)
        self.draws = self.context.generators("fresh weights")
        self.learned = 0

    def phases(self, task: Task) -> Plan:
        fresh = task.index > 0 and self.hyper.start == "fresh"
        settle(self.classifier.network, self.hyper.biases == "first" and task.index > 0)
        self.ownership.claim(task.index, self.draws if fresh else None)
        share, epochs, again = self._share(task.index), self.context.epochs, self.hyper.retrain_epochs
        again = 0 if share == 0 else (epochs + 1) // 2 if again is None else again
        trained = epochs / (epochs + again)
        yield Phase("train", frozen=self._frozen(task.index), covers=(0.0, trained))
        self.ownership.prune(task.index, share)
        if again:
            yield Phase(
                "retrain", epochs=again, optimizers=self._slower, frozen=self._frozen(task.index), covers=(trained, 1.0)
            )

    def end(self, task: Task) -> None:
        if self.hyper.biases == "task":
            self.ownership.keep_biases()
        self.learned = task.index + 1

    def predict(self, x: Tensor, task: int) -> Tensor:
        return self.ownership.logits(x, task)

    def footprint(self):
        return self.ownership.footprint() if self.learned else {}

    def insight(self):
        return self.ownership.insight()

    def _share(self, task: int) -> float:
        """p_t: what the task gives back of the weights that it claimed."""
        tasks = len(self.context.stream.tasks)
        if self.hyper.shares == "equal" or task + 1 == tasks:
            return equal_share(task, tasks)
        return self.hyper.prune

    def _frozen(self, task: int) -> dict[torch.nn.Parameter, Tensor]:
        frozen = self.ownership.frozen(task)
        if task and self.hyper.biases == "first":
            frozen |= self.ownership.frozen_biases()
        return frozen

    def _slower(self, parameters: Sequence[torch.nn.Parameter]) -> list[torch.optim.Optimizer]:
        optimizer = self.context.optimizer
        lr = optimizer.lr * self.hyper.retrain_lr
        return [make_optimizer(optimizer.model_copy(update={"lr": lr}), parameters)]
