"""The database itself: what kind it is, where it lies, how large it is and what is in it."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import sqlalchemy as sa

from clcore.store.database import Database
from clcore.store.tables import SCHEMA, events, runs


@dataclass(frozen=True)
class DatabaseFacts:
    """`path`: of an SQLite file; None on a server. `bytes`: with the write-ahead log; None where it cannot be known."""

    kind: str
    location: str
    path: Path | None
    bytes: int | None
    schema: str
    runs: dict[str, int]
    events: int


class About(Database):
    def about(self) -> DatabaseFacts:
        """Counts and sizes now. `runs`: how many there are in each state that occurs."""
        with self._read() as connection:
            states = connection.execute(sa.select(runs.c.state, sa.func.count()).group_by(runs.c.state)).all()
            number = connection.execute(sa.select(sa.func.count()).select_from(events)).scalar_one()
        url = self._engine.url
        path = Path(url.database) if url.get_backend_name() == "sqlite" and url.database else None
        kind = {"sqlite": "SQLite", "postgresql": "PostgreSQL"}.get(url.get_backend_name(), url.get_backend_name())
        size = None if path is None else sum(_size(f"{path}{end}") for end in ("", "-wal", "-shm"))
        return DatabaseFacts(kind, self.location, path, size, SCHEMA, {s: n for s, n in states}, number)


def _size(path: str) -> int:
    try:
        return os.stat(path).st_size
    except FileNotFoundError:  # the log is gone whenever nobody writes
        return 0
