"""What the store hands out: a run as it stands, a live run in short, the runner's state."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property
from typing import Any, NamedTuple

from clcore.spec import RunSpec, from_json

STATES = ("queued", "starting", "running", "paused", "lost", "finished", "failed", "cancelled")
LIVE = frozenset({"queued", "starting", "running", "paused", "lost"})
ACTIVE = frozenset({"starting", "running", "paused", "lost"})  # live, and some host looks after it


@dataclass(frozen=True)
class RunRow:
    """One run. Times are aware UTC datetimes or None. `spec` and `result` are parsed on first use.

    `keeper` is "runner" for a run that the background service looks after and "terminal" for one that the command line
    trains itself; `slot` is the place the runner gave it ("cpu", "cuda:0"), `device` what it trains on. `name` and `tags` are
    what a person called it.
    """

    id: str
    experiment: str
    method: str
    benchmark: str
    scenario: str
    owner: str
    keeper: str
    state: str
    want: str | None
    want_serial: int
    host: str
    slot: str
    device: str
    pid: int | None
    pid_started: float | None
    attempts: int
    created: datetime
    started: datetime | None
    finished: datetime | None
    heartbeat: datetime | None
    position: float
    tasks: int | None
    error: str
    traceback: str
    code_version: str
    spec_json: bytes = field(repr=False)
    result_json: bytes | None = field(default=None, repr=False)
    place: int | None = None
    name: str = ""
    tag_text: str = ""

    @property
    def tags(self) -> tuple[str, ...]:
        return tuple(self.tag_text.splitlines())

    @cached_property
    def spec(self) -> RunSpec:
        """What to train. Raises RequestError when it names something that the catalogue no longer has."""
        return from_json(RunSpec, self.spec_json, recorded=True)

    @cached_property
    def result(self) -> dict[str, Any] | None:
        """The result (RunFinished.result), what was finished when it was cancelled, or None."""
        return None if self.result_json is None else json.loads(self.result_json)

    @property
    def live(self) -> bool:
        return self.state in LIVE


class LiveRun(NamedTuple):
    """What the runner and the worker need to know of a live run, read ten times a second."""

    id: str
    owner: str
    keeper: str
    state: str
    want: str | None
    want_serial: int
    host: str
    slot: str
    device: str
    pid: int | None
    pid_started: float | None
    attempts: int
    created: datetime
    heartbeat: datetime | None


@dataclass(frozen=True)
class RunnerStatus:
    """The background service of one host. `starting`: it was launched and has not reported yet."""

    alive: bool
    starting: bool = False
    host: str = ""
    holder: str = ""
    pid: int | None = None
    pid_started: float | None = None
    started: datetime | None = None
    heartbeat: datetime | None = None
    slots: int = 0
    warm: bool = False
