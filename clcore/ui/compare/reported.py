"""What a finished run reported, read once."""

from __future__ import annotations

from typing import Any

import streamlit as st

from clcore.comparison import Ends, task_ends
from clcore.events import RunStarted
from clcore.settings import settings
from clcore.store import RunRow
from clcore.ui.frame import the_store


def plan_of(row: RunRow) -> RunStarted | None:
    """What it said at its start: task names, test examples; None for a run without a result."""
    return _known_plan(settings().database_url, row.id) if row.state == "finished" else None


@st.cache_resource(show_spinner=False, max_entries=256)
def _known_plan(url: str, run_id: str) -> RunStarted | None:
    found = the_store().events_after(run_id, types={"run_started"}, limit=1)
    return found[0][1] if found else None


def ends_of(row: RunRow) -> Ends:
    """How far it was at the end of each task."""
    return _known_ends(settings().database_url, row.id, row.result)


@st.cache_data(show_spinner=False, max_entries=256)
def _known_ends(url: str, run_id: str, _result: dict[str, Any]) -> Ends:
    reported = the_store().events_after(run_id, types={"progress"})
    return task_ends((event for _seq, event in reported), _result)
