"""Variational autoencoders, one per replica: networks that learn to draw what they are shown.

Kingma & Welling, "Auto-Encoding Variational Bayes", ICLR 2014. An encoder turns an input x into a Gaussian N(μ, σ²) over a few
latent numbers z, a decoder turns these back into an input, and both learn to minimise, per number of the input,

    1/D · [ −log p(x | z) + KL(N(μ, σ²) ‖ N(0, 1)) ],      z = μ + σ ⊙ ε,   KL = ½ Σ (μ² + σ² − 1 − log σ²)

Fed with z drawn from N(0, 1), the decoder makes new inputs. There are two kinds of p:

    gaussian    one variance for all numbers, always the one that suits best, which is the mean squared error, so that
                −log p = D/2 · log(MSE) + a constant (Rybkin, Daniilidis & Levine, ICML 2021)
    binary      Bernoulli for every number, which must be from 0 to 1: −log p is the cross-entropy

The Gaussian weighs misfit against divergence by how well it already draws, the binary one by what the unit of the input
happens to be: on small grey images it draws their mean. What is drawn is the mean of p.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from clcore.methods.parts.binary import cross_entropy, sigmoid
from clcore.networks.fully_connected import connected, through
from clcore.networks.layers import Linear
from clcore.state import Stateful

_LEAST_ERROR = 1e-6  # the smallest variance of a Gaussian


class VAE(nn.Module, Stateful):
    """K autoencoders side by side, of inputs (K, B, …) with `inputs` numbers; their parameters are state of a method.

    `hidden` are the widths of the encoder's ReLU layers, and in reverse order those of the decoder's.
    """

    def __init__(
        self, inputs: int, hidden: Sequence[int], latent: int, generators: Sequence[torch.Generator], *, binary: bool
    ):
        super().__init__()
        self.inputs, self.latent = inputs, latent
        self.encoder = connected(inputs, hidden, generators)
        logical, physical = (hidden[-1], self.encoder[-1].width) if hidden else (inputs, inputs)
        self.mean = Linear(logical, latent, generators, physical)
        self.log_variance = Linear(logical, latent, generators, physical)
        self.decoder = Decoder(latent, hidden[::-1], inputs, generators, binary)

    def state_fields(self) -> dict[str, Tensor]:
        return dict(self.named_parameters())

    @staticmethod
    def rows(examples: int) -> int:
        """How many rows of noise `examples` need: multiples of four keep every replica's block aligned."""
        return -(-examples // 4) * 4

    def errors(self, x: Tensor, weight: Tensor, noise: Tensor) -> Tensor:
        """(2, K) misfit and divergence, per number of the input: means over the examples that `weight` (K, B) marks.

        `noise` is (K, `rows(B)`, latent).
        """
        missing = (0, noise.shape[1] - x.shape[1])
        x, weight = F.pad(x.flatten(2), (0, 0, *missing)), F.pad(weight, missing)
        h = x
        for layer in self.encoder:
            h = torch.relu(layer(h))
        mean, log_variance = self.mean(h)[..., : self.latent], self.log_variance(h)[..., : self.latent]
        misfit = self.decoder.misfit(mean + (log_variance / 2).exp() * noise, x)
        divergence = (mean.square() + log_variance.exp() - 1 - log_variance).sum(-1) / (2 * self.inputs)
        return (torch.stack([misfit, divergence]) * weight).sum(2) / weight.sum(1).clamp_min(1)

    def loss(self, errors: Tensor) -> Tensor:
        """(K,) from `errors` (2, K), which may be weighted means over several sets of examples."""
        misfit, divergence = errors
        return divergence + (misfit if self.decoder.binary else misfit.clamp_min(_LEAST_ERROR).log() / 2)

    @property
    def parameter_count(self) -> int:
        """Trained numbers of one replica, dead units left out."""
        own = sum(layer.parameter_count for layer in (*self.encoder, self.mean, self.log_variance))
        return own + self.decoder.parameter_count


class Decoder(nn.Module):
    """Latent numbers (K, B, latent) → inputs (K, B, D)."""

    def __init__(
        self, latent: int, hidden: Sequence[int], inputs: int, generators: Sequence[torch.Generator], binary: bool
    ):
        super().__init__()
        self.inputs, self.binary = inputs, binary
        self.layers = connected(latent, (*hidden, inputs), generators)

    def forward(self, z: Tensor) -> Tensor:
        found = self._outputs(z)
        return sigmoid(found) if self.binary else found

    def misfit(self, z: Tensor, x: Tensor) -> Tensor:
        """(K, B) mean over the numbers of the input: cross-entropy, or squared error."""
        found = self._outputs(z)
        if self.binary:
            return cross_entropy(found, x).mean(-1)
        return (found - x).square().mean(-1)

    def _outputs(self, z: Tensor) -> Tensor:
        return through(self.layers, z)

    @property
    def parameter_count(self) -> int:
        return sum(layer.parameter_count for layer in self.layers)
