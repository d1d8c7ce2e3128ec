"""Online EWC: one quadratic, its recursion, and EWC where the two are the same."""

import pytest
import torch

from clcore.events import Diverged
from clcore.methods.parts.importance import fisher_diagonal, normalized
from clcore.methods.parts.vectors import ReplicaVector, weights
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
    "implicit": dict(seeds=range(4), strengths=(0, 1, 30, 1e6)),
    "explicit with Adam, fading": dict(
        seeds=range(4), strengths=(0, 1, 30, 300), optimizer="adam", settings={"online-ewc.decay": 0.7}
    ),
    "unequal streams, normalized": dict(
        seeds=range(16), benchmark="split-digits", scenario="class", options={"order": "seeded"},
        settings={"online-ewc.normalize": "mean", "online-ewc.fisher": "sampled"},
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", INDEPENDENT.values(), ids=INDEPENDENT.keys())
def test_a_replica_is_the_same_alone_and_among_fifteen_others(case):
    assert_independent(method="online-ewc", **case)


@pytest.mark.parametrize("penalty_step", ["implicit", "explicit"])
@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
@pytest.mark.parametrize("scenario", ["task", "domain", "class"])
def test_strength_zero_is_fine_tuning(scenario, optimizer, penalty_step):
    assert_is_fine_tuning(
        "online-ewc", dict(strengths=(0,)), scenario=scenario, optimizer=optimizer,
        settings={"online-ewc.penalty_step": penalty_step},
    )  # fmt: skip


@pytest.mark.parametrize("penalty_step", ["implicit", "explicit"])
def test_without_memory_of_the_past_the_penalty_vanishes(penalty_step):
    """γ = 0: γ also stands in the penalty."""
    assert_is_fine_tuning(
        "online-ewc", dict(strengths=(100,)),
        settings={"online-ewc.decay": 0.0, "online-ewc.penalty_step": penalty_step},
    )  # fmt: skip


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_two_tasks_of_it_are_ewc(optimizer):
    case = dict(seeds=(0, 1), strengths=(3, 100), tasks=2, optimizer=optimizer)
    ewc, online = trained(digits_run("ewc", **case)), trained(digits_run("online-ewc", **case))
    plain = trained(digits_run("finetune", seeds=(0,), tasks=2, optimizer=optimizer))
    for row in range(4):
        assert identical(weights_of(ewc, row), weights_of(online, row))
    assert not identical(weights_of(ewc, 0), weights_of(plain, 0))


def test_three_tasks_of_it_are_not_ewc():
    """One anchor at the latest solution instead of one a task."""
    ewc, online = (trained(digits_run(m, seeds=(0,), strengths=(30,))) for m in ("ewc", "online-ewc"))
    assert not identical(weights_of(ewc, 0), weights_of(online, 0))


def test_with_two_tasks_decay_is_a_weaker_ewc():
    """The penalty in the second task is λγF: a power of two, so the bits agree too."""
    fading = trained(digits_run("online-ewc", strengths=(40,), tasks=2, settings={"online-ewc.decay": 0.5}))
    weaker = trained(digits_run("ewc", strengths=(20,), tasks=2))
    assert identical(weights_of(fading, 0), weights_of(weaker, 0))


@pytest.mark.parametrize("normalize", ["none", "max", "mean"])
def test_importance_is_the_faded_sum_and_the_anchor_the_latest_solution(normalize):
    settings = {"online-ewc.decay": 0.7, "online-ewc.fisher_samples": None, "online-ewc.normalize": normalize}
    learner = learner_for(digits_run("online-ewc", seeds=(0, 1), tasks=4, settings=settings))
    network, springs = learner.classifier.network, learner.method.springs
    alone: list[ReplicaVector] = []
    for task in learner.stream.tasks[:3]:
        learner.learn(task)
        fisher = fisher_diagonal(learner.classifier, task.train, task.index, generators=Generators((0, 1), "any"))
        alone.append(normalized(fisher, normalize, network.parameter_count))
        expected = sum((f * 0.7 ** (len(alone) - s) for s, f in enumerate(alone[1:], 1)), alone[0] * 0.7 ** len(alone))
        for found, own, anchor, p in zip(springs.importance, expected, springs.centre, weights(network), strict=True):
            torch.testing.assert_close(found, own, rtol=1e-5, atol=1e-9)
            assert torch.equal(anchor, p)
    last = springs.centre.copy()
    learner.learn(learner.stream.tasks[3])
    assert identical(last.tensors, springs.centre.tensors)  # nothing would use another one


def test_normalized_importance_counts_every_task_alike():
    g = torch.Generator().manual_seed(0)
    importance = ReplicaVector([torch.rand(3, 5, 4, generator=g), torch.rand(3, 4, generator=g)])
    importance.tensors[0][2] = importance.tensors[1][2] = 0  # a replica whose weights do not matter at all
    largest, mean = normalized(importance, "max", 24), normalized(importance, "mean", 24)
    torch.testing.assert_close(largest.largest(), torch.tensor([1.0, 1.0, 0.0]))
    torch.testing.assert_close(mean.total() / 24, torch.tensor([1.0, 1.0, 0.0]))
    for way in ("max", "mean"):
        for a, b in zip(normalized(importance, way, 24), normalized(importance * 1000.0, way, 24), strict=True):
            torch.testing.assert_close(a, b)
    assert normalized(importance, "none", 24) is importance


def test_it_resumes(tmp_path):
    run = digits_run(
        "online-ewc", seeds=(0, 1), benchmark="split-digits", scenario="task", options={"order": "seeded"},
        settings={"online-ewc.decay": 0.8, "online-ewc.fisher": "sampled"},
    )  # fmt: skip
    assert_resumes(run, tmp_path / "run.pt")


def test_memory_does_not_grow_with_tasks():
    (replica,) = result_of(digits_run("online-ewc", tasks=4))["replicas"]
    parameters = 4 * (65 * 32 + 33 * 32 + 33 * 10)
    assert replica["footprint_per_task"] == [
        {"parameters": parameters, "importance": parameters, "anchors": parameters}
    ] * 4  # fmt: skip


def test_insight():
    insight = trained(digits_run("online-ewc", seeds=(0, 1, 2))).method.insight()
    shapes = {name: tuple(values.shape) for name, values in insight.items()}
    assert shapes == {"importance_by_layer": (3, 3), "importance_by_input": (3, 1, 8, 8), "drift_by_layer": (3, 3)}


def test_springs_that_are_far_too_stiff_for_explicit_steps_diverge_by_name():
    events = []
    run = digits_run(
        "online-ewc", strengths=(1, 1e8), settings={"online-ewc.penalty_step": "explicit"}, epochs=4
    )  # fmt: skip
    result = result_of(run, report=events.append)
    (lost,) = [e for e in events if isinstance(e, Diverged)]
    assert (lost.replica, lost.task, lost.term) == (1, 2, "penalty")
    assert [r["status"] for r in result["replicas"]] == ["finished", "diverged"]


def test_it_forgets_less_than_fine_tuning():
    run = digits_run("online-ewc", seeds=range(3), strengths=(0, 30), hidden=(64, 64), epochs=6)
    found = [r["forgetting"] for r in result_of(run)["replicas"]]
    plain, held = sum(found[0::2]) / 3, sum(found[1::2]) / 3
    assert held < 0.75 * plain
