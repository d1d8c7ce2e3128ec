"""BiC: a correction fitted on examples that training never sees."""

from dataclasses import replace

import pytest
import torch

from clcore.errors import RequestError
from clcore.methods.parts.distillation import batch_mean, soft_cross_entropy
from tests.methods.test_lwf import first_examples, stir
from tests.training_cases import (
    assert_independent,
    assert_resumes,
    digits_run,
    identical,
    learner_for,
    trained,
)

pytestmark = pytest.mark.usefixtures("one_thread")


def digits(**case):
    return digits_run("bic", benchmark="split-digits", scenario="class", **{"seeds": (0, 1), **case})


def at_third_task(**case):
    learner = trained(digits(**case), tasks=2)
    task = learner.stream.tasks[2]
    learner.classifier.learning = 2
    learner.method.begin(task)
    return learner, task


@pytest.mark.parametrize(
    "case",
    [
        dict(memories=(100, 150, 200, 400), seeds=range(4)),
        dict(memories=(200,), seeds=range(16), options={"order": "seeded"}, optimizer="adam", hidden=(33, 17)),
    ],
    ids=["budgets", "unequal streams"],
)
def test_a_replica_is_the_same_alone_and_among_fifteen_others(case):
    assert_independent(method="bic", benchmark="split-digits", scenario="class", **case)


def test_so_is_its_correction():
    run = digits(memories=(100, 150, 200, 400), seeds=range(4))
    together = trained(run, tasks=3).method
    for row in (0, 5, 14):
        alone = trained(run, members=[row], tasks=3).method
        assert torch.equal(together.log_scale[row], alone.log_scale[0])
        assert torch.equal(together.shift[row], alone.shift[0])


def test_held_out_examples_are_balanced_and_never_trained_on():
    learner = learner_for(digits(memories=(200, 400), epochs=2))
    method, trained_on = learner.method, [set() for _ in range(4)]
    task_loss = method.task_loss

    def listen(batch):
        for k in range(4):
            trained_on[k] |= set(batch.ids[k][batch.weight[k] > 0].tolist())
        return task_loss(batch)

    method.task_loss = listen
    ever_held = [set() for _ in range(4)]
    for task in learner.stream.tasks:
        learner.learn(task)
        counts = method.validation.counts_by_class()[:, : 2 * task.index + 2]
        assert bool((counts.amax(1) - counts.amin(1) <= 1).all()) and bool((counts >= 1).all())
        for k in range(4):
            ever_held[k] |= set(method.validation.ids[k][method.validation.held[k]].tolist())
        together = method.memory.counts + method.validation.counts
        assert bool((together <= learner.method.context.memories).all())
    assert all(len(held) >= 20 for held in ever_held)
    for held, seen in zip(ever_held, trained_on, strict=True):
        assert not held & seen


def test_without_a_correction_outputs_are_as_they_are():
    learner = trained(digits(), tasks=1)
    z = torch.randn(2, 5, 10)
    assert torch.equal(learner.method.corrected(z), z)


def test_a_correction_changes_no_ranking_inside_a_task_and_leaves_others_alone():
    learner = trained(digits(), tasks=3)
    method, z = learner.method, torch.randn(2, 50, 10)
    assert bool((method.shift[:, 1:3] != 0).all()) and bool((method.shift[:, [0, 3, 4]] == 0).all())
    method.log_scale[:, 1] = -3.0  # as it comes, or far from it
    corrected = method.corrected(z)
    for units in learner.classifier.groups:
        assert torch.equal(z[..., units].argsort(-1), corrected[..., units].argsort(-1))
    assert torch.equal(corrected[..., :2], z[..., :2]) and torch.equal(corrected[..., 6:], z[..., 6:])


def test_the_correction_lowers_the_loss_on_the_held_out_examples_and_never_moves_the_network():
    learner, task = at_third_task()
    network = [p.detach().clone() for p in learner.classifier.network.parameters()]
    stir(learner)
    moved = [p.detach().clone() for p in learner.classifier.network.parameters()]
    method = learner.method

    def held_out_loss():
        with torch.no_grad():
            part = next(method.validation.everything())
            return batch_mean(
                learner.classifier.cross_entropy(method.corrected(learner.classifier(part.x)), part), part
            )

    before, pairs = held_out_loss(), method.shift[:, :2].clone()
    method.end(task)
    assert bool((held_out_loss() < before).all())
    assert torch.equal(method.shift[:, :2], pairs)  # earlier tasks' pairs stay
    assert not method.log_scale.requires_grad
    after = list(learner.classifier.network.parameters())
    assert identical(moved, after) and not identical(network, after)


def test_new_classes_are_turned_down():
    """After stage 1 the newest classes are predicted too often; the correction is there to undo that."""
    learner = trained(digits(epochs=10, hidden=(64, 64), memories=(200,)))
    x = torch.cat([t.test.gather(torch.arange(40).expand(2, 40))[0] for t in learner.stream.tasks], 1)
    raw, corrected = learner.classifier(x).argmax(-1), learner.method.predict(x, 0).argmax(-1)
    assert bool(((raw >= 8).sum(1) > (corrected >= 8).sum(1)).all())


def test_stage_one_weighs_labels_and_old_answers_by_the_numbers_of_classes():
    learner, task = at_third_task()
    stir(learner)
    batch, method = first_examples(learner, task), learner.method
    loss = method.task_loss(batch)
    now = method.corrected(learner.classifier(batch.x))
    torch.testing.assert_close(loss, (1 - 4 / 6) * batch_mean(learner.classifier.cross_entropy(now, batch), batch))
    then = method.corrected(method.teacher(batch.x))
    losses = soft_cross_entropy(now, then, temperature=2.0, units=slice(0, 4))
    torch.testing.assert_close(method.terms(batch)["distillation"], 4 / 6 * batch_mean(losses, batch))
    first = learner_for(digits())
    assert first.method.terms(batch) == {} and first.method._share_of_old() == 0


def test_stage_one_trains_on_the_new_examples_and_the_exemplars():
    learner, task = at_third_task()
    phase = next(learner.method.phases(task))
    assert phase.tasks == (0, 1, 2)
    assert sum(split.lengths for split in phase.splits[:2]).tolist() == learner.method.memory.counts.tolist()
    held = learner.method.validation.counts_by_task()[:, 2]
    spared = task.train.lengths - phase.splits[2].lengths  # rounded up: one of each class at most finds no place
    assert bool((held > 0).all()) and bool(((spared == held) | (spared == held + 1) | (spared == held + 2)).all())


def test_a_class_gives_no_more_than_the_share_of_its_own_examples():
    learner = learner_for(digits(memories=(5000,), seeds=(0,)))
    task = learner.stream.tasks[0]
    learner.method.begin(task)
    held = learner.method.validation.counts_by_class()[0, :2].tolist()
    assert held == [int(task.train.lengths[0]) // 20] * 2


@pytest.mark.parametrize("examples", [1, 4])
def test_classes_too_small_to_share_are_all_trained_on(examples):
    options = {"train_per_task": 2 * examples, "tasks": 5}
    learner = trained(digits_run("bic", benchmark="split-digits", scenario="class", options=options))
    method = learner.method
    assert not method.validation.counts.any() and int(method.memory.counts[0]) == 5 * 2 * examples
    assert not method.log_scale.any() and not method.shift.any()  # nothing to measure them on


def test_a_task_too_small_to_share_is_not_corrected_by_the_others():
    learner = learner_for(digits_run("bic", benchmark="split-digits", scenario="class"))
    first, second = learner.stream.tasks[:2]
    learner.learn(first)
    few = second.train.subset(torch.arange(12).unsqueeze(0), torch.tensor([12]))  # about six of each class
    learner.learn(replace(second, train=few))
    assert int(learner.method.validation.counts[0]) > 0 == int(learner.method.validation.counts_by_task()[0, 1])
    assert not learner.method.log_scale.any() and not learner.method.shift.any()


def test_a_memory_too_small_for_a_validation_split_is_refused():
    with pytest.raises(RequestError, match=r"0.1 of a memory of 50 is 5 held-out examples, too few for .* 10 classes"):
        learner_for(digits(memories=(50, 200)))
    with pytest.raises(RequestError, match="too few"):
        learner_for(digits(memories=(0,)))
    learner_for(digits(memories=(50,), settings={"bic.validation": 0.2}))


def test_it_is_for_the_class_scenario():
    for scenario in ("task", "domain"):
        with pytest.raises(RequestError, match=f"does not work in the {scenario} scenario"):
            digits_run("bic", benchmark="split-digits", scenario=scenario)


def test_everything_kept_is_charged_and_pictures_are_drawn():
    learner = trained(digits(memories=(200,)), tasks=1)
    assert not {"old_networks", "bias_corrections"} & set(learner.footprint()[0])
    for task in learner.stream.tasks[1:3]:
        learner.learn(task)
    sizes, insight = learner.footprint()[0], learner.method.insight()
    assert sizes["memory_samples"] == 200 * (64 + 8) and sizes["bias_corrections"] == 16
    assert sizes["old_networks"] == sizes["parameters"]
    assert insight["bias_scale"].shape == insight["bias_shift"].shape == (2, 5)
    assert insight["memory_by_task"].shape == (2, 5)


def test_it_forgets_less_than_fine_tuning_and_than_without_the_correction():
    case = dict(benchmark="split-digits", scenario="class", seeds=(0, 1), epochs=5, hidden=(64, 64), live_points=0)
    final = [
        torch.tensor(trained(digits_run(method, settings=settings, **case)).row(5, "test")).mean()
        for method, settings in (("finetune", None), ("bic", {"bic.bias_steps": 0}), ("bic", None))
    ]
    assert final[2] > final[1] + 0.03 and final[2] > final[0] + 0.5


def test_it_resumes(tmp_path):
    assert_resumes(digits(), tmp_path / "at")
