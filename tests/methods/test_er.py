"""Experience replay with every policy of the memory."""

import pytest
import torch

from tests.training_cases import (
    assert_independent,
    assert_is_fine_tuning,
    assert_resumes,
    digits_run,
    learner_for,
    result_of,
    trained,
)

pytestmark = pytest.mark.usefixtures("one_thread")
POLICIES = ("reservoir", "balanced", "ring", "herding", "k-center")
ONLINE = ("reservoir", "balanced", "ring")


@pytest.mark.parametrize("policy", POLICIES[1:])
@pytest.mark.parametrize(
    "case",
    [
        dict(hidden=(33, 17)),
        dict(benchmark="split-digits", scenario="class", options={"order": "seeded"}),
    ],
    ids=["odd widths", "unequal streams"],
)
def test_a_replica_is_the_same_alone_and_among_others(policy, case):
    assert_independent(method="er", seeds=range(4), memories=(0, 7, 50, 300), settings={"er.policy": policy}, **case)


@pytest.mark.parametrize("policy", ONLINE)
def test_a_replica_that_fills_its_memory_online_is_the_same_alone(policy):
    settings = {"er.policy": policy, "er.memory_update": "online"}
    stream = dict(benchmark="split-digits", scenario="task", options={"order": "seeded"})
    assert_independent(method="er", seeds=range(4), memories=(0, 7, 50, 300), settings=settings, epochs=2, **stream)


@pytest.mark.parametrize("policy", POLICIES)
def test_without_memory_it_is_fine_tuning(policy):
    assert_is_fine_tuning("er", dict(memories=(0,)), settings={"er.policy": policy})


@pytest.mark.parametrize("policy", ["ring", "herding"])
def test_it_resumes(policy, tmp_path):
    run = digits_run(
        "er", seeds=(0, 1), memories=(30,), benchmark="split-digits", scenario="task", settings={"er.policy": policy}
    )
    assert_resumes(run, tmp_path / "checkpoint.pt")


@pytest.mark.parametrize("policy", ONLINE)
def test_an_online_memory_holds_no_example_twice_after_many_passes(policy):
    settings = {"er.policy": policy, "er.memory_update": "online"}
    learner = learner_for(digits_run("er", memories=(500,), epochs=3, tasks=2, settings=settings))
    memory = learner.method.memory
    for task in learner.stream.tasks:
        learner.learn(task)
        assert torch.all(memory.counts <= 500)
    held = list(zip(memory.tasks[0].tolist(), memory.ids[0].tolist(), strict=True))[: int(memory.counts[0])]
    assert len(held) == len(set(held)) == 500


@pytest.mark.parametrize("policy", POLICIES)
def test_footprint_and_insight(policy):
    learner = trained(digits_run("er", seeds=(0,), memories=(0, 60), settings={"er.policy": policy}))
    assert [f["memory_samples"] for f in learner.footprint()] == [0, 60 * (64 + 8)]
    insight = learner.method.insight()
    assert insight["memory_by_class"].shape == (2, 10) and insight["memory_by_task"].shape == (2, 3)
    assert insight["memory_by_class"].sum(1).tolist() == insight["memory_by_task"].sum(1).tolist() == [0, 60]
    examples = insight["memory_examples"]
    assert examples.shape == (2, 16, 1, 8, 8) and not examples[0].any() and (examples[1].flatten(1).amax(1) > 0.5).all()
    by_class = insight["memory_by_class"][1]
    if policy == "balanced":
        assert by_class.max() - by_class.min() <= 1
    elif policy != "reservoir":
        assert by_class.max() - by_class.min() <= 3


@pytest.mark.parametrize("policy", POLICIES)
def test_it_forgets_less_than_fine_tuning(policy):
    case = dict(seeds=(0, 1), memories=(100,), epochs=4, tasks=3, live_points=0)
    plain = [r["forgetting"] for r in result_of(digits_run("finetune", **case))["replicas"]]
    ours = [r["forgetting"] for r in result_of(digits_run("er", settings={"er.policy": policy}, **case))["replicas"]]
    assert max(ours) < 0.75 * min(plain)
