"""Predictions that people lock before a run, kept beside the runs so that a class can look at all of its own.

The table is made when the first prediction is locked: databases from before it stay as they are until then, and programs
from before it do not mind.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any, NamedTuple

import sqlalchemy as sa

from clcore.store.database import Database
from clcore.store.tables import Moment

_metadata = sa.MetaData()
_predictions = sa.Table(
    "predictions",
    _metadata,
    sa.Column("number", sa.Integer, primary_key=True),
    sa.Column("room", sa.String(60), nullable=False),
    sa.Column("question", sa.String(100), nullable=False),
    sa.Column("who", sa.String(40), nullable=False),
    sa.Column("answer", sa.Text, nullable=False),
    sa.Column("locked", Moment, nullable=False),
    sa.UniqueConstraint("room", "question", "who"),
)


class Prediction(NamedTuple):
    """`answer`: the name of the option voted for, or a number for each of the question's points."""

    who: str
    answer: Any


class Locked(NamedTuple):
    """A prediction as it is kept. `locked`: when, in UTC."""

    question: str
    who: str
    answer: Any
    locked: datetime


class Classroom(Database):
    """The predictions in a run database. `room` is a class's name, "" for people who are in none.

    Raises StoreError as the store does.
    """

    @classmethod
    def in_database(cls, database: Database) -> Classroom:
        """Over the connections of an opened store."""
        return cls(database._engine, database.location)

    def lock(self, question: str, who: str, answer: Any, *, room: str = "") -> Prediction:
        """Keeps a prediction for good. Who has locked one before keeps that one; returns what counts."""
        with self._write() as connection:
            _metadata.create_all(connection)
            if found := connection.execute(_select(room, question, who)).first():
                return Prediction(who, json.loads(found.answer))
            row = {"room": room, "question": question, "who": who, "answer": json.dumps(answer)}
            connection.execute(sa.insert(_predictions), row | {"locked": datetime.now(UTC)})
        return Prediction(who, answer)

    def prediction_of(self, question: str, who: str, *, room: str = "") -> Prediction | None:
        """What somebody has locked; None when nothing."""
        return next(iter(self._found(_select(room, question, who))), None)

    def predictions(self, question: str, room: str) -> list[Prediction]:
        """All of a class's, in the order in which they were locked."""
        return self._found(_select(room, question))

    def rooms(self) -> dict[str, int]:
        """The classes that have locked predictions, with how many; the latest first."""
        query = sa.select(_predictions.c.room, sa.func.count()).where(_predictions.c.room != "")
        query = query.group_by(_predictions.c.room).order_by(sa.func.max(_predictions.c.number).desc())
        with self._read() as connection:
            if not sa.inspect(connection).has_table(_predictions.name):
                return {}
            return {room: n for room, n in connection.execute(query)}

    def collected(self, room: str) -> list[Locked]:
        """Everything that a class has locked, by question and then in the order of locking."""
        table = _predictions.c
        query = sa.select(table.question, table.who, table.answer, table.locked).where(table.room == room)
        with self._read() as connection:
            if not sa.inspect(connection).has_table(_predictions.name):
                return []
            rows = connection.execute(query.order_by(table.question, table.number))
            return [Locked(row.question, row.who, json.loads(row.answer), row.locked) for row in rows]

    def _found(self, query: sa.Select) -> list[Prediction]:
        with self._read() as connection:
            if not sa.inspect(connection).has_table(_predictions.name):
                return []
            return [Prediction(row.who, json.loads(row.answer)) for row in connection.execute(query)]


def _select(room: str, question: str, who: str | None = None) -> sa.Select:
    query = sa.select(_predictions.c.who, _predictions.c.answer).order_by(_predictions.c.number)
    query = query.where(_predictions.c.room == room, _predictions.c.question == question)
    return query if who is None else query.where(_predictions.c.who == who)
