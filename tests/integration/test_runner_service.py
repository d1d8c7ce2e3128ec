"""The background service: it starts, cancels, restarts and re-adopts, and keeps to its slots."""

import os
import signal
import subprocess
import sys
import time

import psutil
import pytest

from clcore.runner import launch
from clcore.runner.devices import choose_slot, device_slots
from clcore.runner.processes import PACKAGE_ROOT, alive, child_environment, created, this_host
from clcore.runner.recording import checkpoint_path
from clcore.store import LIVE

from .conftest import until
from .test_runner_worker import UNDISTURBED


def test_queued_runs_are_trained(lab):
    ids = lab.add(3)
    lab.start()
    rows = [lab.wait(run_id) for run_id in ids]
    assert [row.state for row in rows] == ["finished"] * 3
    assert {row.slot for row in rows} == {"cpu"} and {row.attempts for row in rows} == {1}
    assert {row.host for row in rows} == {this_host()}
    assert len({row.pid for row in rows}) == 3  # every run in a process of its own


def test_a_warm_worker_answers_at_once(lab):
    lab.start(spares=1)
    until(lambda: lab.store.runner_status().warm)
    started = time.monotonic()
    [run_id] = lab.add()
    until(lambda: lab.store.events_after(run_id))
    assert time.monotonic() - started < 1.0
    assert lab.wait(run_id).state == "finished"


def test_as_many_runs_as_slots_start_warm_and_the_next_follow_in_the_same_processes(lab):
    runner = lab.start(spares=2)
    until(lambda: [spare.ready for spare in runner._spares._waiting] == [True, True])
    waiting = {spare.process.pid for spare in runner._spares._waiting}
    ids = lab.add(6)
    rows = [lab.wait(run_id) for run_id in ids]
    assert {row.state for row in rows} == {"finished"} and {row.pid for row in rows} == waiting
    assert {row.result["sum"] for row in rows} == {UNDISTURBED}
    until(lambda: {spare.process.pid for spare in runner._spares._waiting} == waiting)


def test_a_worker_whose_run_failed_does_not_come_back(lab):
    lab.behave("raise")
    lab.start(spares=1)
    until(lambda: lab.store.runner_status().warm)
    [failed] = lab.add()
    row = lab.wait(failed)
    until(lambda: not alive(row.pid, row.pid_started))
    lab.behave()
    [run_id] = lab.add()
    assert lab.wait(run_id).state == "finished" and lab.store.run(run_id).pid != row.pid


def test_a_worker_that_dies_in_its_second_run_is_restarted(lab):
    lab.start(spares=1)
    until(lambda: lab.store.runner_status().warm)
    first = lab.wait(lab.add()[0])
    until(lambda: lab.store.runner_status().warm)
    lab.behave("die-once")
    [run_id] = lab.add()
    row = lab.wait(run_id, "lost")
    assert "killed by the system" in row.error and row.attempts == 1
    row = lab.wait(run_id)
    assert (row.state, row.attempts, row.result["sum"]) == ("finished", 2, UNDISTURBED)
    assert lab.store.run(first.id).state == "finished" and row.pid != first.pid


def test_a_run_may_be_given_to_a_spare_that_is_not_ready(lab):
    ids = lab.add(2)
    lab.start(spares=1)
    assert [lab.wait(run_id).state for run_id in ids] == ["finished"] * 2


def test_slots_limit_what_runs_at_a_time_and_people_take_turns(lab):
    lab.behave("slow")
    ada = lab.add(3, owner="Ada")
    lab.start()
    until(lambda: {lab.store.run(i).state for i in ada[:2]} == {"running"})
    [grace] = lab.add(owner="Grace")
    [row] = [row for row in lab.store.queue_places() if row.place == 1]
    assert row.id == grace
    seen = set()
    while any(lab.store.run(i).live for i in [*ada, grace]):
        states = [lab.store.run(i).state for i in [*ada, grace]]
        seen.add(len([s for s in states if s in ("starting", "running")]))
        time.sleep(0.02)
    assert max(seen) == 2
    assert lab.store.run(grace).started < lab.store.run(ada[2]).started


def test_a_paused_run_leaves_its_slot_to_one_other(lab):
    lab.behave("endless")
    ids = lab.add(5)
    lab.start()
    for run_id in ids[:2]:
        lab.wait(run_id, "running")
        lab.store.want(run_id, "pause")
        lab.wait(run_id, "paused")
    for run_id in ids[2:4]:
        lab.wait(run_id, "running")
        lab.store.want(run_id, "pause")
        lab.wait(run_id, "paused")
    time.sleep(0.4)
    assert lab.store.run(ids[4]).state == "queued"  # four paused processes on two slots are enough


def test_a_queued_run_is_cancelled_by_the_runner(lab):
    lab.behave("endless")
    ids = lab.add(3)
    lab.start()
    lab.wait(ids[1], "running")
    lab.store.want(ids[2], "cancel")
    assert lab.wait(ids[2], seconds=2).state == "cancelled"
    assert lab.types(ids[2]) == ["run_cancelled"] and lab.store.run(ids[2]).attempts == 0


def test_a_deaf_worker_is_killed_in_the_end(lab):
    lab.behave("deaf")
    [run_id] = lab.add()
    lab.start()
    until(lambda: lab.store.run(run_id).position > 1.1)
    time.sleep(0.2)
    lab.store.want(run_id, "cancel")
    row = lab.wait(run_id, seconds=5)
    assert row.state == "cancelled" and lab.types(run_id)[-1] == "run_cancelled"
    until(lambda: not alive(row.pid, row.pid_started))


def test_a_killed_worker_is_restarted_from_its_checkpoint(lab):
    lab.behave("die-once")
    [run_id] = lab.add()
    lab.start()
    row = lab.wait(run_id, "lost")
    assert "killed by the system" in row.error and "goes on from its last finished task" in row.error
    row = lab.wait(run_id)
    assert row.state == "finished" and row.result["sum"] == UNDISTURBED
    assert (row.attempts, row.error) == (2, "") and lab.types(run_id).count("resumed") == 1


def test_a_worker_that_keeps_dying_is_restarted_twice(lab):
    lab.behave("die")
    [run_id] = lab.add()
    lab.start()
    row = lab.wait(run_id)
    assert (row.state, row.attempts) == ("failed", 3)
    assert "died 3 times" in row.error and "memory ran out" in row.error
    assert lab.types(run_id).count("resumed") == 2 and lab.types(run_id)[-1] == "run_failed"
    assert not checkpoint_path(lab.home, run_id).exists()


def test_a_lost_run_can_be_cancelled(lab, monkeypatch):
    monkeypatch.setattr("clcore.runner.service.RESTART_DELAY", 60)
    lab.behave("die")
    [run_id] = lab.add()
    lab.start()
    lab.wait(run_id, "lost")
    lab.store.want(run_id, "cancel")
    assert lab.wait(run_id, seconds=2).state == "cancelled"


def test_an_exit_without_a_report_fails_with_the_end_of_the_log(lab):
    lab.behave("exit")
    [run_id] = lab.add()
    lab.start()
    row = lab.wait(run_id)
    assert (row.state, row.attempts) == ("failed", 1)
    assert "exit status 9 before it could report" in row.error and "the last words" in row.traceback


def test_a_stalled_worker_is_killed_and_restarted(lab):
    lab.behave("slow")
    [run_id] = lab.add()
    lab.start(stalled=2.0)
    row = lab.wait(run_id, "running")
    os.kill(row.pid, signal.SIGSTOP)
    assert lab.wait(run_id, "lost", seconds=10).attempts == 1
    lab.behave()
    assert lab.wait(run_id).state == "finished"


def test_two_runners_one_active(lab):
    first = lab.start()
    until(lambda: lab.store.runner_status().alive)
    holder = lab.store.runner_status().holder
    lab.start()
    time.sleep(0.5)
    assert lab.store.runner_status().holder == holder
    [run_id] = lab.add()
    assert lab.wait(run_id).attempts == 1
    first.stop()
    until(lambda: not lab.store.runner_status().alive)


def test_a_runner_that_lost_its_lease_leaves_everything_to_the_next(lab):
    lab.behave("slow")
    lab.start()
    until(lambda: lab.store.runner_status().alive)
    [run_id] = lab.add()
    lab.wait(run_id, "running")
    lab.store.take_lease(this_host(), "another", 60, over=lab.store.runner_status().holder, pid=1, pid_started=1.0)
    _, thread = lab._runners[0]
    thread.join(5)
    assert not thread.is_alive() and lab.store.runner_status().holder == "another"
    assert lab.wait(run_id).state == "finished"


def test_a_new_runner_adopts_the_workers_of_a_killed_one(lab):
    lab.behave("slow")
    runner = lab.start_process()
    ids = lab.add(2)
    rows = [lab.wait(run_id, "running") for run_id in ids]
    runner.kill()
    runner.wait()
    lab.start()
    os.kill(rows[1].pid, signal.SIGKILL)  # of a worker that is not its child it must notice the death too
    finished = lab.wait(ids[0])
    assert (finished.state, finished.attempts, finished.pid) == ("finished", 1, rows[0].pid)
    restarted = lab.wait(ids[1])
    assert (restarted.state, restarted.attempts) == ("finished", 2)
    assert finished.result["sum"] == restarted.result["sum"] == UNDISTURBED


def test_a_reused_pid_is_not_taken_for_the_worker(lab):
    [run_id] = lab.add()
    innocent = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    try:
        started = created(innocent.pid) - 100
        facts = {"host": this_host(), "pid": innocent.pid, "pid_started": started, "attempts": 1, "slot": "cpu"}
        lab.store.set_state(run_id, "running", **facts)
        lab.start()
        row = lab.wait(run_id)
        assert (row.state, row.attempts) == ("finished", 2) and row.pid != innocent.pid
        assert innocent.poll() is None
    finally:
        innocent.communicate(b"\n")


def test_a_run_of_a_terminal_that_is_gone_fails(lab):
    [run_id] = lab.store.add([lab.store.run(lab.add()[0]).spec], state="starting")
    dead = subprocess.Popen([sys.executable, "-c", ""])
    started = created(dead.pid) or time.time()
    dead.wait()
    lab.store.enroll(run_id, host=this_host(), pid=dead.pid, pid_started=started)
    lab.start()
    row = lab.wait(run_id)
    assert row.state == "failed" and row.error.startswith("The program that trained this run in a terminal is gone")


def test_a_host_that_fell_silent_loses_its_runs(lab):
    [run_id] = lab.add()
    old = lab.store.run(run_id).created
    lab.store.set_state(run_id, "running", host="elsewhere", attempts=1, heartbeat=old)
    lab.start(abroad=0.1)
    row = lab.wait(run_id)
    assert (row.state, row.host, row.attempts) == ("finished", this_host(), 2)


def test_checkpoints_of_runs_that_are_over_are_removed(lab):
    [run_id] = lab.add()
    folder = lab.home / "checkpoints"
    folder.mkdir()
    (folder / "aaaaaaaaaaaa.pt").touch()
    (folder / "aaaaaaaaaaaa.tmp").touch()
    lab.start()
    lab.wait(run_id)
    until(lambda: not list(folder.iterdir()))  # the run's own goes a moment after its end is recorded


def test_an_idle_runner_ends_but_not_while_a_run_lives(lab):
    lab.behave("slow")
    [run_id] = lab.add()
    lab.start(idle=0.5)
    _, thread = lab._runners[0]
    lab.wait(run_id, "running")
    time.sleep(0.8)
    assert thread.is_alive()
    lab.wait(run_id)
    thread.join(3)
    assert not thread.is_alive() and not lab.store.runner_status().alive


def test_a_runner_survives_a_locked_database(lab):
    import sqlite3

    lab.start()
    until(lambda: lab.store.runner_status().alive)
    holder = sqlite3.connect(lab.home / "runs.db", isolation_level=None)
    [run_id] = lab.add()
    holder.execute("BEGIN IMMEDIATE")
    time.sleep(0.5)
    holder.execute("ROLLBACK")
    holder.close()
    assert lab.wait(run_id).state == "finished"


# ---- starting it ----------------------------------------------------------------------------------------------------


@pytest.fixture
def stop_runner(lab):
    yield
    status = lab.store.runner_status()
    if alive(status.pid, status.pid_started):
        process = psutil.Process(status.pid)
        process.terminate()
        until(lambda: not alive(status.pid, status.pid_started))


def test_two_callers_start_one_runner_from_any_folder(lab, stop_runner, tmp_path):
    script = "from clcore.runner.launch import ensure_runner; ensure_runner()"
    environment = child_environment()
    callers = [subprocess.Popen([sys.executable, "-c", script], env=environment, cwd=tmp_path) for _ in range(3)]
    assert [caller.wait(20) for caller in callers] == [0, 0, 0]
    until(lambda: lab.store.runner_status().alive)
    mine = [
        p for p in psutil.process_iter(["cmdline"]) if lab.store.runner_status().holder in (p.info["cmdline"] or [])
    ]
    assert [p.pid for p in mine] == [lab.store.runner_status().pid]
    assert os.getsid(mine[0].pid) == mine[0].pid  # Ctrl-C in the app's terminal does not reach it
    started = time.perf_counter()
    launch.ensure_runner(lab.store)
    assert time.perf_counter() - started < 0.05
    assert (lab.home / "logs" / "runner.log").read_text().count("Looking after") == 1


def test_a_killed_runner_is_replaced_at_once(lab, stop_runner):
    launch.ensure_runner(lab.store)
    until(lambda: lab.store.runner_status().alive)
    old = lab.store.runner_status()
    os.kill(old.pid, signal.SIGKILL)
    until(lambda: not alive(old.pid, old.pid_started))
    launch.ensure_runner(lab.store)
    until(lambda: lab.store.runner_status().alive and lab.store.runner_status().holder != old.holder, seconds=5)


def test_nothing_but_a_worker_imports_torch():
    script = (
        "import sys\n"
        "import clcore.store, clcore.runner.service, clcore.runner.launch, clcore.runner.worker\n"
        "print([name for name in ('torch', 'numpy', 'streamlit', 'plotly') if name in sys.modules])\n"
    )
    printed = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, cwd=PACKAGE_ROOT, check=True
    )
    assert printed.stdout == "[]\n"


# ---- devices --------------------------------------------------------------------------------------------------------


def test_devices_and_their_slots(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2, GPU-abc")
    slots = device_slots()
    assert slots["cuda:2"] == slots["cuda:GPU-abc"] == 1 and slots["cpu"] >= 1
    assert set(device_slots(3).values()) == {3}
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert not [name for name in device_slots() if name.startswith("cuda")]


@pytest.mark.parametrize(
    ("listing", "names"),
    [
        (
            "GPU 0: NVIDIA H200 (UUID: GPU-1)\n  MIG 1g.18gb Device 0: (UUID: MIG-2)\nGPU 1: NVIDIA L4 (UUID: GPU-3)",
            "01",
        ),
        ("NVIDIA-SMI has failed because it could not communicate with the driver.", ""),
    ],
)
def test_gpus_are_counted_without_torch(monkeypatch, tmp_path, listing, names):
    tool = tmp_path / "nvidia-smi"
    tool.write_text(f"#!/bin/sh\ncat <<'END'\n{listing}\nEND\n")
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    assert [name for name in device_slots() if name.startswith("cuda")] == [f"cuda:{name}" for name in names]


@pytest.mark.parametrize(
    ("device", "free", "slot"),
    [
        ("auto", {"cpu": 2}, "cpu"),
        ("auto", {"cpu": 2, "cuda:0": 1}, "cuda:0"),
        ("auto", {"cpu": 2, "cuda:0": 0}, None),
        ("auto", {"cpu": 2, "cuda:0": 0, "cuda:1": 1}, "cuda:1"),
        ("cpu", {"cpu": 2, "cuda:0": 1}, "cpu"),
        ("cuda", {"cpu": 2}, "cpu"),
        ("mps", {"cpu": 2, "mps": 1}, "mps"),
        ("cpu", {"cpu": 0}, None),
    ],
)
def test_the_device_of_a_run(device, free, slot):
    assert choose_slot(device, free) == slot


def test_live_states_are_what_the_runner_looks_after():
    assert LIVE == {"queued", "starting", "running", "paused", "lost"}
