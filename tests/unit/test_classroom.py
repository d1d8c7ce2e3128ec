"""Predictions: locked once, apart by class and person, beside runs that an older program knows nothing else of."""

import sqlite3

from clcore.store import Classroom, open_store
from tests.pages.recorded import experiment


def classroom(tmp_path):
    return Classroom.in_database(open_store(f"sqlite:///{tmp_path}/runs.db"))


def test_the_first_prediction_counts(tmp_path):
    room = classroom(tmp_path)
    assert room.prediction_of("forget/task-one", "ann") is None and room.predictions("forget/task-one", "7b") == []
    room.lock("forget/task-one", "ann", [90.0, 60.0], room="7b")
    assert room.lock("forget/task-one", "ann", [1.0, 1.0], room="7b").answer == [90.0, 60.0]
    assert room.prediction_of("forget/task-one", "ann", room="7b").answer == [90.0, 60.0]


def test_classes_questions_and_people_are_apart(tmp_path):
    room = classroom(tmp_path)
    for who, question, name, answer in [
        ("ann", "q", "7b", "ewc"), ("bo", "q", "7b", "er"), ("ann", "q", "7c", "er"), ("ann", "p", "7b", "x"),
        ("cy", "q", "", "l2"),
    ]:  # fmt: skip
        room.lock(question, who, answer, room=name)
    assert [(p.who, p.answer) for p in room.predictions("q", "7b")] == [("ann", "ewc"), ("bo", "er")]
    assert room.prediction_of("q", "ann") is None and room.prediction_of("q", "cy").answer == "l2"


def test_an_older_database_gets_its_table_with_the_first_prediction_and_stays_readable(tmp_path):
    store = open_store(f"sqlite:///{tmp_path}/runs.db")
    store.add(experiment())
    room = Classroom.in_database(store)
    room.predictions("q", "7b")
    tables = "SELECT name FROM sqlite_master WHERE type = 'table' AND name = 'predictions'"
    assert not sqlite3.connect(tmp_path / "runs.db").execute(tables).fetchall()
    room.lock("q", "ann", "er")
    store.close()
    again = open_store(f"sqlite:///{tmp_path}/runs.db")
    assert again.count_runs() == 1 and Classroom.in_database(again).prediction_of("q", "ann").answer == "er"
