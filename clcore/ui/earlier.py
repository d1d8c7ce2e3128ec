"""What the store already knows about the runs that the controls ask for."""

from __future__ import annotations

import json
from collections.abc import Sequence

from clcore.spec import RunSpec
from clcore.store import RunRow, Store

LOOK_BACK = 200


def estimated_seconds(store: Store, specs: Sequence[RunSpec]) -> float | None:
    """Seconds for runs like these one after the other, from the newest finished runs that differ in their grid only.

    A network's share of such a run, times as many as are asked for: of more networks side by side each takes less. None where
    something like one of them has not been run here.
    """
    rows = store.runs(states={"finished"}, methods={spec.method.name for spec in specs}, benchmarks={specs[0].benchmark},
                      results=False, limit=LOOK_BACK)  # fmt: skip
    shares: dict[str, float] = {}
    for row in rows:
        settings = _without_grid(row.spec_json)
        if settings not in shares and row.started and row.finished:
            shares[settings] = (row.finished - row.started).total_seconds() / len(row.spec.replicas)
    wanted = [(_without_grid(spec.model_dump_json()), len(spec.replicas)) for spec in specs]
    if not all(settings in shares for settings, _n in wanted):
        return None
    return sum(shares[settings] * n for settings, n in wanted)


def _without_grid(spec_json: bytes | str) -> str:
    """What decides how long a network takes: neither seeds nor budgets, nor where a strength stands."""
    spec = json.loads(spec_json)
    spec["method"] = {name: value for name, value in spec["method"].items() if name != "strengths"}
    return json.dumps({name: value for name, value in spec.items() if name not in ("grid", "device")}, sort_keys=True)


def finished_before(store: Store, specs: Sequence[RunSpec]) -> list[RunRow]:
    """The newest finished run of each spec, exactly as asked for; empty unless every one has been run before."""
    wanted = {spec.model_dump_json() for spec in specs}
    methods = {spec.method.name for spec in specs}
    found: dict[str, RunRow] = {}
    rows = store.runs(
        states={"finished"}, methods=methods, benchmarks={specs[0].benchmark}, results=False, limit=LOOK_BACK
    )
    for row in rows:
        text = row.spec_json.decode() if isinstance(row.spec_json, bytes) else row.spec_json
        if text in wanted and text not in found:
            found[text] = row
    return list(found.values()) if len(found) == len(wanted) else []


def measured_seconds(rows: Sequence[RunRow]) -> float | None:
    """How long these runs took from the first start to the last end; None when they were not run together."""
    if len({row.experiment for row in rows}) != 1 or any(row.started is None or row.finished is None for row in rows):
        return None
    return (max(row.finished for row in rows) - min(row.started for row in rows)).total_seconds()
