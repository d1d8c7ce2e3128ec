"""MAS, and what local MAS shares with it: the penalty's factor, how importance is merged, what the engine asks of all."""

import pytest
import torch

from clcore.events import Diverged
from clcore.methods.parts.importance import input_output_correlation, output_sensitivity
from clcore.methods.parts.vectors import ReplicaVector, weights
from tests.training_cases import (
    assert_independent,
    assert_is_fine_tuning,
    assert_resumes,
    digits_run,
    identical,
    result_of,
    trained,
    weights_of,
)

pytestmark = pytest.mark.usefixtures("one_thread")
MEASURES = {"mas": output_sensitivity, "mas-local": input_output_correlation}
BOTH = pytest.mark.parametrize("method", MEASURES)


def assert_forgets_less(method, strength, **case):
    """Over four seeds: clearly less forgetting than without the penalty, and more accuracy at the end."""
    replicas = result_of(digits_run(method, seeds=range(4), strengths=(0, strength), **case))["replicas"]
    forgetting = torch.tensor([r["forgetting"] for r in replicas]).view(4, 2).mean(0)
    accuracy = torch.tensor([r["acc"] for r in replicas]).view(4, 2).mean(0)
    assert forgetting[1] < 0.75 * forgetting[0]
    assert accuracy[1] > accuracy[0] + 0.02


def measured(method, learner, task):
    """Ω of a task on all its examples, at the present weights."""
    split = learner.stream.tasks[task].train
    return MEASURES[method](learner.classifier, split, task, generators=learner.method.context.generators("x"))


@BOTH
def test_the_strength_is_the_papers_and_the_penalty_has_no_half(method):
    run = digits_run(method, seeds=(0, 1), strengths=(0.5, 3), settings={f"{method}.samples": None})
    learner = trained(run, tasks=1)
    springs, parameters = learner.method.springs, list(learner.classifier.network.parameters())
    springs.implicit = False
    penalty = learner.method.terms(None)["penalty"]
    assert torch.all(penalty.value() == 0)
    for p in parameters:
        p.grad = None
    penalty.add_gradient()
    assert all(torch.all(p.grad == 0) for p in parameters)
    anchor, generator = weights(learner.classifier.network).copy(), torch.Generator().manual_seed(0)
    offset = ReplicaVector(torch.randn(p.shape, generator=generator) for p in parameters)
    strength = torch.tensor([0.5, 3, 0.5, 3])
    expected = strength * sum(
        (omega * d**2).flatten(1).sum(1) for omega, d in zip(measured(method, learner, 0), offset, strict=True)
    )
    assert torch.all(expected > 0)
    for distance in (0.1, 0.2):
        with torch.no_grad():
            for p, a, d in zip(parameters, anchor, offset, strict=True):
                p.copy_(a + distance * d)
        torch.testing.assert_close(penalty.value(), distance**2 * expected, rtol=1e-3, atol=0)


@BOTH
@pytest.mark.parametrize("accumulate", ["sum", "mean", "ema"])
def test_importance_is_merged_as_asked_and_held_at_the_latest_weights(method, accumulate):
    settings = {f"{method}.accumulate": accumulate, f"{method}.old_share": 0.3, f"{method}.samples": None}
    run = digits_run(method, seeds=(0, 1), strengths=(0.01,), settings=settings, tasks=4)
    learner = trained(run, tasks=0)
    merged = None
    for t in range(3):
        learner.learn(learner.stream.tasks[t])
        new = measured(method, learner, t)
        if merged is None:
            merged = new
        elif accumulate == "sum":
            merged = merged + new
        elif accumulate == "mean":
            merged = merged * (t / (t + 1)) + new * (1 / (t + 1))
        else:
            merged = merged * 0.3 + new * 0.7
        for found, expected in zip(learner.method.springs.importance, merged, strict=True):
            torch.testing.assert_close(found, expected)
        assert identical(learner.method.springs.centre.tensors, list(learner.classifier.network.parameters()))


@BOTH
def test_nothing_is_measured_after_the_last_task(method):
    learner = trained(digits_run(method, strengths=(0.01,)), tasks=2)
    before = learner.method.springs.importance
    learner.learn(learner.stream.tasks[2])
    assert learner.method.springs.importance is before


@BOTH
def test_it_measures_the_asked_number_of_examples(method):
    few, many = (
        trained(digits_run(method, settings={f"{method}.samples": n}, strengths=(0.01,)), tasks=1) for n in (5, None)
    )
    assert identical(weights_of(few, 0), weights_of(many, 0))
    assert not identical(few.method.springs.importance.tensors, many.method.springs.importance.tensors)


@BOTH
@pytest.mark.parametrize(
    "case",
    [
        dict(seeds=range(4), strengths=(0, 0.01, 0.1, 1e6), tasks=2),
        dict(seeds=range(4), strengths=(0, 0.01, 0.1, 1), optimizer="adam", hidden=(33, 17), batch_size=15, tasks=2),
        dict(
            seeds=range(16), strengths=(0.1,), benchmark="split-digits", scenario="class", options={"order": "seeded"}
        ),
    ],
    ids=["implicit", "explicit, odd widths", "unequal streams"],
)
def test_replicas_are_independent(method, case):
    assert_independent(method=method, **case)


@BOTH
def test_a_small_sample_of_unequal_streams_is_drawn_independently(method):
    assert_independent(
        method=method, seeds=range(16), strengths=(0.1,), benchmark="split-digits", scenario="task",
        options={"order": "seeded"}, settings={f"{method}.samples": 70, f"{method}.accumulate": "ema"},
    )  # fmt: skip


@BOTH
@pytest.mark.parametrize("optimizer, penalty_step", [("sgd", "implicit"), ("adam", "explicit")])
@pytest.mark.parametrize("scenario", ["task", "domain", "class"])
def test_strength_zero_is_fine_tuning(method, optimizer, penalty_step, scenario):
    settings = {f"{method}.penalty_step": penalty_step}
    assert_is_fine_tuning(method, dict(strengths=(0,)), optimizer=optimizer, scenario=scenario, settings=settings)


@BOTH
def test_a_run_resumes(method, tmp_path):
    settings = {f"{method}.samples": 40, f"{method}.accumulate": "mean"}
    run = digits_run(
        method, seeds=(0, 1), strengths=(0.1,), benchmark="split-digits", scenario="task", settings=settings
    )
    assert_resumes(run, tmp_path / "checkpoint")


@BOTH
def test_a_far_too_large_strength_diverges_in_its_own_term(method):
    events = []
    run = digits_run(method, strengths=(0.001, 1e8), settings={f"{method}.penalty_step": "explicit"}, epochs=4)
    result = result_of(run, report=events.append)
    (lost,) = [e for e in events if isinstance(e, Diverged)]
    assert (lost.replica, lost.task, lost.term) == (1, 2, "penalty")
    assert [r["status"] for r in result["replicas"]] == ["finished", "diverged"]


@BOTH
def test_the_implicit_step_survives_any_strength(method):
    result = result_of(digits_run(method, strengths=(1e12,)))
    assert result["replicas"][0]["status"] == "finished"


@BOTH
def test_it_keeps_two_numbers_per_weight(method):
    learner = trained(digits_run(method, strengths=(0.1,), hidden=(33, 17)), tasks=0)
    parameters = 4 * (65 * 33 + 34 * 17 + 18 * 10)
    assert learner.method.footprint() == {}
    for task in learner.stream.tasks:
        learner.learn(task)
        assert learner.method.footprint() == {"importance": parameters, "anchors": parameters}


@BOTH
def test_it_shows_where_it_holds(method):
    learner = trained(digits_run(method, seeds=(0, 1), strengths=(0.1,)), tasks=0)
    assert learner.method.insight() == {}
    learner.learn(learner.stream.tasks[0])
    pictures = learner.method.insight()
    assert pictures["importance_by_layer"].shape == (2, 3) and torch.all(pictures["importance_by_layer"] > 0)
    assert pictures["importance_by_input"].shape == (2, 1, 8, 8) and torch.all(pictures["importance_by_input"] >= 0)


@BOTH
def test_it_replays_as_well(method):
    run = digits_run(f"er+{method}", seeds=(0, 1), strengths=(0.1,), memories=(50,), optimizer="adam")
    learner = trained(run)
    assert bool(learner.alive.all()) and set(learner.method.footprint()) >= {"importance", "anchors", "memory_samples"}
    assert "penalty" in learner.method.parts[method].terms(None)


@pytest.mark.parametrize(
    "benchmark, scenario, strength", [("permuted-digits", "domain", 0.01), ("split-digits", "task", 0.03)]
)
def test_it_forgets_less_than_fine_tuning(benchmark, scenario, strength):
    assert_forgets_less("mas", strength, benchmark=benchmark, scenario=scenario, epochs=5, tasks=4)
