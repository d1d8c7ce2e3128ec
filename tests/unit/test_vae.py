"""Autoencoders with the replica axis, and noise drawn ahead."""

import pytest
import torch
import torch.nn.functional as F
from torch.distributions import Normal, kl_divergence

from clcore.methods.parts.noise import Normals
from clcore.methods.parts.vae import VAE
from clcore.randomness import Generators
from clcore.state import Stateful

pytestmark = pytest.mark.usefixtures("one_thread")


def vae(seeds=(0, 1), inputs=12, hidden=(9, 7), latent=3, binary=False):
    return VAE(inputs, hidden, latent, list(Generators(seeds, "dgr weights")), binary=binary)


def examples(replicas=2, n=6, inputs=12):
    return torch.rand(replicas, n, inputs, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("binary", [False, True])
def test_the_loss_is_the_bound_written_out(binary):
    model, x = vae(binary=binary), examples()
    weight = torch.tensor([[1.0, 1, 1, 1, 1, 0], [1, 1, 0, 0, 0, 0]])
    noise = torch.randn(2, 8, 3)
    h = x
    for layer in model.encoder:
        h = layer(h).relu()
    mean, deviation = model.mean(h)[..., :3], (model.log_variance(h)[..., :3] / 2).exp()
    divergence = kl_divergence(Normal(mean, deviation), Normal(0.0, 1.0)).sum(-1) / 12
    z = F.pad(mean + deviation * noise[:, :6], (0, 0, 0, 2))
    drawn = model.decoder(z)[:, :6]
    misfit = (F.binary_cross_entropy(drawn, x, reduction="none") if binary else (drawn - x).square()).mean(-1)
    average = [(values * weight).sum(1) / weight.sum(1) for values in (misfit, divergence)]
    errors = model.errors(x, weight, noise)
    torch.testing.assert_close(errors, torch.stack(average))
    expected = average[1] + (average[0] if binary else average[0].log() / 2)
    torch.testing.assert_close(model.loss(errors), expected)


def test_the_gaussians_variance_is_the_one_that_suits_best():
    """½·log(MSE) + ½ is the least value over σ² of MSE/2σ² + ½·log σ²."""
    errors = torch.tensor([[0.04], [0.0]])
    variances = torch.linspace(0.001, 0.2, 2000)
    least = (0.04 / (2 * variances) + variances.log() / 2).min()
    torch.testing.assert_close(vae((0,)).loss(errors)[0] + 0.5, least, atol=1e-4, rtol=0)


@pytest.mark.parametrize("binary", [False, True])
@pytest.mark.parametrize("latent, rows", [(3, 8), (5, 16)])
def test_a_replica_computes_the_same_alone(binary, latent, rows):
    seeds = tuple(range(16))
    together, x = vae(seeds, latent=latent, binary=binary), examples(16, rows)
    noise, weight = torch.randn(16, rows, latent), torch.ones(16, rows)

    def gradients(model, *inputs):
        errors = model.errors(*inputs)
        return torch.autograd.grad(model.loss(errors).sum(), list(model.parameters()))

    whole = gradients(together, x, weight, noise)
    for k in (0, 7, 15):
        own = [values[k : k + 1] for values in (x, weight, noise)]
        for a, b in zip(whole, gradients(vae((k,), latent=latent, binary=binary), *own), strict=True):
            assert torch.equal(a[k], b[0])
        drawn = vae((k,), latent=latent, binary=binary).decoder(noise[k : k + 1])
        assert torch.equal(together.decoder(noise)[k], drawn[0])


def test_padding_has_no_say():
    model, x, noise = vae(), examples(), torch.randn(2, 8, 3)
    weight = torch.tensor([[1.0, 1, 1, 0, 0, 0]] * 2)
    other = x.clone()
    other[:, 3:] = 7.0
    assert torch.equal(model.errors(x, weight, noise), model.errors(other, weight, noise))


def test_its_parameters_are_state_and_come_back():
    class Holder(Stateful):
        def __init__(self, seeds):
            self.model = vae(seeds)

    there, here = Holder((0, 1)), Holder((2, 3))
    parameter = here.model.mean.weight
    here.load_state_dict(there.state_dict())
    assert here.model.mean.weight is parameter  # the optimizer's, still
    assert all(torch.equal(a, b) for a, b in zip(here.model.parameters(), there.model.parameters(), strict=True))


@pytest.mark.parametrize("binary", [False, True])
def test_it_learns_to_draw(binary):
    """Three patterns with a little noise: most drawings are near one of them, and each is drawn."""
    generator = torch.Generator().manual_seed(0)
    patterns = (torch.rand(3, 12, generator=generator) > 0.5).float()
    model = vae((0,), hidden=(32, 32), latent=4, binary=binary)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.005)
    for _ in range(300):
        x = patterns[torch.randint(3, (1, 64), generator=generator)]
        x = (x + 0.1 * torch.randn(1, 64, 12, generator=generator)).clamp(0, 1)
        loss = model.loss(model.errors(x, torch.ones(1, 64), torch.randn(1, 64, 4, generator=generator)))
        optimizer.zero_grad()
        loss.sum().backward()
        optimizer.step()
    drawn = model.decoder(torch.randn(1, 300, 4, generator=generator)).detach()[0]
    distance, nearest = torch.cdist(drawn, patterns).min(1)
    assert distance.median() < 0.3 * torch.cdist(patterns, patterns).max()
    assert torch.bincount(nearest, minlength=3).min() > 30


def test_parameters_are_counted_without_dead_units():
    model = vae(inputs=12, hidden=(9, 7), latent=3)
    encoder = 13 * 9 + 10 * 7 + 2 * 8 * 3
    decoder = 4 * 7 + 8 * 9 + 10 * 12
    assert model.parameter_count == encoder + decoder and model.decoder.parameter_count == decoder


def test_noise_is_each_replicas_own_and_resumes():
    together = Normals(Generators(range(5), "n"), 3, torch.device("cpu"))
    alone = Normals(Generators((3,), "n"), 3, torch.device("cpu"))
    for _ in range(3):
        assert torch.equal(together.draw(8)[3:4], alone.draw(8))
    saved = alone.state_dict()
    alone.restored()
    ahead = alone.draw(8)
    other = Normals(Generators((9,), "n"), 3, torch.device("cpu"))
    other.load_state_dict(saved)
    assert torch.equal(other.draw(8), ahead)
    many = torch.cat([together.draw(8) for _ in range(500)], 1)
    assert many.mean().abs() < 0.01 and (many.std() - 1).abs() < 0.01
