"""Runs and their events in a database: SQLite in WAL mode by default, PostgreSQL by URL.

`store.py` is what the rest of the program uses, `rows.py` what it gets back; `tables.py` holds the tables,
`opening.py` refuses a database that is not ours, `faults.py` turns the database's errors into sentences.
"""

from clcore.store.about import DatabaseFacts
from clcore.store.classroom import Classroom, Locked, Prediction
from clcore.store.faults import RunGone, StoreBusy
from clcore.store.notices import Shown
from clcore.store.opening import open_store
from clcore.store.rows import ACTIVE, LIVE, STATES, LiveRun, RunnerStatus, RunRow
from clcore.store.store import Store

__all__ = [
    "ACTIVE",
    "LIVE",
    "STATES",
    "Classroom",
    "DatabaseFacts",
    "LiveRun",
    "Locked",
    "Prediction",
    "RunGone",
    "RunRow",
    "RunnerStatus",
    "Shown",
    "Store",
    "StoreBusy",
    "open_store",
]
