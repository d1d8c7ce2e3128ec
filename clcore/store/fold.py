"""A run's row is the fold of its events: what a batch of them changes in it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from clcore import events as ev
from clcore.events import Event


def fold(batch: Sequence[tuple[int, Event]]) -> dict[str, Any]:
    """Columns of the run's row and their new values."""
    at = datetime.now(UTC)
    row: dict[str, Any] = {"heartbeat": at}
    for _, event in batch:
        match event:
            case ev.RunStarted():
                row |= {
                    "state": "running",
                    "tasks": len(event.tasks),
                    "device": event.device[:100],
                    "position": 0.0,
                    "error": "",
                }
                row["code_version"] = event.versions.get("clcore", "")
            case ev.Resumed():
                row |= {"state": "running", "position": float(event.task), "error": ""}
            case ev.Progress():
                row["position"] = event.position
            case ev.TaskFinished():
                row["position"] = float(event.task)
            case ev.RunFinished():
                row |= {"state": "finished", "finished": at, "want": None, "result": _text(event.result)}
            case ev.RunFailed():
                row |= {"state": "failed", "finished": at, "want": None}
                row |= {"error": event.message, "traceback": event.traceback}
            case ev.RunCancelled():
                row |= {"state": "cancelled", "finished": at, "want": None, "error": "", "result": _text(event.result)}
    return row


def _text(result: dict[str, Any] | None) -> str | None:
    return None if result is None else json.dumps(result)
