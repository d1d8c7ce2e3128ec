"""Every exception Forgetting Lab raises on purpose.

    LabError                    one sentence a person can act on
    ├── RequestError            the request is wrong: exit status 2, nothing was started
    │   ├── UnknownName         a method, benchmark, network or run that does not exist
    │   └── TooLarge            the request cannot fit into memory; says what would fit
    ├── DataError               a data set is missing, corrupt or unreadable
    ├── StoreError              the database is locked, foreign, of another version, or its disk is full
    ├── TrainingError           a run failed while training
    └── Cancelled               a person asked the run to stop: exit status 130

The message is always a sentence with the offending value, what is allowed and the next step.
"""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches


class LabError(Exception):
    """Base of every error with a sentence for a person."""

    exit_status = 1


class RequestError(LabError):
    """The request is wrong; nothing was started."""

    exit_status = 2


class UnknownName(RequestError):
    """A name that is not in a catalogue."""

    def __init__(self, kind: str, name: str, allowed: Iterable[str]):
        allowed = sorted(allowed)
        close = get_close_matches(name, allowed, n=1)
        hint = f" Did you mean '{close[0]}'?" if close else ""
        super().__init__(f"There is no {kind} named '{name}'.{hint} Available: {', '.join(allowed) or 'none'}.")
        self.name = name


class TooLarge(RequestError):
    """The request cannot fit into memory."""


class DataError(LabError):
    """A data set is missing, corrupt or unreadable."""


class StoreError(LabError):
    """The database cannot be used."""


class TrainingError(LabError):
    """A run failed while training."""


class Cancelled(LabError):
    """A person asked the run to stop. `result` holds what was finished by then, or None."""

    exit_status = 130
    result: dict | None = None
