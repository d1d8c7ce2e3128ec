"""The process of one run: `python -m clcore.runner.worker [RUN]`.

Without a run it is a spare: it imports torch, says "ready" and waits for a run's id on standard input. After a run on
the CPU it says "done RUN" and waits for the next one; it ends when standard input closes, and after a run that failed
or used a GPU. SIGTERM asks the run to cancel. Exit status (of the last run): see `exits.py`.
"""

from __future__ import annotations

import faulthandler
import os
import signal
import sys
import threading
from pathlib import Path

import psutil

from clcore.control import Control
from clcore.errors import LabError, StoreError
from clcore.runner.exits import CANCELLED, FINISHED, GONE, UNRECORDED
from clcore.runner.processes import created, this_host
from clcore.runner.recording import RecordedRun, Train, log_path
from clcore.settings import settings
from clcore.spec import MethodChoice, RunSpec, make
from clcore.store import RunRow, Store, open_store

READY, DONE = "ready", "done"
REUSED = "cpu"  # the slot whose workers train one run after the other; a GPU is free only when its process has ended
GROWN = 2**28  # bytes that a process may have kept from the runs before, to train another
LAST_GRACE = 10.0  # seconds after which a process that does not end by itself is ended
_ENVIRONMENT = {
    "OMP_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "CUDA_DEVICE_ORDER": "PCI_BUS_ID",  # as nvidia-smi counts
    "PYTORCH_NVML_BASED_CUDA_CHECK": "1",  # looking for a GPU must not start CUDA before the device is chosen
}


def main(run_id: str | None = None, *, train: Train | None = None) -> int:
    """Trains a run that was started for this process, or one after the other; returns the exit status of the last.

    `train`: clcore.training.train.
    """
    faulthandler.enable()
    os.environ.update(_ENVIRONMENT)
    status = _wait_for_runs(train) if run_id is None else _train(run_id, train)[0]
    last = threading.Timer(LAST_GRACE, os._exit, [status])  # a thread of a library may refuse to end
    last.daemon = True
    last.start()
    return status


def _wait_for_runs(train: Train | None) -> int:
    asked, said = os.fdopen(os.dup(0)), os.dup(1)  # every run sends standard input and output elsewhere
    if train is None:
        from clcore.training import train

        _rehearse(train)
    most = _size() + GROWN
    _say(said, READY)
    status = FINISHED
    while run_id := asked.readline().strip():
        status, slot = _train(run_id, train)
        if status not in (FINISHED, CANCELLED) or slot != REUSED or _size() > most:
            return status
        _say(said, f"{DONE} {run_id}")
    return status


def _size() -> int:
    """Bytes that this process occupies."""
    return psutil.Process().memory_info().rss


def _say(said: int, what: str) -> None:
    try:
        os.write(said, f"{what}\n".encode())
    except BrokenPipeError:
        return  # the runner has let go of this process or is gone: standard input says which


def _train(run_id: str, train: Train | None) -> tuple[int, str]:
    """Exit status and slot."""
    _write_to(log_path(settings().home, run_id))
    slot = ""
    try:
        store = open_store()
        try:
            row = _enroll(store, run_id)
            if row is None:
                print(
                    f"There is nothing to do: run {run_id} was deleted, or nobody started it for a worker.",
                    file=sys.stderr,
                )
                return GONE, slot
            slot = row.slot
            if slot.startswith("cuda:"):  # CUDA starts later, so this is early enough also after importing torch
                os.environ["CUDA_VISIBLE_DEVICES"] = slot.removeprefix("cuda:")
            run = RecordedRun(store, row)
            before = signal.signal(signal.SIGTERM, lambda *_: run.control.want("cancel"))
            try:
                return run.conduct(train), slot
            finally:
                signal.signal(signal.SIGTERM, before)
        finally:
            store.close()
    except StoreError as error:
        print(error, file=sys.stderr)
        return UNRECORDED, slot


def _rehearse(train: Train) -> None:
    """Trains something tiny, unrecorded, on the CPU.

    torch and scikit-learn load much on first use: without this, a run's first point came 2.1 s after its start, with it
    after 0.04 s. CUDA stays untouched: it would hold memory of the GPU while there is nothing to do.
    """
    choice = MethodChoice(name="finetune")
    spec = make(
        RunSpec, benchmark="split-digits", scenario="class", method=choice, epochs=1, live_points=1, device="cpu"
    )
    try:
        train(spec, data_dir=settings().data_dir, report=lambda event: 0, control=Control(), checkpoint=None)
    except LabError as error:  # the next run is slower to start, and will say itself what is wrong
        print(f"The rehearsal failed: {error}", file=sys.stderr, flush=True)


def _enroll(store: Store, run_id: str) -> RunRow | None:
    pid = os.getpid()
    return store.enroll(run_id, host=this_host(), pid=pid, pid_started=created(pid) or 0.0)


def _write_to(log: Path) -> None:
    """Sends standard output and error, also of native code, to the run's log; closes standard input."""
    log.parent.mkdir(parents=True, exist_ok=True)
    sys.stdout.flush()
    with log.open("ab") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    with open(os.devnull, "rb") as nothing:
        os.dup2(nothing.fileno(), 0)
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(line_buffering=True)


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1] if len(sys.argv) > 1 else None))
    except LabError as error:
        sys.exit(str(error))
