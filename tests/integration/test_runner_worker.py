"""The process of one run: what it stores, how it obeys, how it ends."""

import os
import signal
import sqlite3
import time

from clcore.runner import exits
from clcore.runner.processes import created, this_host
from clcore.runner.recording import RecordedRun, checkpoint_path, log_path

from .conftest import until
from .fake_worker import train

UNDISTURBED = sum(task * step for task in (1, 2, 3) for step in range(1, 31))


def numbers(lab, run_id):
    return [seq for seq, _ in lab.store.events_after(run_id)]


def test_a_run_is_trained_and_recorded(lab):
    [run_id] = lab.add()
    worker = lab.worker(run_id)
    assert worker.wait(20) == exits.FINISHED
    row = lab.store.run(run_id)
    assert row.state == "finished" and row.result["sum"] == UNDISTURBED
    assert (row.position, row.tasks, row.device, row.pid) == (3.0, 3, "cpu", worker.pid)
    types = lab.types(run_id)
    assert types[0] == "run_started" and types[-1] == "run_finished" and types.count("progress") == 90
    assert numbers(lab, run_id) == list(range(1, len(types) + 1))
    assert not checkpoint_path(lab.home, run_id).exists()


def test_a_terminal_trains_a_run_itself(lab):
    """As the command line does: no runner, no process of its own."""
    spec = lab.store.run(lab.add()[0]).spec
    [run_id] = lab.store.add([spec], state="starting")
    heard = []
    row = lab.store.enroll(run_id, host=this_host(), pid=os.getpid(), pid_started=created(os.getpid()))
    run = RecordedRun(lab.store, row, listen=lambda event: heard.append(event.type))
    assert run.conduct(train) == exits.FINISHED
    assert run.final.result == lab.store.run(run_id).result and lab.store.run(run_id).keeper == "terminal"
    assert heard == lab.types(run_id)


def test_a_spare_trains_one_run_after_the_other(lab):
    ids = lab.add(2)
    spare = lab.worker(None)
    assert spare.stdout.readline() == b"ready\n"
    for run_id in ids:
        lab.store.set_state(run_id, "starting", attempts=1, slot="cpu")
        spare.stdin.write(f"{run_id}\n".encode())
        spare.stdin.flush()
        assert spare.stdout.readline() == f"done {run_id}\n".encode()
        assert lab.store.run(run_id).state == "finished" and lab.store.run(run_id).pid == spare.pid
        assert lab.store.run(run_id).result["sum"] == UNDISTURBED
    spare.stdin.close()
    spare.stdin = None
    assert spare.wait(20) == exits.FINISHED


def test_a_spare_comes_back_after_a_cancel_but_not_after_a_failure(lab):
    first, second = lab.add(2)
    lab.behave("endless")
    spare = lab.worker(None)
    assert spare.stdout.readline() == b"ready\n"
    lab.store.set_state(first, "starting", attempts=1, slot="cpu")
    spare.stdin.write(f"{first}\n".encode())
    spare.stdin.flush()
    lab.wait(first, "running")
    lab.store.want(first, "cancel")
    assert spare.stdout.readline() == f"done {first}\n".encode()
    lab.behave("raise")
    lab.store.set_state(second, "starting", attempts=1, slot="cpu")
    spare.stdin.write(f"{second}\n".encode())
    spare.stdin.flush()
    assert spare.wait(20) == exits.FAILED
    assert [lab.store.run(run_id).state for run_id in (first, second)] == ["cancelled", "failed"]
    assert "melted" in log_path(lab.home, second).read_text()
    assert "melted" not in log_path(lab.home, first).read_text()


def test_a_worker_leaves_its_gpu_by_ending(lab):
    [run_id] = lab.add()
    spare = lab.worker(None)
    lab.store.set_state(run_id, "starting", attempts=1, slot="cuda:0")
    spare.stdin.write(f"{run_id}\n".encode())
    spare.stdin.flush()
    assert spare.wait(20) == exits.FINISHED


def test_a_spare_ends_when_its_runner_does(lab):
    spare = lab.worker(None)
    spare.stdin.close()
    spare.stdin = None
    assert spare.wait(20) == 0


def test_cancel_takes_less_than_a_second_at_full_speed(lab):
    lab.behave("endless")
    [run_id] = lab.add()
    worker = lab.worker(run_id)
    until(lambda: lab.store.run(run_id).position == 1.0)
    started = time.monotonic()
    lab.store.want(run_id, "cancel")
    row = lab.wait(run_id)
    assert time.monotonic() - started < 1.0
    assert row.state == "cancelled" and lab.types(run_id)[-1] == "run_cancelled"
    assert worker.wait(5) == exits.CANCELLED


def test_sigterm_asks_to_cancel(lab):
    lab.behave("endless")
    [run_id] = lab.add()
    worker = lab.worker(run_id)
    lab.wait(run_id, "running")
    worker.terminate()
    assert worker.wait(5) == exits.CANCELLED
    assert lab.store.run(run_id).state == "cancelled"


def test_pause_step_and_resume_end_where_an_undisturbed_run_does(lab):
    [run_id] = lab.add()
    lab.store.want(run_id, "pause")  # before it starts
    lab.worker(run_id)
    row = lab.wait(run_id, "paused")
    time.sleep(0.3)
    assert lab.store.run(run_id).position == row.position == 0.0
    for task in (1.0, 2.0):
        lab.store.want(run_id, "step")
        until(lambda task=task: lab.store.run(run_id).position == task and lab.store.run(run_id).state == "paused")
    lab.store.want(run_id, None)
    row = lab.wait(run_id)
    assert row.state == "finished" and row.result["sum"] == UNDISTURBED


def test_a_run_that_is_held_while_it_prepares_is_paused(lab):
    lab.behave("prepare")
    [run_id] = lab.add()
    lab.store.want(run_id, "pause")
    lab.worker(run_id)
    lab.wait(run_id, "paused")
    assert lab.types(run_id) == []
    lab.store.want(run_id, None)
    assert lab.wait(run_id).result["sum"] == UNDISTURBED and lab.types(run_id)[0] == "run_started"


def test_a_paused_run_can_be_cancelled_and_still_beats(lab):
    lab.behave("slow")
    [run_id] = lab.add()
    lab.worker(run_id)
    lab.wait(run_id, "running")
    lab.store.want(run_id, "pause")
    beat = lab.wait(run_id, "paused").heartbeat
    until(lambda: lab.store.run(run_id).heartbeat > beat)
    lab.store.want(run_id, "cancel")
    assert lab.wait(run_id, seconds=2).state == "cancelled"


def test_an_unexpected_error_keeps_its_traceback(lab):
    lab.behave("raise")
    [run_id] = lab.add()
    assert lab.worker(run_id).wait(20) == exits.FAILED
    row = lab.store.run(run_id)
    assert row.state == "failed"
    assert "stopped with an unexpected error: ValueError: the network melted. " in row.error
    assert row.traceback.startswith("Traceback") and "_misbehave" in row.traceback
    assert "the network melted" in log_path(lab.home, run_id).read_text()
    assert not checkpoint_path(lab.home, run_id).exists()


def test_an_error_on_purpose_is_its_sentence(lab):
    lab.behave("refuse")
    [run_id] = lab.add()
    assert lab.worker(run_id).wait(20) == exits.FAILED
    row = lab.store.run(run_id)
    assert (row.error, row.traceback) == ("The data set is not here; fetch it first.", "")


def test_out_of_memory_says_what_to_do(lab):
    lab.behave("memory")
    [run_id] = lab.add()
    assert lab.worker(run_id).wait(20) == exits.FAILED
    assert "ran out of memory; ask for fewer replicas" in lab.store.run(run_id).error


def test_a_worker_goes_on_from_its_checkpoint(lab):
    lab.behave("die-once")
    [run_id] = lab.add()
    assert lab.worker(run_id).wait(20) == -signal.SIGKILL
    assert lab.store.run(run_id).state == "running"  # nobody has noticed yet
    assert lab.worker(run_id).wait(20) == exits.FINISHED
    assert lab.store.run(run_id).result["sum"] == UNDISTURBED
    events = lab.store.events_after(run_id)
    [(at, resumed)] = [(seq, event) for seq, event in events if event.type == "resumed"]
    assert dict(events)[resumed.from_seq].type == "task_finished" and resumed.task == 1
    assert [seq for seq, _ in events] == sorted({seq for seq, _ in events}) and at > resumed.from_seq


def test_without_a_checkpoint_the_first_events_no_longer_count(lab):
    lab.behave("slow")
    [run_id] = lab.add()
    worker = lab.worker(run_id)
    until(lambda: lab.types(run_id).count("progress") > 3)
    worker.kill()
    worker.wait()
    lab.behave()
    assert lab.worker(run_id).wait(20) == exits.FINISHED
    types = lab.types(run_id)
    at = types.index("resumed")
    assert types[at + 1] == "run_started" and lab.store.events_after(run_id)[at][1].from_seq == 0
    assert lab.store.run(run_id).result["sum"] == UNDISTURBED


def test_a_worker_whose_run_is_deleted_exits_3(lab):
    [run_id] = lab.add()
    lab.store.set_state(run_id, "cancelled")
    lab.store.delete([run_id])
    assert lab.worker(run_id, prepare=False).wait(20) == exits.GONE
    assert "nothing to do" in log_path(lab.home, run_id).read_text()


def test_a_run_deleted_under_a_worker_ends_it(lab):
    lab.behave("endless")
    [run_id] = lab.add()
    worker = lab.worker(run_id)
    lab.wait(run_id, "running")
    with sqlite3.connect(lab.home / "runs.db") as connection:
        connection.execute("DELETE FROM runs")
    connection.close()
    assert worker.wait(5) == exits.GONE


def test_a_worker_that_was_given_up_on_records_nothing_more(lab):
    lab.behave("endless")
    [run_id] = lab.add()
    worker = lab.worker(run_id)
    lab.wait(run_id, "running")
    lab.store.set_state(run_id, "starting", attempts=2)
    assert worker.wait(5) == exits.GONE
    assert lab.store.run(run_id).state == "starting" and "run_cancelled" not in lab.types(run_id)


def test_a_full_disk_fails_the_run_and_leaves_the_database_readable(lab):
    lab.behave("full-disk", "endless")
    [run_id] = lab.add()
    status = lab.worker(run_id).wait(20)
    row = lab.store.run(run_id)
    assert status in (exits.FAILED, exits.UNRECORDED)
    if status == exits.FAILED:
        assert row.state == "failed" and "is full; free some space" in row.error
    assert "is full" in row.error + log_path(lab.home, run_id).read_text()
    seqs = numbers(lab, run_id)
    assert seqs == sorted(set(seqs)) and seqs[0] == 1
    with sqlite3.connect(lab.home / "runs.db") as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    connection.close()


def test_a_locked_database_is_waited_for(lab):
    lab.behave("slow")
    [run_id] = lab.add()
    worker = lab.worker(run_id)
    lab.wait(run_id, "running")
    holder = sqlite3.connect(lab.home / "runs.db", isolation_level=None)
    holder.execute("BEGIN IMMEDIATE")
    time.sleep(1.0)
    holder.execute("ROLLBACK")
    holder.close()
    assert worker.wait(20) == exits.FINISHED
    assert lab.store.run(run_id).result["sum"] == UNDISTURBED
    assert lab.types(run_id).count("progress") == 90


def test_sigterm_in_the_middle_of_writing_leaves_the_database_whole(lab):
    [run_id] = lab.add()
    worker = lab.worker(run_id)
    until(lambda: lab.types(run_id).count("progress") > 5)
    os.kill(worker.pid, signal.SIGTERM)
    assert worker.wait(5) == exits.CANCELLED
    seqs = numbers(lab, run_id)
    assert seqs == list(range(1, len(seqs) + 1))
