"""What a class has predicted, as a table for a spreadsheet: a row for every number, and one for every vote."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import pandas as pd

from clcore.store import Locked
from clcore.ui.learn.lessons import Question, Step, lessons

COLUMNS = ("lesson", "step", "who", "asked", "about", "predicted", "unit", "locked (UTC)")
"""Names for programs, in English in every language."""


def predictions_frame(found: Iterable[Locked]) -> pd.DataFrame:
    """One row a number: `about` is the task or the option that it is about; a vote has the option as what was predicted.

    Predictions of a lesson that is no longer there, or that asked something else then, keep their bare values.
    """
    steps = {f"{lesson.name}/{step.name}": (lesson.title, step) for lesson in lessons().values() for step in lesson.steps}
    rows = [row for one in found for row in _rows(one, *steps.get(one.question, (None, None)))]
    return pd.DataFrame([tuple(map(_harmless, row)) for row in rows], columns=list(COLUMNS))


def _rows(one: Locked, lesson: str | None, step: Step | None) -> Iterator[tuple[Any, ...]]:
    name, _, part = one.question.partition("/")
    at = f"{one.locked:%Y-%m-%d %H:%M:%S}"
    asked = step.question if step else None
    head = (lesson or name, step.title if step else part, one.who, asked.prompt if asked else "")
    if isinstance(one.answer, list):
        labels = asked.labels if asked and len(asked.labels) == len(one.answer) else [""] * len(one.answer)
        for label, number in zip(labels, one.answer, strict=True):
            yield (*head, label, number, asked.unit.sign if asked else "", at)
    else:
        yield (*head, "", _label(asked, one.answer), "", at)


def _label(asked: Question | None, name: Any) -> Any:
    return next((option.label for option in asked.options if option.name == name), name) if asked else name


def _harmless(cell: Any) -> Any:
    """A text that a spreadsheet would take for a formula becomes one that it shows."""
    return f"'{cell}" if isinstance(cell, str) and cell[:1] in "=+-@\t\r" and cell else cell
