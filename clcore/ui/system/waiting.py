"""The queue in words: who waits, in which place, and why."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import pandas as pd

from clcore.catalogue import catalogue, scenario_word
from clcore.errors import LabError
from clcore.runner.forecast import Start
from clcore.store import ACTIVE, LiveRun, RunRow
from clcore.ui.classroom import owner_words
from clcore.ui.states import duration
from clcore.ui.text import _, n_


def in_progress(live: Sequence[LiveRun]) -> dict[str, int]:
    """How many runs of each person some host looks after."""
    counts: dict[str, int] = {}
    for run in live:
        if run.state in ACTIVE:
            counts[run.owner] = counts.get(run.owner, 0) + 1
    return counts


def reasons(waiting: Sequence[RunRow], busy: Mapping[str, int], *, runner: bool) -> list[str]:
    """Why each run waits. `waiting` is in the order in which they will start, `busy` what `in_progress` counts."""
    told: list[str] = []
    before: dict[str, int] = {}
    for place, run in enumerate(waiting):
        own = before.get(run.owner, 0)
        others = place - own
        if run.want == "cancel":
            told.append(_("It is being cancelled."))
        elif not runner:
            told.append(_("No runner is at work."))
        elif place == 0:
            told.append(_("Next: it starts when its device has a free place."))
        elif not others:
            told.append(n_("{n} run of the same person goes first.", "{n} runs of the same person go first.", own))
        elif not own and busy.get(run.owner):
            told.append(
                n_("{n} run of others goes first: this person has {busy} in progress.",
                   "{n} runs of others go first: this person has {busy} in progress.", others, busy=busy[run.owner])
            )  # fmt: skip
        elif not own:
            told.append(n_("{n} run of others goes first.", "{n} runs of others go first.", others))
        else:
            told.append(
                _("{others} of others and {own} of the same person go first.").format(others=others, own=own)
            )
        before[run.owner] = own + 1
    return told


def start_words(start: Start | None) -> str:
    """When a run will start, as far as anybody knows."""
    if start is None:
        return _("unknown")
    if start.seconds < 1:
        return _("now")
    time = duration(start.seconds)
    return _("within {time}").format(time=time) if start.latest else _("in about {time}").format(time=time)


def queue_frame(
    waiting: Sequence[RunRow], why: Sequence[str], starts: Sequence[Start | None], person: str = ""
) -> pd.DataFrame:
    """One row a waiting run. `person`: whose runs are marked as the reader's own."""
    at = datetime.now(UTC)
    return pd.DataFrame(
        {
            "place": [row.place for row in waiting],
            "who": [_("{owner} (you)").format(owner=owner_words(row.owner)) if person and row.owner == person
                    else owner_words(row.owner) for row in waiting],
            "run": [title_of(row) for row in waiting],
            "device": [row.device for row in waiting],
            "waits": [duration((at - row.created).total_seconds()) for row in waiting],
            "starts": [start_words(start) for start in starts],
            "why": list(why),
        }
    )  # fmt: skip


def title_of(row: RunRow) -> str:
    """Method, benchmark and scenario of a run, also of one that the catalogue no longer has."""
    names: list[Any] = []
    try:
        names.append(" + ".join(catalogue().method(part).title for part in row.method.split("+")))
        names.append(catalogue().benchmark(row.benchmark).title)
    except LabError:
        names = [row.method, row.benchmark]
    return " · ".join([*names, scenario_word(row.scenario)])
