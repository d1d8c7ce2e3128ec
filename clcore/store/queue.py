"""Whose run comes next: turns between people, so that a sweep of forty does not make a class wait."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Protocol

_NEVER = datetime.min.replace(tzinfo=UTC)


class Waiting(Protocol):
    """A queued run."""

    id: str
    owner: str


def fair_order(
    waiting: Sequence[Waiting], active: Mapping[str, int], served: Mapping[str, datetime | None]
) -> list[str]:
    """Run ids in the order in which they will start.

    The next run is of the owner with the fewest active runs, then of the one whose last start is longest ago; among one
    owner's runs, and between owners who are level, the oldest goes first. `waiting` is ordered from old to new.
    """
    lines: dict[str, list[str]] = {}
    for run in waiting:
        lines.setdefault(run.owner, []).append(run.id)
    oldest = {owner: position for position, owner in enumerate(lines)}
    running = {owner: active.get(owner, 0) for owner in lines}
    turn = {owner: (0, served.get(owner) or _NEVER) for owner in lines}
    order: list[str] = []
    while lines:
        owner = min(lines, key=lambda name: (running[name], turn[name], oldest[name]))
        order.append(lines[owner].pop(0))
        running[owner] += 1
        turn[owner] = (len(order), _NEVER)  # served after everybody who was served before this moment
        if not lines[owner]:
            del lines[owner]
    return order
