"""When waiting runs will start, from how long finished runs with the same settings took. Torch-free, no clock of its own.

The queue is played forward: the next run takes the place that becomes free first and keeps it for the median time of finished
runs with its settings and as many networks on such a device. Nothing is guessed from other settings: a run of which nothing
like it has been timed keeps its place for nobody knows how long, and what starts after it cannot be told better than "by then
at the latest", from the other places.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from statistics import median
from typing import NamedTuple

from clcore.runner.devices import suitable_slots
from clcore.store import RunRow

LATELY = 5  # runs: older ones may have been timed under another program


class Start(NamedTuple):
    """Seconds from now; `latest`: it may be earlier, because a place is taken for a time that nobody knows."""

    seconds: float
    latest: bool


class Waiting(NamedTuple):
    """A queued run: what it asks for, and its settings."""

    device: str
    settings: str


def settings_of(spec_json: bytes | str) -> str:
    """Equal for runs that take as long on the same device: everything, of the seeds only their number."""
    spec = json.loads(spec_json)
    spec["grid"] = spec["grid"] | {"seeds": len(spec["grid"]["seeds"])}
    return json.dumps({name: value for name, value in spec.items() if name != "device"}, sort_keys=True)


def kind_of(slot: str) -> str:
    """cpu, cuda, mps."""
    return slot.partition(":")[0]


def durations(finished: Iterable[RunRow]) -> dict[tuple[str, str], float]:
    """(settings, kind of device) → median seconds from start to end, over the latest runs (`finished`: newest first).

    Runs that began anew or were trained in a terminal, outside the places of a device, do not count.
    """
    found: dict[tuple[str, str], list[float]] = {}
    for row in finished:
        if row.slot and row.attempts <= 1 and row.started and row.finished:
            seconds = (row.finished - row.started).total_seconds()
            found.setdefault((settings_of(row.spec_json), kind_of(row.slot)), []).append(seconds)
    return {key: median(values[:LATELY]) for key, values in found.items()}


def remaining(row: RunRow, elapsed: float, known: Mapping[tuple[str, str], float]) -> float | None:
    """Seconds that a run at work still takes: from its own progress once a task is done, before that from runs like it."""
    if row.tasks and row.position >= 1:
        return elapsed * (row.tasks - row.position) / row.position
    usual = known.get((settings_of(row.spec_json), kind_of(row.slot)))
    return None if usual is None else max(0.0, usual - elapsed)


def starts(
    waiting: Sequence[Waiting],
    slots: Mapping[str, int],
    busy: Mapping[str, Sequence[float | None]],
    known: Mapping[tuple[str, str], float],
) -> list[Start | None]:
    """When each of `waiting` (in the order of the queue) will start; None: nobody knows.

    slots  device → runs at a time
    busy   device → seconds that each run at work there still takes; None where nobody knows
    """
    places: dict[str, list[float | None]] = {}
    for slot, n in slots.items():
        held = list(busy.get(slot, ()))
        places[slot] = held + [0.0] * (n - len(held))
    found: list[Start | None] = []
    for run in waiting:
        suited = [(slot, i) for slot in suitable_slots(run.device, slots) for i in range(len(places.get(slot, ())))]
        open_places = [(places[slot][i], slot, i) for slot, i in suited if places[slot][i] is not None]
        if not open_places:
            found.append(None)
            continue
        at, slot, i = min(open_places)
        found.append(Start(at, at > 0 and len(open_places) < len(suited)))
        usual = known.get((run.settings, kind_of(slot)))
        places[slot][i] = None if usual is None else at + usual
    return found
