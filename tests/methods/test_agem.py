"""A-GEM: a gradient that points against the memory's is made orthogonal to it; any other is left as it is."""

import pytest
import torch

from clcore.methods.parts.vectors import gradient
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


def test_the_first_task_is_fine_tuning():
    plain, ours = (trained(digits_run(m), tasks=1) for m in ("finetune", "agem"))
    assert identical(weights_of(plain, 0), weights_of(ours, 0))


@pytest.mark.parametrize(
    "method, scenario", [("agem", "domain"), ("agem", "class"), ("agem+ewc", "domain")], ids=lambda v: v
)
def test_orthogonal_where_violated_and_the_same_bits_where_not(method, scenario):
    """Also with a penalty's gradient in it: what is projected is the whole gradient."""
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


def test_a_reference_of_zero_objects_to_nothing():
    """A memory that is fitted perfectly: its gradient underflows to nothing, and nothing is divided by it."""
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


def test_the_reference_is_the_mean_over_the_examples_drawn():
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
