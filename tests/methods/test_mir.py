"""MIR: what is retrieved, and that retrieving leaves the network alone."""

import pytest
import torch

from clcore import metrics
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
ONLINE = {"mir.memory_update": "online"}


def split_digits(**case):
    return {"benchmark": "split-digits", "scenario": "class", **case}


def at_second_task(**case):
    """A learner after one task, within the second, and a mini-batch of it."""
    run = digits_run("mir", **{**split_digits(seeds=(0, 1), memories=(60,)), **case})
    learner = trained(run, tasks=1)
    task = learner.stream.tasks[1]
    learner.classifier.learning = 1
    ids = task.train.indices[:, :16]
    x, y = learner.stream.gather(1, ids)
    weight = torch.ones(y.shape)
    return learner, Batch(x, y, weight, weight.sum(1), 1, ids, (0,) * len(y))


def step_by_hand(learner, batch, row, lr):
    """One replica's loss on `batch` differentiated by itself, and its parameters after a plain step."""
    parameters = list(learner.classifier.network.parameters())
    losses = (learner.classifier.sample_losses(batch) * batch.weight)[row].mean()
    gradients = torch.autograd.grad(losses, parameters)
    return [p.detach() - lr * g for p, g in zip(parameters, gradients, strict=True)]


def test_the_scores_are_the_rise_of_the_loss_after_a_plain_step():
    """Whatever the run's optimizer: here Adam with decay. Checked against a step that is really taken."""
    learner, batch = at_second_task(optimizer="adam", weight_decay=1e-2, settings={"mir.virtual_lr": 0.2})
    method, classifier = learner.method, learner.classifier
    candidates = method.memory.draw(24)
    scores = method.interference(batch, candidates)
    before = classifier.sample_losses(candidates).detach()
    moved = step_by_hand(learner, batch, 0, 0.2)
    with torch.no_grad():
        for p, new in zip(classifier.network.parameters(), moved, strict=True):
            p.copy_(new)
    after = classifier.sample_losses(candidates).detach()
    torch.testing.assert_close(scores[0], (after - before)[0])
    assert scores[0].abs().max() > 0.01


def test_a_virtual_step_of_size_zero_raises_no_loss():
    learner, batch = at_second_task(settings={"mir.virtual_lr": 0.0})
    scores = learner.method.interference(batch, learner.method.memory.draw(24))
    assert bool((scores == 0).all())


def test_none_means_the_runs_learning_rate():
    scores = []
    for virtual_lr in (None, 0.1, 0.3):
        learner, batch = at_second_task(lr=0.1, settings={"mir.virtual_lr": virtual_lr})
        scores.append(learner.method.interference(batch, learner.method.memory.draw(24)))
    assert torch.equal(scores[0], scores[1]) and not torch.equal(scores[0], scores[2])


def test_the_most_interfered_candidates_are_retrieved_and_nothing_is_touched():
    learner, batch = at_second_task(settings={"mir.replay_batch": 7, "mir.candidates": 23})
    method = learner.method
    before = [weights_of(learner, row) for row in range(2)]
    gradients = [p.grad.clone() for p in learner.classifier.network.parameters()]
    states = learner.generators.state_dict()["states"].clone()
    candidates = method.memory.draw(23)
    scores = method.interference(batch, candidates)
    method.memory.draw = lambda *size, **options: candidates
    (worst,) = method.mix(batch).replay
    for row in range(2):
        offered = candidates.ids[row, :23].tolist()
        chosen = worst.ids[row, :7].tolist()
        assert len(set(chosen)) == 7 and set(chosen) <= set(offered)
        score_of = dict(zip(offered, scores[row].tolist(), strict=False))
        assert sorted(map(score_of.get, chosen)) == sorted(score_of.values())[-7:]
        assert identical(before[row], weights_of(learner, row))
    assert worst.count.tolist() == [7, 7] and bool((worst.weight[:, 7:] == 0).all())
    x, y = learner.stream.gather(worst.task, worst.ids)
    assert torch.equal(x, worst.x) and torch.equal(y, worst.y)
    assert identical(gradients, [p.grad for p in learner.classifier.network.parameters()])
    assert torch.equal(states, learner.generators.state_dict()["states"])


def test_a_memory_that_holds_little_is_retrieved_whole():
    learner, batch = at_second_task(memories=(5,), settings={"mir.replay_batch": 7, "mir.candidates": 23})
    (worst,) = learner.method.mix(batch).replay
    assert worst.count.tolist() == [5, 5]
    held = learner.method.memory.ids[0, :5].tolist()
    assert sorted(worst.ids[0][worst.weight[0] > 0].tolist()) == sorted(held)


@pytest.mark.parametrize("update", ["task_end", "online"])
@pytest.mark.parametrize("loss", ["concat", "sum"])
@pytest.mark.parametrize("more", [{}, {"optimizer": "adam", "scenario": "task"}], ids=["class, sgd", "task, adam"])
def test_with_nothing_to_choose_it_is_experience_replay(update, loss, more):
    same = {"memory_update": update, "loss": loss}
    case = split_digits(seeds=(0, 1), memories=(9, 60), **more)
    free = {"mir.candidates": 16, "mir.exclude_current": False}
    mir = trained(digits_run("mir", settings=free | {f"mir.{k}": v for k, v in same.items()}, **case))
    er = trained(digits_run("er", settings={f"er.{k}": v for k, v in same.items()}, **case))
    for row in range(4):
        assert identical(weights_of(mir, row), weights_of(er, row))


def test_choosing_makes_a_difference():
    case = split_digits(memories=(60,))
    mir, er = trained(digits_run("mir", **case)), trained(digits_run("er", **case))
    assert not identical(weights_of(mir, 0), weights_of(er, 0))


@pytest.mark.parametrize("scenario", ["task", "domain", "class"])
@pytest.mark.parametrize("options", [{}, {"optimizer": "adam", "weight_decay": 1e-2}], ids=["sgd", "adam"])
def test_without_a_memory_it_is_fine_tuning(scenario, options):
    assert_is_fine_tuning("mir", dict(memories=(0,)), scenario=scenario, settings=ONLINE, **options)


def test_the_present_task_is_retrieved_only_when_allowed():
    case = split_digits(memories=(40,))
    old_only = trained(digits_run("mir", settings=ONLINE, **case), tasks=3)
    assert old_only.method.memory.counts_by_task()[0, 2] > 0
    assert (old_only.method.retrieved[0] > 0).tolist() == [True, True, False, False, False]
    free = trained(digits_run("mir", settings=ONLINE | {"mir.exclude_current": False}, **case), tasks=1)
    assert free.method.retrieved[0, 0] > 0


def test_an_online_memory_needs_no_boundaries():
    case = dict(seeds=(0, 1), memories=(40,), settings=ONLINE | {"mir.exclude_current": False})
    told, untold = trained(digits_run("mir", **case)), trained_unaware(digits_run("mir", **case))
    for row in range(2):
        assert identical(weights_of(told, row), weights_of(untold, row))


@pytest.mark.parametrize("policy", ["herding", "k-center"])
def test_policies_that_need_whole_tasks_cannot_be_online(policy):
    with pytest.raises(Exception, match="while the stream"):
        learner_for(digits_run("mir", settings=ONLINE | {"mir.policy": policy}))


@pytest.mark.parametrize(
    "case",
    [
        split_digits(seeds=range(4), memories=(0, 7, 50, 300)),
        split_digits(seeds=range(4), memories=(0, 7, 50, 300), settings=ONLINE, optimizer="adam"),
        split_digits(
            seeds=range(4), memories=(0, 7, 50, 99), scenario="task", options={"order": "seeded"}, hidden=(33, 17),
            batch_size=7, settings=ONLINE, weight_decay=1e-3,
        ),
        dict(seeds=range(4), memories=(0, 7, 50, 300), settings={"mir.candidates": 33, "mir.loss": "sum"}),
    ],
    ids=["class", "online with Adam", "unequal streams", "domain"],
)  # fmt: skip
def test_a_replica_is_the_same_alone_and_among_fifteen_others(case):
    assert_independent(method="mir", **case)


@pytest.mark.parametrize("settings", [{}, ONLINE], ids=["task_end", "online"])
def test_interrupted_and_resumed_equals_never_interrupted(settings, tmp_path):
    run = digits_run("mir", seeds=(0, 1), memories=(30,), settings=settings, **split_digits(scenario="task"))
    assert_resumes(run, tmp_path / "checkpoint")


def test_the_memory_is_charged_and_shown():
    learner = trained(digits_run("mir", seeds=(0, 1), memories=(0, 30), **split_digits()))
    assert learner.method.footprint()["memory_samples"].tolist() == [0, 30 * 72, 0, 30 * 72]
    insight = learner.method.insight()
    shapes = {name: tuple(values.shape) for name, values in insight.items()}
    assert shapes == {
        "memory_by_class": (4, 10), "memory_by_task": (4, 5), "memory_examples": (4, 16, 1, 8, 8),
        "memory_examples_unit": (4, 16),
        "retrieved_by_task": (4, 5),
    }  # fmt: skip
    torch.testing.assert_close(insight["retrieved_by_task"].sum(1), torch.tensor([0.0, 1.0, 0.0, 1.0]))


def test_it_forgets_less_than_fine_tuning():
    case = dict(seeds=(0, 1), memories=(100,), epochs=3, hidden=(50,))

    def bwt(method):
        rows = result_of(digits_run(method, **case))["replicas"]
        return sum(metrics.bwt(r["accuracy_matrix"]) for r in rows) / len(rows)

    assert bwt("mir") > bwt("finetune") + 0.1
