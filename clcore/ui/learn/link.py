"""The Learn page as a link: what is looked at, and how its controls stand."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import streamlit as st

from clcore.catalogue import catalogue
from clcore.errors import RequestError
from clcore.ui.learn.lessons import lessons
from clcore.ui.text import _
from clcore.ui.url import Query, adopt, publish, read, unknown, warn
from clcore.worked import FORMULAS

PAGE = "learn"
VIEWS = ("lessons", "methods", "metrics", "pictures")
MATRIX = "10,12,8;98,11,9;60,97,12;40,75,96"
TASKS = 3
LONGEST_NAME = 40

DEFAULTS: dict[str, Any] = {
    "show": VIEWS[0], "search": "", "method": "",
    "R": MATRIX, "metric": "acc", "untrained": True,
    "picture": "cone", "past": 2, "g": 0, "g1": 117, "g2": 27, "g3": -80,
    "turn": 30, "lambda": 1.0, "springs": "diagonal",
    "lesson": "", "step": 1, "class": "", "me": "", "ran": [],
}  # fmt: skip
CHOICES: dict[str, Sequence[Any]] = {
    "show": VIEWS, "metric": tuple(FORMULAS), "picture": ("cone", "valleys"), "past": (2, 3),
    "springs": ("diagonal", "equal", "full"),
}  # fmt: skip
RANGES = {
    **{angle: (-180, 180) for angle in ("g", "g1", "g2", "g3")}, "turn": (-90, 90), "lambda": (0.0, 100.0), "step": (1, 9),
}  # fmt: skip
OF_VIEW = {
    "lessons": ("lesson", "step", "class", "me", "ran"),
    "methods": ("search", "method"),
    "metrics": ("R", "metric", "untrained"),
    "pictures": ("picture", "past", "g", "g1", "g2", "g3", "turn", "lambda", "springs"),
}
PREFIX = "learn-"


def key(name: str) -> str:
    """Where a value of the link lives in the session: apart from other pages' controls of that name."""
    return PREFIX + name


def value(name: str) -> Any:
    """A control's value, also while it is not drawn."""
    return st.session_state.setdefault(key(name), DEFAULTS[name])


def adopt_link() -> None:
    """Sets the page's controls from a fresh link, and says what of it could not be used."""
    adopt(PAGE, key("show"), _values_of)


def publish_link() -> None:
    """Writes what is looked at into the link."""
    show = value("show")
    params = {name: value(name) for name in ("show", *OF_VIEW[show])}
    publish(PAGE, {name: None if v == DEFAULTS[name] else v for name, v in params.items()}, prefix=PREFIX)


def _values_of(query: Query) -> dict[str, Any]:
    problems: list[str] = []
    found = dict(DEFAULTS)
    allowed = CHOICES | {"method": [card.name for card in catalogue().methods], "lesson": list(lessons())}
    for name in filter(DEFAULTS.__contains__, query):
        try:
            got = read(query[name], DEFAULTS[name], list(allowed[name]) if name in allowed else None)
            low, high = RANGES.get(name, (None, None))
            if low is not None and not low <= got <= high:
                raise RequestError(_("{value:g} is not from {low:g} to {high:g}").format(value=got, low=low, high=high))
            if name == "R":
                parsed(got)
            found[name] = got[:LONGEST_NAME] if name in ("class", "me") else got
        except RequestError as error:
            problems.append(f"`{name}`: {error}".rstrip("."))
    if "show" not in query:
        found["show"] = next((view for view, names in OF_VIEW.items() if set(names) & set(query)), DEFAULTS["show"])
    warn(problems + unknown(query, DEFAULTS))
    return {key(name): v for name, v in found.items()}


def parsed(text: str) -> list[list[float | None]]:
    """A matrix as it stands in a link: rows by ';', numbers in percent by ',', nothing for no value. Raises RequestError."""
    rows = [line.split(",") for line in text.split(";")]
    if len(rows) != TASKS + 1 or any(len(row) != TASKS for row in rows):
        raise RequestError(_("a matrix needs {rows} rows of {columns} numbers").format(rows=TASKS + 1, columns=TASKS))
    try:
        return [[float(cell) if cell.strip() else None for cell in row] for row in rows]
    except ValueError:
        raise RequestError(_("'{value}' holds something that is not a number").format(value=text)) from None


def written(R: Sequence[Sequence[float | None]]) -> str:
    return ";".join(",".join("" if cell is None else f"{cell:g}" for cell in row) for row in R)
