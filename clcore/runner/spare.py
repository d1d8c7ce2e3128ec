"""The spare worker: a process that has imported torch and waits for a run, so that a click is answered in a second."""

from __future__ import annotations

import logging
import os
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path

from clcore.runner.processes import PACKAGE_ROOT, child_environment
from clcore.runner.worker import READY

START_AGAIN = 30.0  # seconds to wait after a spare died by itself
_log = logging.getLogger("clcore.runner")


class Spare:
    """At most one waiting worker. Its standard input is a pipe of ours: it ends when we do."""

    def __init__(self, command: Sequence[str], log: Path):
        self._command, self._log = list(command), log
        self._process: subprocess.Popen | None = None
        self._code = 0.0
        self._not_before = 0.0
        self.ready = False

    def tend(self) -> None:
        """Starts one when there is none, and notices when it is ready."""
        if self._process is not None and self._process.poll() is not None:
            self._forget()
            self._not_before = time.monotonic() + START_AGAIN
        if self._process is None and time.monotonic() >= self._not_before:
            try:
                self._start()
            except OSError as error:
                _log.error("No spare worker could be started: %s", error)
                self._not_before = time.monotonic() + START_AGAIN
        elif self._process is not None and not self.ready:
            said = self._process.stdout.read() or b""
            self.ready = READY.encode() in said

    def take(self) -> subprocess.Popen | None:
        """The spare, for `give`; None when there is none, or when the program has changed since it started."""
        if self._process is not None and self._code != newest_source():
            self.close()
        process, self._process, self.ready = self._process, None, False
        return process

    def wait_before_next(self, seconds: float) -> None:
        """Leaves the processor to the run that has just started: importing torch takes seconds."""
        self._not_before = max(self._not_before, time.monotonic() + seconds)

    def close(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._forget()

    def _start(self) -> None:
        self._log.parent.mkdir(parents=True, exist_ok=True)
        self._code = newest_source()
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                self._command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                env=child_environment(),
                start_new_session=True,
            )
        os.set_blocking(self._process.stdout.fileno(), False)

    def _forget(self) -> None:
        self._process.stdin.close()
        self._process.stdout.close()
        self._process, self.ready = None, False


def give(process: subprocess.Popen, run_id: str) -> bool:
    """Hands a run to a spare; False when it died at this very moment."""
    try:
        process.stdin.write(f"{run_id}\n".encode())
        process.stdin.close()
    except BrokenPipeError:
        return False
    finally:
        process.stdout.close()
    return True


def newest_source() -> float:
    """When the program was last changed. A spare from before that would train with old code."""
    return max(path.stat().st_mtime for path in (PACKAGE_ROOT / "clcore").rglob("*.py"))
