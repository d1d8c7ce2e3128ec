"""How a running training is paused, stepped and cancelled from another thread.

Somebody else (the worker's watcher, Ctrl-C in the terminal) writes what is wanted; the training loop looks at it at every
gradient step, which costs one attribute read when nothing is wanted.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Literal

from clcore.errors import Cancelled

Wanted = Literal["pause", "step", "cancel"] | None


class Control:
    """The wish of the person, as seen by the training loop.

    `pause` holds at the next gradient step, `step` lets the current task finish and holds there, `cancel` raises
    `Cancelled` in the training thread, None lets it run. `held_seconds` is the time spent holding.
    """

    def __init__(self, on_state: Callable[[str], None] = lambda state: None):
        self.wanted: Wanted = None
        self.held_seconds = 0.0
        self._wishes = 0
        self._on_state = on_state
        self._changed = threading.Condition()

    def want(self, wanted: Wanted) -> None:
        """Called from another thread, once per wish (`step` twice means two tasks)."""
        with self._changed:
            self.wanted = wanted
            self._wishes += 1
            self._changed.notify_all()

    def at_step(self) -> None:
        """Called by the loop at every gradient step. Blocks while paused; raises Cancelled."""
        if self.wanted is not None:
            self._obey("pause")

    def at_task_end(self) -> None:
        """Called by the loop once a task and its checkpoint are done. Blocks on `pause` and `step`; raises Cancelled."""
        if self.wanted is not None:
            self._obey("pause", "step")

    def _obey(self, *holds: Wanted) -> None:
        with self._changed:
            if self.wanted in holds:
                since = time.perf_counter()
                self._on_state("paused")
                while True:
                    heard = self._wishes
                    self._changed.wait_for(lambda: self._wishes != heard)  # noqa: B023 (called at once)
                    if self.wanted != "pause":  # a second `step` releases this hold; the next task end holds again
                        break
                self.held_seconds += time.perf_counter() - since
                if self.wanted != "cancel":
                    self._on_state("running")
            if self.wanted == "cancel":
                raise Cancelled("Cancelled on request.")
