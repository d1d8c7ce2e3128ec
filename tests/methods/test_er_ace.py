"""ER-ACE: the current examples compete among the classes of their mini-batch, the replayed ones among all seen."""

import pytest
import torch
import torch.nn.functional as F

from clcore import registry
from clcore.batch import Batch
from tests.training_cases import (
    assert_independent,
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
ONLINE = {"er.memory_update": "online", "er.loss": "sum"}


def split_digits(**case):
    return {"benchmark": "split-digits", "scenario": "class", **case}


def batch_of(x, y, weight=None, task=0):
    weight = torch.ones(y.shape) if weight is None else weight
    return Batch(x, y, weight, weight.sum(1), task, torch.zeros_like(y), (0,) * len(y))


def test_an_absent_class_gets_no_gradient_from_the_current_examples():
    """Per replica: what is absent in one may be present in another; padding counts as absent."""
    learner = learner_for(digits_run("er-ace", seeds=(0, 1), **split_digits()))
    network = learner.classifier.network
    y = torch.tensor([[0, 3, 3, 7], [1, 1, 1, 0]])
    weight = torch.tensor([[1.0, 1, 1, 0], [1, 1, 1, 1]])
    batch = batch_of(torch.rand(2, 4, 64), y, weight)
    learner.method.task_loss(batch).sum().backward()
    moved = network.head.bias.grad[:, :10] != 0
    assert moved[0].nonzero().flatten().tolist() == [0, 3]
    assert moved[1].nonzero().flatten().tolist() == [0, 1]


def test_the_loss_is_the_equation():
    learner = learner_for(digits_run("er-ace", **split_digits()))
    method, network = learner.method, learner.classifier.network
    earlier = batch_of(torch.rand(1, 4, 64), torch.tensor([[4, 5, 4, 5]]), task=2)
    batch = batch_of(torch.rand(1, 4, 64), torch.tensor([[0, 1, 1, 0]]))
    replayed = batch_of(torch.rand(1, 4, 64), torch.tensor([[4, 5, 5, 1]]), task=torch.tensor([[2, 2, 2, 0]]))
    method.mix(earlier)
    method.mix(batch)
    loss = method.task_loss(batch.with_replay(replayed))
    logits, old = network(batch.x)[0], network(replayed.x)[0]
    seen = [0, 1, 4, 5]
    expected = F.cross_entropy(logits[:, :2], batch.y[0]) + F.cross_entropy(
        old[:, seen], torch.tensor([seen.index(c) for c in replayed.y[0].tolist()])
    )
    torch.testing.assert_close(loss, expected.unsqueeze(0))


@pytest.mark.parametrize("options", [{}, {"optimizer": "adam"}], ids=["sgd", "adam"])
def test_with_all_classes_in_every_batch_it_is_replay_with_the_sum_of_two_means(options):
    """One task of all ten classes, mini-batches so large that none lacks one."""
    case = dict(
        benchmark="permuted-digits", scenario="class", seeds=(0, 1), tasks=1, batch_size=128, memories=(60,), epochs=3,
        **options,
    )  # fmt: skip
    ace = trained(digits_run("er-ace", **case))
    er = trained(digits_run("er", settings=ONLINE, **case))
    for row in range(2):
        assert identical(weights_of(ace, row), weights_of(er, row))


def test_it_never_looks_at_a_boundary():
    """Told neither of a task's beginning, nor of its end, nor which one it is, it computes the same bits."""
    assert not registry.methods()["er-ace"].needs_boundaries
    for policy, more in (("reservoir", split_digits()), ("balanced", split_digits(active_classes="all")), ("balanced", {})):
        case = dict(seeds=(0, 1), memories=(40,), settings={"er-ace.policy": policy}, **more)
        told, untold = trained(digits_run("er-ace", **case)), trained_unaware(digits_run("er-ace", **case))
        for row in range(2):
            assert identical(weights_of(told, row), weights_of(untold, row))


def test_without_a_memory_it_is_fine_tuning_where_every_batch_has_all_classes():
    case = dict(seeds=(0, 1), batch_size=128, memories=(0,))
    plain, ace = trained(digits_run("finetune", **case)), trained(digits_run("er-ace", **case))
    for row in range(2):
        assert identical(weights_of(plain, row), weights_of(ace, row))
    case |= split_digits(batch_size=16)
    plain, ace = trained(digits_run("finetune", **case)), trained(digits_run("er-ace", **case))
    assert not identical(weights_of(plain, 0), weights_of(ace, 0))


@pytest.mark.parametrize(
    "case",
    [
        split_digits(seeds=range(4), memories=(0, 7, 50, 300)),
        split_digits(seeds=range(4), memories=(0, 7, 50, 300), optimizer="adam", settings={"er-ace.policy": "balanced"}),
        split_digits(seeds=range(4), memories=(0, 7, 50, 99), options={"order": "seeded"}, hidden=(33, 17), batch_size=7),
        split_digits(seeds=range(4), memories=(0, 7, 50, 99), scenario="task", weight_decay=1e-2, epochs=2),
        dict(seeds=range(4), memories=(0, 7, 50, 300)),
    ],
    ids=["class", "balanced with Adam", "unequal streams", "task with decay", "domain"],
)  # fmt: skip
def test_a_replica_is_the_same_alone_and_among_fifteen_others(case):
    assert_independent(method="er-ace", **case)


def test_interrupted_and_resumed_equals_never_interrupted(tmp_path):
    run = digits_run("er-ace", seeds=(0, 1), memories=(30,), **split_digits())
    assert_resumes(run, tmp_path / "checkpoint")
    assert_resumes(run.model_copy(update={"scenario": "task"}), tmp_path / "another")


def test_the_memory_is_charged_and_shown():
    learner = trained(digits_run("er-ace", seeds=(0, 1), memories=(0, 30), **split_digits()))
    assert learner.method.footprint()["memory_samples"].tolist() == [0, 30 * 72, 0, 30 * 72]
    shapes = {name: tuple(values.shape) for name, values in learner.method.insight().items()}
    assert shapes == {
        "memory_by_class": (4, 10), "memory_by_task": (4, 5), "memory_examples": (4, 16, 1, 8, 8),
        "memory_examples_unit": (4, 16)
    }  # fmt: skip


def test_it_forgets_less_than_fine_tuning_and_online_replay():
    """The class scenario, one pass: the asymmetric loss is for exactly this."""
    case = split_digits(seeds=(0, 1, 2), memories=(50,), hidden=(50,), epochs=2, batch_size=10)

    def final(method, settings=None):
        rows = [r["accuracy_matrix"][-1] for r in result_of(digits_run(method, settings=settings, **case))["replicas"]]
        return sum(map(sum, rows)) / 15

    ace, er, plain = final("er-ace"), final("er", ONLINE), final("finetune")
    assert ace > er and ace > plain + 0.3
