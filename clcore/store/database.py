"""One database: how its readers and writers begin a transaction."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import sqlalchemy as sa

from clcore.store.faults import translated


class Database:
    """An engine, and `location`: the database's name in sentences (a path, or a URL without its password)."""

    def __init__(self, engine: sa.Engine, location: str):
        self._engine = engine
        self._writer = engine.execution_options(writing=True)
        self.location = location

    def close(self) -> None:
        self._engine.dispose()

    @contextmanager
    def _read(self) -> Iterator[sa.Connection]:
        with translated(self.location), self._engine.connect() as connection:
            yield connection

    @contextmanager
    def _write(self) -> Iterator[sa.Connection]:
        with translated(self.location), self._writer.begin() as connection:
            yield connection
