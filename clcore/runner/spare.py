"""Spare workers: processes that have imported torch and wait for a run, so that a click is answered in a second.

After a run on the CPU a worker comes back and waits for the next one: importing torch again would cost as much as
training a small run.
"""

from __future__ import annotations

import logging
import os
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from clcore.runner.processes import PACKAGE_ROOT, child_environment
from clcore.runner.worker import READY

START_AGAIN = 30.0  # seconds to wait after a spare died by itself
_log = logging.getLogger("clcore.runner")


@dataclass
class Spare:
    """A worker that was started without a run. `code`: when the program it has loaded was last changed."""

    process: subprocess.Popen
    code: float
    ready: bool = False

    def give(self, run_id: str) -> bool:
        """Hands it a run; False when it died at this very moment. An empty run ends it."""
        try:
            self.process.stdin.write(f"{run_id}\n".encode())
            self.process.stdin.flush()
        except BrokenPipeError:
            return False
        return True

    def said(self) -> bytes:
        """What it has written since it was last asked."""
        return self.process.stdout.read() or b""

    def close(self) -> None:
        """Lets go of its pipes: it ends when it has nothing to train."""
        try:
            self.process.stdin.close()
        except BrokenPipeError:
            _log.debug("A spare was gone before it was let go.")
        self.process.stdout.close()


class Spares:
    """At most `most` waiting workers. Their standard inputs are pipes of ours: they end when we do."""

    def __init__(self, command: Sequence[str], log: Path, most: int):
        self._command, self._log, self._most = list(command), log, most
        self._waiting: list[Spare] = []  # oldest first; at most the last one is not ready
        self._not_before = 0.0

    @property
    def ready(self) -> bool:
        """Whether a run would start at once."""
        return any(spare.ready for spare in self._waiting)

    def tend(self, wanted: int) -> None:
        """Starts one when fewer than `wanted` wait, one after the other, and notices when they are ready."""
        for spare in list(self._waiting):
            if spare.process.poll() is not None:
                self._drop(spare)
                self._not_before = time.monotonic() + START_AGAIN
            elif not spare.ready:
                spare.ready = READY.encode() in spare.said()
        missing = len(self._waiting) < min(wanted, self._most) and all(spare.ready for spare in self._waiting)
        if missing and time.monotonic() >= self._not_before:
            try:
                self._start()
            except OSError as error:
                _log.error("No spare worker could be started: %s", error)
                self._not_before = time.monotonic() + START_AGAIN

    def take(self) -> Spare | None:
        """A spare that is ready, or else one that is on its way. None when there is none.

        Those from before the program was changed are ended.
        """
        now = newest_source() if self._waiting else 0.0
        for spare in list(self._waiting):
            if spare.code != now:
                self._drop(spare)
        return self._waiting.pop(0) if self._waiting else None

    def take_back(self, spare: Spare) -> None:
        """Takes a spare that has trained a run and is ready again."""
        spare.ready = True
        self._waiting.insert(0, spare)
        for surplus in self._waiting[self._most :]:
            self._drop(surplus)

    def wait_before_next(self, seconds: float) -> None:
        """Leaves the processor to runs that are starting: importing torch takes seconds."""
        self._not_before = max(self._not_before, time.monotonic() + seconds)

    def close(self) -> None:
        for spare in list(self._waiting):
            self._drop(spare)

    def _start(self) -> None:
        self._log.parent.mkdir(parents=True, exist_ok=True)
        code = newest_source()
        with self._log.open("ab") as log:
            if not self._waiting:
                log.truncate(0)
            process = subprocess.Popen(
                self._command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                env=child_environment(),
                start_new_session=True,
            )
        os.set_blocking(process.stdout.fileno(), False)
        self._waiting.append(Spare(process, code))

    def _drop(self, spare: Spare) -> None:
        self._waiting.remove(spare)
        spare.process.kill()
        spare.process.wait()
        spare.close()


def newest_source() -> float:
    """When the program was last changed. A spare from before that would train with old code."""
    return max(path.stat().st_mtime for path in (PACKAGE_ROOT / "clcore").rglob("*.py"))
