"""LwF.MC: one growing head of sigmoids."""

import pytest
import torch
import torch.nn.functional as F

from clcore.errors import RequestError
from tests.methods.test_lwf import first_examples, stir
from tests.training_cases import assert_independent, assert_resumes, digits_run, trained

pytestmark = pytest.mark.usefixtures("one_thread")


def at_third_task(scenario="class", settings=None):
    run = digits_run("lwf-mc", benchmark="split-digits", scenario=scenario, settings=settings, seeds=(0, 1))
    learner = trained(run, tasks=2)
    task = learner.stream.tasks[2]
    learner.classifier.learning = 2
    learner.method.begin(task)
    learner.classifier.zero_grad()
    return learner, first_examples(learner, task)


@pytest.mark.parametrize(
    "case",
    [
        dict(scenario="class"),
        dict(scenario="task", weight_decay=1e-2),
        dict(scenario="class", options={"order": "seeded"}, optimizer="adam"),
        dict(scenario="class", batch_size=7),  # blocks of 70 sigmoids: no multiple of a vector register
    ],
    ids=["class", "task with decay", "unequal streams", "odd batch"],
)
def test_a_replica_is_the_same_alone_and_among_fifteen_others(case):
    assert_independent(method="lwf-mc", benchmark="split-digits", seeds=range(16), **case)


def test_new_classes_are_told_the_label_and_old_ones_what_the_old_network_said():
    learner, batch = at_third_task()
    said = learner.classifier(batch.x).sigmoid()
    stir(learner)
    targets = learner.method.targets(batch)
    torch.testing.assert_close(targets[..., :4], said[..., :4])
    assert torch.equal(targets[..., 4:], F.one_hot(batch.y, 10).float()[..., 4:])
    assert bool((targets[..., 4:6].sum(-1) == 1).all()) and bool((targets[..., 6:] == 0).all())


def test_where_the_nets_are_equal_old_classes_have_no_gradient_and_unseen_ones_never():
    learner, batch = at_third_task()
    head = learner.classifier.network.head
    learner.method.task_loss(batch).sum().backward()
    assert head.bias.grad[:, :4].abs().max() < 1e-7 and head.weight.grad[..., :4].abs().max() < 1e-6
    assert bool((head.bias.grad[:, 4:6] != 0).all()) and bool((head.bias.grad[:, 6:] == 0).all())
    head.bias.grad = None
    stir(learner)
    learner.method.task_loss(batch).sum().backward()
    assert bool((head.bias.grad[:, :6] != 0).all()) and bool((head.bias.grad[:, 6:] == 0).all())


def test_the_loss_is_the_papers_sum_of_binary_cross_entropies():
    learner, batch = at_third_task()
    stir(learner)
    g = learner.classifier(batch.x).sigmoid()[..., :6]
    q = learner.method.targets(batch)[..., :6]
    expected = -(q * g.log() + (1 - q) * (1 - g).log()).sum(-1).mean(1)
    torch.testing.assert_close(learner.method.task_loss(batch), expected, rtol=1e-4, atol=1e-4)


def test_the_mean_is_the_sum_over_the_classes_seen():
    summed, batch = at_third_task()
    with torch.no_grad():
        total = summed.method.task_loss(batch)
        summed.method.hyper.reduction = "mean"
        torch.testing.assert_close(6 * summed.method.task_loss(batch), total)


def test_replayed_examples_are_treated_like_the_current_ones():
    learner, batch = at_third_task()
    stir(learner)
    old = first_examples(learner, learner.stream.tasks[0], 8)
    both = learner.method.task_loss(batch.with_replay(old))
    expected = (16 * learner.method.task_loss(batch) + 8 * learner.method.task_loss(old)) / 24
    torch.testing.assert_close(both, expected)
    targets = learner.method.targets(old)
    assert bool((targets[..., 4:] == 0).all()) and bool(((targets[..., :4] > 0) & (targets[..., :4] < 1)).all())


def test_in_the_domain_scenario_it_is_refused():
    with pytest.raises(RequestError, match="does not work in the domain scenario"):
        digits_run("lwf-mc", scenario="domain")


def test_it_shares_its_loss_with_nobody():
    with pytest.raises(RequestError, match="both decide `task_loss`"):
        trained(digits_run("er+lwf-mc", benchmark="split-digits", scenario="class"), tasks=0)


def test_the_teacher_is_charged_once_there_is_one_and_pictures_are_drawn():
    run = digits_run("lwf-mc", benchmark="split-digits", scenario="class", seeds=(0, 1))
    learner = trained(run, tasks=1)
    assert "old_networks" not in learner.footprint()[0] and learner.method.insight() == {}
    for task in learner.stream.tasks[1:3]:
        learner.learn(task)
    sizes, insight = learner.footprint()[0], learner.method.insight()
    assert sizes["old_networks"] == sizes["parameters"] > 0
    assert insight["drift_by_layer"].shape == (2, 3) and insight["answers_kept"].shape == (2, 2)


@pytest.mark.parametrize("scenario, gain", [("task", 0.04), ("class", 0.01)])
def test_it_forgets_less_than_fine_tuning(scenario, gain):
    final = []
    for method in ("finetune", "lwf-mc"):
        case = dict(benchmark="split-digits", scenario=scenario, seeds=(0, 1), epochs=5, hidden=(64, 64))
        final.append(torch.tensor(trained(digits_run(method, **case)).row(5, "test")).mean())
    assert final[1] > final[0] + gain


def test_it_resumes(tmp_path):
    assert_resumes(digits_run("lwf-mc", benchmark="split-digits", scenario="task", seeds=(0, 1)), tmp_path / "at")
