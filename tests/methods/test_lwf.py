"""Learning without forgetting: answers of the old network on the new examples."""

import pytest
import torch

from clcore.batch import Batch
from clcore.methods.parts.distillation import batch_mean, entropy
from clcore.networks.layers import recording
from tests.training_cases import (
    assert_independent,
    assert_is_fine_tuning,
    assert_resumes,
    digits_run,
    identical,
    learner_for,
    trained,
    weights_of,
)

pytestmark = pytest.mark.usefixtures("one_thread")


def at_second_task(scenario="task", settings=None, strengths=(1.0,), **case):
    """A learner that has learned one task and begun the second, and a mini-batch of it."""
    run = digits_run(
        "lwf", benchmark="split-digits", scenario=scenario, settings=settings, strengths=strengths, **case
    )
    learner = trained(run, tasks=1)
    task = learner.stream.tasks[1]
    learner.classifier.learning = 1
    learner.method.begin(task)
    learner.classifier.zero_grad()
    return learner, first_examples(learner, task)


def first_examples(learner, task, n=16):
    replicas = len(learner.seeds)
    x, y = task.train.gather(torch.arange(n).expand(replicas, n))
    weight = torch.ones(replicas, n)
    return Batch(x, y, weight, weight.sum(1), task.index, y)


def stir(learner, size=0.1):
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for p in learner.classifier.network.parameters():
            p.add_(size * torch.randn(p.shape[1:], generator=generator))


@pytest.mark.parametrize(
    "case",
    [
        dict(benchmark="split-digits", scenario="task", seeds=range(4), strengths=(0, 1, 2, 5)),
        dict(benchmark="split-digits", scenario="class", seeds=range(4), strengths=(0, 1, 2, 5), optimizer="adam"),
        dict(
            benchmark="split-digits", scenario="task", seeds=range(4), strengths=(0, 1, 2, 5), weight_decay=1e-2,
            options={"order": "seeded"}, settings={"lwf.warmup_epochs": 1}, hidden=(33, 17), batch_size=7,
        ),
        dict(
            benchmark="split-digits", scenario="class", seeds=range(4), strengths=(0, 1, 2, 5), momentum=0.9, lr=0.02,
            options={"order": "seeded"}, settings={"lwf.kd_t2": True},
        ),
        dict(seeds=range(4), strengths=(0, 1, 2, 5), scenario="domain"),
    ],
    ids=["task", "class with Adam", "unequal streams, warm-up and decay", "unequal streams, class", "domain"],
)  # fmt: skip
def test_a_replica_is_the_same_alone_and_among_fifteen_others(case):
    assert_independent(method="lwf", **case)


@pytest.mark.parametrize("scenario", ["task", "domain", "class"])
@pytest.mark.parametrize(
    "optimizer",
    [{}, {"optimizer": "adam"}, {"weight_decay": 1e-2}, {"optimizer": "adam", "optimizer_state": "keep"}],
    ids=["sgd", "adam", "decay", "keep"],
)
def test_strength_zero_is_fine_tuning(scenario, optimizer):
    assert_is_fine_tuning("lwf", dict(strengths=(0,)), scenario=scenario, **optimizer)


def test_strength_zero_is_fine_tuning_also_beside_replicas_that_distil():
    case = dict(benchmark="split-digits", scenario="task", weight_decay=1e-2)
    plain = trained(digits_run("finetune", **case))
    mixed = trained(digits_run("lwf", strengths=(0, 2), **case))
    assert identical(weights_of(plain, 0), weights_of(mixed, 0))
    assert not identical(weights_of(plain, 0), weights_of(mixed, 1))


def test_beside_an_empty_memory_it_is_itself():
    case = dict(benchmark="split-digits", scenario="class", strengths=(0, 2))
    alone, beside = trained(digits_run("lwf", **case)), trained(digits_run("er+lwf", memories=(0,), **case))
    for row in range(2):
        assert identical(weights_of(alone, row), weights_of(beside, row))


@pytest.mark.parametrize("method, part", [("er+lwf", "er"), ("lwf+ewc", "ewc")])
def test_in_a_composition_strength_zero_leaves_the_other_part(method, part):
    case = dict(benchmark="split-digits", scenario="task", memories=(50,), weight_decay=1e-3)
    other = trained(digits_run(part, **case))
    both = trained(digits_run(method, strengths=(0, 2), **case))
    assert identical(weights_of(other, 0), weights_of(both, 0))
    assert not identical(weights_of(other, 0), weights_of(both, 1))


@pytest.mark.parametrize("scenario", ["task", "domain", "class"])
def test_at_the_first_step_of_a_task_the_distillation_has_no_gradient(scenario):
    learner, batch = at_second_task(scenario, strengths=(3.0,), settings={"lwf.class_softmax": "old"})
    network, method = learner.classifier.network, learner.method
    term = method.terms(batch)["distillation"]
    term.sum().backward()
    assert max(p.grad.abs().max() for p in network.parameters()) < 1e-6
    least = entropy(network(batch.x), temperature=2.0, units=slice(0, 2))
    torch.testing.assert_close(term, 3.0 * batch_mean(least, batch))
    stir(learner)
    assert bool((method.terms(first_examples(learner, learner.stream.tasks[1]))["distillation"] > term).all())


@pytest.mark.parametrize("scenario, settings", [("task", {}), ("class", {"lwf.class_softmax": "old"})])
def test_only_the_outputs_of_earlier_tasks_are_distilled(scenario, settings):
    learner, batch = at_second_task(scenario, settings)
    stir(learner)
    network = learner.classifier.network
    learner.method.terms(batch)["distillation"].sum().backward()
    assert bool((network.head.bias.grad[:, :2] != 0).all()) and bool((network.head.bias.grad[:, 2:] == 0).all())


def test_in_the_class_scenario_the_old_network_gives_new_classes_nothing():
    learner, batch = at_second_task("class")
    network, method = learner.classifier.network, learner.method
    z = network(batch.x).detach()
    p, log_q = (z[..., :2] / 2).softmax(-1), (z[..., :4] / 2).log_softmax(-1)
    term = method.terms(batch)["distillation"]
    torch.testing.assert_close(term, -(p * log_q[..., :2]).sum(-1).mean(1))
    term.sum().backward()
    pull = network.head.bias.grad[0]
    # Descent lowers the new classes, raises the old ones by as much, and leaves the unseen ones alone.
    torch.testing.assert_close(pull[2:4], log_q[0, :, 2:].exp().mean(0) / 2)
    assert bool((pull[:2] < 0).all()) and pull[:4].sum().abs() < 1e-6 and bool((pull[4:] == 0).all())


@pytest.mark.parametrize("scenario, times", [("domain", 2), ("class", 1)])
def test_in_the_domain_scenario_every_earlier_task_counts(scenario, times):
    learner, batch = at_second_task(scenario, {"lwf.class_softmax": "old"})
    once = learner.method.terms(batch)["distillation"].detach()
    units = learner.classifier.units_before(1)
    learner.classifier.learning = 2
    learner.classifier.units_before = lambda task: units
    torch.testing.assert_close(learner.method.terms(batch)["distillation"].detach(), times * once)


def test_old_heads_have_softmaxes_of_their_own_unless_told_otherwise():
    values = {}
    for per_head in (True, False):
        learner, _ = at_second_task(settings={"lwf.per_head": per_head})
        for index in (1, 2):
            learner.classifier.learning = index
            learner.method.begin(learner.stream.tasks[index])
            values[per_head, index] = learner.method.terms(first_examples(learner, learner.stream.tasks[2]))
    assert torch.equal(values[True, 1]["distillation"], values[False, 1]["distillation"])
    assert not torch.equal(values[True, 2]["distillation"], values[False, 2]["distillation"])


def test_the_t2_flag_multiplies_by_the_square_of_the_temperature():
    terms = []
    for flag in (False, True):
        learner, batch = at_second_task(settings={"lwf.kd_t2": flag, "lwf.temperature": 3.0})
        terms.append(learner.method.terms(batch)["distillation"])
    torch.testing.assert_close(terms[1], 9 * terms[0])


def test_what_is_replayed_is_not_distilled():
    learner, batch = at_second_task("class")
    stir(learner)
    replayed = batch.with_replay(first_examples(learner, learner.stream.tasks[0], 8))
    assert torch.equal(
        learner.method.terms(replayed)["distillation"], learner.method.terms(batch)["distillation"]
    )


def test_a_step_asks_network_and_teacher_once():
    learner, batch = at_second_task()
    with recording(learner.classifier.network) as tape:
        learner.method.task_loss(batch)
        learner.method.terms(batch)
    assert len(tape) == 2 * 3


def test_the_teacher_is_the_network_of_the_task_before_and_does_not_move():
    learner, _ = at_second_task()
    task = learner.stream.tasks[1]
    before = [p.detach().clone() for p in learner.classifier.network.parameters()]
    assert identical(list(learner.method.teacher.weights.values()), before)
    learner.learn(task)
    assert identical(list(learner.method.teacher.weights.values()), before)
    assert not identical([p.detach() for p in learner.classifier.network.parameters()], before)


def test_the_stronger_the_more_of_the_old_answers_are_kept():
    run = digits_run(
        "lwf", benchmark="split-digits", scenario="task", strengths=(0, 1, 10, 100), optimizer="adam", lr=0.001,
        epochs=5,
    )  # fmt: skip
    learner = learner_for(run)
    learner.learn(learner.stream.tasks[0])
    learner.learn(learner.stream.tasks[1])
    x = first_examples(learner, learner.stream.tasks[1], 64).x
    with torch.no_grad():
        now, then = learner.classifier(x)[..., :2], learner.method.teacher(x)[..., :2]
    moved = (now.softmax(-1) - then.softmax(-1)).abs().mean((1, 2))
    assert bool((moved[1:] < moved[:-1]).all()) and moved[3] < 0.1 * moved[0]


@pytest.mark.parametrize("drift", [{"weight_decay": 1e-2}, {"optimizer": "adam", "optimizer_state": "keep"}])
def test_old_heads_are_trained_where_it_distils_and_held_where_it_does_not(drift):
    learner = trained(
        digits_run("lwf", benchmark="split-digits", scenario="task", strengths=(0, 1), **drift), tasks=1
    )
    before = learner.classifier.network.head.bias.detach().clone()
    learner.learn(learner.stream.tasks[1])
    moved = learner.classifier.network.head.bias.detach()[:, :10] != before[:, :10]
    assert moved[0].tolist() == [False, False, True, True] + [False] * 6
    assert moved[1].tolist() == [True, True, True, True] + [False] * 6


@pytest.mark.parametrize("scenario", ["task", "class"])
@pytest.mark.parametrize("optimizer", [{}, {"optimizer": "adam", "optimizer_state": "keep"}, {"weight_decay": 1e-2}])
def test_a_warm_up_moves_the_new_outputs_only(scenario, optimizer):
    learner, _ = at_second_task(scenario, settings={"lwf.warmup_epochs": 2}, epochs=3, seeds=(0, 1), **optimizer)
    network, task = learner.classifier.network, learner.stream.tasks[1]
    before = {name: p.detach().clone() for name, p in network.named_parameters()}
    plan = learner.method.phases(task)
    warmup = next(plan)
    assert (warmup.name, warmup.epochs, warmup.covers) == ("warm-up", 2, (0.0, 0.4))
    learner._train(task, warmup)
    for name, p in network.named_parameters():
        moved = (p.detach() != before[name]).flatten(0, -2).any(0)
        head = p is network.head.weight or p is network.head.bias
        assert moved.nonzero().flatten().tolist() == ([2, 3] if head else [])
    rest = plan.send(None)
    assert rest.name == "train" and rest.covers == (0.4, 1.0) and not rest.frozen


def test_there_is_no_warm_up_without_a_new_head():
    learner, _ = at_second_task("domain", settings={"lwf.warmup_epochs": 2})
    assert [p.name for p in learner.method.phases(learner.stream.tasks[1])] == ["train"]
    learner, _ = at_second_task("task", settings={"lwf.warmup_epochs": 2})
    assert [p.name for p in learner.method.phases(learner.stream.tasks[0])] == ["train"]


def test_the_teacher_is_charged_once_there_is_one():
    run = digits_run("lwf", benchmark="split-digits", scenario="task")
    learner = trained(run, tasks=1)
    assert "old_networks" not in learner.footprint()[0]
    learner.learn(learner.stream.tasks[1])
    sizes = learner.footprint()[0]
    assert sizes["old_networks"] == sizes["parameters"] > 0


@pytest.mark.parametrize("scenario, heads", [("task", 2), ("domain", 1), ("class", 2)])
def test_the_pictures(scenario, heads):
    run = digits_run("lwf", benchmark="split-digits", scenario=scenario, strengths=(0, 3), lr=0.02, epochs=3)
    learner = trained(run, tasks=1)
    assert learner.method.insight() == {}
    for task in learner.stream.tasks[1:3]:
        learner.learn(task)
    insight = learner.method.insight()
    assert insight["drift_by_layer"].shape == (2, 3) and bool((insight["drift_by_layer"] > 0).all())
    kept = insight["answers_kept"]
    assert kept.shape == (2, heads) and bool((kept >= 0).all()) and bool((kept <= 1).all())
    learner.method.teacher.copy()
    assert bool((learner.method.insight()["answers_kept"] == 1).all())


@pytest.mark.parametrize(
    "benchmark, scenario, gain",
    [("split-digits", "task", 0.05), ("split-digits", "domain", 0.02), ("split-digits", "class", 0.02)],
)
def test_it_forgets_less_than_fine_tuning(benchmark, scenario, gain):
    run = digits_run("lwf", benchmark=benchmark, scenario=scenario, strengths=(0, 3), seeds=(0, 1), epochs=5)
    learner = trained(run)
    last = torch.tensor(learner.row(len(learner.stream.tasks), "test")).mean(1)
    assert last[1::2].mean() > last[::2].mean() + gain


def test_it_resumes(tmp_path):
    assert_resumes(
        digits_run("lwf", benchmark="split-digits", scenario="task", seeds=(0, 1), strengths=(0, 2)), tmp_path / "at"
    )
