"""Synaptic Intelligence: the invariants of its path integral in whole runs, and the engine's promises."""

import pytest
import torch

from clcore.events import Diverged
from clcore.methods.parts.vectors import weights
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
    "explicit": dict(seeds=range(4), strengths=(0, 0.01, 0.1, 1), settings={"si.penalty_step": "explicit"}),
    "Adam": dict(seeds=range(4), strengths=(0, 0.1, 1, 10), optimizer="adam", hidden=(33, 17), batch_size=7),
    "momentum and decay": dict(seeds=range(4), strengths=(0, 0.1, 1, 10), momentum=0.9, weight_decay=1e-3, lr=0.02),
    # Seeded class order: replicas are through at different steps, and their diaries must stop there.
    "unequal streams": dict(seeds=range(16), benchmark="split-digits", scenario="class", options={"order": "seeded"}),
    "unequal streams, momentum": dict(
        seeds=range(16), benchmark="split-digits", scenario="task", options={"order": "seeded"}, momentum=0.9, lr=0.02,
        settings={"si.penalty_step": "explicit"},
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", INDEPENDENT.values(), ids=INDEPENDENT.keys())
def test_a_replica_is_the_same_alone_and_among_fifteen_others(case):
    assert_independent(method="si", **case)


@pytest.mark.parametrize("penalty_step", ["implicit", "explicit"])
@pytest.mark.parametrize(
    "optimizer", [{}, {"optimizer": "adam"}, {"weight_decay": 1e-2, "momentum": 0.9}], ids=["sgd", "adam", "decay"]
)
@pytest.mark.parametrize("scenario", ["task", "domain", "class"])
def test_strength_zero_is_fine_tuning(scenario, optimizer, penalty_step):
    settings = {"si.penalty_step": penalty_step}
    assert_is_fine_tuning("si", dict(strengths=(0,)), scenario=scenario, settings=settings, **optimizer)


def task_loss(learner, task):
    """(K,) mean loss over the task's training examples."""
    x, y = task.train.gather(torch.arange(int(task.train.lengths[0])).expand(len(learner.seeds), -1))
    log_p = learner.classifier(x).detach().log_softmax(-1)
    return -log_p.gather(-1, y.unsqueeze(-1)).squeeze(-1).mean(1)


@pytest.mark.parametrize("penalty_step", ["implicit", "explicit"])
def test_the_integrals_of_a_path_sum_to_the_decrease_of_the_tasks_loss(penalty_step):
    """Full batches and small steps. In the second task the springs pull, but their energy is not the task's loss."""
    settings = {"si.penalty_step": penalty_step, "si.clamp": False}
    run = digits_run(
        "si", seeds=(0, 1), strengths=(0.5,), tasks=2, options={"train_per_task": 64}, batch_size=64, epochs=300,
        lr=0.02, settings=settings, live_points=0,
    )  # fmt: skip
    learner = learner_for(run)
    earlier = [torch.zeros_like(p) for p in learner.classifier.network.parameters()]
    for task in learner.stream.tasks:
        before, start = task_loss(learner, task), weights(learner.classifier.network).copy()
        learner.learn(task)
        drop = before - task_loss(learner, task)
        moved = [(p.detach() - s) for p, s in zip(learner.classifier.network.parameters(), start, strict=True)]
        importance = learner.method.springs.importance
        saved = sum(
            ((new - old).double() * (m.double() ** 2 + 0.1)).flatten(1).sum(1)
            for new, old, m in zip(importance, earlier, moved, strict=True)
        )
        assert torch.all(drop > 0.3)
        torch.testing.assert_close(saved.float(), drop, rtol=0.02, atol=0)
        earlier = importance.copy().tensors


def test_importance_is_never_negative_unless_asked_for():
    """Decay moves weights against the gradient; on plain descent ω cannot be negative."""
    case = dict(seeds=(0, 1), strengths=(1,), weight_decay=0.05, tasks=2)
    clamped = trained(digits_run("si", **case)).method.springs.importance
    free = trained(digits_run("si", settings={"si.clamp": False}, **case)).method.springs.importance
    assert min(float(t.min()) for t in free) < 0
    assert min(float(t.min()) for t in clamped) == 0 and clamped.total().min() > 0


def test_plain_descent_on_one_task_needs_no_clamp():
    (weight, *_) = trained(digits_run("si", settings={"si.clamp": False}), tasks=1).method.springs.importance
    assert weight.min() >= 0 and weight.max() > 0


def test_weights_without_a_gradient_have_no_importance():
    """Pixels that are always off, and output units of other tasks, also under decay that moves everything."""
    run = digits_run(
        "si", seeds=(0,), benchmark="split-digits", scenario="task", weight_decay=0.01, momentum=0.9, lr=0.02
    )
    learner = trained(run, tasks=1)
    train = learner.stream.tasks[0].train
    x, _ = train.gather(torch.arange(int(train.lengths[0])).unsqueeze(0))
    dead = (x[0].flatten(1) == 0).all(0)
    first, *_, head, bias = learner.method.springs.importance
    assert dead.any() and torch.all(first[0][dead] == 0) and first.sum() > 0
    assert torch.all(head[0][:, 2:] == 0) and head[0][:, :2].sum() > 0 and torch.all(bias[0][2:] == 0)


def test_the_penalty_is_the_papers():
    """c·ΣΩ(θ−θ̃)², without a half; 0 with a zero gradient at θ̃, and quadratic away from it."""
    learner = trained(digits_run("si", strengths=(3,), settings={"si.penalty_step": "explicit"}), tasks=1)
    springs, network = learner.method.springs, learner.classifier.network
    assert springs.terms() and torch.all(springs.value() == 0)
    for p in network.parameters():
        p.grad = None
    springs.add_gradient()
    assert all(torch.all(p.grad == 0) for p in network.parameters())
    for size in (0.1, 0.2):
        with torch.no_grad():
            for p, anchor in zip(network.parameters(), springs.centre, strict=True):
                p.copy_(anchor + size)
        torch.testing.assert_close(springs.value(), 3 * springs.importance.total() * size**2, rtol=1e-4, atol=0)


def test_damping_bounds_importance():
    weak, strong = (
        trained(digits_run("si", settings={"si.damping": xi}), tasks=1).method.springs.importance for xi in (1.0, 1e-3)
    )
    assert torch.all(strong.largest() > 10 * weak.largest())
    assert all(bool(torch.isfinite(t).all()) for t in strong)


@pytest.mark.parametrize("penalty_step", ["implicit", "explicit"])
def test_replayed_examples_belong_to_the_task(penalty_step):
    """With slack springs, the diary beside replay is the one of a path that replay has shaped: −g·Δθ = lr·g² ≥ 0."""
    settings = {"si.clamp": False, "si.penalty_step": penalty_step}
    case = dict(seeds=(0,), memories=(50,), strengths=(0,), settings=settings, tasks=2)
    both, alone = trained(digits_run("er+si", **case)), trained(digits_run("si", **case))
    assert identical(weights_of(both, 0), weights_of(trained(digits_run("er", memories=(50,), tasks=2)), 0))
    found = both.method.parts["si"].springs.importance
    assert min(float(t.min()) for t in found) >= 0
    assert not torch.equal(found.total(), alone.method.springs.importance.total())


def test_it_resumes(tmp_path):
    for more in ({}, {"optimizer": "adam", "optimizer_state": "keep"}):
        run = digits_run(
            "si", seeds=(0, 1), benchmark="split-digits", scenario="task", options={"order": "seeded"}, **more
        )
        assert_resumes(run, tmp_path / "run.pt")


def test_memory_does_not_grow_with_tasks():
    learner = learner_for(digits_run("si"))
    parameters = 4 * (65 * 32 + 33 * 32 + 33 * 10)
    assert learner.footprint() == [{"parameters": parameters, "path_integral": parameters}]
    (replica,) = result_of(digits_run("si", tasks=4))["replicas"]
    kinds = ("parameters", "importance", "anchors", "path_integral")
    assert replica["footprint_per_task"] == [dict.fromkeys(kinds, parameters)] * 4


def test_insight():
    insight = trained(digits_run("si", seeds=(0, 1, 2))).method.insight()
    shapes = {name: tuple(values.shape) for name, values in insight.items()}
    assert shapes == {"importance_by_layer": (3, 3), "importance_by_input": (3, 1, 8, 8), "drift_by_layer": (3, 3)}


def test_springs_that_are_far_too_stiff_for_explicit_steps_diverge_by_name():
    events = []
    run = digits_run("si", strengths=(0.01, 1e8), settings={"si.penalty_step": "explicit"}, epochs=4)
    result = result_of(run, report=events.append)
    (lost,) = [e for e in events if isinstance(e, Diverged)]
    assert (lost.replica, lost.task, lost.term) == (1, 2, "penalty")
    assert [r["status"] for r in result["replicas"]] == ["finished", "diverged"]
    assert result["replicas"][1]["accuracy_matrix"][2] == [None] * 3


def test_it_forgets_less_than_fine_tuning():
    run = digits_run("si", seeds=range(3), strengths=(0, 0.3), hidden=(64, 64), epochs=6)
    found = [r["forgetting"] for r in result_of(run)["replicas"]]
    plain, held = sum(found[0::2]) / 3, sum(found[1::2]) / 3
    assert held < 0.75 * plain
