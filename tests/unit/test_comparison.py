"""Groups of a comparison: seeds pooled over runs, differences only where they mean something, names that tell apart."""

import pytest

from clcore import comparison, metrics
from clcore.comparison import groups, names
from clcore.events import Progress
from clcore.spec import RunSpec, make
from clcore.store import open_store
from tests.pages.recorded import experiment, play


@pytest.fixture
def store(own_home):
    opened = open_store()
    yield opened
    opened.close()


def changed(spec: RunSpec, **fields) -> RunSpec:
    return make(RunSpec, **{name: getattr(spec, name) for name in RunSpec.model_fields} | fields)


def with_seeds(spec: RunSpec, *seeds: int) -> RunSpec:
    return changed(spec, grid=spec.grid.model_copy(update={"seeds": seeds}))


def played(store, *specs, **how) -> list:
    return [store.run(play(store, spec, **how)) for spec in specs]


def test_seeds_of_two_runs_are_one_group(store):
    (er,) = experiment("er")
    rows = played(store, with_seeds(er, 0, 1, 2), with_seeds(er, 3, 4), *experiment("finetune"))
    found = groups(rows)
    assert [group.seeds for group in found] == [(0, 1, 2, 3, 4), (0, 1, 2)]
    assert found[0].outcome.runs == tuple(row.id for row in rows[:2])
    assert names(found) == ["Experience replay · M 200", "Fine-tuning"]


def test_the_order_is_that_of_the_request(store):
    plain, er = played(store, *experiment("finetune", "er"))
    assert [g.method for g in groups([er, plain])] == ["er", "finetune"]
    assert [g.key for g in groups([er, plain])] == [g.key for g in groups([plain, er])][::-1]


def test_a_groups_numbers_are_those_of_the_metrics(store):
    (group,) = groups(played(store, *experiment("er", seeds=3)))
    R = group.matrices[1]
    assert group.by_seed("acc")[1] == metrics.acc(R) and group.by_seed("forgetting")[1] == metrics.forgetting(R)
    averages = group.averages()
    assert averages["seeds"].iloc[2][1] == metrics.average_after(R, 3)
    assert averages["mean"].iloc[-1] == pytest.approx(group.spread("acc").mean)
    assert group.final()["mean"].mean() == pytest.approx(group.spread("acc").mean)


def test_a_sweep_is_a_group_a_setting(store):
    found = groups(played(store, *experiment("ewc", strengths=(1, 10))))
    assert names(found) == ["EWC · λ 1", "EWC · λ 10"] and len({g.key for g in found}) == 2


def test_names_say_what_differs(store):
    (er,) = experiment("er")
    assert names(groups(played(store, er, changed(er, epochs=3)))) == [
        "Experience replay · M 200 · epochs 10", "Experience replay · M 200 · epochs 3",
    ]  # fmt: skip
    split = experiment("er", benchmark="split-digits", scenario="class")
    assert all(word in names(groups(played(store, er, *split)))[1] for word in ("split-digits", "class"))


def test_only_groups_on_the_same_stream_are_paired(store):
    (plain, er), (split,) = experiment("finetune", "er"), experiment("er", benchmark="split-digits", scenario="class")
    found = groups(played(store, plain, er, split, changed(er, epochs=3)))
    assert comparison.pairs(found) == [(0, 1), (0, 3), (1, 3)]
    assert comparison.difference_cells(found[0], found[2]).empty
    marks = [s.mark for s in comparison.best(found, "acc", comparison.paired_differences(found, "acc"))]
    assert marks[0] == "" and marks[2] == ""  # alone on its stream


def test_what_keeps_all_data_is_not_ranked(store):
    found = groups(played(store, *experiment("finetune", "er", "joint", seeds=5)))
    marks = [s.mark for s in comparison.best(found, "acc", comparison.paired_differences(found, "acc"))]
    assert found[2].spread("acc").mean > found[1].spread("acc").mean and marks == ["", "best", ""]


def test_the_difference_matrix_is_paired_and_signed(store):
    plain, er = groups(played(store, *experiment("finetune", "er")))
    cells = comparison.difference_cells(er, plain)
    last = cells[(cells["row"] == 5) & (cells["task"] == 1)].iloc[0]
    per_seed = [a[5][0] - b[5][0] for a, b in zip(er.matrices, plain.matrices, strict=True)]
    assert last["mean"] == pytest.approx(sum(per_seed) / 3) and last["mean"] > 0 and last["n"] == 3
    assert len(cells) == 15
    mirrored = comparison.difference_cells(plain, er)
    assert list(mirrored["mean"]) == pytest.approx([-v for v in cells["mean"]])


def test_a_diverged_seed_leaves_no_mean(store):
    (lost,) = groups(played(store, *experiment("ewc"), diverged=(1,)))
    assert lost.lost == {1} and lost.spread("acc").diverged == 1 and lost.spread("acc").mean is None
    (good,) = groups(played(store, *experiment("finetune")))
    (d,) = comparison.paired_differences([lost, good], "acc")
    assert d.verdict == "diverged"
    cells = comparison.difference_cells(lost, good)
    assert set(cells[cells["row"] == 5]["diverged"]) == {1} and cells[cells["row"] == 1]["n"].iloc[0] == 3


def test_the_card_tells_what_decides_a_number(store):
    (ewc,) = groups(played(store, *experiment("ewc")))
    lines = dict(comparison.card(ewc))
    assert lines["ewc.penalty_step"] == "auto (implicit)" and lines["ewc.fisher"] == "exact"
    assert lines["optimizer state"] == "reset" and lines["metric definitions"] == str(metrics.VERSION)
    assert "ewc.strength" not in lines and lines["strength"] == "30"


def test_only_what_differs_is_listed(store):
    (er,) = experiment("er")
    found = groups(played(store, er, changed(er, batch_size=8), *experiment("finetune")))
    assert {name for name, _ in comparison.card_table(found, differing=True)} == {"method", "memory", "batch size"}
    assert len(comparison.card_table(found)) > 20


def test_runs_without_a_result_have_no_part(store):
    queued = store.add(experiment("er"))
    (plain,) = played(store, *experiment("finetune"))
    assert [g.method for g in groups([store.run(queued[0]), plain])] == ["finetune"] and groups([]) == []


def test_how_far_a_run_was_at_the_end_of_each_task():
    def at(task, seconds):
        return Progress(
            task=task, position=task - 0.1, replicas=[0, 1], losses={}, train_samples=int(200 * seconds), train_seconds=seconds
        )

    told = [at(1, 0.5), at(1, 1.0), at(2, 1.9), at(3, 2.8)]
    result = {"replicas": [{"accuracy_matrix": [[]] * 4}] * 2, "train_samples": 600, "train_seconds": 3.0}
    found = comparison.task_ends(told, result)
    assert found.seconds == [1.0, 1.9, 3.0] and found.examples == [100.0, 190.0, 300.0]
    imported = comparison.task_ends([], result)
    assert imported.seconds == [None, None, 3.0]
    assert comparison.along([0, 0.5, 1, 2.5, 3], found.seconds) == pytest.approx([0, 0.5, 1.0, 2.45, 3.0])
    assert comparison.along([1.0], imported.seconds) is None and comparison.along([1.0], []) is None


def test_smoothing_neither_starts_from_zero_nor_moves_a_constant():
    assert comparison.smoothed([0.5] * 4, 0.9) == pytest.approx([0.5] * 4)
    assert comparison.smoothed([0.2, 0.8], 0.0) == [0.2, 0.8]
    assert comparison.smoothed([0.0, 1.0], 0.5) == pytest.approx([0.0, 2 / 3])  # weights ½ and ¼, over their sum
