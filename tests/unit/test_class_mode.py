"""Several people on one server: fair turns, a limit for each, stopping everything, and what is shown to all."""

import os
import sqlite3
import subprocess
import sys
from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from clcore import events as ev
from clcore.errors import RequestError
from clcore.runner.forecast import Start
from clcore.settings import settings
from clcore.spec import MethodChoice, RunSpec, make
from clcore.store import open_store
from clcore.store.queue import fair_order
from clcore.ui.classroom import LONGEST, clean
from clcore.ui.system.waiting import in_progress, queue_frame, reasons

ROOT = Path(__file__).parents[2]
SPEC = make(RunSpec, benchmark="split-digits", scenario="class", method=MethodChoice(name="finetune"))


@pytest.fixture
def url(tmp_path) -> str:
    return f"sqlite:///{tmp_path / 'runs.db'}"


@pytest.fixture
def store(url):
    opened = open_store(url)
    yield opened
    opened.close()


# ---- fair turns ----------------------------------------------------------------------------------------------------


class Waiting:
    def __init__(self, id, owner):
        self.id, self.owner = id, owner


def served_in(waiting, places: int) -> list[str]:
    """Owners in the order in which their runs start: `places` run at a time, each as long as the others."""
    started, running, last = [], [], {}
    waiting, clock = list(waiting), datetime(2030, 1, 1, tzinfo=UTC)
    while waiting or running:
        while waiting and len(running) < places:
            first = fair_order(waiting, Counter(running), last)[0]
            run = next(w for w in waiting if w.id == first)
            waiting.remove(run)
            running.append(run.owner)
            started.append(run.owner)
            clock += timedelta(seconds=1)
            last[run.owner] = clock
        running.pop(0)
    return started


@pytest.mark.parametrize("places", [1, 2, 3])
def test_a_sweep_of_forty_lets_a_class_through(places):
    waiting = [Waiting(f"ada{i}", "Ada") for i in range(40)]
    waiting += [Waiting(f"{name}{i}", name) for name in ("Grace", "Lin", "Mei") for i in range(2)]
    order = served_in(waiting, places)
    for name in ("Grace", "Lin", "Mei"):
        assert order.index(name) < 4 and len(order) - order[::-1].index(name) <= 8 + places
    assert Counter(order) == Counter(w.owner for w in waiting)


def test_whoever_comes_late_does_not_wait_for_those_who_were_served():
    waiting = [Waiting(f"ada{i}", "Ada") for i in range(5)] + [Waiting("lin", "Lin")]
    hour_ago = datetime.now(UTC) - timedelta(hours=1)
    assert fair_order(waiting, {"Ada": 2}, {"Ada": hour_ago})[0] == "lin"
    assert fair_order(waiting, {}, {"Ada": hour_ago, "Lin": datetime.now(UTC)})[:2] == ["ada0", "lin"]


def test_people_with_one_nickname_share_its_turns():
    waiting = [Waiting("a", "Ada"), Waiting("b", "Ada"), Waiting("c", "Lin")]
    assert fair_order(waiting, {}, {}) == ["a", "c", "b"]


def test_every_place_in_the_queue_has_its_reason(store):
    ada = store.add([SPEC] * 3, owner="Ada")
    store.add([SPEC], owner="Lin")
    store.set_state(ada[0], "running", started=datetime.now(UTC))
    waiting = store.queue_places()
    busy = in_progress(store.live_runs())
    assert busy == {"Ada": 1} and [row.owner for row in waiting] == ["Lin", "Ada", "Ada"]
    assert reasons(waiting, busy, runner=True) == [
        "Next: it starts when its device has a free place.",
        "1 run of others goes first: this person has 1 in progress.",
        "1 of others and 1 of the same person go first.",
    ]
    assert set(reasons(waiting, busy, runner=False)) == {"No runner is at work."}
    store.take_lease("here", "a", 60, pid=1, pid_started=1.0)
    store.want(waiting[1].id, "cancel")
    assert reasons(store.queue_places(), busy, runner=True)[1] == "It is being cancelled."
    frame = queue_frame(waiting, ["…"] * 3, [None, Start(0.0, False), Start(65.0, True)], person="Lin")
    assert list(frame["starts"]) == ["unknown", "now", "within 1:05"]
    assert list(frame["who"]) == ["Lin (you)", "Ada", "Ada"] and list(frame["place"]) == [1, 2, 3]


def test_only_ones_own_runs_ahead_are_called_so(store):
    store.add([SPEC] * 3, owner="Ada")
    assert reasons(store.queue_places(), {}, runner=True)[2] == "2 runs of the same person go first."


# ---- the limit -----------------------------------------------------------------------------------------------------


def test_who_has_too_many_runs_is_refused_whole_and_told_why(store):
    store.add([SPEC] * 2, owner="Ada", limit=3)
    with pytest.raises(RequestError, match="Ada has 2 of at most 3 runs queued or running here and asked for 2 more"):
        store.add([SPEC] * 2, owner="Ada", limit=3)
    assert store.count_runs() == 2
    store.add([SPEC] * 3, owner="Lin", limit=3)
    store.add([SPEC], owner="Ada", limit=3)
    store.add([SPEC] * 9, owner="Ada")  # without a limit
    assert store.count_runs(owners=["Ada"]) == 12 and store.count_runs(owners=["Lin"]) == 3


def test_runs_that_are_over_do_not_count(store):
    first, second = store.add([SPEC] * 2, owner="Ada", limit=2)
    store.end(first, ev.RunCancelled())
    store.set_state(second, "paused")  # its process holds memory still
    store.add([SPEC], owner="Ada", limit=2)
    with pytest.raises(RequestError, match="Ada has 2 of at most 2"):
        store.add([SPEC], owner="Ada", limit=2)


ASK = """
import sys
from clcore.errors import RequestError
from clcore.spec import MethodChoice, RunSpec, make
from clcore.store import open_store
store = open_store(sys.argv[1])
spec = make(RunSpec, benchmark="split-digits", scenario="class", method=MethodChoice(name="finetune"))
print("ready", flush=True)
sys.stdin.readline()
for _ in range(20):
    try:
        store.add([spec], owner="Ada", limit=15)
    except RequestError:
        print("refused", flush=True)
"""


def test_two_tabs_cannot_race_past_the_limit(store, url):
    racers = [
        subprocess.Popen([sys.executable, "-c", ASK, url], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT)
        for _ in range(2)
    ]
    for racer in racers:
        assert racer.stdout.readline() == "ready\n"
    for racer in racers:
        racer.stdin.write("\n")
        racer.stdin.flush()
    refused = sum(racer.communicate(timeout=60)[0].count("refused") for racer in racers)
    assert (store.count_runs(), refused) == (15, 25)


@pytest.mark.parametrize("text", ["0", "-1", "many", "2.5", "²"])
def test_a_limit_that_is_no_number_is_refused(monkeypatch, text):
    monkeypatch.setenv("CLCORE_RUNS_PER_PERSON", text)
    with pytest.raises(RequestError, match=f"CLCORE_RUNS_PER_PERSON = '{text}'"):
        settings()


def test_the_settings_of_a_class(monkeypatch):
    assert (settings().runs_per_person, settings().instructor_code) == (None, None)
    monkeypatch.setenv("CLCORE_RUNS_PER_PERSON", " 4 ")
    monkeypatch.setenv("CLCORE_INSTRUCTOR_CODE", "chalk")
    assert (settings().runs_per_person, settings().instructor_code) == (4, "chalk") and "chalk" not in repr(settings())


# ---- stopping everything -------------------------------------------------------------------------------------------


def test_everything_live_is_asked_to_stop(store):
    store.take_lease("here", "a", 60, pid=1, pid_started=1.0)
    running, queued, asked, over = store.add([SPEC] * 4)
    store.set_state(running, "running")
    store.want(asked, "cancel")
    store.end(over, ev.RunCancelled())
    assert store.cancel_all() == 2
    assert {store.wish(i)[0] for i in (running, queued, asked)} == {"cancel"}
    assert store.wish(running)[1] == store.wish(asked)[1] == 1 and store.run(over).want is None
    assert store.cancel_all() == 0


def test_without_a_runner_what_waits_ends_at_once(store):
    running, *queued = store.add([SPEC] * 3)
    store.set_state(running, "running")
    assert store.cancel_all() == 3
    assert [store.run(i).state for i in queued] == ["cancelled"] * 2 and store.run(running).want == "cancel"


# ---- what is shown to all ------------------------------------------------------------------------------------------


def test_one_experiment_at_a_time_is_shown_to_all(store, url):
    assert store.shown_to_all() is None
    first, second = (store.run(store.add([SPEC])[0]).experiment for _ in range(2))
    store.show_to_all(first, by="Ada")
    store.show_to_all(second, by="Μαρία" * 20)
    again = open_store(url)  # the extra row makes it no other version
    assert again.shown_to_all().experiment == second and again.shown_to_all().by.startswith("Μαρία")
    assert abs(again.shown_to_all().since - datetime.now(UTC)) < timedelta(seconds=10)
    again.close()
    store.show_to_all(None)
    assert store.shown_to_all() is None


def test_the_row_fits_into_its_column(store, url):
    store.show_to_all(store.run(store.add([SPEC])[0]).experiment, by="\U0001f600" * 80)
    with sqlite3.connect(url.removeprefix("sqlite:///")) as connection:
        [(value,)] = connection.execute("SELECT value FROM meta WHERE name = 'shown to all'")
    connection.close()
    assert len(value) <= 200  # PostgreSQL refuses more


def test_a_deleted_experiment_is_shown_no_longer(store):
    [run_id] = store.add([SPEC])
    store.show_to_all(store.run(run_id).experiment)
    store.end(run_id, ev.RunCancelled())
    store.delete([run_id])
    assert store.shown_to_all() is None


# ---- nicknames -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("  Ada   Lovelace ", "Ada Lovelace"), ("Müller-Lüdenscheidt", "Müller-Lüdenscheidt"), ("김민준", "김민준"),
        ("O'Neil", "O'Neil"), ("किरण", "किरण"), ("a_b\n\tc", "a-bc"), ("…", ""), ("- ", ""),
        ("**x** ![a](http://b)", "x ahttpb"), (":red[x]<b>", "redxb"),
    ],
)  # fmt: skip
def test_a_nickname_keeps_letters_and_nothing_that_markdown_means(given, kept):
    assert clean(given) == kept


def test_a_nickname_is_short():
    assert len(clean("x" * 500)) == LONGEST == len(clean(clean("x" * 500)))


def test_facts_about_the_database(store, tmp_path):
    store.add([SPEC] * 3)
    store.end(store.runs()[0].id, ev.RunCancelled())
    facts = store.about()
    assert (facts.kind, facts.path, facts.schema) == ("SQLite", tmp_path / "runs.db", "1")
    assert facts.runs == {"queued": 2, "cancelled": 1} and facts.events == 1
    assert facts.bytes >= os.stat(tmp_path / "runs.db").st_size > 0


def test_a_switch_is_0_or_1(monkeypatch):
    assert settings().cuda_graphs
    monkeypatch.setenv("CLCORE_CUDA_GRAPHS", " 0 ")
    assert not settings().cuda_graphs
    monkeypatch.setenv("CLCORE_CUDA_GRAPHS", "no")
    with pytest.raises(RequestError, match="CLCORE_CUDA_GRAPHS = 'no' is not allowed: give 0 or 1"):
        settings()
