"""A worker whose training is a counter: `python fake_worker.py [RUN]`. CLCORE_HOME/behaviour says what it does.

It has three tasks of 30 steps; every step adds to a sum that a checkpoint keeps, so an interrupted run must end with
the same sum as an undisturbed one.
"""

import json
import os
import signal
import sys
import time

from clcore import events as ev
from clcore.errors import DataError
from clcore.runner import worker
from clcore.settings import settings

TASKS, STEPS = 3, 30


def behaviour() -> list[str]:
    path = settings().home / "behaviour"
    return path.read_text().split() if path.exists() else []


def train(run, *, data_dir, report, control, checkpoint):
    wanted = behaviour()
    pause = 0.01 if "slow" in wanted else 0.002
    state = {"task": 0, "seq": 0, "sum": run.grid.seeds[0]}
    if "refuse" in wanted:
        raise DataError("The data set is not here; fetch it first.") from OSError("no network")
    if "prepare" in wanted:
        control.at_step()
    if checkpoint.exists():
        state = json.loads(checkpoint.read_text())
        report(ev.Resumed(from_seq=state["seq"], task=state["task"]))
    else:
        report(_plan(run))
    for task in range(state["task"], TASKS):
        for step in range(STEPS):
            control.at_step()
            state["sum"] += (task + 1) * (step + 1)
            _misbehave(wanted, task, step)
            position = task + (step + 1) / STEPS
            report(
                ev.Progress(task=task + 1, position=position, replicas=[0], losses={}, train_samples=1, train_seconds=1)
            )
            time.sleep(pause)
        while "endless" in wanted:
            control.at_step()
        state["task"] = task + 1
        state["seq"] = report(ev.TaskFinished(task=task + 1, test=[[state["sum"]]], validation=None, footprint=[{}]))
        fresh = checkpoint.with_suffix(".tmp")
        fresh.write_text(json.dumps(state))
        os.replace(fresh, checkpoint)
        if task + 1 < TASKS:
            control.at_task_end()
    result = {"method": run.method.name, "status": "finished", "sum": state["sum"], "replicas": []}
    report(ev.RunFinished(result=result))
    return result


def _misbehave(wanted, task, step):
    if task == 1 and step == 5:
        if "raise" in wanted:
            raise ValueError("the network melted")
        if "memory" in wanted:
            raise MemoryError
        if "die" in wanted:
            os.kill(os.getpid(), signal.SIGKILL)
        if "die-once" in wanted:
            (settings().home / "behaviour").write_text("")
            os.kill(os.getpid(), signal.SIGKILL)
        if "exit" in wanted:
            print("the last words", file=sys.stderr, flush=True)
            os._exit(9)
        if "deaf" in wanted:
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
            while True:
                time.sleep(1)
    if "full-disk" in wanted and task == 0 and step == 5:
        _fill_the_disk()


def _fill_the_disk():
    """SQLite's own limit makes the same error as a full disk; a short event still fits into what is free."""
    import gc

    from clcore.store import Store

    for store in [thing for thing in gc.get_objects() if isinstance(thing, Store)]:
        with store._engine.connect() as connection:
            [pages] = connection.exec_driver_sql("PRAGMA page_count").one()
        connection.engine.dispose()

        import sqlalchemy as sa

        @sa.event.listens_for(store._engine, "connect")
        def _limit(dbapi, _record, pages=pages):
            dbapi.execute(f"PRAGMA max_page_count={pages}")


def _plan(run):
    return ev.RunStarted(
        method=run.method.name, benchmark=run.benchmark, scenario=run.scenario, tasks=["a", "b", "c"],
        replicas=[ev.ReplicaInfo(seed=run.grid.seeds[0], digest="d")], epochs=run.epochs, chance=[], device="cpu",
        test_examples=[1] * 3, train_examples=[1] * 3,
    )  # fmt: skip


if __name__ == "__main__":
    sys.exit(worker.main(sys.argv[1] if len(sys.argv) > 1 else None, train=train))
