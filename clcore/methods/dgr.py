"""Deep generative replay: no old example is kept; a second network dreams them up.

Shin et al., "Continual Learning with Deep Generative Replay", NeurIPS 2017. Beside the solver f a generator learns to draw the
inputs. Before task t both are copied; at every step the old generator draws x̂, the old solver answers it, and

    solver      r·ℓ(f(x), y) + (1 − r)·ℓ(f(x̂), f_old(x̂))
    generator   r·L(x) + (1 − r)·L(x̂)

so each generation learns today's data and its predecessor's dreams, errors included: like photocopies of photocopies.
r = 1/t weighs all tasks alike. Here r = 1/(1 + w·(t − 1)), where w, the strength, is what each earlier task weighs beside the
new one: the paper's is w = 1, and w = 0 is fine-tuning. The default is lower, because where a task takes only a few dozen
steps of SGD, a new task that weighs 1/5 is hardly learned.

The old solver chooses among the classes it knows:

class      its answer is 0 for the new classes, which the solver's softmax includes
domain     one head, all classes
task       a dream has no task: every old head answers it, and the loss is the mean over them

Choices: the generator is a variational autoencoder (parts/vae.py) as in van de Ven & Tolias, not the paper's GAN. Its decoder
is Gaussian with a fitted variance: with their binary one (`decoder = binary`, inputs from 0 to 1) and as few steps as small
data sets allow, every dream is of the same class. Dreams are the decoder's means. Answers are labels (`hard`) as in the paper,
or probabilities softened by T, whose loss is multiplied by T² (`soft`, theirs with distillation, and better). The generator
takes a step of its own Adam at every step of the solver, and like the solver starts every task with a fresh one, also where
the run keeps its optimizer's state. It is fully connected whatever the solver is: it draws colour pictures channel by channel,
blurred, and knows nothing of neighbouring pixels.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from clcore.batch import Batch
from clcore.benchmarks.base import Stream, Task
from clcore.errors import RequestError
from clcore.knobs import Knobs, knob
from clcore.methods.base import Method, Phase, Plan, Terms, mean_over_parts
from clcore.methods.parts.distillation import ALL, batch_mean, soft_cross_entropy
from clcore.methods.parts.noise import Normals
from clcore.methods.parts.pictures import linear_layers
from clcore.methods.parts.teacher import Teacher
from clcore.methods.parts.vae import VAE
from clcore.networks.mlp import MLP
from clcore.optimizers import make_optimizer

_BESIDE_A_CNN = (256, 256)  # hidden widths of the generator where the network's own do not say how much there is to draw
_SKETCHES, _SHOWN = 128, 2  # dreams drawn for pictures, and how many of each class are shown


class DGR(Method):
    title = "Deep generative replay"
    summary = (
        "Keeps no old example. A second network learns to draw them, and rehearses its drawings with the new examples."
    )
    family = "rehearsal"
    paper = "Shin et al., NeurIPS 2017; van de Ven & Tolias, 2018 (with a VAE)"
    formula = (
        r"r\,\ell\big(f(x),y\big)+(1-r)\,\ell\big(f(\hat x),f_{t-1}(\hat x)\big),\quad "
        r"\hat x\sim G_{t-1},\ r=\frac{1}{1+w(t-1)}"
    )
    stores = "a network that draws inputs, and copies of both networks as they were before the task"
    needs_boundaries = True
    sweep = (0.0, 0.1, 0.3, 1.0, 2.0, 5.0, 10.0)

    class Hyper(Knobs):
        strength: float = knob(
            0.3, ge=0, le=1e6, scale="log", axis=True, symbol="w",
            help="what each earlier task weighs beside the new one; 1 is the paper's: the new one weighs r = 1/t",
        )  # fmt: skip
        answers: Literal["hard", "soft"] = knob("hard", help="the old network labels a dream, or gives probabilities")
        temperature: float = knob(
            2.0,
            ge=0.1,
            le=1000,
            scale="log",
            symbol="T",
            help="how far probabilities are softened before they are compared",
        )
        replay_batch: int | None = knob(None, ge=1, le=65536, help="dreams per step; none means the batch size")
        decoder: Literal["gaussian", "binary"] = knob(
            "gaussian",
            help="what the generator's drawings are judged by: squared error, or cross-entropy (inputs from 0 to 1 only)",
        )
        latent: int = knob(20, ge=1, le=1000, symbol="z", help="numbers that the generator describes an input by")
        generator_width: int | None = knob(
            None,
            ge=1,
            le=8192,
            help="units in each of the two hidden layers of encoder and decoder; none: as the network has (256 beside a "
            "convolutional one)",
        )
        generator_lr: float = knob(3e-3, ge=1e-6, le=1, scale="log", help="learning rate of the generator's Adam")

    def setup(self) -> None:
        context, hyper, network = self.context, self.hyper, self.classifier.network
        if hyper.decoder == "binary" and not _within_0_1(context.stream):
            raise RequestError(
                "dgr.decoder = binary draws numbers from 0 to 1 only, and this benchmark's inputs leave that range: choose "
                "gaussian."
            )
        own = hyper.generator_width
        usual = [layer.outputs for layer in linear_layers(network)[:-1]] if isinstance(network, MLP) else _BESIDE_A_CNN
        widths = usual if own is None else [own, own]
        self.generator = VAE(
            math.prod(context.stream.input_shape), widths, hyper.latent, list(context.generators("dgr weights")),
            binary=hyper.decoder == "binary",
        ).to(context.device)  # fmt: skip
        self.old_generator, self.old_solver = Teacher(self.generator.decoder), Teacher(network)
        self.codes, self.noise, self.dream_noise = (
            Normals(context.generators(f"dgr {purpose}"), hyper.latent, context.device)
            for purpose in ("dreams", "noise", "noise of dreams")
        )

    def begin(self, task: Task) -> None:
        if task.index:
            self.old_generator.copy()
            self.old_solver.copy()

    def phases(self, task: Task) -> Plan:
        yield Phase(optimizers=self._optimizers)

    def mix(self, batch: Batch) -> Batch:
        return batch.with_replay(self._dream()) if self.old_solver else batch

    def task_loss(self, batch: Batch) -> Tensor:
        self.classifier.all_logits(batch)  # of real examples and dreams in one go; they are kept with the parts
        dreams = _dreams(batch)
        real = [part for part in batch.parts if part is not dreams]
        loss = mean_over_parts([self.classifier.cross_entropy(self.classifier.logits(part), part) for part in real], real)
        if dreams is None:
            return loss
        r = self._share_of_new()
        return r * loss + (1 - r) * batch_mean(self._dream_losses(dreams), dreams)

    def terms(self, batch: Batch) -> Terms:
        for parameter in self.generator.parameters():
            parameter.grad = None
        errors, dreams = self._errors(batch, self.noise), _dreams(batch)
        if dreams is not None:
            r = self._share_of_new()
            errors = r * errors + (1 - r) * self._errors(dreams, self.dream_noise)
        self.context.charge(sum(part.count for part in (batch, dreams) if part is not None))  # the generator's own pass
        return {"generator": self.generator.loss(errors)}

    def trains_old_heads(self) -> Tensor:
        return self.hyper.strength > 0

    def footprint(self):
        sizes = {"generator": 4 * self.generator.parameter_count}
        for old in (self.old_solver, self.old_generator):
            for kind, size in old.footprint().items():
                sizes[kind] = sizes.get(kind, 0) + size
        return sizes

    @torch.no_grad()
    def insight(self):
        """What the generator draws: two dreams of every class (K, 2·classes, *input_shape), the surest ones of 128.

        `dreams_by_class` (K, O) is how often each class was dreamed of: a class that is missing will be forgotten.
        """
        context, learning = self.context, self.classifier.learning
        codes = Normals(context.generators("dgr sketches"), self.hyper.latent, context.device).draw(_SKETCHES)
        drawn = self.generator.decoder(codes)
        units = self.classifier.predicted_units(learning, learning + 1)
        answers = self.classifier(drawn.unflatten(-1, context.stream.input_shape)).masked_fill(~units, -torch.inf)
        surest = answers.log_softmax(-1)[..., units].topk(_SHOWN, dim=1).indices.transpose(1, 2).flatten(1)
        dreams = drawn.gather(1, surest.unsqueeze(-1).expand(-1, -1, drawn.shape[-1]))
        return {
            "dreams": dreams.unflatten(-1, context.stream.input_shape),
            "dreams_by_class": F.one_hot(answers.argmax(-1), len(units)).float().mean(1),
        }

    def _share_of_new(self) -> Tensor:
        """r (K,)"""
        return 1 / (1 + self.hyper.strength * self.classifier.learning)

    def _optimizers(self, parameters: Sequence[torch.nn.Parameter]) -> list[torch.optim.Optimizer]:
        generator = torch.optim.Adam(self.generator.parameters(), lr=self.hyper.generator_lr)
        return [make_optimizer(self.context.optimizer, parameters), generator]

    def _errors(self, part: Batch, noise: Normals) -> Tensor:
        return self.generator.errors(part.x, part.weight, noise.draw(VAE.rows(part.x.shape[1])))

    @torch.no_grad()
    def _dream(self) -> Batch:
        """Inputs from the old generator, with the old solver's answers."""
        stream, size = self.context.stream, self.hyper.replay_batch or self.context.batch_size
        codes = self.codes.draw(VAE.rows(size))
        x = self.old_generator(codes).unflatten(-1, stream.input_shape)
        old = self.classifier.units_before(self.classifier.learning)
        answers = self.old_solver(x)
        answers[..., old.stop :] = -torch.inf
        y = answers.argmax(-1)
        if self.hyper.answers == "hard":
            heads = answers[..., old].unflatten(-1, (self._heads(), -1))
            labels = torch.full_like(heads, -torch.inf).scatter_(-1, heads.argmax(-1, keepdim=True), 0.0)
            answers[..., old] = labels.flatten(-2)
        weight = (torch.arange(codes.shape[1], device=x.device) < size).float().expand(y.shape)
        task = self.classifier.groups.long().argmax(0)[y]
        return Batch(x, y, weight, weight.sum(1), task, torch.zeros_like(y), stored={"answers": answers})

    def _dream_losses(self, dreams: Batch) -> Tensor:
        """(K, B) cross-entropies with the old solver's answers."""
        classifier = self.classifier
        temperature = self.hyper.temperature if self.hyper.answers == "soft" else 1.0
        units = classifier.units_before(classifier.learning)
        if classifier.scenario == "class" and classifier.active_classes != "current":
            units = ALL if classifier.active_classes == "all" else classifier.units_before(classifier.learning + 1)
        now, heads = classifier.logits(dreams), self._heads()
        losses = soft_cross_entropy(now, dreams.stored["answers"], temperature=temperature, units=units, heads=heads)
        return losses * (temperature**2 / heads)

    def _heads(self) -> int:
        return self.classifier.learning if self.classifier.scenario == "task" else 1


def _dreams(batch: Batch) -> Batch | None:
    return next((part for part in batch.replay if "answers" in part.stored), None)


def _within_0_1(stream: Stream) -> bool:
    inputs = stream.examples.inputs
    # Scale and shift are one number, or one for each input where colours or features are standardised by themselves.
    low, high = (torch.as_tensor(float(value) * inputs.scale + inputs.shift) for value in inputs.data.aminmax())
    return float(low.min()) >= -1e-6 and float(high.max()) <= 1 + 1e-6
