"""DER++: former answers and labels."""

import pytest
import torch
import torch.nn.functional as F

from clcore import metrics, registry
from clcore.batch import Batch
from tests.training_cases import (
    assert_independent,
    assert_is_fine_tuning,
    assert_resumes,
    digits_run,
    identical,
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
def test_with_nothing_weighed_it_is_fine_tuning(scenario, optimizer):
    case = dict(scenario=scenario, optimizer=optimizer, weight_decay=1e-2)
    assert_is_fine_tuning("derpp", dict(strengths=(0,)), settings={"derpp.beta": 0.0}, **case)


@pytest.mark.parametrize("scenario", ["task", "domain", "class"])
def test_without_a_memory_it_is_fine_tuning(scenario):
    assert_is_fine_tuning("derpp", dict(strengths=(1,), memories=(0,)), scenario=scenario, weight_decay=1e-2)


@pytest.mark.parametrize("scenario", ["task", "domain", "class"])
@pytest.mark.parametrize("more", [{}, {"optimizer": "adam", "weight_decay": 1e-3}], ids=["sgd", "adam"])
def test_with_labels_alone_and_one_draw_it_is_experience_replay(scenario, more):
    case = split_digits(scenario=scenario, seeds=(0, 1), memories=(9, 60), **more)
    dark = trained(digits_run("derpp", strengths=(0,), settings={"derpp.beta": 1.0, "derpp.one_draw": True}, **case))
    er = trained(digits_run("er", settings={"er.loss": "sum", "er.memory_update": "online"}, **case))
    for row in range(4):
        assert identical(weights_of(dark, row), weights_of(er, row))


def test_without_labels_and_one_draw_it_is_der():
    case = split_digits(seeds=(0, 1), strengths=(0, 1), memories=(60,))
    dark = trained(digits_run("derpp", settings={"derpp.beta": 0.0, "derpp.one_draw": True}, **case))
    der = trained(digits_run("der", **case))
    for row in range(4):
        assert identical(weights_of(dark, row), weights_of(der, row))


def step(method, learner):
    """A step's mini-batch as the method mixes it: the current examples are the first of task 2."""
    ids = learner.stream.tasks[2].train.indices[:, :16]
    x, y = learner.stream.gather(2, ids)
    weight = torch.ones(y.shape)
    return method.mix(Batch(x, y, weight, weight.sum(1), 2, ids, (0,) * len(y)))


def test_the_two_draws_are_independent_and_the_terms_are_the_equation():
    run = digits_run("derpp", strengths=(3,), settings={"derpp.beta": 0.7}, memories=(100,), **split_digits())
    learner = trained(run, tasks=3)
    shared = []
    for _ in range(200):
        first, second = (set(part.ids[0, :16].tolist()) for part in step(learner.method, learner).replay)
        shared.append(len(first & second))
    # Two independent draws of 16 from 100 share 2.56 on average (hypergeometric, deviation 1.35).
    assert abs(sum(shared) / 200 - 2.56) < 0.45
    batch = step(learner.method, learner)
    recalled, labelled = batch.replay
    terms, network = learner.method.terms(batch), learner.classifier
    squares = (network(recalled.x) - recalled.stored["logits"]).square()
    torch.testing.assert_close(terms["logits"][0], 3 * squares.mean())
    cross_entropy = F.cross_entropy(network(labelled.x)[0, :, :6], labelled.y[0])
    torch.testing.assert_close(terms["labels"][0], 0.7 * cross_entropy)


def test_one_draw_serves_both_terms_for_one_forward_pass():
    case = split_digits(strengths=(1,), memories=(100,))
    samples = [
        result_of(digits_run("derpp", settings={"derpp.one_draw": one}, **case))["replayed_samples"] for one in (True, False)
    ]
    assert samples[1] == 2 * samples[0] > 0
    learner = trained(digits_run("derpp", settings={"derpp.one_draw": True}, **case), tasks=3)
    assert len(step(learner.method, learner).replay) == 1


def test_it_never_looks_at_a_boundary():
    assert not registry.methods()["derpp"].needs_boundaries
    case = dict(seeds=(0, 1), strengths=(1,), memories=(40,))
    told, untold = trained(digits_run("derpp", **case)), trained_unaware(digits_run("derpp", **case))
    for row in range(2):
        assert identical(weights_of(told, row), weights_of(untold, row))


@pytest.mark.parametrize(
    "case",
    [
        split_digits(seeds=range(2), strengths=(0, 1), memories=(0, 7, 50, 300)),
        split_digits(
            seeds=range(2), strengths=(0, 1), memories=(0, 7, 50, 99), options={"order": "seeded"}, optimizer="adam",
            scenario="task", weight_decay=1e-2,
        ),
        dict(seeds=range(2), strengths=(0, 1), memories=(0, 7, 50, 300), settings={"derpp.one_draw": True}),
    ],
    ids=["class", "unequal streams, task", "domain, one draw"],
)  # fmt: skip
def test_a_replica_is_the_same_alone_and_among_fifteen_others(case):
    assert_independent(method="derpp", **case)


def test_interrupted_and_resumed_equals_never_interrupted(tmp_path):
    run = digits_run("derpp", seeds=(0, 1), strengths=(0, 1), memories=(30,), **split_digits(scenario="task"))
    assert_resumes(run, tmp_path / "checkpoint")


def test_examples_and_logits_are_charged():
    learner = trained(digits_run("derpp", strengths=(1,), memories=(0, 30), **split_digits()))
    sizes = {kind: size.tolist() for kind, size in learner.method.footprint().items()}
    assert sizes == {"memory_samples": [0, 30 * 72], "memory_logits": [0, 30 * 40]}


def test_it_forgets_less_than_fine_tuning():
    case = dict(seeds=(0, 1), memories=(100,), epochs=3, hidden=(50,))

    def bwt(method, **more):
        rows = result_of(digits_run(method, **case, **more))["replicas"]
        return sum(metrics.bwt(r["accuracy_matrix"]) for r in rows) / len(rows)

    assert bwt("derpp", strengths=(0.5,)) > bwt("finetune") + 0.1
