"""The parts that methods share, against closed forms."""

import pytest
import torch
import torch.nn.functional as F

from clcore.batch import Batch
from clcore.methods.parts.guard import Guard
from clcore.methods.parts.importance import fisher_diagonal
from clcore.methods.parts.springs import Springs
from clcore.methods.parts.vectors import ReplicaVector, weights
from clcore.networks.classifier import Classifier
from clcore.networks.layers import Linear
from clcore.networks.mlp import MLP
from clcore.optimizers import make_optimizer, steps_of
from clcore.randomness import Generators
from clcore.spec import OptimizerChoice
from tests.training_cases import digits_run, learner_for, trained

K = 3


@pytest.fixture
def linear_softmax():
    """An untrained linear-softmax model of the digits: K replicas, and the training examples of its first task."""
    learner = learner_for(digits_run("finetune", seeds=range(K), hidden=(), tasks=2))
    return learner.classifier, learner.stream.tasks[0].train


def everything(split):
    positions = torch.arange(int(split.lengths.min())).expand(K, -1)
    x, y = split.gather(positions)
    return x.flatten(2), y


@pytest.mark.parametrize("estimator", ["exact", "empirical"])
def test_fisher_of_a_linear_softmax_is_the_closed_form(linear_softmax, estimator):
    classifier, split = linear_softmax
    x, y = everything(split)
    p = classifier(x).softmax(-1).detach()
    residual = p * (1 - p) if estimator == "exact" else (p - F.one_hot(y, 10)) ** 2
    n = x.shape[1]
    expected_weight = torch.einsum("kni,knc->kic", x**2, residual) / n
    expected_bias = residual.mean(1)
    weight, bias = fisher_diagonal(classifier, split, 0, estimator=estimator, generators=Generators(range(K), "f"))
    torch.testing.assert_close(weight[..., :10], expected_weight, rtol=1e-4, atol=1e-7)
    torch.testing.assert_close(bias[..., :10], expected_bias, rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize("estimator", ["exact", "empirical"])
def test_fisher_does_not_depend_on_the_chunks_it_is_computed_in(estimator):
    learner = learner_for(digits_run("finetune", seeds=range(K), tasks=2))
    split = learner.stream.tasks[0].train
    found = [
        fisher_diagonal(
            learner.classifier, split, 0, estimator=estimator, samples=50, generators=Generators(range(K), "f"), chunk=c
        )
        for c in (1, 7, 64, 500)
    ]
    for other in found[1:]:
        for a, b in zip(found[0], other, strict=True):
            torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-8)


def test_fisher_by_per_sample_gradients():
    """The outer-product form against one autograd call per example and class."""
    learner = learner_for(digits_run("finetune", seeds=range(K), hidden=(8,), tasks=2))
    split, network = learner.stream.tasks[0].train, learner.classifier.network
    draws = Generators(range(K), "f")
    found = fisher_diagonal(learner.classifier, split, 0, samples=5, generators=draws)
    again = zip(split.lengths, Generators(range(K), "f"), strict=True)
    chosen = torch.stack([torch.randperm(int(n), generator=g)[:5] for n, g in again])
    x, _ = split.gather(chosen)
    expected = [torch.zeros_like(p) for p in network.parameters()]
    for n in range(5):
        log_p = learner.classifier(x[:, n : n + 1]).log_softmax(-1)[:, 0]
        for c in range(10):
            grads = torch.autograd.grad(log_p[:, c].sum(), list(network.parameters()), retain_graph=True)
            for total, g in zip(expected, grads, strict=True):
                share = log_p[:, c].detach().exp().view(-1, *[1] * (g.dim() - 1))
                total += share * g**2 / 5
    for a, b in zip(found, expected, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-8)


def test_sampled_fisher_converges_to_the_exact_one(linear_softmax):
    classifier, split = linear_softmax
    exact = fisher_diagonal(classifier, split, 0, generators=Generators(range(K), "f"))
    draws = Generators(range(K), "f")
    mean = fisher_diagonal(classifier, split, 0, estimator="sampled", generators=draws)
    for _ in range(29):
        mean = mean + fisher_diagonal(classifier, split, 0, estimator="sampled", generators=draws)
    mean = mean * (1 / 30)
    for a, b in zip(mean, exact, strict=True):
        assert (a - b).abs().max() < 0.05 * b.max()


def test_fisher_is_zero_where_nothing_flows():
    """Pixels that are always off, and output units of other tasks."""
    learner = trained(digits_run("finetune", seeds=(0,), benchmark="split-digits", scenario="task"), tasks=1)
    task = learner.stream.tasks[0]
    found = fisher_diagonal(learner.classifier, task.train, 0, generators=Generators((0,), "f")).tensors
    x, _ = task.train.gather(torch.arange(int(task.train.lengths[0])).unsqueeze(0))
    dead = (x[0].flatten(1) == 0).all(0)
    assert dead.any() and torch.all(found[0][0][dead] == 0) and found[0].sum() > 0
    assert torch.all(found[-2][0][:, 2:] == 0) and torch.all(found[-2][0][:, :2] >= 0) and found[-2].sum() > 0


def springs_case(strength, implicit=False):
    network = MLP((6,), 4, (8,), list(Generators(range(K), "w")))
    return network, Springs(network, torch.full((K,), float(strength)), "implicit" if implicit else "explicit", "sgd")


def random_like(network, seed):
    g = torch.Generator().manual_seed(seed)
    return ReplicaVector(torch.rand(p.shape, generator=g) for p in network.parameters())


def move(network, seed):
    g = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for p in network.parameters():
            p.add_(torch.randn(p.shape, generator=g))


def test_merged_springs_pull_like_separate_ones():
    network, springs = springs_case(strength=3.0)
    anchors = []
    for seed in range(4):
        move(network, seed)
        importance = random_like(network, 100 + seed)
        anchors.append((importance, weights(network).copy()))
        springs.add(importance)
    move(network, 9)
    separate = 0.0
    for importance, anchor in anchors:
        offset = weights(network) - anchor
        separate = separate + 1.5 * importance.dot(offset * offset)
    expected = torch.autograd.grad(separate.sum(), list(network.parameters()))
    for p in network.parameters():
        p.grad = None
    springs.add_gradient()
    for p, g in zip(network.parameters(), expected, strict=True):
        torch.testing.assert_close(p.grad, g, rtol=1e-5, atol=1e-5)


def test_a_spring_is_slack_at_its_anchor_and_quadratic_away_from_it():
    network, springs = springs_case(strength=5.0)
    importance = random_like(network, 1)
    springs.add(importance)
    assert torch.all(springs.value() == 0)
    with torch.no_grad():
        network.layers[0].weight[:, 2, 3] += 0.5
    torch.testing.assert_close(springs.value(), 2.5 * importance.tensors[0][:, 2, 3] * 0.25)


def test_implicit_and_explicit_steps_agree_to_first_order():
    errors = []
    for lr in (1e-2, 1e-3):
        moved = []
        for implicit in (False, True):
            network, springs = springs_case(strength=2.0, implicit=implicit)
            springs.add(random_like(network, 1))
            move(network, 2)
            if implicit:
                springs.relax(lr)
            else:
                for p in network.parameters():
                    p.grad = None
                springs.add_gradient()
                with torch.no_grad():
                    for p in network.parameters():
                        p.sub_(p.grad, alpha=lr)
            moved.append(weights(network).copy())
        errors.append(max(float((a - b).abs().max()) for a, b in zip(*moved, strict=True)))
    assert errors[1] < errors[0] / 50  # second order in the step


def test_the_implicit_step_is_finite_at_any_strength():
    network, springs = springs_case(strength=1e7, implicit=True)
    springs.add(random_like(network, 1))
    anchor = weights(network).copy()
    move(network, 2)
    springs.relax(0.1)
    for p, a in zip(network.parameters(), anchor, strict=True):
        assert torch.isfinite(p).all()
        assert (p - a).abs().median() < 1e-4


def test_strength_zero_leaves_every_bit():
    network, springs = springs_case(strength=0.0, implicit=True)
    springs.add(random_like(network, 1))
    move(network, 2)
    before = weights(network).copy()
    springs.relax(0.1)
    assert all(torch.equal(a, b) for a, b in zip(before, network.parameters(), strict=True))


def test_the_guard_holds_what_zero_gradients_do_not():
    for build in (
        lambda ps: torch.optim.SGD(ps, lr=0.1, momentum=0.9, weight_decay=0.1),
        lambda ps: torch.optim.Adam(ps, lr=0.1, weight_decay=0.1),
        lambda ps: torch.optim.AdamW(ps, lr=0.1, weight_decay=0.1),
    ):
        p = torch.nn.Parameter(torch.randn(2, 5))
        optimizer = build([p])
        p.grad = torch.randn(2, 5)
        optimizer.step()  # warm moments
        frozen = torch.zeros(5, dtype=torch.bool)
        frozen[1] = True
        before = p.detach().clone()
        guard = Guard({p: frozen})
        for _ in range(5):
            p.grad = torch.zeros(2, 5)
            optimizer.step()
            moved = not torch.equal(p[:, 1], before[:, 1])
            guard.restore()
            assert moved and torch.equal(p[:, 1], before[:, 1])
        assert not torch.equal(p[:, 0], before[:, 0])


def test_a_mixed_batch_gives_each_sample_its_own_logits():
    """Task scenario: every sample's softmax runs over its own task's units, wherever it stands in the batch."""
    run = digits_run("finetune", seeds=range(K), benchmark="split-digits", scenario="task")
    learner = learner_for(run)
    stream, classifier = learner.stream, learner.classifier
    parts = []
    for task in (0, 3, 1):
        x, y = stream.tasks[task].train.gather(torch.arange(2).expand(K, 2))
        ids = stream.tasks[task].train.ids(torch.arange(2).expand(K, 2))
        w = torch.ones(K, 2)
        parts.append(Batch(x, y, w, w.sum(1), task, ids))
    separate = torch.cat([classifier.sample_losses(p) for p in parts], 1)
    mixed = Batch(
        torch.cat([p.x for p in parts], 1), torch.cat([p.y for p in parts], 1), torch.ones(K, 6), torch.full((K,), 6.0),
        torch.tensor([0, 0, 3, 3, 1, 1]).expand(K, 6), torch.cat([p.ids for p in parts], 1),
    )  # fmt: skip
    torch.testing.assert_close(classifier.sample_losses(mixed), separate)
    logits = classifier(mixed.x)
    for position, task in enumerate((0, 0, 3, 3, 1, 1)):
        own = logits[:, position, 2 * task : 2 * task + 2]
        expected = F.cross_entropy(own, mixed.y[:, position] - 2 * task, reduction="none")
        torch.testing.assert_close(separate[:, position], expected)


@pytest.mark.parametrize("active, units", [("seen", 6), ("all", 10), ("current", 2)])
def test_class_scenario_softmax_runs_over_the_active_classes(active, units):
    learner = learner_for(digits_run("finetune", benchmark="split-digits", scenario="class", active_classes=active))
    learner.classifier.learning = 2
    assert int(learner.classifier.training_units(2).sum()) == units
    assert int(learner.classifier.predicted_units(0, 3).sum()) == 6


def test_layers_start_as_torchs_do():
    layer = Linear(7, 5, [torch.Generator().manual_seed(4)])
    torch.manual_seed(4)
    reference = torch.nn.Linear(7, 5)
    assert torch.equal(layer.weight[0, :7, :5], reference.weight.T)
    assert torch.equal(layer.bias[0, :5], reference.bias)


def test_dead_units_stay_dead_and_are_not_counted():
    learner = trained(digits_run("ewc", seeds=(0, 1), hidden=(33, 17), optimizer="adam", weight_decay=0.01))
    network = learner.classifier.network
    assert network.parameter_count == 65 * 33 + 34 * 17 + 18 * 10
    second = network.layers[1]
    assert second.width > 17
    assert torch.all(second.weight[..., 17:] == 0) and torch.all(second.bias[..., 17:] == 0)
    assert torch.all(network.layers[2].weight[:, 17:] == 0)


def test_a_classifier_of_noncontiguous_groups_masks():
    groups = torch.tensor([[1, 0, 1, 0], [0, 1, 0, 1]], dtype=torch.bool)
    network = MLP((3,), 4, (), list(Generators((0,), "w")))
    classifier = Classifier(network, groups, "task")
    x, y = torch.randn(1, 2, 3), torch.tensor([[0, 2]])
    batch = Batch(x, y, torch.ones(1, 2), torch.full((1,), 2.0), 0, y)
    expected = F.cross_entropy(network(x)[0][:, [0, 2]], torch.tensor([0, 1]), reduction="none")
    torch.testing.assert_close(classifier.sample_losses(batch)[0], expected)


def test_plain_sgd_is_torchs_sgd_bit_for_bit():
    g = torch.Generator().manual_seed(0)
    start = [torch.randn(shape, generator=g) for shape in ((3, 7, 5), (3, 5))]
    moved = []
    for plain in (True, False):
        parameters = [torch.nn.Parameter(t.clone()) for t in start]
        own = make_optimizer(OptimizerChoice(lr=0.3), parameters)
        step = steps_of([own])[0] if plain else torch.optim.SGD(parameters, lr=0.3).step
        assert isinstance(own, torch.optim.SGD)
        draws = torch.Generator().manual_seed(1)
        for _ in range(5):
            for p in parameters:
                p.grad = torch.randn(p.shape, generator=draws)
            step()
        moved.append(parameters)
    assert all(torch.equal(a, b) for a, b in zip(*moved, strict=True))
    assert not torch.equal(moved[0][0], start[0])
