"""The tables of the run store, the same on SQLite and PostgreSQL.

meta     the schema's version, and what the instructor shows to everybody
runs     one row a run: what was asked, what is wanted, where it stands, its result
events   one row an event, keyed (run, seq); arrays stay inside the event's JSON, compressed when large
leases   one row a host: which runner looks after it, and until when that holds
labels   one row a run that a person has named or tagged. It came later and under the same version: opening adds it to a
         database that lacks it, and a program that does not know it is not disturbed by it
"""

from __future__ import annotations

import zlib
from datetime import UTC, datetime

import sqlalchemy as sa
from sqlalchemy.types import TypeDecorator

SCHEMA = "1"
APPLICATION = "forgetting-lab"
COMPRESS_FROM = 400  # bytes; below this zlib saves less than a row's own overhead


class Moment(TypeDecorator):
    """An aware UTC datetime. SQLite keeps no time zone, so it is put back on the way out."""

    impl = sa.DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect) -> datetime | None:
        return None if value is None else value.astimezone(UTC)

    def process_result_value(self, value: datetime | None, dialect) -> datetime | None:
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


class Packed(TypeDecorator):
    """A JSON text as bytes, compressed when large. Plain JSON starts with `{`, a zlib stream never does."""

    impl = sa.LargeBinary
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect) -> bytes | None:
        if value is None:
            return None
        plain = value.encode()
        return plain if len(plain) < COMPRESS_FROM else zlib.compress(plain)

    def process_result_value(self, value: bytes | None, dialect) -> bytes | None:
        if value is None:
            return None
        return bytes(value) if value[:1] == b"{" else zlib.decompress(value)


metadata = sa.MetaData()

meta = sa.Table(
    "meta",
    metadata,
    sa.Column("name", sa.String(40), primary_key=True),
    sa.Column("value", sa.String(200), nullable=False),
)

runs = sa.Table(
    "runs",
    metadata,
    sa.Column("number", sa.Integer, primary_key=True),
    sa.Column("id", sa.String(12), nullable=False, unique=True),
    sa.Column("experiment", sa.String(12), nullable=False, index=True),
    sa.Column("spec", Packed, nullable=False),
    sa.Column("method", sa.String(200), nullable=False),
    sa.Column("benchmark", sa.String(100), nullable=False),
    sa.Column("scenario", sa.String(20), nullable=False),
    sa.Column("owner", sa.String(200), nullable=False, default=""),
    sa.Column("keeper", sa.String(10), nullable=False),
    sa.Column("state", sa.String(12), nullable=False, index=True),
    sa.Column("want", sa.String(12)),
    sa.Column("want_serial", sa.Integer, nullable=False, default=0),
    sa.Column("host", sa.String(255), nullable=False, default=""),
    sa.Column("slot", sa.String(100), nullable=False, default=""),
    sa.Column("device", sa.String(100), nullable=False),
    sa.Column("pid", sa.Integer),
    sa.Column("pid_started", sa.Float),
    sa.Column("attempts", sa.Integer, nullable=False, default=0),
    sa.Column("created", Moment, nullable=False),
    sa.Column("started", Moment),
    sa.Column("finished", Moment),
    sa.Column("heartbeat", Moment),
    sa.Column("position", sa.Float, nullable=False, default=0.0),
    sa.Column("tasks", sa.Integer),
    sa.Column("error", sa.Text, nullable=False, default=""),
    sa.Column("traceback", sa.Text, nullable=False, default=""),
    sa.Column("result", Packed),
    sa.Column("code_version", sa.String(100), nullable=False, default=""),
    sa.Index("runs_by_owner", "owner", "started"),
)

events = sa.Table(
    "events",
    metadata,
    sa.Column("run_id", sa.String(12), primary_key=True),
    sa.Column("seq", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("type", sa.String(20), nullable=False),
    sa.Column("body", Packed, nullable=False),
)

leases = sa.Table(
    "leases",
    metadata,
    sa.Column("host", sa.String(255), primary_key=True),
    sa.Column("holder", sa.String(40), nullable=False),
    sa.Column("expires", Moment, nullable=False),
    sa.Column("heartbeat", Moment, nullable=False),
    sa.Column("started", Moment, nullable=False),
    sa.Column("pid", sa.Integer),
    sa.Column("pid_started", sa.Float),
    sa.Column("slots", sa.Integer, nullable=False, default=0),
    sa.Column("warm", sa.Boolean, nullable=False, default=False),
)

labels = sa.Table(
    "labels",
    metadata,
    sa.Column("run_id", sa.String(12), primary_key=True),
    sa.Column("name", sa.String(200), nullable=False, default=""),
    sa.Column("tags", sa.Text, nullable=False, default=""),
)

ADDED = (labels,)
"""Tables that a database of this version may still lack."""
