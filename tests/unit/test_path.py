"""The path integral against closed forms, and what springs note of where they were."""

import pytest
import torch
from torch import nn

from clcore.methods.parts import pictures
from clcore.methods.parts.path import PathIntegral
from clcore.methods.parts.springs import Springs
from clcore.methods.parts.vectors import ReplicaVector, weights
from tests.training_cases import digits_run, learner_for, trained

pytestmark = pytest.mark.usefixtures("one_thread")
K = 3


class Points(nn.Module):
    """K points in the plane of the tests' loss functions, as one parameter (K, n)."""

    def __init__(self, values):
        super().__init__()
        self.theta = nn.Parameter(torch.as_tensor(values, dtype=torch.float32).clone())

    parameter_count = 4


def points(seed=0, n=4):
    return Points(torch.randn(K, n, generator=torch.Generator().manual_seed(seed)))


def springs_of(network, strength, step):
    springs = Springs(network, torch.full((K,), float(strength)), step, "sgd")
    springs.replace(ReplicaVector([torch.rand(K, 4, generator=torch.Generator().manual_seed(7)) * 3]))
    return springs


def step(network, path, springs, g, change):
    """One step as the loop takes it: gradients, the springs' pull, the seams around a `change` of the weights."""
    network.theta.grad = g.clone()
    if springs.terms():
        springs.add_gradient()
    path.depart()
    with torch.no_grad():
        change(network.theta)
    springs.relax(0.1)
    path.arrive(springs)


def test_the_importance_in_a_quadratic_bowl_is_half_its_curvature():
    """½aθ² followed to its minimum (research: why SI's penalty has no ½); stopped early it is ½a(θ0+θT)/(θ0−θT)."""
    a = torch.tensor([[0.5, 1.0, 2.0, 8.0]]).expand(K, -1)
    network, lr = points(), 0.002
    path, slack = PathIntegral(network), Springs(network, torch.zeros(K), "explicit", "sgd")
    start = weights(network).copy()
    for n in range(1, 12_001):
        step(network, path, slack, a * network.theta.detach(), lambda theta: theta.sub_(theta.grad, alpha=lr))
        if n == 100:
            (early,) = path.importance(start, 1e-12)
            before, now = start.tensors[0], network.theta.detach()
            torch.testing.assert_close(early, 0.5 * a * (before + now) / (before - now), rtol=0.02, atol=0)
    (found,) = path.importance(start, 1e-12)
    torch.testing.assert_close(found, a / 2, rtol=0.01, atol=0)


@pytest.mark.parametrize("penalty_step", ["explicit", "implicit"])
def test_the_task_gradient_and_the_whole_movement_enter(penalty_step):
    network = points()
    springs, path = springs_of(network, 5.0, penalty_step), PathIntegral(network)
    expected = torch.zeros(K, 4)
    draws = torch.Generator().manual_seed(1)
    for _ in range(5):
        g, move = torch.randn(K, 4, generator=draws), torch.randn(K, 4, generator=draws)
        before = network.theta.detach().clone()
        step(network, path, springs, g, lambda theta, move=move: theta.add_(move))
        if penalty_step == "implicit":
            assert not torch.allclose(network.theta.detach() - before, move, atol=0.1)
        else:
            assert not torch.allclose(network.theta.grad, g, atol=0.1) or torch.equal(before, springs.centre.tensors[0])
        expected -= g * (network.theta.detach() - before)
    torch.testing.assert_close(path.omega.tensors[0], expected, rtol=1e-4, atol=1e-4)


def test_springs_of_strength_zero_leave_every_bit_of_the_integral():
    integrals = []
    for strength in (None, 0.0):
        network = points()
        path = PathIntegral(network)
        springs = (
            Springs(network, torch.zeros(K), "explicit", "sgd") if strength is None
            else springs_of(network, strength, "explicit")
        )  # fmt: skip
        draws = torch.Generator().manual_seed(1)
        for _ in range(5):
            step(network, path, springs, torch.randn(K, 4, generator=draws), lambda theta: theta.sub_(theta.grad * 0.1))
        integrals.append(path.omega.tensors[0])
    assert torch.equal(*integrals) and integrals[0].abs().min() > 0


def test_plain_descent_never_gives_a_negative_integral():
    """ω = lr·g²: the sign survives rounding, also where the step is smaller than the weight's last bit."""
    network = points()
    slack, path = Springs(network, torch.zeros(K), "explicit", "sgd"), PathIntegral(network)
    draws = torch.Generator().manual_seed(2)
    squares = torch.zeros(K, 4)
    for scale in (1.0, 1e-3, 1e-6, 1e-9):
        for _ in range(20):
            g = torch.randn(K, 4, generator=draws) * scale
            squares += 0.1 * g * g
            step(network, path, slack, g, lambda theta: theta.sub_(theta.grad, alpha=0.1))
            assert torch.all(path.omega.tensors[0] >= 0)
    torch.testing.assert_close(path.omega.tensors[0], squares, rtol=1e-4, atol=1e-6)


def test_a_parameter_without_a_gradient_has_no_integral():
    network = points()
    path, slack = PathIntegral(network), Springs(network, torch.zeros(K), "explicit", "sgd")
    path.depart()
    with torch.no_grad():
        network.theta.add_(1)
    path.arrive(slack)
    assert torch.all(path.omega.tensors[0] == 0)


def test_a_new_path_starts_at_zero():
    network = points()
    path, slack = PathIntegral(network), Springs(network, torch.zeros(K), "explicit", "sgd")
    step(network, path, slack, torch.ones(K, 4), lambda theta: theta.sub_(1))
    assert torch.all(path.omega.tensors[0] > 0)
    path.reset()
    assert torch.all(path.omega.tensors[0] == 0)


@pytest.mark.parametrize("method", ["ewc", "l2", "online-ewc", "si", "rwalk", "mas", "mas-local"])
def test_drift_is_measured_from_the_anchors_that_held_during_the_task(method):
    run = digits_run(method, seeds=(0, 1), tasks=3)
    learner = learner_for(run)
    network = learner.classifier.network
    for task in learner.stream.tasks:
        anchors = getattr(learner.method.springs.centre, "copy", lambda: None)()
        if method == "si" and anchors is None:
            anchors = weights(network).copy()  # its first path starts at the initial weights
        learner.learn(task)
        insight = learner.method.insight()
        if anchors is None:
            assert "drift_by_layer" not in insight
        else:
            expected = pictures.drift_by_layer(network, anchors)
            assert expected.shape == (2, 3) and torch.all(expected > 0)
            assert torch.equal(insight["drift_by_layer"], expected)


def test_drift_is_charged_nothing_and_stiff_springs_have_little_of_it():
    learner = trained(digits_run("ewc", seeds=(0,), strengths=(0, 1000)))
    drift = learner.method.insight()["drift_by_layer"]
    assert torch.all(drift[1] < drift[0])
    assert set(learner.method.footprint()) == {"importance", "anchors"}
    assert set(trained(digits_run("l2", seeds=(0,))).method.footprint()) == {"anchors"}
