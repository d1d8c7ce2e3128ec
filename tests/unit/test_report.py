"""Numbers as the command line writes them."""

from datetime import UTC, datetime
from types import SimpleNamespace

import pytest

from clcore.report import history, percent


def listed(replicas=None, **fields) -> list[str]:
    """A row of the list of runs; its columns are two blanks apart."""
    usual = {"id": "abc", "state": "finished", "method": "ewc", "benchmark": "split-digits", "scenario": "class"}
    grid = SimpleNamespace(grid=SimpleNamespace(seeds=(0,)))
    more = {"live": False, "tasks": None, "position": 0.0, "created": datetime.now(UTC), "spec": grid}
    result = None if replicas is None else {"replicas": replicas}
    row = SimpleNamespace(**usual | more | {"result": result} | fields)
    head, line = history([row]).splitlines()
    return [line[head.index(name) :].split("  ")[0].strip() for name in ("state", "ACC")]


def replica(strength, acc, status="finished"):
    return {"strength": strength, "memory": None, "acc": acc, "status": status}


def test_an_interval_needs_three_seeds():
    assert percent([0.5]) == "50.0"
    assert percent([0.96, 0.975]) == "96.8 (96.0…97.5)"
    assert percent([0.4, 0.5, 0.6]) == "50.0 ± 24.8"  # 4.303 · 0.1 / √3


def test_what_diverged_is_no_mean_over_the_survivors():
    assert percent([0.5, None]) == "–" and percent([]) == "–"


@pytest.mark.parametrize(
    ("replicas", "shown"),
    [
        ([replica(1.0, 0.905)], "90.5"),
        ([replica(1.0, 0.8), replica(10.0, 0.905), replica(1.0, 0.766), replica(10.0, 0.905)], "78.3 … 90.5"),
        ([replica(1.0, 0.8), replica(10.0, 0.905), replica(99.0, None, "diverged")], "80.0 … 90.5 (1 diverged)"),
        ([replica(1.0, 0.8), replica(99.0, None, "diverged")], "80.0 (1 diverged)"),
        (None, ""),
        ([], ""),
    ],
)
def test_the_list_of_runs_shows_the_range_of_a_sweep(replicas, shown):
    assert listed(replicas) == ["finished", shown]


def test_the_list_of_runs_says_how_far_a_live_run_is():
    assert listed(state="running", live=True, tasks=5, position=1.85) == ["running 37%", ""]
    assert listed(state="starting", live=True) == ["starting", ""]
    assert listed(state="failed", tasks=5, position=1.85) == ["failed", ""]
