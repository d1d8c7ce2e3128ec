"""Riemannian Walk: its running Fisher information, its score, and the engine's promises."""

import pytest
import torch

from clcore.events import Diverged
from clcore.methods.parts.importance import StepSquares, fisher_diagonal
from clcore.randomness import Generators
from tests.training_cases import (
    assert_independent,
    assert_is_fine_tuning,
    assert_resumes,
    digits_run,
    identical,
    learner_for,
    result_of,
    trained,
    weights_of,
)

pytestmark = pytest.mark.usefixtures("one_thread")

INDEPENDENT = {
    "implicit": dict(seeds=range(4), strengths=(0, 0.1, 1, 1e6)),
    "explicit with Adam": dict(seeds=range(4), strengths=(0, 0.1, 1, 10), optimizer="adam", hidden=(33, 17), batch_size=7),
    # Replicas are through in the middle of an interval; what they have gathered by then must stand still.
    "unequal streams": dict(
        seeds=range(16), benchmark="split-digits", scenario="class", options={"order": "seeded"},
        settings={"rwalk.interval": 3}, momentum=0.9, lr=0.02,
    ),
    "unequal streams beside replay": dict(
        method="er+rwalk", seeds=range(4), strengths=(0, 1), memories=(0, 30), benchmark="split-digits", scenario="task",
        options={"order": "seeded"}, settings={"rwalk.interval": 4},
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", INDEPENDENT.values(), ids=INDEPENDENT.keys())
def test_a_replica_is_the_same_alone_and_among_fifteen_others(case):
    assert_independent(**{"method": "rwalk", **case})


@pytest.mark.parametrize("penalty_step", ["implicit", "explicit"])
@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
@pytest.mark.parametrize("scenario", ["task", "domain", "class"])
def test_strength_zero_is_fine_tuning(scenario, optimizer, penalty_step):
    settings = {"rwalk.penalty_step": penalty_step}
    assert_is_fine_tuning("rwalk", dict(strengths=(0,)), scenario=scenario, settings=settings, optimizer=optimizer)


def still(interval, batch_size, epochs=1, averaging=0.9, lr=1e-9, tasks=1):
    """A learner whose weights hardly move: 48 examples of one task, so that all steps see the same network."""
    settings = {"rwalk.interval": interval, "rwalk.averaging": averaging}
    run = digits_run(
        "rwalk", seeds=(0, 1), strengths=(0,), tasks=tasks, options={"train_per_task": 48}, batch_size=batch_size,
        epochs=epochs, lr=lr, settings=settings, live_points=0,
    )  # fmt: skip
    return learner_for(run)


def empirical_fisher(learner, task=0):
    split = learner.stream.tasks[task].train
    return fisher_diagonal(
        learner.classifier, split, task, estimator="empirical", generators=Generators(learner.seeds, "any")
    )


@pytest.mark.parametrize("interval, batch_size", [(1, 48), (1, 50), (3, 16), (48, 1), (5, 12)])
def test_the_squares_are_per_sample_whatever_the_mini_batches(interval, batch_size):
    """Also padded ones, single examples, and an interval that the task's end cuts short."""
    learner = still(interval, batch_size, averaging=1.0)
    expected = empirical_fisher(learner)
    learner.learn(learner.stream.tasks[0])
    for found, own in zip(learner.method.fisher, expected, strict=True):
        assert own.max() > 0
        torch.testing.assert_close(found, own, rtol=1e-3, atol=1e-8)


def test_the_fisher_is_a_moving_average_over_intervals():
    learner = still(interval=1, batch_size=48, epochs=3, averaging=0.6)
    expected = empirical_fisher(learner)
    learner.learn(learner.stream.tasks[0])
    for found, own in zip(learner.method.fisher, expected, strict=True):
        torch.testing.assert_close(found, own * (1 - 0.4**3), rtol=1e-3, atol=1e-8)


def test_the_fisher_runs_on_over_tasks():
    """A second task of which nothing enters the average leaves it alone."""
    learner = still(interval=10, batch_size=16, tasks=2)
    learner.learn(learner.stream.tasks[0])
    before = learner.method.fisher.copy()
    learner.method.hyper.averaging = 0.25
    new = empirical_fisher(learner, task=1)
    learner.learn(learner.stream.tasks[1])
    for found, old, own in zip(learner.method.fisher, before, new, strict=True):
        torch.testing.assert_close(found, 0.75 * old + 0.25 * own, rtol=1e-3, atol=1e-8)


def test_the_score_is_the_loss_saved_per_distance_moved():
    """One step of full-batch descent: ΔL = lr·g², Δθ = −lr·g."""
    lr, averaging, damping = 0.5, 0.9, 1e-3
    learner = still(interval=1, batch_size=48, lr=lr)
    fisher, parameters = empirical_fisher(learner), list(learner.classifier.network.parameters())
    x, y = learner.stream.tasks[0].train.gather(torch.arange(48).expand(2, -1))
    log_p = learner.classifier(x).log_softmax(-1)
    loss = -log_p.gather(-1, y.unsqueeze(-1)).mean((1, 2))
    gradients = torch.autograd.grad(loss.sum(), parameters)
    learner.learn(learner.stream.tasks[0])
    for found, f, g in zip(learner.method.earlier_score, fisher, gradients, strict=True):
        assert found.max() > 0
        expected = lr * g * g / (0.5 * averaging * f * (lr * g) ** 2 + damping)
        torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-7)


def test_scores_of_tasks_are_averaged_and_never_negative():
    case = dict(seeds=(0, 1), strengths=(0,), tasks=3, weight_decay=0.05)
    learner, fresh = learner_for(digits_run("rwalk", **case)), learner_for(digits_run("rwalk", **case))
    for task in learner.stream.tasks:
        before = learner.method.earlier_score
        fresh.method.earlier_score = None
        learner.learn(task)
        fresh.learn(task)
        own, found = fresh.method.earlier_score, learner.method.earlier_score
        assert all(torch.all(score >= 0) for score in found) and own.total().min() > 0
        expected = own if before is None else (before + own) * 0.5
        assert identical(found.tensors, expected.tensors)


def test_the_score_starts_anew_with_each_task_and_each_interval():
    learner = trained(digits_run("rwalk", seeds=(0, 1)))
    method = learner.method
    for vector in (method.score, method.path.omega, method.squares.total):
        assert all(torch.all(t == 0) for t in vector)
    assert torch.all(method.taken == 0)
    assert identical(method.start.tensors, list(learner.classifier.network.parameters()))


def test_fisher_and_score_count_alike_and_hold_the_latest_solution():
    learner = trained(digits_run("rwalk", seeds=(0, 1), benchmark="split-digits", scenario="task"))
    method, springs = learner.method, learner.method.springs
    for found, f, s, p in zip(
        springs.importance, method.fisher, method.earlier_score, learner.classifier.network.parameters(), strict=True
    ):
        largest = [v.largest().view(-1, *[1] * (p.dim() - 1)) for v in (method.fisher, method.earlier_score)]
        torch.testing.assert_close(found, f / largest[0] + s / largest[1])
        assert torch.all(found >= 0) and torch.all(found <= 2)
    assert identical(springs.centre.tensors, list(learner.classifier.network.parameters()))
    with torch.no_grad():  # λ, without a half
        for p in learner.classifier.network.parameters():
            p.add_(0.1)
    expected = learner.method.hyper.strength * springs.importance.total() * 0.01
    torch.testing.assert_close(springs.value(), expected, rtol=1e-3, atol=0)


def test_weights_without_a_gradient_have_no_importance():
    run = digits_run("rwalk", seeds=(0,), benchmark="split-digits", scenario="task", weight_decay=0.01)
    learner = trained(run, tasks=1)
    train = learner.stream.tasks[0].train
    x, _ = train.gather(torch.arange(int(train.lengths[0])).unsqueeze(0))
    dead = (x[0].flatten(1) == 0).all(0)
    first, *_, head, bias = learner.method.springs.importance
    assert dead.any() and torch.all(first[0][dead] == 0) and first.sum() > 0
    assert torch.all(head[0][:, 2:] == 0) and head[0][:, :2].sum() > 0 and torch.all(bias[0][2:] == 0)


def test_only_the_tasks_own_passes_are_listened_to():
    learner = learner_for(digits_run("finetune", seeds=(0, 1)))
    x, y = learner.stream.tasks[0].train.gather(torch.arange(8).expand(2, -1))
    squares = StepSquares(learner.classifier.network)

    def collected(after):
        squares.listen()
        with torch.no_grad():
            learner.classifier(x)  # nothing to differentiate
        loss = -learner.classifier(x).log_softmax(-1).gather(-1, y.unsqueeze(-1)).mean((1, 2))
        squares.stop()
        (loss.sum() + after()).backward()
        squares.collect(torch.full((2,), 8.0))
        found = squares.total.copy()
        for total in squares.total:
            total.zero_()
        return found

    quiet, beside = collected(lambda: 0), collected(lambda: learner.classifier(x * 2).square().sum())
    assert identical(quiet.tensors, beside.tensors) and quiet.total().min() > 0


def test_replay_is_part_of_what_is_measured():
    both = trained(digits_run("er+rwalk", seeds=(0,), memories=(50,), strengths=(0,), tasks=2))
    plain = trained(digits_run("er", seeds=(0,), memories=(50,), tasks=2))
    alone = trained(digits_run("rwalk", seeds=(0,), strengths=(0,), tasks=2))
    assert identical(weights_of(both, 0), weights_of(plain, 0))
    assert not torch.equal(both.method.parts["rwalk"].fisher.total(), alone.method.fisher.total())


def test_it_resumes(tmp_path):
    for more in ({}, {"optimizer": "adam", "optimizer_state": "keep"}):
        run = digits_run(
            "rwalk", seeds=(0, 1), benchmark="split-digits", scenario="task", options={"order": "seeded"}, **more
        )
        assert_resumes(run, tmp_path / "run.pt")


def test_memory_does_not_grow_with_tasks():
    learner = learner_for(digits_run("rwalk"))
    parameters = 4 * (65 * 32 + 33 * 32 + 33 * 10)
    start = {"parameters": parameters, "importance": 3 * parameters, "anchors": parameters, "path_integral": parameters}
    assert learner.footprint() == [start]
    (replica,) = result_of(digits_run("rwalk", tasks=4))["replicas"]
    assert replica["footprint_per_task"] == [
        {**start, "importance": 5 * parameters, "anchors": 2 * parameters}
    ] * 4  # fmt: skip


def test_insight():
    insight = trained(digits_run("rwalk", seeds=(0, 1, 2))).method.insight()
    shapes = {name: tuple(values.shape) for name, values in insight.items()}
    assert shapes == {"importance_by_layer": (3, 3), "importance_by_input": (3, 1, 8, 8), "drift_by_layer": (3, 3)}


def test_springs_that_are_far_too_stiff_for_explicit_steps_diverge_by_name():
    events = []
    run = digits_run("rwalk", strengths=(0.01, 1e7), settings={"rwalk.penalty_step": "explicit"}, epochs=4)
    result = result_of(run, report=events.append)
    (lost,) = [e for e in events if isinstance(e, Diverged)]
    assert (lost.replica, lost.task, lost.term) == (1, 2, "penalty")
    assert [r["status"] for r in result["replicas"]] == ["finished", "diverged"]


def test_it_forgets_less_than_fine_tuning():
    run = digits_run("rwalk", seeds=range(3), strengths=(0, 1), hidden=(64, 64), epochs=6)
    found = [r["forgetting"] for r in result_of(run)["replicas"]]
    plain, held = sum(found[0::2]) / 3, sum(found[1::2]) / 3
    assert held < 0.75 * plain
