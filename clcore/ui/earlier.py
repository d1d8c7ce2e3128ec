"""What the store already knows about the runs that the controls ask for."""

from __future__ import annotations

from collections.abc import Sequence

from clcore.spec import RunSpec
from clcore.store import RunRow, Store

LOOK_BACK = 200


def finished_before(store: Store, specs: Sequence[RunSpec]) -> list[RunRow]:
    """The newest finished run of each spec, exactly as asked for; empty unless every one has been run before."""
    wanted = {spec.model_dump_json() for spec in specs}
    methods = {spec.method.name for spec in specs}
    found: dict[str, RunRow] = {}
    rows = store.runs(states={"finished"}, methods=methods, benchmarks={specs[0].benchmark}, limit=LOOK_BACK)
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
