"""The run store: what it keeps, what it refuses, and that nobody can race."""

import os
import sqlite3
import subprocess
import sys
import tempfile
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import sqlalchemy as sa

from clcore import events as ev
from clcore.errors import RequestError, StoreError, UnknownName
from clcore.spec import Grid, MethodChoice, RunSpec, make
from clcore.store import RunGone, StoreBusy, open_store
from clcore.store.queue import fair_order

ROOT = Path(__file__).parents[2]


def spec(method="finetune", scenario="class", **changes) -> RunSpec:
    return make(RunSpec, benchmark="split-digits", scenario=scenario, method=MethodChoice(name=method), **changes)


def started(tasks=3) -> ev.RunStarted:
    return ev.RunStarted(
        method="finetune",
        benchmark="split-digits",
        scenario="class",
        tasks=[str(t) for t in range(tasks)],
        replicas=[ev.ReplicaInfo(seed=0, digest="d")],
        epochs=1,
        chance=[],
        test_examples=[10] * tasks,
        train_examples=[10] * tasks,
        device="cpu",
        versions={"clcore": "9.9"},
    )


def progress(position: float) -> ev.Progress:
    return ev.Progress(task=1, position=position, replicas=[0], losses={}, train_samples=1, train_seconds=0.1)


@pytest.fixture
def url(tmp_path) -> str:
    return f"sqlite:///{tmp_path / 'runs.db'}"


@pytest.fixture
def store(url):
    store = open_store(url)
    yield store
    store.close()


def running(store, **facts) -> str:
    [run_id] = store.add([spec()])
    store.set_state(run_id, "starting", expected="queued", attempts=1, **facts)
    store.append(run_id, [(1, started())], attempt=1)
    return run_id


# ---- runs -----------------------------------------------------------------------------------------------------------


def test_a_run_comes_back_as_it_was_asked_for(store):
    asked = spec("ewc", grid=Grid(seeds=(3, 1)), epochs=7)
    [run_id] = store.add([asked], owner="Ada")
    row = store.run(run_id)
    assert row.spec == asked
    assert (row.state, row.owner, row.method, row.keeper, row.result) == ("queued", "Ada", "ewc", "runner", None)
    assert row.created.tzinfo is UTC and abs(row.created - datetime.now(UTC)) < timedelta(seconds=5)
    assert row.started is None and row.place is None and row.live


def test_a_run_of_what_cannot_be_combined_any_more_stays_readable(store):
    """One such run must not take the whole history with it."""
    earlier = spec(scenario="task").model_copy(update={"method": MethodChoice(name="single+er")})  # checks nothing
    [run_id] = store.add([earlier])
    assert store.run(run_id).spec == earlier


def test_the_default_database_is_in_the_home_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("CLCORE_HOME", str(tmp_path / "new" / "home"))
    monkeypatch.delenv("CLCORE_DATABASE_URL", raising=False)
    store = open_store()
    store.close()
    assert (tmp_path / "new" / "home" / "runs.db").exists()
    assert store.location == str(tmp_path / "new" / "home" / "runs.db")


def test_runs_of_one_experiment_share_its_id_and_others_do_not(store):
    first, second = store.add([spec(), spec("ewc")])
    [other] = store.add([spec()])
    [later] = store.add([spec("er")], experiment=store.run(first).experiment)
    assert [row.id for row in store.runs(experiment=store.run(first).experiment)] == [later, second, first]
    assert store.run(other).experiment != store.run(first).experiment


def test_a_run_is_found_by_a_unique_beginning_of_its_id(store):
    [run_id] = store.add([spec()])
    assert store.run(run_id[:4]).id == run_id
    with pytest.raises(UnknownName, match="There is no run named"):
        store.run(run_id[:3])
    with pytest.raises(UnknownName, match=run_id):
        store.run("nothing")
    with pytest.raises(UnknownName):
        store.run("____")  # not a wildcard


def test_an_ambiguous_beginning_is_refused(store, monkeypatch):
    ids = iter(["abcdef000000", "abcdef111111"])
    monkeypatch.setattr("clcore.store.store._new_id", lambda: next(ids))
    store.add([spec(), spec()], experiment="x")
    with pytest.raises(RequestError, match="More than one run begins with 'abcd'"):
        store.run("abcd")


def test_filters_limits_and_counts(store):
    store.add([spec(), spec("ewc")], owner="Ada")
    store.add([spec("er")], owner="Grace_Hopper")
    assert [row.method for row in store.runs()] == ["er", "ewc", "finetune"]
    assert [row.method for row in store.runs(limit=1, offset=1)] == ["ewc"]
    assert [row.method for row in store.runs(offset=2)] == ["finetune"]
    assert [row.method for row in store.runs(methods=["er", "ewc"])] == ["er", "ewc"]
    assert [row.method for row in store.runs(search=" ADA ")] == ["ewc", "finetune"]
    assert [row.owner for row in store.runs(search="e_h")] == ["Grace_Hopper"]
    assert store.runs(states=["running"]) == [] == store.runs(benchmarks=["toy-2d"]) == store.runs(states=[])
    assert store.count_runs() == 3 and store.count_runs(methods={"er"}, states={"queued"}) == 1


def test_delete_removes_runs_with_their_events_but_no_live_one(store):
    over, live = running(store), running(store)
    store.append(over, [(2, ev.RunFinished(result={}))])
    with pytest.raises(RequestError, match=f"Run {live} is not over yet"):
        store.delete([over, live])
    assert store.run(over).state == "finished"
    assert store.delete([over, "gone"]) == 1
    assert store.events_after(over) == [] and store.count_runs() == 1


# ---- events ---------------------------------------------------------------------------------------------------------


def test_events_come_back_in_order_after_a_cursor(store):
    run_id = running(store)
    batch = [(seq, progress(seq / 10)) for seq in range(2, 8)]
    store.append(run_id, batch, attempt=1)
    assert store.events_after(run_id, 1) == batch
    assert store.events_after(run_id, 5) == batch[-2:]
    assert store.events_after(run_id, 7) == []
    assert store.events_after(run_id, 0, limit=2) == [(1, started()), batch[0]]
    assert [seq for seq, _ in store.events_after(run_id, 0, types={"run_started"})] == [1]
    assert store.last_seq(run_id) == 7


def test_a_number_is_taken_once_and_a_batch_is_stored_whole_or_not_at_all(store):
    run_id = running(store)
    with pytest.raises(StoreError):
        store.append(run_id, [(2, progress(0.5)), (1, progress(0.6))], attempt=1)
    assert store.last_seq(run_id) == 1 and store.run(run_id).position == 0.0


def test_a_large_event_is_one_small_row(store, url):
    run_id = running(store)
    matrix = [[0.5, None, 0.25] * 20] * 64
    event = ev.Evaluated(task=1, position=0.5, step=3, replicas=list(range(64)), accuracy=matrix)
    store.append(run_id, [(2, event)], attempt=1)
    with sqlite3.connect(url.removeprefix("sqlite:///")) as connection:
        [(rows, size)] = connection.execute("SELECT count(*), sum(length(body)) FROM events WHERE seq = 2")
    assert rows == 1 and size < len(ev.dump(event)) / 10
    assert store.events_after(run_id, 1) == [(2, event)]


def test_the_row_is_the_fold_of_the_events(store):
    run_id = running(store)
    row = store.run(run_id)
    assert (row.state, row.tasks, row.device, row.code_version, row.position) == ("running", 3, "cpu", "9.9", 0.0)
    store.append(run_id, [(2, progress(0.4)), (3, progress(0.7))], attempt=1)
    assert store.run(run_id).position == 0.7
    store.append(run_id, [(4, ev.TaskFinished(task=1, test=[[1.0]], validation=None, footprint=[{}]))], attempt=1)
    assert store.run(run_id).position == 1.0
    result = {"method": "finetune", "replicas": [{"accuracy_matrix": [[None, 0.1]] * 300}]}
    store.append(run_id, [(5, ev.RunFinished(result=result))], attempt=1)
    row = store.run(run_id)
    assert row.state == "finished" and row.result == result and row.finished.tzinfo is UTC and not row.live


def test_failure_and_cancel_are_kept_in_the_row(store):
    failed, cancelled = running(store), running(store)
    store.append(failed, [(2, ev.RunFailed(message="No.", traceback="Trace"))], attempt=1)
    store.append(cancelled, [(2, ev.RunCancelled(result={"status": "cancelled"}))], attempt=1)
    assert (store.run(failed).state, store.run(failed).error, store.run(failed).traceback) == ("failed", "No.", "Trace")
    assert (store.run(cancelled).state, store.run(cancelled).result) == ("cancelled", {"status": "cancelled"})


def test_nothing_is_recorded_after_the_end_for_an_old_attempt_or_a_deleted_run(store):
    run_id = running(store)
    with pytest.raises(RunGone):
        store.append(run_id, [(2, progress(0.1))], attempt=2)
    store.append(run_id, [(2, ev.RunFinished(result={}))], attempt=1)
    with pytest.raises(RunGone):
        store.append(run_id, [(3, ev.RunFailed(message="x"))], attempt=1)
    assert store.run(run_id).state == "finished" and store.last_seq(run_id) == 2
    store.delete([run_id])
    with pytest.raises(RunGone):
        store.append(run_id, [(3, progress(0.1))])
    assert store.events_after(run_id) == []


# ---- states and wishes ----------------------------------------------------------------------------------------------


def test_states_change_by_compare_and_set(store):
    [run_id] = store.add([spec()])
    assert store.set_state(run_id, "starting", expected="queued", attempts=1, host="here", pid=7)
    assert not store.set_state(run_id, "starting", expected="queued")
    assert not store.set_state(run_id, "paused", expected={"starting"}, attempt=2)
    assert not store.set_state("missing", "paused")
    row = store.run(run_id)
    assert (row.state, row.host, row.pid) == ("starting", "here", 7)
    with pytest.raises(UnknownName, match="state of a run"):
        store.set_state(run_id, "done")


def test_streams_are_counted_by_state_and_the_newest_comes_first(store):
    other = spec().model_copy(update={"scenario": "task"})
    store.add([other, other, spec()])
    assert store.streams({"queued"}) == [("split-digits", "class", 1), ("split-digits", "task", 2)]
    assert store.streams({"finished"}) == []
    assert [row.scenario for row in store.runs(scenario="task")] == ["task", "task"]


def test_rows_without_results_leave_them_in_the_database(store):
    (run_id,) = store.add([spec()], state="running")
    store.append(run_id, [(1, ev.RunFinished(result={"replicas": []}))])
    assert store.runs()[0].result == {"replicas": []} and store.runs(results=False)[0].result is None


def test_every_wish_counts_and_none_changes_a_run_that_is_over(store):
    run_id = running(store)
    assert store.wish(run_id) == (None, 0)
    store.want(run_id, "step")
    store.want(run_id, "step")
    assert store.wish(run_id) == ("step", 2)
    store.append(run_id, [(2, ev.RunFinished(result={}))])
    store.want(run_id, "cancel")
    assert store.wish(run_id) == (None, 2) and store.run(run_id).state == "finished"
    assert store.wish("missing") is None
    with pytest.raises(UnknownName):
        store.want("missing", "cancel")


def test_a_queued_run_is_cancelled_at_once_only_while_no_runner_lives(store):
    first, second = store.add([spec(), spec()])
    store.want(first, "cancel")
    assert store.run(first).state == "cancelled"
    assert [event.type for _, event in store.events_after(first)] == ["run_cancelled"]
    store.take_lease("here", "a", 60, pid=1, pid_started=1.0)
    store.want(second, "cancel")
    assert (store.run(second).state, store.run(second).want) == ("queued", "cancel")


def test_a_worker_enrolls_only_in_a_run_that_was_started_for_it(store):
    [run_id] = store.add([spec()])
    assert store.enroll(run_id, host="here", pid=5, pid_started=1.0) is None
    store.set_state(run_id, "starting", attempts=1)
    row = store.enroll(run_id, host="here", pid=5, pid_started=1.5)
    assert (row.pid, row.pid_started, row.host, row.attempts) == (5, 1.5, "here", 1) and row.started is not None
    assert store.enroll("missing", host="here", pid=5, pid_started=1.0) is None
    assert store.beat(run_id, attempt=1) and not store.beat(run_id, attempt=0)


CLAIM = """
import sys
from clcore.store import open_store
store = open_store(sys.argv[1])
ids = sys.argv[2].split(",")
print("ready", flush=True)
sys.stdin.readline()
print(sum(store.set_state(i, "starting", expected="queued", host=sys.argv[3]) for i in ids))
"""


def test_two_processes_never_claim_the_same_run(store, url):
    ids = store.add([spec()] * 150)
    racers = [
        subprocess.Popen(
            [sys.executable, "-c", CLAIM, url, ",".join(ids), name],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT,
        )
        for name in ("a", "b")
    ]  # fmt: skip
    for racer in racers:
        assert racer.stdout.readline() == "ready\n"
    for racer in racers:
        racer.stdin.write("\n")
        racer.stdin.flush()
    claimed = [int(racer.communicate(timeout=30)[0]) for racer in racers]
    assert sum(claimed) == 150
    assert [len([r for r in store.runs() if r.host == name]) for name in ("a", "b")] == claimed


def test_threads_share_a_store(store):
    ids = [running(store) for _ in range(4)]
    errors = []

    def write(run_id):
        try:
            for seq in range(2, 42):
                store.append(run_id, [(seq, progress(seq))], attempt=1)
                store.events_after(run_id, seq - 1)
        except Exception as error:
            errors.append(error)

    threads = [threading.Thread(target=write, args=[run_id]) for run_id in ids]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors and [store.last_seq(run_id) for run_id in ids] == [41] * 4


# ---- the queue ------------------------------------------------------------------------------------------------------


class Waiting:
    def __init__(self, id, owner):
        self.id, self.owner = id, owner


def test_people_take_turns():
    waiting = [Waiting(name, name[0]) for name in ("a1", "a2", "a3", "b1", "c1", "b2")]
    assert fair_order(waiting, {}, {}) == ["a1", "b1", "c1", "a2", "b2", "a3"]
    assert fair_order(waiting, {"a": 2, "b": 1}, {}) == ["c1", "b1", "a1", "b2", "a2", "a3"]
    at = datetime.now(UTC)
    served = {"a": at, "b": at - timedelta(hours=1), "c": at - timedelta(minutes=1)}
    assert fair_order(waiting, {}, served)[:3] == ["b1", "c1", "a1"]


def test_places_follow_the_turns(store):
    ada = store.add([spec()] * 3, owner="Ada")
    grace = store.add([spec()], owner="Grace")
    places = {row.id: row.place for row in store.queue_places()}
    assert places == {ada[0]: 1, grace[0]: 2, ada[1]: 3, ada[2]: 4}
    store.set_state(ada[0], "starting", started=datetime.now(UTC))
    assert [row.id for row in store.queue_places()] == [grace[0], ada[1], ada[2]]
    assert [run.id for run in store.live_runs()] == [*ada, *grace]


# ---- leases ---------------------------------------------------------------------------------------------------------


def test_one_runner_holds_a_host(store):
    assert store.take_lease("here", "a", 60, pid=1, pid_started=1.0)
    assert not store.take_lease("here", "b", 60)
    assert store.take_lease("there", "b", 60)
    assert store.renew_lease("here", "a", 60, slots=4, warm=True)
    assert not store.renew_lease("here", "b", 60, slots=4, warm=True)
    status = store.runner_status("here")
    assert (status.alive, status.holder, status.pid, status.slots, status.warm) == (True, "a", 1, 4, True)
    store.release_lease("here", "b")
    assert store.runner_status("here").alive
    store.release_lease("here", "a")
    assert not store.runner_status("here").alive


def test_a_lease_runs_out_or_is_taken_from_the_dead(store):
    store.take_lease("here", "a", -1, pid=1, pid_started=1.0)
    assert not store.runner_status().alive
    assert store.take_lease("here", "b", 60)
    assert store.runner_status().starting and not store.runner_status().alive
    assert store.take_lease("here", "c", 60, over="b")
    assert not store.renew_lease("here", "b", 60, slots=1, warm=False)


# ---- what is refused ------------------------------------------------------------------------------------------------


def refused(url, match, **options) -> StoreError:
    with pytest.raises(StoreError, match=match) as caught:
        open_store(url, **options)
    assert "\n" not in str(caught.value) and str(caught.value).endswith(".")
    return caught.value


def test_a_foreign_database_is_left_untouched(tmp_path):
    path = tmp_path / "other.db"
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE runs (id TEXT)")
        connection.execute("INSERT INTO runs VALUES ('x')")
    connection.close()
    before = path.read_bytes()
    refused(f"sqlite:///{path}", "belongs to another program .*runs.*CLCORE_HOME")
    assert path.read_bytes() == before and os.listdir(tmp_path) == ["other.db"]


def test_another_version_is_left_untouched(tmp_path, url):
    open_store(url).close()
    path = tmp_path / "runs.db"
    with sqlite3.connect(path) as connection:
        connection.execute("UPDATE meta SET value = '99' WHERE name = 'schema'")
    connection.close()
    before = path.read_bytes()
    refused(url, "has version 99, this program reads version 1")
    assert path.read_bytes() == before


@pytest.mark.parametrize("content", [b"not a database at all, but long enough to look at" * 30, b"\0" * 4096])
def test_a_damaged_file_is_left_untouched(tmp_path, url, content):
    path = tmp_path / "runs.db"
    path.write_bytes(content)
    refused(url, "is damaged or is not a run database; move it away")
    assert path.read_bytes() == content


def test_a_database_that_is_cut_short_is_refused(tmp_path, url):
    store = open_store(url)
    store.add([spec()] * 50)
    store.close()
    path = tmp_path / "runs.db"
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(StoreError, match="damaged"):
        open_store(url).runs()


def test_a_locked_database_says_so(store, url):
    holder = sqlite3.connect(url.removeprefix("sqlite:///"), isolation_level=None)
    holder.execute("BEGIN IMMEDIATE")
    other = open_store(url, patience=0.1)
    with pytest.raises(StoreBusy, match="locked by another program; close that program or try again"):
        other.add([spec()])
    assert other.runs() == []  # reading goes on
    holder.execute("ROLLBACK")
    other.add([spec()])
    other.close()
    holder.close()


@pytest.fixture
def plain_person():
    """File permissions do not bind root: give them up for a moment."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(65534)
    yield
    os.seteuid(0)


@pytest.fixture
def open_folder():
    """A folder whose parents everybody may enter, unlike pytest's."""
    with tempfile.TemporaryDirectory() as name:
        os.chmod(name, 0o755)
        yield Path(name)


def test_a_read_only_folder_says_so(open_folder, request):
    open_folder.chmod(0o555)
    request.getfixturevalue("plain_person")
    refused(
        f"sqlite:///{open_folder / 'home' / 'runs.db'}", "cannot be opened for writing; give this account write access"
    )
    refused(f"sqlite:///{open_folder / 'runs.db'}", "cannot be opened for writing")


def test_a_read_only_database_says_so(open_folder, request):
    url = f"sqlite:///{open_folder / 'runs.db'}"
    open_store(url).close()
    (open_folder / "runs.db").chmod(0o444)
    open_folder.chmod(0o555)
    before = (open_folder / "runs.db").read_bytes()
    request.getfixturevalue("plain_person")
    with pytest.raises(StoreError, match="cannot be opened for writing"):
        open_store(url).add([spec()])
    assert (open_folder / "runs.db").read_bytes() == before


def test_a_full_disk_says_so_and_corrupts_nothing(store):
    run_id = running(store)
    with store._engine.connect() as connection:  # SQLite's own limit makes the same error as a full disk
        [pages] = connection.exec_driver_sql("PRAGMA page_count").one()
        connection.exec_driver_sql(f"PRAGMA max_page_count={pages}")
    with pytest.raises(StoreError, match="is full; free some space") as caught:
        for seq in range(2, 200):
            store.append(run_id, [(seq, started(500))], attempt=1)
    assert not isinstance(caught.value, StoreBusy)
    kept = [seq for seq, _ in store.events_after(run_id)]
    assert kept == list(range(1, len(kept) + 1))
    with store._engine.connect() as connection:
        assert connection.exec_driver_sql("PRAGMA integrity_check").scalar() == "ok"


@pytest.mark.parametrize(
    ("url", "match"),
    [
        ("nonsense", "is not a database URL"),
        ("martian://host/runs", "driver for the database .* is not installed"),
    ],
)
def test_a_wrong_url_says_so(url, match):
    refused(url, match)


def test_no_password_in_a_sentence():
    error = refused("martian://ada:secret@host/runs", "not installed")
    assert "secret" not in str(error)


def test_two_programs_create_one_database(url):
    results = []

    def create():
        try:
            results.append(open_store(url))
        except StoreError as error:
            results.append(error)

    threads = [threading.Thread(target=create) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not [r for r in results if isinstance(r, StoreError)]
    [run_id] = results[0].add([spec()])
    assert results[-1].run(run_id).id == run_id


def test_what_was_committed_survives_a_killed_writer(tmp_path, url):
    script = (
        "import os, signal, sys\n"
        "from clcore.store import open_store\n"
        "from tests.unit.test_store import running, progress\n"
        "store = open_store(sys.argv[1])\n"
        "run_id = running(store)\n"
        "store.append(run_id, [(2, progress(0.5))], attempt=1)\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    subprocess.run([sys.executable, "-c", script, url], cwd=ROOT, check=False)
    store = open_store(url)
    [row] = store.runs()
    assert store.last_seq(row.id) == 2 and row.position == 0.5


def test_the_tables_hold_for_postgresql_too():
    from sqlalchemy.dialects import postgresql

    from clcore.store.tables import metadata

    for table in metadata.sorted_tables:
        assert str(sa.schema.CreateTable(table).compile(dialect=postgresql.dialect()))


# ---- names and tags -------------------------------------------------------------------------------------------------


def test_a_run_is_named_tagged_and_found_by_it(store):
    first, second = store.add([spec("finetune"), spec("er")])
    store.label(first, name="  my   baseline ", tags=["talk", "talk", " ", "class 3"])
    row = store.run(first)
    assert (row.name, row.tags) == ("my baseline", ("talk", "class 3")) and store.run(second).tags == ()
    assert [r.id for r in store.runs(search="BASELINE")] == [first] == [r.id for r in store.runs(search="class 3")]
    assert store.count_runs(search="talk") == 1
    store.label(first, name="", tags=())
    assert store.run(first).name == "" and store.count_runs(search="talk") == 0


def test_names_go_with_their_runs(store):
    (run_id,) = store.add([spec()])
    store.label(run_id, name="gone", tags=())
    store.end(run_id, ev.RunCancelled())
    store.delete([run_id])
    with store._read() as connection:
        assert connection.execute(sa.text("select count(*) from labels")).scalar_one() == 0
    with pytest.raises(UnknownName):
        store.label(run_id, name="again", tags=())


def test_a_database_from_before_names_gets_them_and_keeps_its_runs(tmp_path):
    url = f"sqlite:///{tmp_path / 'older.db'}"
    before = open_store(url)
    (run_id,) = before.add([spec()])
    with before._write() as connection:
        connection.execute(sa.text("drop table labels"))
    before.close()
    after = open_store(url)
    after.label(run_id, name="kept", tags=["old"])
    assert after.run(run_id).name == "kept" and after.count_runs() == 1
    after.close()
