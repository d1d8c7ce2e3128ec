"""Every example's own gradient of convolutions and normalisations, against one autograd call per example."""

from __future__ import annotations

import pytest
import torch

from clcore.methods.parts import sample_gradients
from clcore.methods.parts.importance import StepSquares, fisher_diagonal, output_sensitivity
from clcore.methods.parts.projection import Gradients
from clcore.randomness import Generators
from clcore.spec import NetworkChoice, make
from tests.training_cases import digits_run, learner_for

pytestmark = pytest.mark.usefixtures("one_thread")
K, N = 2, 5
NETWORKS = {
    "cnn": {"name": "cnn", "settings": {"channels": 4}, "hidden": (6,)},
    "without normalisation": {"name": "cnn", "settings": {"channels": 4, "norm": "none"}},
    "batch normalisation": {"name": "cnn", "settings": {"channels": 4, "norm": "batch"}},
    "resnet18-slim": {"name": "resnet18-slim", "settings": {"channels": 2}},
}
EVERY_NETWORK = pytest.mark.parametrize("network", NETWORKS.values(), ids=NETWORKS)


def untrained(network):
    """Networks nobody has trained, with running statistics that are not those of the beginning."""
    run = digits_run(
        "finetune", seeds=range(K), benchmark="split-digits", scenario="task", network=make(NetworkChoice, **network)
    )
    learner = learner_for(run)
    for norm in learner.classifier.network.batch_norms:
        norm.running_mean.uniform_(-0.2, 0.2)
        norm.running_var.uniform_(0.5, 2)
    return learner.classifier, learner.stream.tasks[0].train


def draws():
    return Generators(range(K), "importance")


def chosen(split):
    again = zip(split.lengths, draws(), strict=True)
    return split.gather(torch.stack([torch.randperm(int(n), generator=g)[:N] for n, g in again]))


def assert_close(found, expected):
    for a, b in zip(found, expected, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-5 * float(b.abs().max()) + 1e-7)


def gradients(classifier, value):
    return torch.autograd.grad(value, list(classifier.network.parameters()), retain_graph=True)


@EVERY_NETWORK
@pytest.mark.parametrize("estimator", ["exact", "empirical"])
def test_the_fisher_information_is_the_mean_square_of_every_examples_gradient(network, estimator):
    classifier, split = untrained(network)
    found = fisher_diagonal(classifier, split, 0, estimator=estimator, samples=N, generators=draws())
    x, y = chosen(split)
    expected = [torch.zeros_like(p) for p in classifier.network.parameters()]
    for n in range(N):
        log_p = classifier(x[:, n : n + 1])[:, 0, :2].log_softmax(-1)  # the units of task 0
        for c in range(2):
            share = log_p[:, c].detach().exp() if estimator == "exact" else (y[:, n] == c).float()
            for total, g in zip(expected, gradients(classifier, log_p[:, c].sum()), strict=True):
                total += g.square() * share.view(-1, *[1] * (g.dim() - 1)) / N
    assert_close(found, expected)


@EVERY_NETWORK
def test_sensitivity_is_the_mean_size_of_every_examples_gradient(network):
    classifier, split = untrained(network)
    found = output_sensitivity(classifier, split, 0, samples=N, generators=draws())
    x, _ = chosen(split)
    expected = [torch.zeros_like(p) for p in classifier.network.parameters()]
    for n in range(N):
        norm = classifier(x[:, n : n + 1])[..., :2].square().sum()
        for total, g in zip(expected, gradients(classifier, norm), strict=True):
            total += g.abs() / N
    assert_close(found, expected)


@EVERY_NETWORK
def test_few_floats_at_a_time_give_the_same(network, monkeypatch):
    classifier, split = untrained(network)
    whole = fisher_diagonal(classifier, split, 0, samples=N, generators=draws())
    monkeypatch.setattr(sample_gradients, "_FLOATS", 1)
    assert_close(fisher_diagonal(classifier, split, 0, samples=N, generators=draws()), whole)


@EVERY_NETWORK
def test_it_does_not_depend_on_the_chunks_it_is_computed_in(network):
    classifier, split = untrained(network)
    small, large = (fisher_diagonal(classifier, split, 0, samples=40, generators=draws(), chunk=c) for c in (8, 64))
    assert_close(small, large)


@pytest.mark.parametrize("network", [NETWORKS["cnn"], NETWORKS["without normalisation"]], ids=["cnn", "plain"])
def test_squares_while_training_are_those_of_every_example(network):
    classifier, split = untrained(network)
    x, y = chosen(split)
    squares = StepSquares(classifier.network)
    squares.listen()
    losses = torch.nn.functional.cross_entropy(classifier(x)[..., :2].flatten(0, 1), y.flatten(), reduction="none")
    squares.stop()
    (losses.view(K, N).sum() / N).backward()
    squares.collect(torch.full((K,), float(N)))
    expected = [torch.zeros_like(p) for p in classifier.network.parameters()]
    for n in range(N):
        loss = torch.nn.functional.cross_entropy(classifier(x[:, n : n + 1])[:, 0, :2], y[:, n], reduction="sum")
        for total, g in zip(expected, gradients(classifier, loss), strict=True):
            total += g.square() / N
    assert_close(squares.total, expected)


@EVERY_NETWORK
def test_a_gradient_on_memory_is_autograds(network):
    run = digits_run(
        "er", seeds=range(K), memories=(20,), benchmark="split-digits", scenario="task",
        network=make(NetworkChoice, **network),
    )  # fmt: skip
    learner = learner_for(run)
    learner.method.memory.fill(learner.stream.tasks[0])
    classifier, batches = learner.classifier, list(learner.method.memory.everything(8))
    found = Gradients(classifier.network, 2)
    with classifier.trying_out():
        found.record([1], classifier, batches)
        loss = sum((classifier.sample_losses(b) * b.weight).sum() for b in batches) / 20
    expected = gradients(classifier, loss)
    assert_close(found.views(1).values(), expected)
