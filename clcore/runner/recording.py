"""One run while it trains: what it reports is stored, what is wanted of it is passed on, how it ended is recorded.

The worker uses it, and so does the command line when it trains in the foreground.
"""

from __future__ import annotations

import errno
import sys
import threading
import time
import traceback as tracebacks
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

from clcore import events as ev
from clcore.control import Control
from clcore.errors import Cancelled, DataError, LabError, RequestError, StoreError
from clcore.events import Event
from clcore.runner.exits import CANCELLED, FAILED, FINISHED, GONE, UNRECORDED
from clcore.settings import settings
from clcore.spec import RunSpec
from clcore.store import RunGone, RunRow, Store, StoreBusy

FLUSH_EVERY = 0.15  # seconds
LOOK_EVERY = 0.1
BEAT_EVERY = 1.0
PATIENCE = 60.0  # how long a locked database is waited for before a run fails
LONGEST_TRACEBACK = 20_000
# A checkpoint relies on what came before it, and a page waits for the beginning and the end.
DURABLE = (ev.RunStarted, ev.Resumed, ev.TaskFinished, *ev.TERMINAL)


class Train(Protocol):
    """`clcore.training.train`."""

    def __call__(
        self,
        run: RunSpec,
        *,
        data_dir: Path,
        report: Callable[[Event], int],
        control: Control,
        checkpoint: Path | None,
        **options: Any,
    ) -> dict: ...


def checkpoint_path(home: Path, run_id: str) -> Path:
    return home / "checkpoints" / f"{run_id}.pt"


def log_path(home: Path, run_id: str) -> Path:
    return home / "logs" / f"{run_id}.log"


class Recorder:
    """Numbers events and stores them in batches, from a thread of its own.

    When the store fails for good (disk full, run deleted), `failure` says why, `on_failure` is called, and the next
    `report` raises it.
    """

    def __init__(self, store: Store, run_id: str, attempt: int, on_failure: Callable[[], None]):
        self.failure: LabError | None = None
        self.ended = False
        self._store, self._run_id, self._attempt = store, run_id, attempt
        self._on_failure = on_failure
        self._seq = store.last_seq(run_id)
        self._pending: list[tuple[int, Event]] = []
        self._numbering = threading.Lock()
        self._writing = threading.Lock()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._keep_flushing, name="recorder", daemon=True)
        self._thread.start()

    @property
    def seq(self) -> int:
        """The number of the last event."""
        return self._seq

    def report(self, event: Event) -> int:
        """Takes an event; returns its number. What `DURABLE` names is stored before this returns."""
        if self.failure is not None:
            raise self.failure
        with self._numbering:
            self._seq += 1
            self._pending.append((self._seq, event))
            seq = self._seq
        if isinstance(event, DURABLE):
            patiently(self.flush)
        return seq

    def flush(self) -> None:
        """Stores what is pending. Raises StoreError; then it stays pending."""
        with self._writing:
            with self._numbering:
                batch = list(self._pending)
            if batch:
                self._store.append(self._run_id, batch, attempt=self._attempt)
                self.ended = self.ended or isinstance(batch[-1][1], ev.TERMINAL)
                with self._numbering:
                    del self._pending[: len(batch)]

    def discard(self) -> None:
        """Forgets what could not be stored, so that the run's end can be."""
        with self._numbering:
            self._pending.clear()
        self.failure = None

    def close(self) -> None:
        self._stop.set()
        self._thread.join()

    def _keep_flushing(self) -> None:
        while not self._stop.wait(FLUSH_EVERY):
            try:
                patiently(self.flush)
            except LabError as error:
                self.failure = error
                self._on_failure()
                return


class Watcher:
    """Looks at what is wanted ten times a second, and says once a second that the run lives."""

    def __init__(self, store: Store, row: RunRow, control: Control):
        self._store, self._row, self._control = store, row, control
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._keep_watching, name="watcher", daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._stop.set()
        self._thread.join()

    def _keep_watching(self) -> None:
        serial, next_beat = self._row.want_serial, 0.0
        while not self._stop.wait(LOOK_EVERY):
            try:
                wish = self._store.wish(self._row.id)
                if wish is None:
                    self._control.want("cancel")  # deleted: the recorder finds out as well, and says so
                    return
                if wish[1] != serial:
                    serial = wish[1]
                    self._control.want(wish[0])
                if time.monotonic() >= next_beat:
                    if not self._store.beat(self._row.id, attempt=self._row.attempts):
                        self._control.want("cancel")  # over, or given to another worker
                        return
                    next_beat = time.monotonic() + BEAT_EVERY
            except LabError as error:  # a missed look is harmless; a store that stays broken fails the recorder
                print(error, file=sys.stderr, flush=True)


class RecordedRun:
    """A run of the store, trained in this process.

    `control` may be used from a signal handler. `listen` sees every event, in the training thread.
    """

    def __init__(self, store: Store, row: RunRow, *, listen: Callable[[Event], None] = lambda event: None):
        self.control = Control(on_state=self._on_state)
        self.final: Event | None = None
        self._store, self._row, self._listen = store, row, listen
        self._recorder = Recorder(store, row.id, row.attempts, on_failure=lambda: self.control.want("cancel"))

    def conduct(self, train: Train | None = None, **options: Any) -> int:
        """Trains to the end, whatever that is, and records it; returns the exit status. `options` go to `train`.

        Afterwards `final` is the event that ended the run; None when the run was deleted meanwhile.
        """
        checkpoint = checkpoint_path(settings().home, self._row.id)
        watcher = Watcher(self._store, self._row, self.control)
        try:
            ending = self._train(train, checkpoint, options)
            if self.final is None:
                self._report(ending)
            return {ev.RunFailed: FAILED, ev.RunCancelled: CANCELLED}.get(type(self.final), FINISHED)
        except RunGone as error:
            self.final = None
            print(error, file=sys.stderr, flush=True)
            return GONE
        except StoreError as error:
            print(error, file=sys.stderr, flush=True)
            return UNRECORDED
        finally:
            watcher.close()
            self._recorder.close()
            if self._recorder.ended:
                checkpoint.unlink(missing_ok=True)

    def _train(self, train: Train | None, checkpoint: Path, options: dict[str, Any]) -> Event:
        """Trains; returns the event that ends the run, unless training has reported one. Raises RunGone."""
        row = self._row
        try:
            if row.want == "cancel":
                raise Cancelled("Cancelled before it began.")
            if row.want is not None:
                self.control.want(row.want)
            if train is None:
                from clcore.training import train  # torch: several seconds
            checkpoint.parent.mkdir(parents=True, exist_ok=True)
            if self._recorder.seq and not checkpoint.exists():
                self._report(ev.Resumed(from_seq=0, task=0))
            place = {"data_dir": settings().data_dir, "checkpoint": checkpoint}
            result = train(row.spec, report=self._report, control=self.control, **place, **options)
            return ev.RunFinished(result=result)
        except RunGone:
            raise
        except StoreError as error:
            self._recorder.discard()
            return ev.RunFailed(message=str(error))
        except (Cancelled, KeyboardInterrupt) as stop:
            if (failure := self._recorder.failure) is None:
                return ev.RunCancelled(result=getattr(stop, "result", None))
            if isinstance(failure, RunGone):
                raise failure from None
            self._recorder.discard()
            return ev.RunFailed(message=str(failure))
        except LabError as error:
            told = isinstance(error, RequestError | DataError)  # says what to do; where it was noticed does not help
            trace = tracebacks.format_exc() if error.__cause__ and not told else ""
            wrong = isinstance(error, RequestError)
            return ev.RunFailed(message=str(error), traceback=trace[-LONGEST_TRACEBACK:], bad_request=wrong)
        except Exception as error:
            trace = tracebacks.format_exc()
            print(trace, file=sys.stderr, flush=True)
            return ev.RunFailed(message=_sentence(row, error), traceback=trace[-LONGEST_TRACEBACK:])

    def _report(self, event: Event) -> int:
        if isinstance(event, ev.TERMINAL):
            self.final = event
        seq = self._recorder.report(event)
        self._listen(event)
        return seq

    def _on_state(self, state: str) -> None:
        patiently(self._recorder.flush)
        row, known = self._row, {"starting", "running", "paused"}  # data and networks are prepared before it runs
        patiently(lambda: self._store.set_state(row.id, state, expected=known, attempt=row.attempts))


def patiently(call: Callable[[], Any]) -> Any:
    """Calls again while the database is locked, for a minute."""
    deadline = time.monotonic() + PATIENCE
    while True:
        try:
            return call()
        except StoreBusy:
            if time.monotonic() >= deadline:
                raise
            time.sleep(0.05)


def _sentence(row: RunRow, error: Exception) -> str:
    text = " ".join(str(error).split())
    out_of_memory = isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError"
    if out_of_memory or "can't allocate memory" in text or "not enough memory" in text:
        return (
            f"{row.method} on {row.benchmark} ran out of memory; ask for fewer replicas (seeds × strengths × "
            f"memories), a smaller network or a smaller batch."
        )
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return f"The disk that holds {settings().home} is full; free some space and start the run again."
    what = type(error).__name__ + (f": {text[:300]}" if text else "")
    what = what.rstrip(".")
    return f"{row.method} on {row.benchmark} stopped with an unexpected error: {what}. Its traceback says where."
