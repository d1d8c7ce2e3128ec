"""GDumb: a balanced memory, and a fresh network trained on it alone."""

import pytest
import torch

from tests.training_cases import (
    assert_independent,
    assert_resumes,
    digits_run,
    identical,
    learner_for,
    result_of,
    trained,
    weights_of,
)

pytestmark = pytest.mark.usefixtures("one_thread")


def split_digits(**case):
    return {"benchmark": "split-digits", "scenario": "class", "settings": {"gdumb.memory_epochs": 3}, **case}


def batches_seen(learner, task):
    """The mini-batches that a learner trains on in one task."""
    seen, mix = [], learner.method.mix
    learner.method.mix = lambda batch: seen.append(batch) or mix(batch)
    learner.learn(task)
    learner.method.mix = mix
    return seen


@pytest.mark.parametrize("scenario", ["task", "class", "domain"])
def test_every_class_has_as_many_examples_as_fit(scenario):
    budgets = (3, 10, 47, 200)
    learner = learner_for(digits_run("gdumb", memories=budgets, **split_digits(scenario=scenario)))
    memory = learner.method.memory
    for task in learner.stream.tasks:
        learner.learn(task)
        counts = memory.counts_by_class()
        for row, budget in enumerate(budgets):
            seen = counts[row][: 2 if scenario == "domain" else 2 * task.index + 2]
            assert int(counts[row].sum()) == min(budget, int(memory.counts[row])) == budget
            assert int(seen.max() - seen.min()) <= 1 and int(seen.sum()) == budget


def test_only_the_memory_is_trained_on():
    learner = learner_for(digits_run("gdumb", seeds=(0, 1), memories=(12, 30), batch_size=8, **split_digits()))
    learner.learn(learner.stream.tasks[0])
    batches = batches_seen(learner, learner.stream.tasks[1])
    memory = learner.method.memory
    for row, budget in enumerate((12, 30, 12, 30)):
        held = sorted(zip(memory.tasks[row, :budget].tolist(), memory.ids[row, :budget].tolist(), strict=True))
        trained_on = [
            (int(t), int(i))
            for b in batches
            for t, i, w in zip(b.task[row], b.ids[row], b.weight[row], strict=True)
            if w
        ]
        assert sorted(trained_on) == sorted(3 * held)
        assert [sum(float(b.weight[row].sum()) for b in batches)] == [3 * budget]
    for b in batches:
        x, y = learner.stream.gather(b.task, b.ids)
        assert torch.equal(b.x, x) and torch.equal(b.y, y) and int(b.y.min()) >= 0


def test_every_exam_starts_from_the_runs_initial_weights():
    case = split_digits(seeds=(0, 1), memories=(30,), momentum=0.9, optimizer_state="keep")
    learner = learner_for(digits_run("gdumb", **case))
    plain = learner_for(digits_run("finetune", **{**case, "settings": {}}))
    start = [weights_of(learner, row) for row in range(2)]
    assert identical(start[0], weights_of(plain, 0))
    for task in learner.stream.tasks[:3]:
        found, mix = [], learner.method.mix

        def first(batch, found=found, mix=mix):
            if not found:
                found.extend(weights_of(learner, row) for row in range(2))
            return mix(batch)

        learner.method.mix = first
        learner.learn(task)
        learner.method.mix = mix
        for row in range(2):
            assert identical(found[row], start[row]) and not identical(weights_of(learner, row), start[row])


def test_filling_the_memory_does_not_touch_the_network():
    learner = learner_for(digits_run("gdumb", seeds=(0,), memories=(30,), **split_digits()))
    start = weights_of(learner, 0)
    plan = learner.method.phases(learner.stream.tasks[0])
    next(plan)
    assert learner.method.memory.counts.tolist() == [30] and identical(start, weights_of(learner, 0))


def test_without_a_memory_the_network_stays_as_it_was():
    for memories in ((0,), (0, 20)):
        for scenario in ("task", "class"):
            case = split_digits(scenario=scenario, weight_decay=1e-2)
            learner = learner_for(digits_run("gdumb", seeds=(0,), memories=memories, **case))
            start = weights_of(learner, 0)
            for task in learner.stream.tasks:
                learner.learn(task)
            assert identical(start, weights_of(learner, 0))


def test_what_is_trained_on_is_counted():
    result = result_of(digits_run("gdumb", seeds=(0, 1), memories=(20,), **split_digits()))
    assert result["train_samples"] == 2 * 5 * 3 * 20 and result["replayed_samples"] == 0


def test_what_went_before_does_not_matter():
    """A network that sat all exams ends like one that sat only the last, up to the order of mini-batches; here a batch
    is the whole memory, so there is no order."""
    case = split_digits(memories=(40,), batch_size=64, settings={"gdumb.memory_epochs": 20})
    often = trained(digits_run("gdumb", **case))
    once = learner_for(digits_run("gdumb", **case))
    for task in once.stream.tasks[:-1]:
        once.method.memory.fill(task)
    once.learn(once.stream.tasks[-1])
    assert often.method.memory.ids.tolist() == once.method.memory.ids.tolist()
    for a, b in zip(weights_of(often, 0), weights_of(once, 0), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-5)


def test_the_order_of_the_tasks_hardly_matters():
    """Old classes are known as well as new ones: no task's accuracy depends on when it came."""
    case = split_digits(seeds=range(6), memories=(200,), settings={"gdumb.memory_epochs": 40}, live_points=0)
    rows = [result_of(digits_run("gdumb", options={"order": o}, **case))["replicas"] for o in ("natural", "seeded")]
    natural, seeded = (torch.tensor([r["accuracy_matrix"][-1] for r in found]) for found in rows)
    assert abs(natural.mean() - seeded.mean()) < 0.04 and min(natural.mean(), seeded.mean()) > 0.85
    assert abs(seeded[:, 0].mean() - seeded[:, -1].mean()) < 0.1


@pytest.mark.parametrize(
    "case",
    [
        split_digits(seeds=range(4), memories=(0, 7, 50, 300)),
        split_digits(seeds=range(4), memories=(0, 3, 50, 99), scenario="task", weight_decay=1e-2, optimizer="adam"),
        split_digits(
            seeds=range(4), memories=(0, 7, 50, 99), options={"order": "seeded"}, hidden=(33, 17), batch_size=7,
            momentum=0.9, lr=0.02,
        ),
        dict(seeds=range(4), memories=(0, 7, 50, 300), settings={"gdumb.memory_epochs": 3}),
    ],
    ids=["class", "task with Adam and decay", "unequal streams", "domain"],
)  # fmt: skip
def test_a_replica_is_the_same_alone_and_among_fifteen_others(case):
    assert_independent(method="gdumb", **case)


def test_interrupted_and_resumed_equals_never_interrupted(tmp_path):
    run = digits_run("gdumb", seeds=(0, 1), memories=(0, 30), **split_digits(scenario="task"))
    assert_resumes(run, tmp_path / "checkpoint")


def test_the_memory_is_charged_and_shown():
    learner = trained(digits_run("gdumb", memories=(0, 30), **split_digits()))
    assert learner.method.footprint()["memory_samples"].tolist() == [0, 30 * 72]
    shapes = {name: tuple(values.shape) for name, values in learner.method.insight().items()}
    assert shapes == {
        "memory_by_class": (2, 10), "memory_by_task": (2, 5), "memory_examples": (2, 16, 1, 8, 8),
        "memory_examples_unit": (2, 16)
    }  # fmt: skip


def test_in_the_domain_scenario_all_tasks_have_their_part():
    learner = trained(digits_run("gdumb", seeds=range(6), memories=(200,), settings={"gdumb.memory_epochs": 1}))
    by_task = learner.method.memory.counts_by_task().double().mean(0)
    assert bool((abs(by_task - 200 / 3) < 12).all())


def test_it_knows_old_classes_that_fine_tuning_has_forgotten():
    case = split_digits(seeds=(0, 1), memories=(100,), settings={}, live_points=0)
    rows = [result_of(digits_run(m, **case))["replicas"] for m in ("gdumb", "finetune")]
    gdumb, plain = (sum(sum(r["accuracy_matrix"][-1]) for r in found) / 10 for found in rows)
    assert gdumb > plain + 0.4
