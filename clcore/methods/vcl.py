"""VCL: every weight is a bell curve, and what one task leaves is what the next one believes beforehand.

Nguyen, Li, Bui & Turner, ICLR 2018: the posterior over the weights is approximated by independent Gaussians q_t, which for
each task minimise, per example of its N_t,

    −E_q[log p(y|x,θ)] + β/N_t · KL(q_t ‖ q_{t−1})        q_0 = N(0, 1)

A weight that is certain (small σ) is expensive to move, an uncertain one is free. As in the paper, the first task starts
from the solution of ordinary training, with log σ² = −6. A coreset is taken out of each task's training data; at the task's
end throw-away copies of q_t are trained on the coresets and used for predictions (one copy for each task where the
task is known, else one for all), and never passed on. Predictions average probabilities over samples of the weights.

Choices: outputs are sampled and not weights, with fresh noise for every example (parts/bayesian.py), so that one sample
per step is enough (the paper: ten samples of the weights). β is 1 in the paper, with up to 60,000 examples a task; with our
thousand a task the prior N(0, 1) weighs more, most weights return to it, and a smaller β does better. An output unit has its
first prior, and no share in the divergence, until training reaches it.

The gradient with respect to log σ² is of order 1/N: in 10 epochs of plain SGD on digits the median σ went from 0.050 to
0.051. With SGD the log-variances therefore follow the natural gradient (2N times the plain one, as 2 is the inverse Fisher
information of log σ²) at a tenth of its pace, by at most the learning rate in a step (without momentum). Pace and default β
were chosen on validation data (permuted and split digits, seeds 100–102): at full pace the variances outrun the means and
training ends at a higher value of the bound (3.0 against 2.4 for β = 1); without the limit it diverges. Adam, which needs
none of this, came lower still (2.1 with a rate of 0.03 for the variances), so that with SGD and large β the bound is not
minimised.

Weight decay acts on the means only, and every phase takes fresh optimizers, as the paper's code does. k-center looks at
10,000 examples at the most. The throw-away copies exist for the time of an evaluation and are not charged.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Literal

import torch
from torch import Tensor, nn

from clcore.batch import Batch
from clcore.benchmarks.base import Task
from clcore.errors import RequestError
from clcore.knobs import Knobs, knob
from clcore.methods.base import Method, Phase, Plan, Terms
from clcore.methods.parts import coreset, pictures
from clcore.methods.parts.bayesian import Divergence, Noise, gaussian_layers, make_bayesian, spread
from clcore.methods.parts.vectors import ReplicaVector, per_replica, weights, write_weights
from clcore.optimizers import make_optimizer

_PACE = 0.1  # of the natural gradient on log σ², with SGD


class VCL(Method):
    title = "VCL"
    summary = (
        "Keeps a bell curve for every weight instead of a number: a weight that is certain is expensive to move, an "
        "uncertain one is free. What one task leaves is what the next one believes beforehand."
    )
    family = "regularization"
    boundary_reason = "its prior is what it knew when the task before had ended, and nobody says when that is"
    networks = ("mlp",)
    network_reason = "its bell curves are those of fully connected layers"
    paper = "Nguyen, Li, Bui & Turner, ICLR 2018"
    formula = (
        r"-\mathbb E_{q_t}\big[\log p(y\mid x,\theta)\big]+\frac{\beta}{N_t}\,\mathrm{KL}\big(q_t\,\|\,q_{t-1}\big)"
    )
    stores = "a width for every weight, a copy of all bell curves, and the coresets"
    static_step = True
    needs_boundaries = True
    copies = 16
    sweep = (0.0, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0)

    class Hyper(Knobs):
        strength: float = knob(
            0.1, ge=0, le=1e6, scale="log", axis=True, symbol="β",
            help="weight of the divergence from the last posterior; 1 is Bayes' rule, which suits large training sets",
        )  # fmt: skip
        start: Literal["likelihood", "initial"] = knob(
            "likelihood", help="the first means: what ordinary training of the first task finds, or the initial weights"
        )
        log_variance: float = knob(
            -6.0, ge=-200, le=2, symbol="log σ²", help="logarithm of every variance at the start"
        )
        prior_deviation: float = knob(1.0, ge=0.01, le=10, scale="log", symbol="σ₀", help="width of the first prior")
        test_samples: int = knob(
            10, ge=1, le=200, symbol="S", help="samples of the weights whose probabilities a prediction averages"
        )
        coreset: Literal["none", "random", "k-center"] = knob(
            "none", help="how the examples are chosen that are kept of each task and studied again before predictions"
        )
        coreset_size: int = knob(40, ge=1, le=5000, unit="examples", help="examples kept of each task")

    def adapt(self, network: nn.Module) -> nn.Module:
        draw = self.context.generators
        self.noise = Noise(draw("noise"), draw("further noise"), lambda: draw("prediction"), self.context.device)
        return make_bayesian(network, self.hyper.log_variance, self.noise)

    def setup(self) -> None:
        self.divergence = Divergence(self.classifier.network, self.hyper.strength, self.hyper.prior_deviation)
        self.sampling = False
        self.coresets: list[Tensor] = []  # one (K, n) per task: positions in its training split
        self.answers: list[ReplicaVector] = []
        self.draws = self.context.generators("coreset")

    def begin(self, task: Task) -> None:
        self.answers = []
        if self.hyper.coreset != "none":
            self.coresets.append(self._coreset(task))

    def phases(self, task: Task) -> Plan:
        network = self.classifier.network
        data = coreset.without(task.train, self.coresets[-1]) if self.coresets else task.train
        kinds = dict(tasks=(task.index,), splits=(data,), optimizers=self._optimizers)
        first = task.index == 0 and self.hyper.start == "likelihood"
        if first:
            yield Phase("start", covers=(0.0, 0.5), **kinds)
        self.sampling = True
        self.divergence.begin(data.lengths, self._units(task))
        yield Phase("train", covers=(0.5 if first else 0.0, 1.0), **kinds)
        self.divergence.keep()
        posterior = weights(network).copy()
        for tasks in self._exams(task):
            splits = tuple(self.context.stream.tasks[t].train.subset(*_all(self.coresets[t])) for t in tasks)
            self.divergence.begin(sum(split.lengths for split in splits), self._units(task))
            yield Phase("coreset", tasks, optimizers=self._optimizers, covers=(1, 1), splits=splits, watched=False)
            self.answers.append(weights(network).copy())
            write_weights(network, posterior)

    def mix(self, batch: Batch) -> Batch:
        if self.sampling:
            self.noise.start_step([part.x.shape[1] for part in batch.parts])
        return batch

    def terms(self, batch: Batch) -> Terms:
        return {"divergence": self.divergence} if self.sampling else {}

    @torch.no_grad()
    def edit_gradients(self, batch: Batch) -> None:
        if not self.sampling or self.context.optimizer.name != "sgd":
            return
        scale = _PACE * 2 * self.divergence.examples
        for layer in gaussian_layers(self.classifier.network):
            for _, log_variance in layer.gaussians:
                log_variance.grad.mul_(per_replica(scale, log_variance)).clamp_(-1, 1)

    def after_step(self, batch: Batch, lr: float) -> None:
        self.noise.stop_step()

    def predict(self, x: Tensor, task: int) -> Tensor:
        """The logarithm of the mean of the samples' probabilities, over the units a prediction may choose from."""
        if not self.sampling:
            return self.classifier(x)
        samples = self.hyper.test_samples
        with self._studied_for(task), self.noise.predicting(samples):
            logits = self.classifier(x)
        units = self.classifier.predicted_units(task, self.classifier.learning + 1)
        chosen = logits[..., units]
        log_p = (chosen - chosen.logsumexp(-1, keepdim=True)).unflatten(1, (samples, -1))
        result = torch.full_like(logits[:, : x.shape[1]], torch.finfo(logits.dtype).min)
        result[..., units] = log_p.logsumexp(1) - math.log(samples)
        return result

    def footprint(self):
        sizes = self.divergence.footprint()
        if self.coresets:
            kept = sum(positions.shape[1] for positions in self.coresets)
            sizes["memory_samples"] = kept * (self.context.stream.example_bytes + 8)
        return sizes

    def insight(self):
        network = self.classifier.network
        deviation, certainty = spread(network, lambda v: (v / 2).exp()), spread(network, lambda v: (-v).exp())
        return {
            "sigma_by_layer": pictures.by_layer(network, deviation),
            **pictures.by_input(network, certainty, self.context.stream.input_shape),
        }

    def _coreset(self, task: Task) -> Tensor:
        size, fewest = self.hyper.coreset_size, int(task.train.lengths.min())
        if size >= fewest:
            raise RequestError(
                f"vcl.coreset_size = {size} leaves nothing to train on: a task has as few as {fewest} training "
                f"examples; give a whole number from 1 to {fewest - 1}, or set vcl.coreset to none."
            )
        if self.hyper.coreset == "random":
            return coreset.random_examples(task.train, size, self.draws)
        return coreset.central_examples(task.train, size, self.context.pulse)

    def _exams(self, task: Task) -> list[tuple[int, ...]]:
        """The tasks whose coresets each throw-away copy is trained on."""
        seen = range(task.index + 1 if self.coresets else 0)
        return [(t,) for t in seen] if self.context.scenario == "task" else [tuple(seen)] if seen else []

    @contextmanager
    def _studied_for(self, task: int) -> Iterator[None]:
        """The network as it answers for a task: the copy that studied the coreset, where there is one."""
        answer = task if self.context.scenario == "task" else 0
        if answer >= len(self.answers):
            yield
            return
        network = self.classifier.network
        posterior = weights(network).copy()
        write_weights(network, self.answers[answer])
        try:
            yield
        finally:
            write_weights(network, posterior)

    def _units(self, task: Task) -> Tensor:
        """(O,) bool: the output units that training has reached when this task is through."""
        return self.classifier.seen[task.index] | self.classifier.training_units(task.index)

    def _optimizers(self, parameters: Sequence[nn.Parameter]) -> list[torch.optim.Optimizer]:
        """The run's optimizer, without weight decay on the log-variances."""
        widths = {v for layer in gaussian_layers(self.classifier.network) for _, v in layer.gaussians}
        groups = [
            {"params": [p for p in parameters if p not in widths]},
            {"params": [p for p in parameters if p in widths], "weight_decay": 0.0},
        ]
        return [make_optimizer(self.context.optimizer, groups)]


def _all(positions: Tensor) -> tuple[Tensor, Tensor]:
    """Positions (K, n) and how many of them are meant: all."""
    return positions, torch.full((len(positions),), positions.shape[1], device=positions.device)
