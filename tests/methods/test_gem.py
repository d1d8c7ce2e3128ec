"""GEM: no step, to first order, raises the loss on any past task's memory."""

import pytest
import torch

from clcore.methods.parts.projection import Gradients
from clcore.methods.parts.vectors import gradient
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


@pytest.mark.parametrize(
    "case",
    [
        dict(seeds=(0, 1), strengths=(0, 0.5), memories=(0, 9, 60, 200)),
        dict(
            seeds=range(4), strengths=(0.5,), memories=(0, 9, 60, 300), optimizer="adam", hidden=(33, 17), batch_size=7,
            tasks=2,
        ),
        dict(
            seeds=range(4), strengths=(0, 0.5), memories=(10, 100), benchmark="split-digits", scenario="task",
            options={"order": "seeded"}, settings={"gem.division": "shrinking"},
        ),
        dict(
            seeds=range(8), strengths=(0.5,), memories=(10, 100), benchmark="split-digits", scenario="class",
            options={"order": "seeded"}, settings={"gem.policy": "herding"},
        ),
    ],
    ids=["budgets", "odd widths", "unequal streams", "herding, unequal streams"],
)  # fmt: skip
def test_a_replica_is_the_same_alone_and_among_others(case):
    assert_independent(method="gem", **case)


@pytest.mark.parametrize("scenario", ["task", "domain", "class"])
@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_without_memory_it_is_fine_tuning(scenario, optimizer):
    assert_is_fine_tuning("gem", dict(memories=(0,)), scenario=scenario, optimizer=optimizer)


def test_the_first_task_is_fine_tuning():
    plain, ours = (trained(digits_run(m), tasks=1) for m in ("finetune", "gem"))
    assert identical(weights_of(plain, 0), weights_of(ours, 0))


def watched(method, steps=None, settings=None, **case):
    """Trains, and yields (rows before, z after) of every step with a past: rows (K, n+1, P) as recorded."""
    learner = learner_for(digits_run(method, settings=settings, **case))
    part = learner.method
    seen = []
    original = part.edit_gradients

    def edit(batch):
        before = [g.clone() for g in gradient(learner.classifier.network)]
        original(batch)
        if part._gradients is not None:
            part._gradients.read(-1)  # z, flat like the others
            after = [g.clone() for g in gradient(learner.classifier.network)]
            seen.append((before, part._gradients.rows.clone(), after))

    part.edit_gradients = edit
    for task in learner.stream.tasks:
        learner.learn(task)
    del part.edit_gradients
    return learner, seen


def test_every_step_satisfies_every_constraint():
    _, seen = watched("gem", seeds=(0, 1), strengths=(0, 0.5), memories=(30, 90), tasks=4)
    moved = untouched = 0
    for before, rows, after in seen:
        past, z = rows[:, :-1].double(), rows[:, -1].double()
        own = sum(b.double().flatten(1).pow(2).sum(1) for b in before).sqrt()
        agreement = (past @ z.unsqueeze(2)).squeeze(2) / (past.norm(dim=2) * own.unsqueeze(1))
        assert agreement.min() >= -1e-6
        for k in range(4):
            same = all(torch.equal(b[k], a[k]) for b, a in zip(before, after, strict=True))
            moved, untouched = moved + (not same), untouched + same
    assert moved > 50 and untouched > 50


def test_a_gradient_that_hurts_nobody_is_left_alone_bit_for_bit():
    learner, seen = watched("gem", seeds=range(3), memories=(60,))
    spans = Gradients(learner.classifier.network, 1)._spans
    changed = 0
    for before, rows, after in seen:
        g = torch.cat([b.double().flatten(1) for b in before], 1)
        for k in range(3):
            past = rows[k, :-1].double()
            same = all(torch.equal(b[k], a[k]) for b, a in zip(before, after, strict=True))
            z = rows[k, -1].double()
            if same:
                assert (past @ z >= -1e-7 * past.norm(dim=1) * g[k].norm()).all()
            else:
                flat = [b[k].double().flatten() for b in before]
                dots = sum(past[:, start:stop] @ part for (start, stop), part in zip(spans, flat, strict=True))
                assert dots.min() < 0
                changed += 1
    assert changed


def test_with_one_past_task_and_no_margin_it_is_agem_on_the_whole_memory():
    case = dict(seeds=(0, 1), memories=(40, 80), tasks=2)
    ours = trained(digits_run("gem", strengths=(0,), settings={"gem.policy": "herding"}, **case))
    theirs = trained(digits_run("agem", settings={"agem.policy": "herding", "agem.reference_batch": 200}, **case))
    for row in range(4):
        for a, b in zip(weights_of(ours, row), weights_of(theirs, row), strict=True):
            torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-4)
    assert ours.method.insight()["violated_share"][:, 0].nan_to_num().max() > 0


def test_memories_stay_with_their_tasks():
    """A task's examples are its own, at most M/T, and do not change once it is over; shrinking ones only become fewer."""
    for division in ("reserved", "shrinking"):
        run = digits_run("gem", seeds=(0, 1), memories=(31, 90), settings={"gem.division": division}, tasks=4)
        learner = learner_for(run)
        memory, earlier = learner.method.memory, []
        for task in learner.stream.tasks:
            learner.learn(task)
            now = [
                [set(memory.ids[k][memory.held[k] & (memory.tasks[k] == t)].tolist()) for t in range(task.index + 1)]
                for k in range(4)
            ]
            assert torch.all(memory.counts <= memory.budgets)
            for k in range(4):
                own = set(task.train.indices[k, : int(task.train.lengths[k])].tolist())
                assert now[k][task.index] <= own
                for t in range(task.index):
                    if division == "reserved":
                        assert now[k][t] == earlier[k][t]
                    else:
                        assert now[k][t] < earlier[k][t]
            earlier = now
        assert memory.counts.tolist() == [31, 90, 31, 90]
        assert all(int(row.max() - row.min()) <= 1 for row in memory.counts_by_task())


def test_it_resumes(tmp_path):
    run = digits_run("gem", seeds=(0, 1), memories=(30,), benchmark="split-digits", scenario="task")
    assert_resumes(run, tmp_path / "checkpoint.pt")


def test_footprint_and_insight():
    learner = trained(digits_run("gem", seeds=(0,), memories=(0, 60)))
    none, some = learner.footprint()
    parameters = none["parameters"]
    assert none["memory_samples"] == none["gradients"] == 0
    assert some["memory_samples"] == 60 * (64 + 8) and some["gradients"] == 2 * parameters
    insight = learner.method.insight()
    assert insight["gradient_angle"].shape == insight["violated_share"].shape == (2, 3)
    assert insight["length_removed"].shape == (2,)
    assert torch.isnan(insight["gradient_angle"][0]).all() and torch.isnan(insight["gradient_angle"][1, 2])
    assert 0 < insight["violated_share"][1, 0] <= 1 and 0 < insight["gradient_angle"][1, 0] < 180
    assert insight["memory_by_class"].shape == (2, 10) and insight["memory_by_task"].tolist() == [[0] * 3, [20] * 3]


def test_it_forgets_less_than_fine_tuning():
    case = dict(seeds=(0, 1, 2), memories=(200,), epochs=4, hidden=(50,), tasks=3, live_points=0)
    plain, ours = (
        [r["forgetting"] for r in result_of(digits_run(method, **case))["replicas"]] for method in ("finetune", "gem")
    )
    assert max(ours) < min(plain) / 2
