"""When a waiting run will start: the queue played forward, and what nobody knows stays unknown."""

from datetime import UTC, datetime, timedelta

import pytest

from clcore.runner.forecast import Start, Waiting, durations, remaining, settings_of, starts
from clcore.store import RunRow
from tests.pages.recorded import experiment

THEN = datetime(2026, 1, 1, tzinfo=UTC)
KNOWN = {("short", "cpu"): 10.0, ("long", "cpu"): 100.0, ("short", "cuda"): 2.0}


def row(method="er", *, seeds=3, seconds=None, position=0.0, **fields) -> RunRow:
    usual: dict = dict.fromkeys(RunRow.__dataclass_fields__)
    (spec,) = experiment(method, seeds=seeds)
    known = {
        "slot": "cpu", "attempts": 1, "tasks": 5, "position": position, "spec_json": spec.model_dump_json().encode(),
        "started": THEN, "finished": None if seconds is None else THEN + timedelta(seconds=seconds),
    }  # fmt: skip
    return RunRow(**usual | known | fields)


def of(*names: str, device: str = "auto") -> list[Waiting]:
    return [Waiting(device, name) for name in names]


def test_free_places_are_taken_at_once_and_then_one_waits_for_the_first_to_become_free():
    found = starts(of("long", "short", "short", "short"), {"cpu": 2}, {}, KNOWN)
    assert found == [Start(0.0, False), Start(0.0, False), Start(10.0, False), Start(20.0, False)]


def test_runs_at_work_hold_their_places():
    assert starts(of("short", "short"), {"cpu": 2}, {"cpu": [30.0, 4.0]}, KNOWN) == [Start(4.0, False), Start(14.0, False)]


def test_after_a_run_of_unknown_length_a_start_is_only_bounded():
    assert starts(of("never seen", "short"), {"cpu": 2}, {"cpu": [30.0]}, KNOWN) == [Start(0.0, False), Start(30.0, True)]
    assert starts(of("never seen", "short"), {"cpu": 1}, {}, KNOWN) == [Start(0.0, False), None]
    assert starts(of("short"), {"cpu": 1}, {"cpu": [None]}, KNOWN) == [None]


def test_a_run_waits_for_a_device_that_it_may_have():
    slots = {"cpu": 2, "cuda:0": 1}
    found = starts([*of("short", "short"), *of("short", device="cpu")], slots, {}, KNOWN)
    assert found == [Start(0.0, False), Start(2.0, False), Start(0.0, False)]  # auto takes the GPU
    assert starts(of("short", device="mps"), {"cpu": 1}, {}, KNOWN) == [Start(0.0, False)]  # answered on the CPU


def test_the_same_settings_differ_in_neither_seeds_nor_device():
    a, b = (experiment("er", seeds=3)[0] for _ in range(2))
    other = b.model_copy(update={"grid": b.grid.model_copy(update={"seeds": (7, 8, 9)}), "device": "cpu"})
    more = experiment("er", seeds=5)[0]
    texts = [settings_of(spec.model_dump_json()) for spec in (a, other, more)]
    assert texts[0] == texts[1] != texts[2]


def test_the_median_of_the_latest_runs_counts_and_interrupted_ones_do_not():
    latest = [row(seconds=s) for s in (10, 30, 20, 40, 50)]
    old = [row(seconds=9000)] * 10
    others = [row(seconds=1, attempts=2), row(seconds=1, slot=""), row(seconds=None)]
    found = durations([*others, *latest, *old])
    assert found == {(settings_of(row().spec_json), "cpu"): 30.0}


@pytest.mark.parametrize(
    ("position", "elapsed", "left"), [(0.5, 4.0, 26.0), (0.5, 40.0, 0.0), (2.0, 40.0, 60.0), (5.0, 40.0, 0.0)]
)
def test_a_run_at_work_tells_by_its_own_progress_once_a_task_is_done(position, elapsed, left):
    known = {(settings_of(row().spec_json), "cpu"): 30.0}
    assert remaining(row(position=position), elapsed, known) == pytest.approx(left)
    assert position >= 1 or remaining(row(position=position), elapsed, {}) is None
