"""A-GEM: a gradient that points against the memory's is made orthogonal to it; any other is left as it is."""

import pytest
import torch

from clcore.methods.parts.vectors import gradient
from clcore.networks.mlp import MLP
from tests.methods.test_gem import watched
from tests.training_cases import (
    assert_independent,
    assert_is_fine_tuning,
    assert_resumes,
    digits_run,
    identical,
    learner_for,
    result_of,
    trained,
    weights_of,
)

pytestmark = pytest.mark.usefixtures("one_thread")
SMALL = {"agem.reference_batch": 20}


@pytest.mark.parametrize(
    "case",
    [
        dict(seeds=range(4), memories=(0, 9, 60, 300), settings=SMALL),
        dict(
            seeds=range(4), memories=(0, 9, 60, 99), settings={"agem.reference_batch": 33}, hidden=(33, 17), batch_size=7,
            tasks=2,
        ),
        dict(
            seeds=range(8), memories=(10, 100), benchmark="split-digits", scenario="task", options={"order": "seeded"},
            settings={**SMALL, "agem.division": "shrinking"},
        ),
    ],
    ids=["budgets", "odd widths", "unequal streams"],
)  # fmt: skip
def test_a_replica_is_the_same_alone_and_among_others(case):
    assert_independent(method="agem", **case)


@pytest.mark.parametrize("scenario", ["task", "domain", "class"])
@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_without_memory_it_is_fine_tuning(scenario, optimizer):
    assert_is_fine_tuning("agem", dict(memories=(0,)), scenario=scenario, optimizer=optimizer)


def test_without_memory_beside_others_it_is_fine_tuning():
    case = dict(benchmark="split-digits", scenario="class")
    plain, ours = trained(digits_run("finetune", **case)), trained(digits_run("agem", memories=(0, 60), **case))
    assert identical(weights_of(plain, 0), weights_of(ours, 0)) and not identical(weights_of(plain, 0), weights_of(ours, 1))


def test_the_first_task_is_fine_tuning():
    plain, ours = (trained(digits_run(m), tasks=1) for m in ("finetune", "agem"))
    assert identical(weights_of(plain, 0), weights_of(ours, 0))


@pytest.mark.parametrize(
    "method, scenario", [("agem", "domain"), ("agem", "class"), ("agem+ewc", "domain")], ids=lambda v: v
)
def test_orthogonal_where_violated_and_the_same_bits_where_not(method, scenario, monkeypatch):
    """By the seams, as in compositions and on other networks. Also with a penalty's gradient in it: what is projected is the
    whole gradient."""
    monkeypatch.setattr(MLP, "stacks", False)
    case = dict(seeds=(0, 1, 2), memories=(60,))
    if scenario == "class":
        case.update(benchmark="split-digits", scenario="class")
    if method == "agem":
        _, seen = watched(method, settings=SMALL, **case)
    else:
        learner = learner_for(digits_run(method, settings={**SMALL, "ewc.penalty_step": "explicit"}, **case))
        learner.method.edit_gradients, seen = _spy(learner, learner.method.parts["agem"])
        for task in learner.stream.tasks:
            learner.learn(task)
    violated = 0
    for before, rows, after in seen:
        own = torch.cat([b.double().flatten(1) for b in before], 1)
        for k in range(3):
            reference, z = rows[k, 0].double(), rows[k, 1].double()
            if all(torch.equal(b[k], a[k]) for b, a in zip(before, after, strict=True)):
                assert z @ reference >= -1e-6 * z.norm() * reference.norm()
                continue
            violated += 1
            assert abs(z @ reference) <= 1e-5 * own[k].norm() * reference.norm()
            assert z.norm() < own[k].norm()
            removed = (own[k] ** 2).sum() - (z**2).sum()  # = ⟨g, g_ref⟩² / ‖g_ref‖²
            step = (torch.cat([a[k].double().flatten() for a in after]) - own[k]).norm() ** 2
            torch.testing.assert_close(removed, step, rtol=1e-3, atol=1e-6)
    assert violated > 20 and (scenario == "class" or violated < 3 * len(seen) - 20)


def _spy(learner, part):
    original, seen = learner.method.edit_gradients, []

    def edit(batch):
        before = [g.clone() for g in gradient(learner.classifier.network)]
        original(batch)
        if part._gradients is not None:
            part._gradients.read(-1)
            after = [g.clone() for g in gradient(learner.classifier.network)]
            seen.append((before, part._gradients.rows.clone(), after))

    return edit, seen


@pytest.mark.parametrize("scenario", ["task", "class"])
def test_both_batches_in_one_pass(scenario):
    """Against torch's own gradients: orthogonal where violated, the same bits where not, and so many violations as it says."""
    learner = learner_for(
        digits_run("agem", seeds=(0, 1), memories=(0, 60), benchmark="split-digits", scenario=scenario, settings=SMALL)
    )
    method, classifier = learner.method, learner.classifier
    parameters = list(classifier.network.parameters())
    draw, differentiate, drawn, counts = method._reference, method.differentiate, [], torch.zeros(2, 4)

    def reference():
        drawn[:] = [draw()]
        return drawn[0]

    def gradient_of(batch):
        mean = (classifier.sample_losses(batch) * batch.weight).sum(1) / batch.count.clamp_min(1)
        return mean, torch.autograd.grad(mean.sum(), parameters)

    def spy(batch):
        terms = differentiate(batch)
        if drawn[0] is None:
            return terms
        z = [p.grad.clone() for p in parameters]
        mean, g = gradient_of(batch)
        _, past = gradient_of(drawn[0])
        assert terms.keys() == {"task"} and torch.equal(terms["task"], mean)
        for k in range(4):
            own, ref, new = (torch.cat([v[k].double().flatten() for v in values]) for values in (g, past, z))
            if torch.equal(own, new):
                assert own @ ref >= -1e-5 * own.norm() * ref.norm()
                counts[0, k] += 1
            else:
                assert own @ ref < 0 and abs(new @ ref) <= 1e-5 * own.norm() * ref.norm()
                torch.testing.assert_close(new, own - (own @ ref) / (ref @ ref) * ref, rtol=1e-3, atol=1e-5)
                counts[1, k] += 1
        return terms

    method._reference, method.differentiate = reference, spy
    for task in learner.stream.tasks[:3]:
        learner.learn(task)
    without, some = counts[:, 0::2], counts[:, 1::2]  # replicas: seeds × memories
    assert without[1].sum() == 0 and some[1].min() > 5 and (scenario == "class" or some[0].min() > 5)


@pytest.mark.parametrize("scenario", ["task", "class"])
def test_by_the_seams_it_is_the_same_but_for_rounding(scenario, monkeypatch):
    case = dict(seeds=(0, 1), memories=(60,), benchmark="split-digits", scenario=scenario, settings=SMALL, epochs=1)
    together = trained(digits_run("agem", **case), tasks=2)
    monkeypatch.setattr(MLP, "stacks", False)
    apart = trained(digits_run("agem", **case), tasks=2)
    for a, b in zip(weights_of(together, 0), weights_of(apart, 0), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-4)
    assert together.counters.gradient_samples == apart.counters.gradient_samples
    for name, values in apart.method.conflicts.insight().items():
        torch.testing.assert_close(together.method.conflicts.insight()[name], values, rtol=1e-3, atol=1e-3)


def test_a_reference_of_zero_objects_to_nothing(monkeypatch):
    """A memory that is fitted perfectly: its gradient underflows to nothing, and nothing is divided by it."""
    monkeypatch.setattr(MLP, "stacks", False)
    learner = trained(digits_run("agem", seeds=(0,), memories=(10,), benchmark="split-digits", scenario="class"), tasks=1)
    head, method = learner.classifier.network.head, learner.method
    learner.classifier.learning = 1
    memory = method.memory
    x, y = learner.stream.gather(memory.tasks, memory.ids)
    with torch.no_grad():
        for p in learner.classifier.network.parameters():
            p.zero_()
        head.bias[:] = -500
        head.bias[:, int(memory.units[0, 0])] = 500  # a constant answer, and a memory that holds that class only
    memory.keys[:, 1:] = -1
    memory.restored()
    for p in learner.classifier.network.parameters():
        p.grad = torch.ones_like(p)
    method.edit_gradients(None)
    assert torch.all(method._gradients.rows[:, 0] == 0)
    assert all(torch.all(p.grad == 1) for p in learner.classifier.network.parameters())


def test_the_reference_is_the_mean_over_the_examples_drawn(monkeypatch):
    monkeypatch.setattr(MLP, "stacks", False)
    learner = trained(digits_run("agem", seeds=(0, 1), memories=(30,), settings={"agem.reference_batch": 50}), tasks=2)
    learner.classifier.learning = 2
    network = learner.classifier.network
    for p in network.parameters():
        p.grad = torch.zeros_like(p)
    learner.method.edit_gradients(None)
    memory = learner.method.memory
    n = int(memory.counts[0])
    assert memory.counts.tolist() == [n, n]
    x, y = learner.stream.gather(memory.tasks[:, :n], memory.ids[:, :n])
    loss = torch.nn.functional.cross_entropy(learner.classifier(x).flatten(0, 1), y.flatten(), reduction="none")
    expected = torch.autograd.grad(loss.view(2, n).mean(1).sum(), list(network.parameters()))
    for parameter, wanted in zip(network.parameters(), expected, strict=True):
        torch.testing.assert_close(learner.method._gradients.views(0)[parameter], wanted, rtol=1e-4, atol=1e-6)


def test_it_resumes(tmp_path):
    run = digits_run("agem", seeds=(0, 1), memories=(60,), benchmark="split-digits", scenario="task", settings=SMALL)
    assert_resumes(run, tmp_path / "checkpoint.pt")


def test_footprint_and_insight():
    learner = trained(digits_run("agem", seeds=(0,), memories=(0, 60)))
    none, some = learner.footprint()
    assert none["memory_samples"] == none["gradients"] == 0
    assert some["memory_samples"] == 60 * (64 + 8) and some["gradients"] == none["parameters"]
    insight = learner.method.insight()
    for name in ("gradient_angle", "violated_share", "length_removed"):
        assert insight[name].shape == (2,) and torch.isnan(insight[name][0]) and insight[name][1] > 0
    assert insight["memory_by_class"].shape == (2, 10) and insight["memory_by_task"].shape == (2, 3)
    by_class = insight["memory_by_class"][1]
    assert by_class.sum() == 60 and by_class.max() - by_class.min() <= 3


def test_it_forgets_less_than_fine_tuning():
    case = dict(seeds=(0, 1, 2), memories=(200,), epochs=4, hidden=(50,), tasks=3, live_points=0)
    plain, ours = (
        [r["forgetting"] for r in result_of(digits_run(method, **case))["replicas"]] for method in ("finetune", "agem")
    )
    assert max(ours) < 0.75 * min(plain)
