"""How a worker ended, as a sentence for a person."""

from __future__ import annotations

import signal
from pathlib import Path

FINISHED, FAILED, GONE, UNRECORDED, CANCELLED = 0, 1, 3, 74, 130
LOG_TAIL = 4000  # characters

_SIGNALS = {
    signal.SIGKILL: "was killed by the system, most often because memory ran out; ask for fewer replicas",
    signal.SIGTERM: "was asked to stop from outside (SIGTERM)",
}
_CRASHES = {signal.SIGSEGV, signal.SIGBUS, signal.SIGILL, signal.SIGABRT, signal.SIGFPE}


def is_crash(status: int | None) -> bool:
    """Whether a run that ended so may go on from its checkpoint: its process died, it did not give up by itself.

    `status` is the exit status, minus the signal's number for a signal, None when nobody saw the process end.
    """
    return status is None or status < 0


def cause(status: int | None, log: Path) -> str:
    """The end of a sentence that begins with "The worker of this run"."""
    if status is None:
        return "disappeared without a report, for example because the machine was restarted"
    if status < 0:
        number = -status
        if number in _SIGNALS:
            return _SIGNALS[signal.Signals(number)]
        name = signal.Signals(number).name if number in set(signal.Signals) else f"signal {number}"
        where = f"crashed in native code ({name})" if number in _CRASHES else f"was stopped by {name}"
        return f"{where}; see the end of {log}"
    if status == UNRECORDED:
        return "could not write to the run database; make sure that its disk has space, then start the run again"
    if status == FINISHED:
        return f"ended without a result; see the end of {log}"
    return f"stopped with exit status {status} before it could report why; see the end of {log}"


def tail(log: Path) -> str:
    """The end of a worker's log; empty when there is none."""
    try:
        return log.read_text(encoding="utf-8", errors="replace")[-LOG_TAIL:]
    except FileNotFoundError:
        return ""
