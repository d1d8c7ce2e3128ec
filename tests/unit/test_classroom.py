"""Predictions: locked once, apart by class and person, beside runs that an older program knows nothing else of."""

import sqlite3
from datetime import UTC, datetime

from clcore.store import Classroom, Locked, open_store
from clcore.ui.learn.collected import predictions_frame
from clcore.ui.learn.lessons import lessons
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


def test_a_class_is_collected_and_only_named_ones_are_classes(tmp_path):
    room = classroom(tmp_path)
    assert room.rooms() == {} and room.collected("7b") == []
    for who, question, name, answer in [
        ("ann", "b", "7b", "ewc"), ("bo", "a", "7b", [1.0]), ("cy", "b", "7b", "er"), ("dot", "b", "", "er"),
        ("ed", "b", "7c", "er"),
    ]:  # fmt: skip
        room.lock(question, who, answer, room=name)
    assert list(room.rooms().items()) == [("7c", 1), ("7b", 3)]
    assert [(p.question, p.who, p.answer) for p in room.collected("7b")] == [
        ("a", "bo", [1.0]), ("b", "ann", "ewc"), ("b", "cy", "er")
    ]  # fmt: skip
    assert all(p.locked.tzinfo for p in room.collected("7b"))


def test_the_table_of_a_class_has_a_row_for_every_number_and_vote():
    at = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
    steps = [(name, one.title, step) for name, one in lessons().items() for step in one.steps]
    of = [(s.question.kind, s.question.metric) for _, _, s in steps]
    place, title, curve = steps[of.index(("curve", "acc"))]
    home, _title, voted = next(found for found in steps if found[2].question.kind == "vote")
    option = voted.question.options[1]
    frame = predictions_frame([
        Locked(f"{place}/{curve.name}", "ann", [90.0, 80.0, 70.0, 60.0, 50.0], at),
        Locked(f"{home}/{voted.name}", "=bo()", option.name, at),
        Locked("gone/away", "cy", [1.0, 2.0], at), Locked("gone/vote", "cy", "x", at),
    ])  # fmt: skip
    rows = frame.values.tolist()
    assert rows[0] == [title, curve.title, "ann", curve.question.prompt, "T1", 90.0, "%", "2026-01-02 03:04:05"]
    assert [row[4] for row in rows[:5]] == ["T1", "T2", "T3", "T4", "T5"]
    assert rows[5][2] == "'=bo()" and rows[5][5] == option.label  # no formula for a spreadsheet
    assert [row[:6] for row in rows[6:]] == [
        ["gone", "away", "cy", "", "", 1.0], ["gone", "away", "cy", "", "", 2.0], ["gone", "vote", "cy", "", "", "x"]
    ]  # fmt: skip
