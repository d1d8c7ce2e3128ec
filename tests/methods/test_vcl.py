"""VCL in training: what it reduces to, what it keeps, what a coreset changes, and that it forgets less."""

import pytest
import torch

from clcore.errors import RequestError
from clcore.methods.parts.bayesian import gaussian_layers
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
FAST = {"vcl.test_samples": 2}
DETERMINISTIC = {**FAST, "vcl.start": "initial", "vcl.log_variance": -200.0}
CORESET = {**FAST, "vcl.coreset": "random", "vcl.coreset_size": 10}
SPLIT = dict(benchmark="split-digits")
SEEDED = dict(benchmark="split-digits", options={"order": "seeded"})


@pytest.mark.parametrize(
    "case",
    [
        dict(settings=FAST, seeds=range(4), strengths=(0, 0.01, 1, 100)),
        dict(settings=FAST, seeds=range(4), strengths=(0, 0.01, 1, 100), optimizer="adam", hidden=(33, 17)),
        dict(settings=FAST, seeds=range(16), scenario="class", **SEEDED),
        dict(settings=CORESET, seeds=range(16), scenario="task", batch_size=8, **SEEDED),
        dict(settings={**CORESET, "vcl.coreset": "k-center"}, seeds=range(4), strengths=(0, 0.01, 0.1, 1)),
    ],
    ids=["sgd", "adam, odd widths", "unequal streams", "unequal streams, coresets", "k-center"],
)
def test_a_replica_is_the_same_alone_and_among_fifteen_others(case):
    assert_independent(method="vcl", **case)


def test_a_replica_without_memory_is_the_same_beside_ones_that_replay():
    """Noise for replayed examples comes from generators of its own."""
    assert_independent(method="er+vcl", settings=FAST, seeds=range(4), memories=(0, 7, 50, 300))


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
@pytest.mark.parametrize("scenario", ["task", "domain", "class"])
def test_without_variance_and_divergence_it_is_fine_tuning(scenario, optimizer):
    case = dict(benchmark="split-digits", scenario=scenario, optimizer=optimizer, seeds=(0, 1))
    plain = trained(digits_run("finetune", **case))
    held = trained(digits_run("vcl", settings=DETERMINISTIC, strengths=(0,), **case))
    names = [n for n, _ in held.classifier.network.named_parameters()]
    for row in range(2):
        means = [w for n, w in zip(names, weights_of(held, row), strict=True) if "log_variance" not in n]
        assert identical(means, weights_of(plain, row))
    prediction = held.evaluator.row(5)
    assert torch.equal(prediction, plain.evaluator.row(5)) and held.alive.all()


def test_the_first_task_starts_with_ordinary_training():
    learner, plain = learner_for(digits_run("vcl", settings=FAST)), learner_for(digits_run("finetune"))
    task = learner.stream.tasks[0]
    plan = learner.method.phases(task)
    start = next(plan)
    learner._train(task, start)
    plain.learn(plain.stream.tasks[0])
    network = learner.classifier.network
    means = [p.detach()[0] for layer in gaussian_layers(network) for p in (layer.weight, layer.bias)]
    assert start.name == "start" and identical(means, weights_of(plain, 0))
    assert {float(v.detach().min()) for layer in gaussian_layers(network) for _, v in layer.gaussians} == {-6.0}
    assert plan.send(None).name == "train" and learner.method.sampling


def test_variances_are_learned_under_sgd_and_adam():
    """A plain SGD step would move them by some thousandths here."""
    for optimizer in ("sgd", "adam"):
        run = digits_run("vcl", settings=FAST, optimizer=optimizer, strengths=(1,))
        layer = gaussian_layers(trained(run, tasks=1).classifier)[0]
        spread = (layer.weight_log_variance.detach() + 6).abs()
        assert spread.mean() > 0.1 and torch.isfinite(spread).all()


def test_dead_units_stay_dead():
    learner = trained(digits_run("vcl", settings=CORESET, hidden=(33, 17), batch_size=5, weight_decay=1e-2), tasks=2)
    checked = 0
    for layer in gaussian_layers(learner.classifier.network):
        (weight, weight_v), (bias, bias_v) = layer.gaussians
        dead = torch.ones_like(weight, dtype=torch.bool)
        dead[:, : layer.inputs, : layer.outputs] = False
        checked += int(dead.sum())
        assert torch.all(weight[dead] == 0) and torch.all(weight_v[dead].exp() == 0)
        assert torch.all(bias[:, layer.outputs :] == 0) and torch.all(bias_v[:, layer.outputs :].exp() == 0)
    assert checked > 0


@pytest.mark.parametrize("scenario", ["task", "class"])
def test_units_of_tasks_to_come_are_as_they_began(scenario):
    run = digits_run(
        "vcl", settings=FAST, strengths=(10,), scenario=scenario, optimizer="adam", weight_decay=1e-3, **SPLIT
    )
    # Weight decay alone may move them where the scenario does not freeze them; it must not touch their variances.
    before, after = learner_for(run).classifier.network.head, trained(run, tasks=2).classifier.network.head
    assert torch.all(after.weight_log_variance[..., 4:10] == -6) and torch.all(after.bias_log_variance[:, 4:10] == -6)
    assert not torch.equal(after.weight_log_variance[..., :4], before.weight_log_variance[..., :4])
    if scenario == "task":
        assert torch.equal(after.weight[..., 4:10], before.weight[..., 4:10])


def test_the_prior_does_not_move_within_a_task():
    learner = trained(digits_run("vcl", settings=FAST, tasks=2), tasks=1)
    divergence = learner.method.divergence
    posterior = [p.detach().clone() for layer in divergence.layers for p, _ in layer.gaussians]
    assert all(torch.equal(a, b) for a, b in zip(posterior, divergence.prior_mean, strict=True))
    task = learner.stream.tasks[1]
    learner.classifier.learning = 1
    plan = learner.method.phases(task)
    learner._train(task, next(plan))
    assert all(torch.equal(a, b) for a, b in zip(posterior, divergence.prior_mean, strict=True))
    assert divergence.value().min() > 0
    next(plan, None)
    assert divergence.value().max() == 0


def test_the_divergence_is_divided_by_the_examples_that_are_left():
    learner = trained(digits_run("vcl", settings={**CORESET, "vcl.coreset_size": 30}), tasks=0)
    task = learner.stream.tasks[0]
    learner.method.begin(task)
    plan = learner.method.phases(task)
    start = next(plan)
    assert torch.equal(start.splits[0].lengths, task.train.lengths - 30)
    plan.send(None)
    assert torch.equal(learner.method.divergence.examples, task.train.lengths - 30.0)
    plan.send(None)
    assert torch.equal(learner.method.divergence.examples, torch.tensor([30.0]))


@pytest.mark.parametrize("scenario, phases", [("task", [1, 2, 3, 4, 5]), ("domain", [1] * 5), ("class", [1] * 5)])
def test_throw_away_copies_study_the_coresets_and_are_not_passed_on(scenario, phases):
    with_copies = learner_for(digits_run("vcl", settings=CORESET, scenario=scenario, **SPLIT))
    for task, copies in zip(with_copies.stream.tasks, phases, strict=True):
        with_copies.learn(task)
        method, network = with_copies.method, with_copies.classifier.network
        assert len(method.answers) == copies and len(method.coresets) == task.index + 1
        assert torch.equal(method.divergence.value(), torch.zeros(1))  # the prior is what was not studied
        assert not torch.equal(method.answers[-1].tensors[0], network.layers[0].weight)
    kept = [w.clone() for w in weights_of(with_copies, 0)]
    with_copies.row(5, "test")
    assert identical(kept, weights_of(with_copies, 0)) and with_copies.alive.all()


def test_training_never_sees_the_coreset():
    learner = learner_for(digits_run("vcl", settings=CORESET, **SPLIT))
    task, seen = learner.stream.tasks[0], {"start": set(), "train": set(), "coreset": set()}
    learner.method.begin(task)
    mix, phase = learner.method.mix, None
    learner.method.mix = lambda batch: seen[phase.name].update(batch.ids[batch.weight > 0].tolist()) or mix(batch)
    plan = learner.method.phases(task)
    phase = next(plan)
    while phase is not None:
        learner._train(task, phase)
        phase = next(plan, None)
    coreset = set(task.train.ids(learner.method.coresets[0])[0].tolist())
    everything = set(task.train.indices[0].tolist())
    assert len(coreset) == 10 and seen["coreset"] == coreset
    assert seen["start"] == seen["train"] == everything - coreset


def test_a_coreset_of_everything_is_refused():
    with pytest.raises(RequestError, match="coreset_size = 5000 leaves nothing"):
        trained(digits_run("vcl", settings={**CORESET, "vcl.coreset_size": 5000}), tasks=1)


@pytest.mark.parametrize("scenario", ["task", "class", "domain"])
def test_predicted_probabilities_sum_to_one_over_the_allowed_units(scenario):
    learner = trained(digits_run("vcl", settings={"vcl.test_samples": 7}, scenario=scenario, **SPLIT), tasks=2)
    x, _ = learner.stream.tasks[0].test.gather(torch.arange(12).unsqueeze(0))
    with torch.no_grad():
        logits = learner.method.predict(x, 0)
        with learner.method.noise.predicting(7):
            samples = learner.classifier(x).unflatten(1, (7, 12))
    units = learner.classifier.predicted_units(0, 2)
    probabilities = logits[..., units].exp()
    torch.testing.assert_close(probabilities.sum(-1), torch.ones(1, 12))
    torch.testing.assert_close(probabilities, samples[..., units].softmax(-1).mean(1))
    assert torch.isfinite(logits).all() and logits[..., ~units].numel() + probabilities.numel() == logits.numel()
    assert torch.equal(logits, learner.method.predict(x, 0))
    assert (samples.std(1) > 0).all()


@pytest.mark.parametrize("settings", [FAST, CORESET], ids=["plain", "coresets"])
def test_live_evaluation_changes_no_number(settings):
    still, live = (
        result_of(digits_run("vcl", settings=settings, scenario="task", live_points=points, **SPLIT))["replicas"][0]
        for points in (0, 30)
    )
    assert still["accuracy_matrix"] == live["accuracy_matrix"]


@pytest.mark.parametrize("settings", [FAST, CORESET], ids=["plain", "coresets"])
def test_it_resumes(settings, tmp_path):
    run = digits_run("vcl", settings=settings, scenario="task", seeds=(0, 1), **SPLIT)
    assert_resumes(run, tmp_path / "checkpoint.pt")


def test_what_it_keeps_is_charged():
    result = result_of(digits_run("vcl", settings=CORESET, seeds=(0,)))
    first, last = (result["replicas"][0]["footprint_per_task"][t] for t in (0, 2))
    p = first["parameters"]
    assert p == 4 * (65 * 32 + 33 * 32 + 33 * 10)
    example = learner_for(digits_run("vcl")).stream.example_bytes
    assert first == {"parameters": p, "variances": p, "prior": 2 * p, "memory_samples": 10 * (example + 8)}
    assert last == {**first, "memory_samples": 30 * (example + 8)}


def test_insight_shows_widths_and_certainty():
    learner = trained(digits_run("vcl", settings=FAST, seeds=(0, 1)), tasks=1)
    insight = learner.method.insight()
    first = gaussian_layers(learner.classifier.network)[0]
    assert insight["sigma_by_layer"].shape == (2, 3) and insight["importance_by_input"].shape == (2, 1, 8, 8)
    expected = (-first.weight_log_variance.detach()).exp().mean(2).view(2, 1, 8, 8)
    torch.testing.assert_close(insight["importance_by_input"], expected)
    widths = torch.cat([(v.detach() / 2).exp().flatten(1) for _, v in first.gaussians], 1)
    torch.testing.assert_close(insight["sigma_by_layer"][:, 0], widths.mean(1))


def test_it_forgets_less_than_fine_tuning():
    case = dict(seeds=(0, 1), epochs=6, hidden=(50, 50), live_points=0)
    plain = result_of(digits_run("finetune", **case))["replicas"]
    vcl = result_of(digits_run("vcl", settings=FAST, **case))["replicas"]
    for a, b in zip(plain, vcl, strict=True):
        assert b["forgetting"] < a["forgetting"] - 0.03 and b["acc"] > a["acc"]
