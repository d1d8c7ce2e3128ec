"""The numbers and figures of the Trade-off page, folded once for all who look, until an event changes an outcome."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pandas as pd
import streamlit as st

from clcore.catalogue import catalogue
from clcore.frames import Config
from clcore.outcomes import references
from clcore.settings import settings
from clcore.text import language
from clcore.tradeoff import Path, name_of, paths, table
from clcore.ui.running import config_words, method_title
from clcore.ui.tradeoff.choice import Shown


class Folded:
    """What the charts of one selection share. Whoever takes something out must not write into it.

    frame    a row per configuration (`clcore.tradeoff.table`) with the words of the page
    rows     its rows by their name in a link
    levels   the references' average accuracies
    lines    paths of growing strength or budget; `swept`: those over a strength, by name
    """

    def __init__(self, shown: Shown):
        found = references(shown.outcomes, shown.conditions)
        self.frame = worded(table(shown.outcomes, found))
        self.rows = {row.id: row for row in self.frame.itertuples()}
        spreads = {name: found[name].spread("acc") for name in ("finetune", "joint") if name in found}
        self.levels = {name: s.mean for name, s in spreads.items() if s.n}
        self.lines = paths(shown.outcomes)
        self.swept = {path_name(path): path for path in self.lines if path.axis == "strength"}
        self._made: dict[Any, Any] = {}
        self._lock = threading.RLock()

    def once(self, key: Any, make: Callable[[], Any]) -> Any:
        """A figure or a table, made at its first use."""
        with self._lock:
            if key not in self._made:
                self._made[key] = make()
            return self._made[key]


def folded(shown: Shown) -> Folded:
    """In the language in force."""
    return _folded(
        settings().database_url, shown.benchmark, shown.scenario, shown.conditions, shown.version, language(), shown
    )


@st.cache_resource(show_spinner=False, max_entries=16)
def _folded(
    url: str, benchmark: str, scenario: str, conditions: str, version: int, language: str, _shown: Shown
) -> Folded:
    return Folded(_shown)


def worded(frame: pd.DataFrame) -> pd.DataFrame:
    """With the words of the page: `id` (as in a link), `title`, `label`, and `fixed` (what a path holds still)."""
    if frame.empty:
        return frame
    several = frame.groupby(["method", "settings"])["path"].nunique()
    frame = frame.assign(
        id=[name_of(key) for key in frame["configuration"]],
        title=[
            method_title(m) + (f" ({s})" if s else "") for m, s in zip(frame["method"], frame["settings"], strict=True)
        ],
        label=[configuration_words(key) for key in frame["configuration"]],
    )
    frame["fixed"] = [
        _fixed_words(row) if several[(row.method, row.settings)] > 1 else "" for row in frame.itertuples()
    ]
    return frame


def configuration_words(key: Any) -> str:
    """Its strength and its memory budget."""
    part = next((card for card in cards_of(key.method) if card.strength), None)
    return config_words(Config(key.strength, key.memory), part.strength.symbol if part else "")


def cards_of(method: str) -> list:
    """The cards of a method's parts."""
    return [catalogue().method(part) for part in method.split("+")]


def _fixed_words(row: Any) -> str:
    key = row.configuration
    fixed = key._replace(strength=None) if row.axis != "memory" else key._replace(memory=None)
    return configuration_words(fixed)


def path_name(path: Path) -> str:
    """A path as it stands in a link."""
    return name_of(path.outcomes[0].configuration._replace(strength=None))


def path_words(path: Path) -> str:
    key = path.outcomes[0].configuration
    return " ".join(filter(None, [method_title(path.method), configuration_words(key._replace(strength=None))]))
