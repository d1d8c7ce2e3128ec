"""The face of each state: an icon and a word, never colour alone."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import NamedTuple

import streamlit as st

from clcore.store import LIVE, RunRow
from clcore.ui.text import _

STALE_AFTER = 5.0


class Face(NamedTuple):
    icon: str
    word: str
    color: str


def face(state: str) -> Face:
    return {
        "queued": Face(":material/hourglass_empty:", _("queued"), "gray"),
        "starting": Face(":material/rocket_launch:", _("starting"), "blue"),
        "running": Face(":material/play_circle:", _("running"), "blue"),
        "paused": Face(":material/pause_circle:", _("paused"), "orange"),
        "lost": Face(":material/sync_problem:", _("restarting"), "orange"),
        "finished": Face(":material/check_circle:", _("finished"), "green"),
        "failed": Face(":material/error:", _("failed"), "red"),
        "cancelled": Face(":material/block:", _("cancelled"), "gray"),
        "diverged": Face(":material/trending_up:", _("diverged"), "orange"),
    }[state]


def plain_mark(state: str) -> str:
    """A state for a table cell: a sign and the word."""
    signs = {"queued": "○", "starting": "◔", "running": "▶", "paused": "❚❚", "lost": "↻",
             "finished": "✓", "failed": "✕", "cancelled": "■"}  # fmt: skip
    return f"{signs[state]} {face(state).word}"


def badge(state: str, note: str = "") -> None:
    look = face(state)
    st.badge(f"{look.word} · {note}" if note else look.word, icon=look.icon, color=look.color)


def experiment_badges(rows: Sequence[RunRow]) -> None:
    """An experiment's state; of one that is over with several outcomes each, and how many runs have it."""
    outcomes = Counter(row.state for row in rows)
    if is_live(rows) or len(outcomes) == 1:
        badge(overall(rows))
        return
    for state in ("finished", "failed", "cancelled"):
        if n := outcomes[state]:
            badge(state, _("{n} of {total}").format(n=n, total=len(rows)))


def overall(rows: Sequence[RunRow]) -> str:
    """The state of an experiment: what its most active run does; once all are over, the worst outcome."""
    states = {row.state for row in rows}
    for state in ("running", "starting", "lost", "paused", "queued", "failed", "cancelled"):
        if state in states:
            return state
    return "finished"


def is_live(rows: Sequence[RunRow]) -> bool:
    return any(row.state in LIVE for row in rows)


def silence(row: RunRow) -> float | None:
    """Seconds since a running run was last heard of, where that is long enough to say so."""
    if row.state != "running" or row.heartbeat is None:
        return None
    gone = (datetime.now(UTC) - row.heartbeat).total_seconds()
    return gone if gone > STALE_AFTER else None


def duration(seconds: float) -> str:
    """0:07, 12:30, 1:02:03."""
    minutes, rest = divmod(max(0, round(seconds)), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
