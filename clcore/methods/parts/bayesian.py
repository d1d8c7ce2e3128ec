"""Networks whose every weight is a Gaussian, independent of all others: q(θ) = Π_i N(μ_i, σ_i²).

A sum of independent Gaussians is Gaussian, so a layer's outputs are drawn directly instead of its weights (local
reparametrisation; Kingma, Salimans & Welling, NeurIPS 2015): with inputs x, means M, m and variances V, v,

    a = x·M + m + √(x²·V + v) ⊙ ε        ε ~ N(0, 1), independent for every example

The gradient has far less variance than with one weight matrix for the whole mini-batch, for a second matrix product.
Variances are kept as logarithms. Dead units (networks/layers.py) have σ = 0 and ε = 0, exactly.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from clcore.methods.parts.pictures import linear_layers
from clcore.methods.parts.vectors import ReplicaVector, per_replica
from clcore.networks.base import Network
from clcore.networks.layers import Linear, Recorded, replace_layers
from clcore.randomness import Generators, normals
from clcore.state import Stateful

_NEVER = -1000.0  # log-variance of a weight that does not exist: finite, and its exponential is 0
_LARGEST_LOG_PRECISION = 80.0  # a prior narrower than this would have an infinite precision
_SMALLEST = 1e-18  # a deviation below this counts as this where something is divided by it
_PREDRAWN = 1 << 17  # numbers drawn at once for one replica


class GaussianLinear(Linear):
    """A `Linear` whose weights are Gaussians: `weight` and `bias` are their means.

    Without noise it is the plain layer of the means, bit for bit.
    """

    def __init__(self, plain: Linear, log_variance: float, noise: Noise):
        nn.Module.__init__(self)
        self.inputs, self.outputs, self.tape = plain.inputs, plain.outputs, None
        self.weight, self.bias = plain.weight, plain.bias
        self.weight_log_variance = nn.Parameter(torch.full_like(plain.weight, _NEVER))
        self.bias_log_variance = nn.Parameter(torch.full_like(plain.bias, _NEVER))
        with torch.no_grad():
            self.weight_log_variance[:, : self.inputs, : self.outputs] = log_variance
            self.bias_log_variance[:, : self.outputs] = log_variance
        self.noise = noise
        self.first_column = noise.reserve(self)

    @property
    def gaussians(self) -> tuple[tuple[nn.Parameter, nn.Parameter], ...]:
        """(means, log-variances) of the weights and of the biases."""
        return (self.weight, self.weight_log_variance), (self.bias, self.bias_log_variance)

    @torch.no_grad()
    def variances(self) -> tuple[Tensor, Tensor]:
        """σ² of the weights and of the biases."""
        return self.weight_log_variance.exp(), self.bias_log_variance.exp()

    def forward(self, x: Tensor) -> Tensor:
        noise = self.noise.of(self, x.shape[1])
        if noise is None:
            return super().forward(x)
        if self.noise.samples:  # what enters the first layer, and its moments, are the same for all samples
            mean, deviation = _moments(x, self.weight, self.bias, *self.variances())
            drawn = noise.unflatten(1, (-1, x.shape[1]))
            return torch.addcmul(mean.unsqueeze(1), deviation.unsqueeze(1), drawn).flatten(1, 2)
        variances = self.variances()
        if torch.is_grad_enabled():  # not where an old network answers with its own weights
            self.last_variances = variances
        gaussians = (self.weight, self.bias, self.weight_log_variance, self.bias_log_variance)
        y = _Sampled.apply(x, *gaussians, *variances, noise)
        if self.tape is not None:
            self.tape.append(Recorded(self, x, y))
        return y


def make_bayesian(network: Network, log_variance: float, noise: Noise) -> Network:
    """Replaces every `Linear` of a network by a Gaussian one with its weights as means. Everything else stays."""
    gaussian = {plain: GaussianLinear(plain, log_variance, noise) for plain in linear_layers(network)}
    replace_layers(network, gaussian)
    return network


class _Sampled(torch.autograd.Function):
    """a = mean + deviation·ε with its gradients by hand: nothing is divided by a deviation of 0."""

    @staticmethod
    def forward(ctx, x, weight, bias, weight_log_variance, bias_log_variance, weight_variance, bias_variance, noise):
        mean, deviation = _moments(x, weight, bias, weight_variance, bias_variance)
        slope = noise / (2 * deviation).clamp_min_(_SMALLEST)  # of a, by the variance of a
        ctx.save_for_backward(x, weight, weight_variance, bias_variance, slope)
        return mean.addcmul_(deviation, noise)

    @staticmethod
    def backward(ctx, gradient):
        x, weight, weight_variance, bias_variance, slope = ctx.saved_tensors
        of_variance = gradient * slope
        of_x = None
        if ctx.needs_input_grad[0]:
            of_x = torch.bmm(gradient, weight.transpose(1, 2))
            of_x.addcmul_(x, torch.bmm(of_variance, weight_variance.transpose(1, 2)), value=2)
        return (
            of_x,
            torch.bmm(x.transpose(1, 2), gradient),
            gradient.sum(1),
            torch.bmm((x * x).transpose(1, 2), of_variance).mul_(weight_variance),
            of_variance.sum(1).mul_(bias_variance),
            None, None, None,
        )  # fmt: skip


def _moments(x: Tensor, weight: Tensor, bias: Tensor, weight_variance: Tensor, bias_variance: Tensor):
    """Mean and standard deviation (K, B, out) of a layer's outputs."""
    mean = torch.baddbmm(bias.unsqueeze(1), x, weight)
    return mean, torch.baddbmm(bias_variance.unsqueeze(1), x * x, weight_variance).sqrt_()


class Noise(Stateful):
    """The ε of every layer of a network, (K, B, out) per layer: drawn on the CPU, many steps ahead.

    There is noise within a training step (`start_step` … `stop_step`) and within `predicting`; otherwise there is none
    and the network is that of the means. Each pass of a step draws once, for all layers: the pass of the current examples
    from one set of generators, further ones (replayed examples, which another replica may not have) from another.
    """

    context_fields = frozenset({"device", "prediction", "widths", "dead"})

    def __init__(self, current: Generators, further: Generators, prediction: Callable[[], Generators], device):
        """`prediction` makes generators in their first state: every prediction sees the same draws."""
        self.current, self.further = current, further
        self.prediction, self.device = prediction, device
        self.widths = 0  # of all layers side by side
        self.dead: list[slice] = []
        self._passes: int | None = None  # so far in this step; None: no noise
        self.samples = 0  # per example of a prediction; 0: not predicting
        self._for_predictions: dict[int, Tensor] = {}
        self.restored()

    def restored(self) -> None:
        self._decks: dict[tuple[int, int], list[Tensor]] = {}
        self._ready: list[Tensor] = []  # of this step's first passes

    def reserve(self, layer: GaussianLinear) -> int:
        """The first of a layer's columns among those of all layers."""
        first = self.widths
        self.widths += layer.width
        if layer.width > layer.outputs:
            self.dead.append(slice(first + layer.outputs, self.widths))
        return first

    def start_step(self, rows: Sequence[int] = ()) -> None:
        """Draws ahead for passes of so many `rows` each, to where the step before had its own; others draw when they come."""
        self._passes = 0
        for i, n in enumerate(rows):
            drawn = self._dealt(i, n)
            if i < len(self._ready) and self._ready[i].shape == drawn.shape:
                self._ready[i].copy_(drawn)
            else:
                self._ready[i:] = [drawn.clone()]
        del self._ready[len(rows) :]

    def stop_step(self) -> None:
        self._passes = None

    @contextmanager
    def predicting(self, samples: int) -> Iterator[None]:
        """Within this block a pass over B examples returns `samples`·B rows, sample by sample."""
        self.samples = samples
        try:
            yield
        finally:
            self.samples = 0

    def of(self, layer: GaussianLinear, rows: int) -> Tensor | None:
        """ε for a layer that `rows` examples enter. The layers of a pass are called in the network's order."""
        if self._passes is None and not self.samples:
            return None
        if layer.first_column == 0:
            self._drawn = self._prediction(rows * self.samples) if self.samples else self._step(rows)
        return self._drawn[..., layer.first_column : layer.first_column + layer.width]

    def _step(self, rows: int) -> Tensor:
        at = self._passes
        self._passes += 1
        if at < len(self._ready) and self._ready[at].shape[1] == rows:
            return self._ready[at]
        return self._dealt(at, rows)

    def _dealt(self, at: int, rows: int) -> Tensor:
        """(K, rows, widths) for the pass `at` of a step."""
        which = min(at, 1)
        deck = self._decks.get((which, rows))
        if not deck:
            # How many passes are drawn at once decides how far generators run: the group must not matter.
            ahead = max(1, _PREDRAWN // (rows * self.widths))
            drawn = self._draw((self.current, self.further)[which], ahead * rows)
            deck = self._decks[which, rows] = list(drawn.split(rows, 1))
        return deck.pop()

    def _prediction(self, rows: int) -> Tensor:
        if rows not in self._for_predictions:
            self._for_predictions[rows] = self._draw(self.prediction(), rows)
        return self._for_predictions[rows]

    def _draw(self, generators: Generators, rows: int) -> Tensor:
        drawn = normals(generators, rows, self.widths, self.device)
        for columns in self.dead:
            drawn[..., columns] = 0
        return drawn


def gaussian_layers(network: nn.Module) -> list[GaussianLinear]:
    return [m for m in network.modules() if isinstance(m, GaussianLinear)]


def kl_divergence(mean: Tensor, log_variance: Tensor, prior_mean: Tensor, prior_log_variance: Tensor) -> Tensor:
    """KL(N(μ, σ²) ‖ N(μ₀, σ₀²)) = log σ₀/σ + (σ² + (μ−μ₀)²) / 2σ₀² − ½, elementwise."""
    widening = log_variance - prior_log_variance
    return (widening.exp() - widening - 1 + (mean - prior_mean) ** 2 * _precision(prior_log_variance)) / 2


class Divergence(Stateful):
    """β/N · KL(q ‖ prior), a `ClosedForm` term (methods/base.py).

        ∂/∂μ = β/N · (μ−μ₀)/σ₀²        ∂/∂log σ² = β/N · ½(σ²/σ₀² − 1)

    The prior starts as N(0, deviation²); `keep` makes a copy of the posterior the prior. Only output units that training
    has reached count: others are not a posterior of anything, and go on having the first prior.
    """

    context_fields = frozenset({"layers", "head", "strength", "units"})

    def __init__(self, network: Network, strength: Tensor, deviation: float = 1.0):
        """`strength` (K,) is β."""
        self.layers, self.head = gaussian_layers(network), network.head
        self.strength = strength
        self.prior_mean = self._of_all(lambda mean, log_variance: torch.zeros_like(mean))
        prior_log_variance = 2 * torch.tensor(deviation).log().item()
        self.prior_log_variance = self._of_all(lambda mean, v: torch.full_like(mean, prior_log_variance))
        self.prior_is_posterior = False
        self.begin(torch.ones_like(strength), torch.ones(self.head.outputs, dtype=torch.bool, device=strength.device))

    def _of_all(self, function: Callable[[Tensor, Tensor], Tensor]) -> ReplicaVector:
        return ReplicaVector(function(m.detach(), v.detach()) for layer in self.layers for m, v in layer.gaussians)

    def restored(self) -> None:
        self._stiffness: list[tuple[Tensor, Tensor]] | None = None

    def begin(self, examples: Tensor, units: Tensor) -> None:
        """The training data has N = `examples` (K,) and reaches the output `units` (O,) bool."""
        self.examples, self.units = examples.to(self.strength).clamp_min(1), units
        self.restored()

    @torch.no_grad()
    def keep(self) -> None:
        """The posterior becomes the prior, as a copy."""
        reached = ReplicaVector(self._reached())
        means, log_variances = self._of_all(lambda mean, v: mean), self._of_all(lambda mean, v: v)
        self.prior_mean = reached.map(torch.where, means, self.prior_mean)
        self.prior_log_variance = reached.map(torch.where, log_variances, self.prior_log_variance)
        self.prior_is_posterior = True
        self.restored()

    @torch.no_grad()
    def value(self) -> Tensor:
        """(K,) β/N · KL."""
        total = 0
        gaussians = [pair for layer in self.layers for pair in layer.gaussians]
        columns = zip(gaussians, self.prior_mean, self.prior_log_variance, self._reached(), strict=True)
        for (mean, log_variance), prior_mean, prior_log_variance, reached in columns:
            divergence = kl_divergence(mean, log_variance, prior_mean, prior_log_variance)
            total = total + torch.where(reached, divergence, 0).flatten(1).sum(1)
        return self.strength / self.examples * total

    @torch.no_grad()
    def add_gradient(self) -> None:
        """Uses the variances of the step's last pass."""
        variances = [variance for layer in self.layers for variance in layer.last_variances]
        gaussians = [pair for layer in self.layers for pair in layer.gaussians]
        columns = zip(gaussians, variances, self.prior_mean, self._pulls(), strict=True)
        for (mean, log_variance), variance, prior_mean, (share, precision) in columns:
            mean.grad.addcmul_(precision, mean - prior_mean)
            log_variance.grad.addcmul_(precision, variance, value=0.5).sub_(share, alpha=0.5)

    def unstable(self, lr: float) -> Tensor:
        """(K,) bool: lr·β/N·max 1/σ₀² > 2, beyond which explicit gradient descent on the means diverges."""
        largest = torch.stack([precision.flatten(1).amax(1) for _, precision in self._pulls()]).amax(0)
        return lr * largest > 2

    def _pulls(self) -> list[tuple[Tensor, Tensor]]:
        """β/N and β/N/σ₀² of every Gaussian, 0 where it does not count."""
        if self._stiffness is None:
            self._stiffness = []
            for reached, prior_log_variance in zip(self._reached(), self.prior_log_variance, strict=True):
                share = per_replica(self.strength / self.examples, prior_log_variance) * reached
                self._stiffness.append((share, share * _precision(prior_log_variance)))
        return self._stiffness

    def _reached(self) -> list[Tensor]:
        """Which Gaussians count, broadcastable to each of them: live ones, and in the head those of trained units."""
        masks = []
        for layer in self.layers:
            inputs = torch.arange(layer.weight.shape[1], device=layer.weight.device) < layer.inputs
            outputs = torch.arange(layer.width, device=layer.weight.device) < layer.outputs
            if layer is self.head:
                outputs[: layer.outputs] = self.units
            masks += [inputs.unsqueeze(1) & outputs.unsqueeze(0), outputs.unsqueeze(0)]
        return masks

    def footprint(self) -> dict[str, int]:
        """Bytes per replica: a variance beside every mean, and the prior's two numbers once it is not N(0, 1)."""
        numbers = sum((layer.inputs + 1) * layer.outputs for layer in self.layers)
        return {"variances": 4 * numbers} | ({"prior": 8 * numbers} if self.prior_is_posterior else {})


def _precision(log_variance: Tensor) -> Tensor:
    return (-log_variance).clamp_max(_LARGEST_LOG_PRECISION).exp()


def spread(network: Network, function: Callable[[Tensor], Tensor]) -> ReplicaVector:
    """`function` of the log-variances, where the means are in `network.parameters()` (zeros elsewhere): for pictures."""
    of_mean = {mean: log_variance for layer in gaussian_layers(network) for mean, log_variance in layer.gaussians}
    return ReplicaVector(
        function(of_mean[p].detach()) if p in of_mean else torch.zeros_like(p) for p in network.parameters()
    )
