"""Opens the run database, or refuses it: a database that is not ours, or of another version, is left untouched."""

from __future__ import annotations

import time
from pathlib import Path

import sqlalchemy as sa

from clcore.errors import StoreError
from clcore.settings import settings
from clcore.store import tables
from clcore.store.faults import as_store_error, translated
from clcore.store.store import Store

CREATE_ATTEMPTS = 5  # two programs may create the same database at the same moment


def open_store(url: str | None = None, *, patience: float = 10.0) -> Store:
    """Opens the run database at an SQLAlchemy URL (default: `settings().database_url`), creating an empty one.

    `patience` is how long, in seconds, a locked database is waited for. Raises StoreError when it is locked, damaged,
    read-only, foreign, of another version, or when its disk is full.
    """
    text = url or settings().database_url
    try:
        parsed = sa.make_url(text)
    except sa.exc.ArgumentError:
        raise StoreError(
            f"CLCORE_DATABASE_URL = '{text}' is not a database URL; write one like sqlite:////folder/runs.db or "
            f"postgresql+psycopg://user@host/name, or leave it unset."
        ) from None
    sqlite = parsed.get_backend_name() == "sqlite"
    path = Path(parsed.database) if sqlite and parsed.database and parsed.database != ":memory:" else None
    where = str(path) if path else parsed.render_as_string(hide_password=True)
    with translated(where):
        if path:
            path.parent.mkdir(parents=True, exist_ok=True)
        if path and path.exists() and path.stat().st_size:
            # A look without writing: already switching a foreign file to WAL mode would change it.
            look = parsed.set(database=f"{path.absolute().as_uri()}", query={"mode": "ro", "uri": "true"})
            engine = sa.create_engine(look, poolclass=sa.pool.NullPool, connect_args={"timeout": patience})
            _recognise(engine, where)
        engine = _engine(parsed, sqlite, patience)
        try:
            _create_if_empty(engine, where)
        except BaseException:
            engine.dispose()
            raise
    return Store(engine, where)


def _engine(url: sa.URL, sqlite: bool, patience: float) -> sa.Engine:
    if not sqlite:
        return sa.create_engine(url, pool_pre_ping=True)
    engine = sa.create_engine(url, connect_args={"timeout": patience})

    @sa.event.listens_for(engine, "connect")
    def _configure(connection, _record) -> None:
        connection.isolation_level = None  # sqlite3 leaves transactions to us: see _begin
        cursor = connection.cursor()
        for pragma in (
            f"busy_timeout={int(patience * 1000)}",
            "journal_mode=WAL",
            "synchronous=NORMAL",
            "temp_store=MEMORY",
        ):
            cursor.execute(f"PRAGMA {pragma}")
        cursor.close()

    @sa.event.listens_for(engine, "begin")
    def _begin(connection) -> None:
        # A writer takes its lock at once: one that starts as a reader may find that it can no longer become a writer.
        writing = connection.get_execution_options().get("writing", False)
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writing else "BEGIN")

    return engine


def _create_if_empty(engine: sa.Engine, where: str) -> None:
    for attempt in range(CREATE_ATTEMPTS):
        if _recognise(engine, where):
            _add_missing(engine)
            return
        try:
            with engine.execution_options(writing=True).begin() as connection:
                if not sa.inspect(connection).get_table_names():
                    tables.metadata.create_all(connection)
                    rows = {"application": tables.APPLICATION, "schema": tables.SCHEMA}
                    connection.execute(
                        sa.insert(tables.meta), [{"name": name, "value": value} for name, value in rows.items()]
                    )
        except (sa.exc.IntegrityError, sa.exc.ProgrammingError) as error:
            if attempt == CREATE_ATTEMPTS - 1:
                raise as_store_error(error, where) from error
            time.sleep(0.1)  # PostgreSQL: another program has just created the same tables


def _add_missing(engine: sa.Engine) -> None:
    """The tables that came later under the same version."""
    names = set(sa.inspect(engine).get_table_names())
    missing = [table for table in tables.ADDED if table.name not in names]
    if missing:
        with engine.execution_options(writing=True).begin() as connection:
            tables.metadata.create_all(connection, tables=missing)


def _recognise(engine: sa.Engine, where: str) -> bool:
    """True for a database of ours, False for an empty one; StoreError for any other."""
    with engine.connect() as connection:
        names = sorted(sa.inspect(connection).get_table_names())
        if not names:
            return False
        facts: dict[str, str] = {}
        if tables.meta.name in names:
            columns = {column["name"] for column in sa.inspect(connection).get_columns("meta")}
            if columns == {"name", "value"}:
                facts = dict(connection.execute(sa.select(tables.meta.c.name, tables.meta.c.value)).all())
    if facts.get("application") != tables.APPLICATION:
        shown = ", ".join(names[:4]) + (", …" if len(names) > 4 else "")
        raise StoreError(
            f"The database {where} belongs to another program (it has the tables {shown}); set CLCORE_HOME or "
            f"CLCORE_DATABASE_URL to a place of its own."
        )
    if facts.get("schema") != tables.SCHEMA:
        raise StoreError(
            f"The run database {where} has version {facts.get('schema')}, this program reads version {tables.SCHEMA}; "
            f"use the program that wrote it, or set CLCORE_HOME to another folder."
        )
    return True
