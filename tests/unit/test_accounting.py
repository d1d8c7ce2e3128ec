"""What makes results comparable, and what they cost: pure functions of specs and results."""

from __future__ import annotations

import pytest

from clcore.accounting import (
    Entry,
    FineTuning,
    Measured,
    comparability_key,
    conditions_key,
    differences,
    rank_marks,
    readable_bytes,
    readable_count,
    selection,
)
from clcore.spec import Grid, MethodChoice, NetworkChoice, OptimizerChoice, RunSpec, make


def spec(method="finetune", settings=None, strengths=(), seeds=(0, 1), **more) -> RunSpec:
    choice = make(MethodChoice, name=method, settings=settings or {}, strengths=strengths)
    grid = Grid(seeds=seeds, memories=more.pop("memories", (200,)))
    return make(RunSpec, method=choice, grid=grid, **{"benchmark": "permuted-digits", "scenario": "domain", **more})


# ---- where strengths come from --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("asked", "kind"),
    [
        ({"method": "finetune"}, "none"),
        ({"method": "er"}, "none"),
        ({"method": "ewc", "settings": {"ewc.strength": 30.0}}, "recommended"),
        ({"method": "ewc"}, "recommended"),  # the default is what was found here
        ({"method": "ewc", "settings": {"ewc.strength": 31.0}}, "given"),
        ({"method": "ewc", "strengths": (31.0,)}, "given"),
        ({"method": "ewc", "strengths": (30.0,)}, "recommended"),
        ({"method": "ewc", "settings": {"ewc.strength": 30.0}, "epochs": 3}, "given"),  # found with another training
        ({"method": "ewc", "settings": {"ewc.strength": 30.0}, "batch_size": 32}, "given"),
        ({"method": "ewc", "settings": {"ewc.strength": 30.0}, "optimizer": OptimizerChoice(lr=0.2)}, "given"),
        ({"method": "ewc", "settings": {"ewc.strength": 30.0}, "network": NetworkChoice(hidden=(50,))}, "given"),
        ({"method": "ewc", "settings": {"ewc.strength": 30.0}, "options": {"tasks": 3}}, "given"),
        ({"method": "ewc", "settings": {"ewc.strength": 30.0}, "gradient_samples": 500}, "given"),
        ({"method": "ewc", "epochs": 3}, "default"),
        ({"method": "ewc", "strengths": (1.0, 30.0)}, "swept"),
        ({"method": "ewc", "scenario": "task", "settings": {"ewc.strength": 77.0}}, "given"),
        ({"method": "l2"}, "default"),
        ({"method": "er+ewc"}, "default"),  # nobody has looked for the strength of the combination
        ({"method": "er+ewc", "settings": {"ewc.strength": 30.0}}, "given"),
        ({"method": "ewc+l2", "strengths": (1.0, 2.0)}, "swept"),
    ],
)
def test_the_selection_protocol_follows_from_the_spec(asked, kind):
    assert selection(spec(**asked)).kind == kind


def test_a_recommendation_says_how_it_was_found():
    found = selection(spec("ewc"))
    assert found.strengths == {"ewc": [30.0]} and found.configurations == 1
    assert "validation accuracy" in found.provenance
    assert selection(spec("ewc", strengths=(1.0, 2.0, 3.0))).configurations == 3


# ---- what may be ranked ---------------------------------------------------------------------------------------------

OTHERS = {
    "benchmark": {"benchmark": "rotated-digits"},
    "options": {"options": {"tasks": 3}},
    "scenario": {"scenario": "task"},
    "network": {"network": NetworkChoice(hidden=(50,))},
    "optimizer": {"optimizer": OptimizerChoice(lr=0.2)},
    "epochs": {"epochs": 3},
    "batch size": {"batch_size": 32},
    "optimizer state": {"optimizer_state": "keep"},
    "seeds": {"seeds": (0, 2)},
}


@pytest.mark.parametrize(("name", "other"), OTHERS.items())
def test_other_conditions_are_another_key_and_named(name, other):
    one, two = spec(), spec(**other)
    assert comparability_key(one) != comparability_key(two)
    assert name in differences([Entry(one), Entry(two)])
    assert rank_marks([Entry(one), Entry(two), Entry(one)]) == ["A", "B", "A"]


def test_what_decides_no_number_is_no_difference():
    quiet = spec(live_points=0, device="cpu", options={"tasks": 5}, seeds=(1, 0), active_classes="all")
    assert comparability_key(spec()) == comparability_key(quiet) and differences([Entry(spec()), Entry(quiet)]) == []


def test_active_classes_matter_in_the_class_scenario():
    one, two = (
        spec(benchmark="split-digits", scenario="class", active_classes=active) for active in ("seen", "current")
    )
    assert differences([Entry(one), Entry(two)]) == ["active classes"]


def test_methods_do_not_change_the_conditions_but_their_selection_does_the_key():
    plain, given, tuned = spec(), spec("ewc", {"ewc.strength": 31.0}), spec("ewc")
    assert conditions_key(plain) == conditions_key(given) == conditions_key(tuned)
    default, swept = spec("l2"), spec("ewc", strengths=(1.0, 30.0))
    assert len({comparability_key(s) for s in (plain, tuned, default)}) == 1  # nobody has looked at the results
    assert len({comparability_key(s) for s in (plain, given, swept)}) == 3
    assert differences([Entry(given), Entry(tuned)]) == ["selection of strengths"]


def test_memory_is_alike_within_five_percent():
    def entry(kept, parameters=1000, method="er"):
        return Entry(spec(method), ({"parameters": parameters, "memory_samples": kept},))

    assert rank_marks([entry(1000), entry(1050), entry(951)]) == ["A", "A", "A"]
    assert rank_marks([entry(1000), entry(1060), entry(900), entry(0)]) == ["A", "B", "C", "D"]
    assert rank_marks([entry(0), entry(0, method="finetune"), entry(0, parameters=2000)]) == ["A", "A", "B"]
    assert differences([entry(1000), entry(1100)]) == ["memory bytes"]
    assert rank_marks([entry(0), Entry(spec("er"))]) == ["A", "B"]  # not known is not alike
    both = Entry(spec("er"), entry(1000).footprints + entry(2000).footprints)
    assert rank_marks([entry(1000), both, both]) == ["A", "B", "B"]


def test_equal_budgets_in_bytes_must_be_kept_to():
    def entry(kept, parameters=1000):
        return Entry(spec("er", memory_bytes=500), ({"parameters": parameters, "memory_samples": kept},))

    assert rank_marks([entry(500), entry(100), entry(900), entry(0, 1500), entry(0, 2000)]) == ["A", "A", "B", "A", "C"]


def test_equal_compute_must_have_been_reached():
    def entry(*reached, budget="fine-tuning"):
        return Entry(spec(gradient_samples=budget), ({"parameters": 9},), reached)

    assert rank_marks([entry(1000), entry(1050), entry(1060), entry()]) == ["A", "A", "B", "C"]
    assert differences([entry(1000), entry(1060)]) == ["gradient samples"]
    assert rank_marks([entry(1000, budget=None), entry(2000, budget=None)]) == ["A", "A"]


def test_marks_go_on_after_z():
    marks = rank_marks([Entry(spec(epochs=n)) for n in range(1, 30)])
    assert marks[0] == "A" and marks[25:29] == ["Z", "AA", "AB", "AC"]


# ---- cost -----------------------------------------------------------------------------------------------------------


def measured(run: RunSpec, wall=2.0, cpu=2.0, networks=2, experiment="", status="finished", device="cpu") -> Measured:
    result = {
        "status": status, "train_seconds": wall, "train_cpu_seconds": cpu, "replicas": [{}] * networks,
        "protocol": {"device": device, "code_version": "1"},
    }  # fmt: skip
    return Measured(run, result, experiment)


def test_cost_is_relative_to_fine_tuning():
    plain = measured(spec())
    cost = FineTuning([plain]).relative_cost(measured(spec("er"), wall=4.0, cpu=6.0))
    assert (cost.wall, cost.cpu) == (2.0, 3.0)
    assert FineTuning([plain]).relative_cost(plain) == (1.0, 1.0)


def test_the_same_experiment_comes_first():
    others = [measured(spec(), wall=4.0, experiment="old"), measured(spec(), wall=1.0, experiment="mine")]
    assert FineTuning(others).relative_cost(measured(spec("ewc"), experiment="mine")).wall == 2.0
    assert FineTuning(others).relative_cost(measured(spec("ewc"), experiment="third")).wall == 0.5


@pytest.mark.parametrize(
    "plain",
    [
        measured(spec(epochs=3)),
        measured(spec(seeds=(0,))),
        measured(spec("er")),
        measured(spec(), networks=4),
        measured(spec(), status="cancelled"),
        measured(spec(), device="NVIDIA"),
        measured(spec(), wall=0.0),
        Measured(spec(), None),
    ],
    ids=["epochs", "seeds", "another method", "more networks", "not finished", "device", "no time", "no result"],
)
def test_there_is_no_guess_without_fine_tuning_under_the_same_conditions(plain):
    assert FineTuning([plain]).relative_cost(measured(spec("ewc"))) is None


def test_a_run_that_is_not_over_has_no_relative_cost():
    assert FineTuning([measured(spec())]).relative_cost(Measured(spec("ewc"), None)) is None


@pytest.mark.parametrize(
    ("n", "words"),
    [(0, "0 B"), (890, "890 B"), (999, "999 B"), (1000, "1.0 kB"), (14_400, "14.4 kB"), (68_000, "68.0 kB"),
     (99_960, "100 kB"), (999_960, "1.0 MB"), (3_210_000, "3.2 MB"), (2.5e15, "2500 TB")],
)  # fmt: skip
def test_bytes_are_readable(n, words):
    assert readable_bytes(n) == words


def test_counts_are_readable():
    assert (readable_count(12), readable_count(1_250_000)) == ("12", "1.2 M")
