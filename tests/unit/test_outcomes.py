"""Outcomes: seeds pooled over runs, references, and what decides whether two may stand beside each other."""

import pytest

from clcore.frames import Series
from clcore.outcomes import (
    Configuration,
    Outcome,
    Retention,
    Trial,
    conditions_key,
    configuration,
    differences,
    outcomes,
    read,
    references,
    retention,
)
from clcore.spec import Grid, MethodChoice, NetworkChoice, RunSpec, make
from tests.pages.recorded import experiment, play, recording

R = [  # three tasks; row 0 is the untrained network
    [0.5, 0.5, 0.5],
    [0.9, 0.5, 0.5],
    [0.7, 0.8, 0.5],
    [0.6, 0.7, 0.9],
]


@pytest.fixture
def store(own_home):
    from clcore.store import open_store

    opened = open_store()
    yield opened
    opened.close()


def spec(method="er", seeds=(0, 1), memories=(200,), strengths=(), scenario="domain", settings=None, **more) -> RunSpec:
    choice = make(MethodChoice, name=method, strengths=strengths, settings=settings or {})
    grid = make(Grid, seeds=seeds, memories=memories)
    return make(RunSpec, benchmark="permuted-digits", scenario=scenario, method=choice, grid=grid, **more)


def finished(store, run: RunSpec, matrices=None, statuses=None, device="cpu", seconds=2.0) -> str:
    """A finished run whose replicas have the given accuracy matrices; returns its id."""
    from clcore import events as ev

    replicas = [
        {
            "seed": r.seed, "strength": r.strength, "memory": r.memory, "digest": run.digest(r),
            "status": (statuses or {}).get(i, "finished"), "accuracy_matrix": (matrices or {}).get(i, R),
            "validation_matrix": R, "footprint": {"parameters": 100, "memory_samples": 7 * (r.memory or 0)},
            "gradient_samples": 1000,
        }
        for i, r in enumerate(run.replicas)
    ]  # fmt: skip
    result = {
        "method": run.method.name, "status": "finished", "train_seconds": seconds, "train_cpu_seconds": seconds,
        "replicas": replicas, "protocol": {"device": device, "code_version": "1"},
    }  # fmt: skip
    (run_id,) = store.add([run], state="running")
    store.append(run_id, [(1, ev.RunFinished(result=result))])
    return run_id


def only(store, **more) -> Outcome:
    (found,) = outcomes(store.runs(), **more)
    return found


def scored(seeds_acc: dict[int, float], method="er") -> Outcome:
    trials = tuple(
        Trial("r", seed, str(seed), 3, 3, False, {"acc": acc}, {"parameters": 1}) for seed, acc in seeds_acc.items()
    )
    return Outcome(Configuration(method), "c", spec(), trials)


# ---- one configuration ----------------------------------------------------------------------------------------------


def test_numbers_of_a_matrix(store):
    finished(store, spec(seeds=(0,)))
    numbers = only(store).trials[0].numbers
    expected = {
        "acc": (0.6 + 0.7 + 0.9) / 3,
        "forgetting": ((0.9 - 0.6) + (0.8 - 0.7)) / 2,
        "stability": 0.8,
        "plasticity": (0.9 + 0.8 + 0.9) / 3,
        "bwt": -0.2,
        "old": 0.65,
        "last": 0.9,
        "validation_acc": (0.6 + 0.7 + 0.9) / 3,
        "bytes": 1500,
        "kept_bytes": 1400,
        "gradient_samples": 1000,
    }
    assert numbers == {name: pytest.approx(value) for name, value in expected.items()}


def test_plasticity_exists_in_the_class_scenario_too(store):
    run = spec(seeds=(0,), scenario="class").model_copy(update={"benchmark": "split-digits"})
    finished(store, run)
    assert only(store).spread("plasticity").mean == pytest.approx(2.6 / 3)


def test_seeds_are_pooled_over_runs_and_a_repeated_seed_counts_once(store):
    better = [*R[:-1], [0.9, 0.9, 0.9]]
    first = finished(store, spec(seeds=(0, 1)))
    second = finished(store, spec(seeds=(1, 2)), matrices={0: better})
    outcome = only(store)
    assert outcome.seeds == (0, 1, 2) and set(outcome.runs) == {first, second}
    assert outcome.by_seed("acc")[1] == pytest.approx(0.9), "of a seed that was trained twice the newer result counts"
    assert outcome.spread("acc").n == 3


def test_strengths_and_memories_are_configurations_of_their_own(store):
    finished(store, spec("ewc", strengths=(1.0, 10.0)))
    finished(store, spec(memories=(50, 200)))
    keys = [(o.configuration.method, o.configuration.strength, o.configuration.memory) for o in outcomes(store.runs())]
    assert keys == [("ewc", 1.0, None), ("ewc", 10.0, None), ("er", None, 50), ("er", None, 200)]


def test_a_setting_at_its_default_is_no_setting():
    plain = MethodChoice(name="ewc")
    written = MethodChoice(name="ewc", settings={"ewc.penalty_step": plain.part_settings("ewc")["penalty_step"]})
    assert configuration(plain, 3.0) == configuration(written, 3.0) == Configuration("ewc", (), 3.0, None)


def test_a_strength_that_was_set_is_the_one_that_was_swept():
    assert configuration(MethodChoice(name="ewc", settings={"ewc.strength": 3.0}), 3.0).settings == ()
    both = configuration(MethodChoice(name="er+ewc", settings={"ewc.strength": 3.0, "er.loss": "sum"}), 3.0, 200)
    assert both == Configuration("er+ewc", (("er.loss", "sum"),), 3.0, 200)


def test_other_conditions_are_never_pooled(store):
    finished(store, spec(seeds=(0,)))
    finished(store, spec(seeds=(1,), epochs=3))
    finished(store, spec(seeds=(2,), network=NetworkChoice(hidden=(50,))))
    found = outcomes(store.runs())
    assert len(found) == 3 and len({o.conditions for o in found}) == 3
    assert conditions_key(spec(seeds=(0,))) == conditions_key(spec(seeds=(1, 2)))


def test_diverged_seeds_leave_no_mean(store):
    blown = [*R[:2], [None] * 3, [None] * 3]
    finished(store, spec(seeds=(0, 1, 2)), matrices={1: blown}, statuses={1: "diverged"})
    acc = only(store).spread("acc")
    assert (acc.mean, acc.diverged, acc.total) == (None, 1, 3) and only(store).diverged == 1


def test_a_cancelled_or_failed_run_is_no_outcome(store):
    from clcore import events as ev

    for event in (ev.RunCancelled(result={"replicas": []}), ev.RunFailed(message="no")):
        (run_id,) = store.add([spec()], state="running")
        store.append(run_id, [(1, event)])
    assert outcomes(store.runs()) == []


def test_finished_runs_are_read_once(store):
    finished(store, spec())
    known = {}
    first = only(store, known=known)
    (row,) = store.runs()
    assert list(known) == [row.id] and known[row.id].trials == read(row).trials
    known[row.id] = known[row.id].__class__(**{**vars(known[row.id]), "conditions": "kept"})
    assert only(store, known=known).conditions == "kept" != first.conditions


# ---- live runs ------------------------------------------------------------------------------------------------------


def test_a_live_run_counts_over_the_tasks_it_has_finished(store):
    run = experiment("ewc", strengths=(0, 10), seeds=3)[0]
    run_id = play(store, run, until=3.5)
    folded = Series(run_id).pull(store)
    found = outcomes(store.runs(), series=lambda name: folded)
    assert [o.configuration.strength for o in found] == [0, 10] and not found[0].finished
    assert found[0].trials[0].after == 3 and found[0].training == (0, 1, 2)
    lines = [row[:3] for row in folded.replica_matrix(0)]
    assert found[0].trials[0].numbers["acc"] == pytest.approx(sum(lines[3]) / 3)
    assert outcomes(store.runs()) == [], "without a series live runs are left out"


def test_finished_seeds_come_before_live_ones(store):
    finished(store, spec(seeds=(0, 1)))
    run_id = store.add([spec(seeds=(1, 2))], state="running")[0]
    store.append(run_id, list(enumerate(recording(spec(seeds=(1, 2)), until=2.5), start=1)))
    folded = Series(run_id).pull(store)
    outcome = only(store, series=lambda name: folded)
    assert outcome.seeds == (0, 1) and outcome.training == (2,) and outcome.finished


# ---- comparability, time --------------------------------------------------------------------------------------------


def test_differences_name_the_pooled_seeds(store):
    finished(store, spec("finetune", seeds=(0, 1)))
    finished(store, spec("single", seeds=(0,)))
    assert "seeds" in differences(outcomes(store.runs()))
    finished(store, spec("single", seeds=(1,)))
    assert "seeds" not in differences(outcomes(store.runs()))


def test_time_is_relative_to_as_many_networks_of_fine_tuning(store):
    finished(store, spec("finetune", seeds=(0, 1, 2, 3)), seconds=2.0)
    finished(store, spec("ewc", seeds=(0, 1), strengths=(1.0, 10.0)), seconds=3.0)
    finished(store, spec("er", seeds=(0, 1)), seconds=3.0)
    times = {o.configuration.method: o.relative_time for o in outcomes(store.runs())}
    assert times["ewc"].mean == 1.5 and times["ewc"].n == 1, "four networks side by side, whatever their seeds"
    assert times["er"].mean is None


# ---- references and retention ---------------------------------------------------------------------------------------


def test_references_are_those_under_the_same_conditions(store):
    finished(store, spec("finetune"))
    finished(store, spec("joint", epochs=3))
    found = outcomes(store.runs())
    assert list(references(found, conditions_key(spec()))) == ["finetune"]
    assert list(references(found, conditions_key(spec(epochs=3)))) == ["joint"]


def kept(a, f, j) -> Retention | None:
    return retention(scored(a), {"finetune": scored(f, "finetune"), "joint": scored(j, "joint")})


def test_retention_by_hand():
    """ā = 0.6, f̄ = 0.3, j̄ = 0.9: R = 0.5. e = a − f/2 − j/2 = 0, −0.1, 0.1: s = 0.1, half = 4.3027·0.1/√3/0.6."""
    found = kept({0: 0.6, 1: 0.5, 2: 0.7}, {0: 0.3, 1: 0.3, 2: 0.3}, {0: 0.9, 1: 0.9, 2: 0.9})
    assert found.paired and found.spread.mean == pytest.approx(0.5) and found.spread.n == 3
    assert found.spread.half == pytest.approx(4.302653 * 0.1 / 3**0.5 / 0.6)


def test_pairing_removes_what_the_seeds_share():
    shift = {0: 0.0, 1: 0.1, 2: 0.2}
    found = kept(*({seed: level + s for seed, s in shift.items()} for level in (0.5, 0.3, 0.7)))
    assert found.spread.mean == pytest.approx(0.5) and found.spread.half == pytest.approx(0, abs=1e-9)


def test_retention_without_shared_seeds_is_wider():
    """s = 0.1 each, R = 0.5: variance of the mean = 0.01/3·(1 + 0.25 + 0.25)."""
    a, f, j = (
        {first + i: level + 0.1 * (i - 1) for i in range(3)} for first, level in ((0, 0.5), (10, 0.3), (20, 0.7))
    )
    found = kept(a, f, j)
    parts = [0.01 / 3, 0.0025 / 3, 0.0025 / 3]
    freedom = sum(parts) ** 2 / sum(p**2 / 2 for p in parts)
    assert not found.paired and freedom == pytest.approx(4.0)
    assert found.spread.half == pytest.approx(2.776445 * sum(parts) ** 0.5 / 0.4)


def test_two_seeds_give_a_range_and_one_a_value():
    two = kept({0: 0.4, 1: 0.6}, {0: 0.2, 1: 0.2}, {0: 0.6, 1: 1.0}).spread
    assert (two.n, two.low, two.high) == (2, pytest.approx(0.5), pytest.approx(0.5))
    one = kept({0: 0.4}, {0: 0.2, 1: 0.4}, {0: 0.6}).spread
    assert (one.n, one.mean, one.half) == (1, pytest.approx(0.5), None)


def test_references_stand_at_0_and_1():
    f, j = {0: 0.3, 1: 0.2, 2: 0.4}, {0: 0.9, 1: 0.7, 2: 0.8}
    assert kept(f, f, j).spread.mean == 0 and kept(j, f, j).spread.mean == pytest.approx(1)


def test_no_retention_without_room_or_reference():
    assert kept({0: 0.5}, {0: 0.9}, {0: 0.8}) is None
    assert retention(scored({0: 0.5}), {"finetune": scored({0: 0.3})}) is None
