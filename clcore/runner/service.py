"""The background service of one host: `python -m clcore runner`. It trains nothing itself and never imports torch.

Ten times a second it reads the live runs and does what follows from them: starts queued ones, cancels, notices workers
that died or stalled, restarts them from their checkpoints. It keeps nothing that a successor could not find again in
the database, so it may be killed and replaced at any time.
"""

from __future__ import annotations

import argparse
import logging
import os
import signal
import subprocess
import sys
import time
import uuid
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from clcore import events as ev
from clcore.errors import StoreError
from clcore.runner import exits
from clcore.runner.devices import PAUSED_PER_SLOT, choose_slot, device_slots
from clcore.runner.processes import alive, child_environment, created, kill_group, terminate, this_host
from clcore.runner.recording import checkpoint_path, log_path
from clcore.runner.spare import Spare, Spares
from clcore.runner.worker import DONE, REUSED
from clcore.settings import settings
from clcore.store import ACTIVE, LIVE, LiveRun, Store, open_store

WORKER = (sys.executable, "-m", "clcore.runner.worker")
TICK = 0.1  # seconds
RENEW_EVERY, LEASE = 2.0, 10.0
RESTARTS = 2
RESTART_DELAY = 2.5  # so that a page, which asks once a second, shows the state `lost`
SPARE_DELAY, COLD_DELAY = 2.0, 6.0  # after a run was given to a warm process, and after one that has to import torch
RETURN = 2.0  # seconds that a queued run waits for the worker of the one before it
SPARES = 2  # at most, and one per slot: each keeps about 0.5 GB to itself (0.9 GB resident, libraries are shared)
TROUBLE_DELAY = 2.0  # while the database cannot be used
_log = logging.getLogger("clcore.runner")


@dataclass(frozen=True)
class Patience:
    """How long the runner waits, in seconds."""

    idle: float = 600.0  # without live runs, before it ends
    grace: float = 5.0  # between the steps of a cancel: wish, SIGTERM, SIGKILL
    stalled: float = 600.0  # without a heartbeat, before a living worker is killed
    silence: float = 5.0  # without a heartbeat, before a worker that was not found is believed to be dead
    abroad: float = 600.0  # without a heartbeat and without a runner, before another host's run is taken over


class LeaseLost(Exception):
    """Another runner looks after this host now."""


@dataclass
class Ward:
    """The process of one run. `process` is None when an earlier runner started it: then nobody sees how it ends.

    `spare` is the same process, when it waited for a run before.
    """

    attempt: int
    process: subprocess.Popen | None
    heartbeat: datetime | None
    heard: float
    slot: str
    spare: Spare | None = None
    cancelled: float | None = None
    told: int = 0
    over: float | None = None


class Runner:
    """One per host. `slots` overrides how many runs a device takes at a time, `worker` is the command of a worker, and at
    most `spares` of them wait for runs."""

    def __init__(
        self,
        store: Store,
        *,
        slots: int | None = None,
        patience: Patience | None = None,
        holder: str | None = None,
        worker: Sequence[str] = WORKER,
        spares: int = SPARES,
    ):
        self._store, self._worker = store, list(worker)
        self._patience = patience or Patience()
        self._home, self._host = settings().home, this_host()
        self._holder = holder or uuid.uuid4().hex
        self._slots = device_slots(slots)
        most = min(spares, sum(self._slots.values()))
        self._spares = Spares(worker, self._home / "logs" / "spare.log", most)
        self._wards: dict[str, Ward] = {}
        self._lost_at: dict[str, float] = {}
        self._renewed = self._looked_abroad = 0.0
        self._said_warm = False
        self._busy = time.monotonic()
        self._stopped = False

    def stop(self) -> None:
        """Ends `run` soon; workers go on. May be called from a signal handler."""
        self._stopped = True

    def run(self) -> int:
        """Looks after the host until it is stopped, idle for long, or replaced; returns the exit status."""
        if not self._take_lease():
            _log.info("Another runner looks after %s already.", self._host)
            return 0
        _log.info("Looking after %s with %s.", self._host, ", ".join(f"{n} × {d}" for d, n in self._slots.items()))
        try:
            self._sweep()
            while not self._stopped:
                delay = TICK
                try:
                    self.tick()
                except StoreError as error:
                    _log.error("%s", error)
                    delay = TROUBLE_DELAY
                if time.monotonic() - self._busy > self._patience.idle:
                    _log.info("Nothing to do for %.0f minutes.", self._patience.idle / 60)
                    break
                time.sleep(delay)
        except LeaseLost:
            _log.warning("Another runner has taken over %s.", self._host)
            return 0
        finally:
            self._spares.close()
            for ward in self._wards.values():
                if ward.spare:
                    ward.spare.close()
        self._store.release_lease(self._host, self._holder)
        if self._wards:
            _log.info("%d worker(s) go on; the next runner looks after them.", len(self._wards))
        return 0

    def tick(self) -> None:
        at = time.monotonic()
        if at - self._renewed >= RENEW_EVERY or self._spares.ready != self._said_warm:
            self._renew(at)
        live = self._store.live_runs()
        mine = {run.id: run for run in live if run.host == self._host and run.state in ACTIVE}
        queued = [run for run in live if run.state == "queued"]
        if mine or queued:
            self._busy = at
        self._spares.tend(wanted=sum(self._slots.values()) - self._coming_back(mine))
        for run_id in [run_id for run_id in self._wards if run_id not in mine]:
            self._see_off(run_id, at)
        for run in mine.values():
            self._look_after(run, at)
        for run in queued:
            if run.want == "cancel":
                self._end(run, ev.RunCancelled(), expected={"queued"})
        if queued:
            self._start_queued(live, mine, at)
        if at - self._looked_abroad >= self._patience.abroad / 20:
            self._looked_abroad = at
            self._take_over(live)

    # ---- the lease ----------------------------------------------------------------------------------------------

    def _take_lease(self) -> bool:
        status = self._store.runner_status(self._host)
        dead = status.alive and not alive(status.pid, status.pid_started)
        pid = os.getpid()
        return self._store.take_lease(
            self._host, self._holder, LEASE, over=status.holder if dead else None, pid=pid, pid_started=created(pid)
        )

    def _renew(self, at: float) -> None:
        slots, warm = sum(self._slots.values()), self._spares.ready
        if not self._store.renew_lease(self._host, self._holder, LEASE, slots=slots, warm=warm):
            raise LeaseLost
        self._renewed, self._said_warm = at, warm

    # ---- starting -----------------------------------------------------------------------------------------------

    def _coming_back(self, mine: dict[str, LiveRun]) -> int:
        """How many workers will be warm when the slot that they occupy becomes free."""
        wards = {run_id: ward for run_id, ward in self._wards.items() if ward.spare and ward.slot == REUSED}
        return sum(run_id not in mine or mine[run_id].state != "paused" for run_id in wards)

    def _start_queued(self, live: Sequence[LiveRun], mine: dict[str, LiveRun], at: float) -> None:
        kept = [run for run in mine.values() if run.keeper == "runner"]
        training = Counter(run.slot for run in kept if run.state != "paused")
        training += Counter(ward.slot for ward in self._wards.values() if ward.spare and at - (ward.over or 0) < RETURN)
        present = Counter(run.slot for run in kept)
        free = {
            slot: min(n - training[slot], (1 + PAUSED_PER_SLOT) * n - present[slot]) for slot, n in self._slots.items()
        }
        if max(free.values()) <= 0:
            return
        runs = {run.id: run for run in live}
        for run_id in self._store.queue(live):
            run = runs[run_id]
            slot = choose_slot(run.device, free)
            if slot is not None and run.want != "cancel" and self._start(run, slot):
                free[slot] -= 1

    def _start(self, run: LiveRun, slot: str) -> bool:
        """Starts a queued or lost run; False when another runner was quicker."""
        spare = self._spares.take()
        warm = spare is not None and spare.ready
        attempt, at = run.attempts + 1, datetime.now(UTC)
        row = {"host": self._host, "slot": slot, "attempts": attempt, "heartbeat": at, "pid": None, "pid_started": None}
        if run.attempts == 0:
            row["started"] = at
        if not self._store.set_state(run.id, "starting", expected=run.state, attempt=run.attempts, **row):
            if spare:
                spare.give("")
                spare.close()
            return False
        if spare and not spare.give(run.id):
            spare.close()
            spare = None
        try:
            process = spare.process if spare else self._launch(run.id)
        except OSError as error:
            sentence = (
                f"No process could be started for this run ({error.strerror}); close other programs and start it again."
            )
            self._end(run, ev.RunFailed(message=sentence), attempt=attempt)
            return True
        self._wards[run.id] = Ward(attempt, process, at, time.monotonic(), slot, spare)
        self._spares.wait_before_next(SPARE_DELAY if warm else COLD_DELAY)
        kind = "the waiting process" if spare else "process"
        _log.info("Run %s, attempt %d, on %s: %s %d.", run.id, attempt, slot, kind, process.pid)
        return True

    def _launch(self, run_id: str) -> subprocess.Popen:
        log = log_path(self._home, run_id)
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("ab") as output:
            return subprocess.Popen(
                [*self._worker, run_id],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env=child_environment(),
                start_new_session=True,
            )

    # ---- looking after ------------------------------------------------------------------------------------------

    def _look_after(self, run: LiveRun, at: float) -> None:
        if run.state == "lost":
            self._restart(run, at)
            return
        ward = self._wards.get(run.id)
        if ward is None or ward.attempt != run.attempts:
            ward = self._wards[run.id] = Ward(run.attempts, None, run.heartbeat, at, run.slot)
            _log.info("Run %s: adopted process %s.", run.id, run.pid)
        if run.heartbeat != ward.heartbeat:
            ward.heartbeat, ward.heard = run.heartbeat, at
        silent = at - ward.heard
        if ward.process is not None:
            status = ward.process.poll()
            if status is not None:
                self._bury(run, status, at)
                return
        elif silent > self._patience.silence and not alive(run.pid, run.pid_started):
            self._bury(run, None, at)
            return
        if run.keeper != "runner":
            return
        pid, started = (run.pid, run.pid_started) if run.pid else self._identity(ward)
        if run.want != "cancel":
            ward.cancelled, ward.told = None, 0
        else:
            ward.cancelled = ward.cancelled or at
            if ward.told == 0 and at - ward.cancelled > self._patience.grace:
                ward.told = 1
                terminate(pid, started)
            elif at - ward.cancelled > 2 * self._patience.grace:
                kill_group(pid, started)
        if silent > self._patience.stalled:
            _log.warning("Run %s has been silent for %.0f s: its process is killed.", run.id, silent)
            kill_group(pid, started)

    @staticmethod
    def _identity(ward: Ward) -> tuple[int | None, float | None]:
        """Of a worker that has not enrolled yet."""
        return (ward.process.pid, created(ward.process.pid)) if ward.process else (None, None)

    def _see_off(self, run_id: str, at: float) -> None:
        """The run is over or deleted: its process comes back, ends by itself, or is ended."""
        ward = self._wards[run_id]
        if ward.process is None or ward.process.poll() is not None:
            self._forget(run_id)
            return
        if ward.spare and f"{DONE} {run_id}\n".encode() in ward.spare.said():
            del self._wards[run_id]
            self._spares.take_back(ward.spare)
            return
        ward.over = ward.over or at
        if at - ward.over > 4 * self._patience.grace:
            kill_group(*self._identity(ward))

    def _bury(self, run: LiveRun, status: int | None, at: float) -> None:
        """The process is gone; unless the run has recorded its end meanwhile, decide what becomes of it."""
        log = log_path(self._home, run.id)
        cause = exits.cause(status, log)
        if run.want == "cancel":
            self._end(run, ev.RunCancelled(), attempt=run.attempts)
        elif run.keeper != "runner":
            sentence = "The program that trained this run in a terminal is gone; start the run again."
            self._end(run, ev.RunFailed(message=sentence), attempt=run.attempts)
        elif not exits.is_crash(status):
            self._end(
                run,
                ev.RunFailed(message=f"The worker of this run {cause}.", traceback=exits.tail(log)),
                attempt=run.attempts,
            )
        elif run.attempts > RESTARTS:
            sentence = f"The worker of this run died {run.attempts} times; the last one {cause}."
            self._end(run, ev.RunFailed(message=sentence, traceback=exits.tail(log)), attempt=run.attempts)
        else:
            sentence = f"The worker of this run {cause}. The run goes on from its last finished task."
            lost = {"pid": None, "pid_started": None, "error": sentence}
            if self._store.set_state(run.id, "lost", expected=ACTIVE - {"lost"}, attempt=run.attempts, **lost):
                _log.warning("Run %s, attempt %d: %s", run.id, run.attempts, sentence)
                self._lost_at[run.id] = at
        self._forget(run.id)  # last: while the store cannot be used, how the process ended must not be forgotten

    def _forget(self, run_id: str) -> None:
        ward = self._wards.pop(run_id)
        if ward.spare:
            ward.spare.close()

    def _restart(self, run: LiveRun, at: float) -> None:
        if run.want == "cancel":
            self._end(run, ev.RunCancelled(), attempt=run.attempts)
        elif at - self._lost_at.setdefault(run.id, at) >= RESTART_DELAY:
            del self._lost_at[run.id]
            self._start(run, run.slot if run.slot in self._slots else "cpu")

    def _end(self, run: LiveRun, event: ev.RunFailed | ev.RunCancelled, **conditions) -> None:
        self._lost_at.pop(run.id, None)
        if self._store.end(run.id, event, **conditions):
            _log.info("Run %s: %s", run.id, getattr(event, "message", "cancelled"))
            checkpoint_path(self._home, run.id).unlink(missing_ok=True)

    # ---- what others left behind --------------------------------------------------------------------------------

    def _take_over(self, live: Sequence[LiveRun]) -> None:
        """Runs of a host that fell silent: a machine that was renamed, or that left the shared database."""
        at = datetime.now(UTC)
        for run in live:
            if run.host == self._host or run.state not in ACTIVE or run.heartbeat is None:
                continue
            if (at - run.heartbeat).total_seconds() < self._patience.abroad or self._store.runner_status(
                run.host
            ).alive:
                continue
            if run.keeper != "runner":
                sentence = f"The program that trained this run on {run.host} is gone; start the run again."
                self._end(run, ev.RunFailed(message=sentence), attempt=run.attempts)
            else:
                error = f"The host {run.host} that trained this run is gone. The run goes on here."
                slot = choose_slot(run.device, self._slots) or "cpu"
                place = {"host": self._host, "slot": slot, "pid": None, "pid_started": None, "error": error}
                self._store.set_state(run.id, "lost", expected=run.state, attempt=run.attempts, **place)

    def _sweep(self) -> None:
        """Removes checkpoints of runs that are over."""
        folder = self._home / "checkpoints"
        found = [*folder.glob("*.pt"), *folder.glob("*.tmp")] if folder.is_dir() else []
        live = {run.id for run in self._store.live_runs() if run.state in LIVE}  # read after the files: new ones stay
        for path in found:
            if path.stem not in live:
                path.unlink(missing_ok=True)


def main(*, slots: int | None = None, idle_minutes: float = 10.0, holder: str | None = None) -> int:
    """Runs the service in the foreground until Ctrl-C, SIGTERM or `idle_minutes` without a live run."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", stream=sys.stdout)
    store = open_store()
    runner = Runner(store, slots=slots, patience=Patience(idle=60 * idle_minutes), holder=holder)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: runner.stop())
    return runner.run()


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m clcore.runner.service")
    parser.add_argument("--slots", type=int, help="runs at a time on each device")
    parser.add_argument("--idle-minutes", type=float, default=10.0, help="end after so long without a run")
    parser.add_argument("--holder", help="the lease that was taken in this runner's name")
    return parser.parse_args()


if __name__ == "__main__":
    try:
        sys.exit(main(**vars(_arguments())))
    except StoreError as error:
        sys.exit(str(error))
