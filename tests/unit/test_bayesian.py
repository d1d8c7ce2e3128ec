"""Gaussian layers and their divergence, against closed forms, sampling of weights, and exact Bayesian inference."""

import pytest
import torch
from torch.distributions import Normal
from torch.distributions import kl_divergence as torch_kl

from clcore.methods.parts import bayesian
from clcore.methods.parts.bayesian import Divergence, GaussianLinear, Noise, kl_divergence, make_bayesian
from clcore.networks.layers import Linear
from clcore.networks.mlp import MLP
from clcore.randomness import Generators

pytestmark = pytest.mark.usefixtures("one_thread")
K = 3


def noise_for(seeds=range(K)) -> Noise:
    seeds = list(seeds)
    return Noise(Generators(seeds, "n"), Generators(seeds, "f"), lambda: Generators(seeds, "p"), torch.device("cpu"))


def bayesian_mlp(log_variance=-3.0, hidden=(9,), outputs=6, inputs=5, seeds=range(K)):
    """Odd widths: 5 inputs make 12 hidden units of the 9, three of them dead."""
    noise = noise_for(seeds)
    network = MLP((inputs,), outputs, hidden, list(Generators(list(seeds), "w")))
    return make_bayesian(network, log_variance, noise), noise


def random_gaussian(*shape):
    return torch.randn(shape, generator=torch.Generator().manual_seed(len(shape))), torch.randn(shape) - 2


# --- the divergence ---


def test_kl_is_that_of_torch_distributions():
    (mean, v), (prior_mean, prior_v) = random_gaussian(200), (torch.randn(200), torch.randn(200))
    expected = torch_kl(Normal(mean, (v / 2).exp()), Normal(prior_mean, (prior_v / 2).exp()))
    found = kl_divergence(mean, v, prior_mean, prior_v)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)
    assert (found >= 0).all() and found.min() > 0


def test_kl_of_a_distribution_from_itself_is_zero():
    mean, v = random_gaussian(100)
    assert torch.equal(kl_divergence(mean, v, mean, v), torch.zeros(100))


def stepped(network, noise, x):
    """Zero gradients, with the variances of a pass remembered, as in a training step."""
    noise.start_step()
    (network(x).sum() * 0).backward()
    noise.stop_step()


def test_the_gradient_of_the_divergence_is_analytic_and_autograds():
    network, noise = bayesian_mlp()
    divergence = Divergence(network, torch.tensor([0.0, 1.0, 7.0]), deviation=0.5)
    divergence.begin(torch.tensor([10, 20, 40]), torch.tensor([True] * 4 + [False] * 2))
    stepped(network, noise, torch.rand(K, 4, 5))
    divergence.add_gradient()
    found = [p.grad.clone() for p in network.parameters()]
    assert sum(g.abs().sum() for g in found) > 0
    share = torch.tensor([0.0, 1 / 20, 7 / 40])
    total = 0
    for layer in network.layers:
        columns = 4 if layer is network.head else layer.outputs
        for mean, v in layer.gaussians:
            live = (..., slice(layer.inputs), slice(columns)) if mean.dim() == 3 else (..., slice(columns))
            q, prior = Normal(mean[live], (v[live] / 2).exp()), Normal(torch.zeros(()), torch.tensor(0.5))
            total = total + torch_kl(q, prior).flatten(1).sum(1)
    torch.testing.assert_close(divergence.value(), share * total.detach(), rtol=1e-4, atol=1e-5)
    expected = torch.autograd.grad((share * total).sum(), list(network.parameters()))
    for a, b in zip(found, expected, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-6)
    first = network.layers[0]
    torch.testing.assert_close(found[0][1], first.weight[1] / 0.25 / 20)
    live = first.weight_log_variance[1, :, : first.outputs]
    torch.testing.assert_close(found[2][1, :, : first.outputs], (live.exp() / 0.25 - 1) / 2 / 20)


def test_the_divergence_scales_with_strength_and_one_over_the_examples():
    network, _ = bayesian_mlp(seeds=(0, 0, 0))
    divergence = Divergence(network, torch.tensor([1.0, 1.0, 3.0]))
    divergence.begin(torch.tensor([100, 400, 100]), torch.ones(6, dtype=torch.bool))
    value = divergence.value()
    torch.testing.assert_close(value / value[0], torch.tensor([1.0, 0.25, 3.0]))


def test_the_prior_is_a_copy_of_the_posterior():
    network, noise = bayesian_mlp()
    divergence = Divergence(network, torch.ones(K))
    assert divergence.value().min() > 0
    divergence.keep()
    assert torch.equal(divergence.value(), torch.zeros(K))
    before = [t.clone() for t in (*divergence.prior_mean, *divergence.prior_log_variance)]
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.1)
    after = [*divergence.prior_mean, *divergence.prior_log_variance]
    assert all(torch.equal(a, b) and not b.requires_grad for a, b in zip(before, after, strict=True))
    assert divergence.value().min() > 0


def test_units_that_training_has_not_reached_keep_the_first_prior():
    network, _ = bayesian_mlp()
    divergence = Divergence(network, torch.ones(K))
    divergence.begin(torch.ones(K), torch.tensor([True] * 2 + [False] * 4))
    divergence.keep()
    weight_v, bias_v = divergence.prior_log_variance.tensors[-2:]
    assert torch.all(weight_v[..., :9, :2] == -3) and torch.all(bias_v[:, :2] == -3)
    assert torch.all(weight_v[..., 2:] == 0) and torch.all(bias_v[:, 2:] == 0)
    assert torch.all(divergence.prior_mean.tensors[-2][..., 2:] == 0)


def test_a_narrow_prior_makes_a_finite_divergence():
    network, noise = bayesian_mlp(log_variance=-200.0)
    divergence = Divergence(network, torch.zeros(K))
    divergence.keep()
    stepped(network, noise, torch.rand(K, 4, 5))
    divergence.add_gradient()
    assert torch.equal(divergence.value(), torch.zeros(K))
    assert all(torch.equal(p.grad, torch.zeros_like(p)) for p in network.parameters())


def test_a_stiff_prior_is_called_unstable():
    network, _ = bayesian_mlp(log_variance=-6.0)
    divergence = Divergence(network, torch.tensor([1.0, 100.0, 0.0]))
    divergence.begin(torch.full((K,), 1000), torch.ones(6, dtype=torch.bool))
    divergence.keep()
    assert divergence.unstable(0.1).tolist() == [False, True, False]  # 0.1·β/1000·e⁶ against 2


# --- the layers ---


def test_the_network_stays_the_network():
    plain = MLP((5,), 6, (9,), list(Generators(range(K), "w")))
    x = torch.rand(K, 4, 5)
    expected, facts = plain(x), (plain.widths, plain.parameter_count)
    network = make_bayesian(plain, -6.0, noise_for())
    assert network.head is network.layers[-1] and all(type(layer) is GaussianLinear for layer in network.layers)
    assert torch.equal(network(x), expected) and (network.widths, network.parameter_count) == facts
    numbers = sum(int((v > -100).sum()) for layer in network.layers for _, v in layer.gaussians)
    assert numbers == K * network.parameter_count


def test_dead_units_have_no_noise():
    network, noise = bayesian_mlp()
    first, head = network.layers
    assert first.width > first.outputs  # else this test proves nothing
    noise.start_step()
    out = first(torch.rand(K, 4, 5))
    assert torch.all(out[..., 9:] == 0) and torch.all(first.weight_log_variance.exp()[..., 9:] == 0)
    assert torch.all(head.weight_log_variance.exp()[:, 9:] == 0)
    out.sum().backward()
    assert torch.all(first.weight_log_variance.grad[..., 9:] == 0) and first.weight_log_variance.grad.abs().sum() > 0
    assert torch.all(torch.isfinite(first.weight.grad))


def test_outputs_have_the_moments_of_sampled_weights():
    """Drawing outputs and drawing weights give the same mean and variance, and every example has noise of its own."""
    network, noise = bayesian_mlp(log_variance=-1.0, hidden=(), outputs=4)
    layer, x, n = network.head, torch.randn(K, 1, 5), 20_000
    noise.start_step()
    found = layer(x.expand(-1, n, -1)).detach()
    g = torch.Generator().manual_seed(1)
    weight = layer.weight.detach().unsqueeze(1) + torch.randn(K, n, 5, 4, generator=g) * 0.6065307
    bias = layer.bias.detach().unsqueeze(1) + torch.randn(K, n, 4, generator=g) * 0.6065307
    sampled = torch.einsum("kbi,knio->kno", x, weight) + bias
    deviation = sampled.std(1)
    torch.testing.assert_close(found.std(1), deviation, rtol=0.03, atol=0)
    assert ((found.mean(1) - sampled.mean(1)).abs() < 5 * deviation / n**0.5 * 2**0.5).all()
    centred = (found - found.mean(1, keepdim=True))[..., 0]
    correlation = (centred[:, 1:] * centred[:, :-1]).mean(1) / centred.var(1)
    assert correlation.abs().max() < 0.04


def test_the_gradients_by_hand_are_right():
    g = torch.Generator().manual_seed(0)

    def draw(*shape):
        return torch.randn(shape, generator=g, dtype=torch.float64).requires_grad_()

    x, weight, bias, weight_v, bias_v = draw(2, 3, 4), draw(2, 4, 5), draw(2, 5), draw(2, 4, 5), draw(2, 5)
    epsilon = torch.randn(2, 3, 5, generator=g, dtype=torch.float64)

    def sampled(x, weight, bias, weight_v, bias_v):
        variances = weight_v.detach().exp(), bias_v.detach().exp()
        return bayesian._Sampled.apply(x, weight, bias, weight_v, bias_v, *variances, epsilon)

    assert torch.autograd.gradcheck(sampled, (x, weight, bias, weight_v, bias_v))


def test_without_variance_a_step_is_the_plain_layers_bit_for_bit():
    network, noise = bayesian_mlp(log_variance=-200.0)
    x = torch.rand(K, 4, 5)
    x[:, 0] = 1e3  # a large gradient times a small deviation

    def gradients():
        network.zero_grad()
        (network(x) ** 2).sum().backward()
        return [p.grad.clone() for layer in network.layers for p in (layer.weight, layer.bias)]

    plain = gradients()
    noise.start_step()
    assert all(torch.equal(a, b) for a, b in zip(plain, gradients(), strict=True))
    assert all(torch.all(v.grad == 0) for layer in network.layers for _, v in layer.gaussians)


# --- the noise ---


def test_noise_is_the_same_alone_and_among_others():
    x = torch.rand(K, 8, 5)
    together, noise = bayesian_mlp()
    alone, own_noise = bayesian_mlp(seeds=(1,))
    for _ in range(300):  # several decks
        noise.start_step()
        own_noise.start_step()
        assert torch.equal(together(x)[1], alone(x[1:2])[0])
    assert torch.equal(noise.current.state_dict()["states"][1], own_noise.current.state_dict()["states"][0])


def test_further_passes_leave_the_first_ones_noise_alone():
    x = torch.rand(K, 8, 5)
    (plain, noise), (replaying, other) = bayesian_mlp(), bayesian_mlp()
    for _ in range(3):
        noise.start_step()
        other.start_step()
        first = replaying(x)
        assert torch.equal(plain(x), first) and not torch.equal(replaying(x), first)


def test_predictions_always_see_the_same_noise_and_use_none_up():
    network, noise = bayesian_mlp()
    x, before = torch.rand(K, 8, 5), noise.current.state_dict()["states"].clone()
    with noise.predicting(5):
        one, again = network(x), network(x)
    assert one.shape == (K, 40, 6) and torch.equal(one, again)
    assert torch.equal(noise.current.state_dict()["states"], before)
    assert not torch.equal(one[:, :8], one[:, 8:16])  # sample by sample
    assert torch.equal(network(x), network(x)) and network(x).shape == (K, 8, 6)


# --- exact inference ---


def test_two_tasks_of_linear_regression_give_the_posterior_of_both_together():
    """With a diagonal design the exact posterior is a product of Gaussians; sequential inference must equal it.

    ε = ±1 in turn makes the mean of a quadratic loss exact, so that nothing is left to chance.
    """
    g = torch.Generator().manual_seed(3)
    d, noise_variance = 4, 0.3
    noise = noise_for((0,))
    plain = Linear(d, 1, list(Generators((0,), "w")))
    layer = GaussianLinear(plain, -2.0, noise)
    network = torch.nn.Module()
    network.head = layer
    tasks = [(torch.diag(torch.rand(d, generator=g) + 0.5), torch.randn(d, generator=g)) for _ in range(2)]
    divergence = Divergence(network, torch.ones(1))
    for x, y in tasks:
        divergence.begin(torch.tensor([d]), torch.ones(1, dtype=torch.bool))
        for _step in range(500):
            network.zero_grad()
            layer.last_variances = layer.variances()
            total = 0
            for sign in (1.0, -1.0):
                epsilon = torch.zeros(1, d, layer.width)
                epsilon[..., 0] = sign
                variances = (layer.last_variances[0], torch.zeros(1, layer.width))
                # The model has no bias: its mean is held at 0 and its variance left out.
                no_bias = torch.zeros(1, layer.width)
                gaussians = (layer.weight, no_bias, layer.weight_log_variance, layer.bias_log_variance)
                a = bayesian._Sampled.apply(x.unsqueeze(0), *gaussians, *variances, epsilon)[0, :, 0]
                total = total + ((y - a) ** 2 / (2 * noise_variance)).mean() / 2
            total.backward()
            layer.bias.grad = torch.zeros_like(layer.bias)
            divergence.add_gradient()
            with torch.no_grad():
                layer.weight -= 0.5 * layer.weight.grad
                layer.weight_log_variance -= 1.5 * layer.weight_log_variance.grad
        divergence.keep()
    precision = 1 + sum((x.diagonal() ** 2) for x, _ in tasks) / noise_variance
    mean = sum(x.diagonal() * y for x, y in tasks) / noise_variance / precision
    torch.testing.assert_close(layer.weight.detach()[0, :, 0], mean, rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(layer.weight_log_variance.detach().exp()[0, :, 0], 1 / precision, rtol=1e-3, atol=1e-5)
