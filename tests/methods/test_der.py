"""DER: the logits that are stored, and the error that recalls them."""

import pytest
import torch

from clcore import metrics, registry
from clcore.batch import Batch
from tests.training_cases import (
    assert_independent,
    assert_is_fine_tuning,
    assert_resumes,
    digits_run,
    identical,
    learner_for,
    result_of,
    trained,
    trained_unaware,
    weights_of,
)

pytestmark = pytest.mark.usefixtures("one_thread")


def split_digits(**case):
    return {"benchmark": "split-digits", "scenario": "class", **case}



@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
@pytest.mark.parametrize("scenario", ["task", "domain", "class"])
def test_strength_zero_is_fine_tuning_though_the_memory_fills(scenario, optimizer):
    for more in ({}, {"weight_decay": 1e-2}):
        assert_is_fine_tuning("der", dict(strengths=(0,)), scenario=scenario, optimizer=optimizer, **more)
    run = digits_run("der", strengths=(0,), **split_digits(scenario=scenario))
    assert trained(run, tasks=1).method.memory.counts.tolist() == [200]


@pytest.mark.parametrize("scenario", ["task", "domain", "class"])
def test_without_a_memory_it_is_fine_tuning(scenario):
    assert_is_fine_tuning("der", dict(strengths=(1,), memories=(0,)), scenario=scenario, weight_decay=1e-2)


def test_strength_zero_is_fine_tuning_also_beside_replicas_that_recall():
    case = split_digits(scenario="task", weight_decay=1e-2)
    plain = trained(digits_run("finetune", **case))
    mixed = trained(digits_run("der", strengths=(0, 1), **case))
    assert identical(weights_of(plain, 0), weights_of(mixed, 0))
    assert not identical(weights_of(plain, 0), weights_of(mixed, 1))


@pytest.mark.parametrize("epochs", [1, 3])
def test_the_stored_logits_are_those_of_the_step_in_which_the_example_last_passed(epochs):
    """Over two tasks and hundreds of insertions; in one pass it is the step that inserted it."""
    case = split_digits(epochs=epochs, options={"order": "seeded"})
    learner = learner_for(digits_run("der", seeds=(0, 1), strengths=(1,), memories=(25,), **case))
    method, said = learner.method, {}
    after_step = method.after_step

    def noting(batch, lr):
        for k in range(2):
            for i, weight, logits in zip(batch.ids[k], batch.weight[k], batch.kept[0][k], strict=True):
                if weight:
                    said[k, batch.task, int(i)] = logits.detach().clone()
        after_step(batch, lr)

    method.after_step = noting
    for task in learner.stream.tasks[:2]:
        learner.learn(task)
    memory = method.memory
    assert memory.counts.tolist() == [25, 25] and not memory.fields["logits"].requires_grad
    for k in range(2):
        for slot in range(25):
            key = (k, int(memory.tasks[k, slot]), int(memory.ids[k, slot]))
            assert torch.equal(memory.fields["logits"][k, slot], said[key])


def test_before_the_first_update_there_is_nothing_to_correct():
    """A freshly inserted example's error is 0 until the weights move: here the step size is as good as 0."""
    learner = learner_for(digits_run("der", strengths=(1,), memories=(16,), lr=1e-30, **split_digits()))
    method, task = learner.method, learner.stream.tasks[0]
    learner.learn(task)
    recalled = method.memory.draw(16)
    batch = Batch(recalled.x, recalled.y, recalled.weight, recalled.count, 0, recalled.ids).with_replay(recalled)
    assert float(method.terms(batch)["logits"].detach().abs()) < 1e-12


def test_the_error_is_the_mean_over_batch_and_units():
    for scenario in ("class", "task"):
        learner = trained(digits_run("der", strengths=(3,), memories=(40,), **split_digits(scenario=scenario)), tasks=3)
        recalled = learner.method.memory.draw(16)
        batch = Batch(recalled.x, recalled.y, recalled.weight, recalled.count, 2, recalled.ids).with_replay(recalled)
        squares = (learner.classifier(recalled.x) - recalled.stored["logits"])[0].square()
        if scenario == "task":
            units = [slice(2 * t, 2 * t + 2) for t in recalled.task[0].tolist()]
            squares = torch.stack([row[own] for row, own in zip(squares, units, strict=True)])
        torch.testing.assert_close(learner.method.terms(batch)["logits"][0], 3 * squares.mean())


def test_in_the_task_scenario_heads_to_come_stay_as_they_are():
    learner = learner_for(digits_run("der", strengths=(5,), memories=(40,), **split_digits(scenario="task")))
    head = learner.classifier.network.head.weight
    before = head.detach().clone()
    for task in learner.stream.tasks[:2]:
        learner.learn(task)
    assert torch.equal(head[..., 4:], before[..., 4:])
    assert not torch.equal(head[..., :2], before[..., :2])


def test_labels_of_what_is_replayed_are_not_used():
    """The task loss is the current examples' alone."""
    learner = trained(digits_run("der", strengths=(1,), memories=(40,), **split_digits()), tasks=1)
    recalled = learner.method.memory.draw(16)
    batch = Batch(recalled.x, recalled.y, recalled.weight, recalled.count, 0, recalled.ids)
    alone, beside = learner.method.task_loss(batch), learner.method.task_loss(batch.with_replay(recalled))
    assert torch.equal(alone, beside)


def test_it_never_looks_at_a_boundary():
    assert not registry.methods()["der"].needs_boundaries
    for more in ({}, split_digits(active_classes="all")):
        case = dict(seeds=(0, 1), strengths=(1,), memories=(40,), **more)
        told, untold = trained(digits_run("der", **case)), trained_unaware(digits_run("der", **case))
        for row in range(2):
            assert identical(weights_of(told, row), weights_of(untold, row))


@pytest.mark.parametrize(
    "case",
    [
        split_digits(seeds=range(2), strengths=(0, 1), memories=(0, 7, 50, 300)),
        split_digits(
            seeds=range(2), strengths=(0, 1), memories=(0, 7, 50, 99), options={"order": "seeded"}, optimizer="adam"
        ),
        split_digits(
            seeds=range(2), strengths=(0, 1), memories=(0, 7, 50, 99), scenario="task", weight_decay=1e-2, hidden=(33, 17),
            batch_size=7, options={"order": "seeded"}, epochs=2,
        ),
        dict(seeds=range(2), strengths=(0, 1), memories=(0, 7, 50, 300)),
    ],
    ids=["class", "unequal streams with Adam", "unequal streams, task", "domain"],
)  # fmt: skip
def test_a_replica_is_the_same_alone_and_among_fifteen_others(case):
    assert_independent(method="der", **case)


def test_interrupted_and_resumed_equals_never_interrupted(tmp_path):
    run = digits_run("der", seeds=(0, 1), strengths=(0, 1), memories=(30,), **split_digits(scenario="task"))
    assert_resumes(run, tmp_path / "checkpoint")


def test_examples_and_logits_are_charged_and_shown():
    learner = trained(digits_run("der", strengths=(1,), memories=(0, 30), **split_digits()))
    sizes = {kind: size.tolist() for kind, size in learner.method.footprint().items()}
    assert sizes == {"memory_samples": [0, 30 * 72], "memory_logits": [0, 30 * 40]}
    shapes = {name: tuple(values.shape) for name, values in learner.method.insight().items()}
    assert shapes == {
        "memory_by_class": (2, 10), "memory_by_task": (2, 5), "memory_examples": (2, 16, 1, 8, 8),
        "memory_examples_unit": (2, 16)
    }  # fmt: skip


def test_it_forgets_less_than_fine_tuning():
    case = dict(seeds=(0, 1), memories=(100,), epochs=3, hidden=(50,))
    rows = result_of(digits_run("der", strengths=(0, 0.5), **case))["replicas"]
    bwt = [metrics.bwt(r["accuracy_matrix"]) for r in rows]
    assert bwt[1] > bwt[0] + 0.1 and bwt[3] > bwt[2] + 0.1
