"""A recorded experiment that ships with the program, so that the first page is never empty.

`python -m clcore.demonstrations.recorded` trains it anew with the command line below and writes recorded.json: the runs'
specifications and the events of their curves and matrices, as the engine reported them.
"""

from __future__ import annotations

import json
import os
import shlex
import tempfile
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from clcore import events as ev
from clcore.frames import Series
from clcore.spec import RunSpec, from_json
from clcore.store import Store, open_store

PATH = Path(__file__).with_name("recorded.json")
COMMAND = (
    "run", "--benchmark", "permuted-digits", "--scenario", "domain", "--method", "finetune", "--method", "ewc",
    "--method", "er", "--method", "joint", "--set", "ewc.strength=30", "--memory", "200", "--seeds", "0,1,2,3,4",
    "--device", "cpu",
)  # fmt: skip
KEPT = (ev.RunStarted, ev.Evaluated, ev.TaskFinished)
DIGITS = 5
"""Of an accuracy; a test set of 450 examples has steps of 0.002."""


class Recorded(NamedTuple):
    """Runs side by side, each with its events folded; where they come from."""

    runs: tuple[tuple[RunSpec, Series], ...]
    command: str
    versions: dict[str, str]

    def answers(self, specs: Sequence[RunSpec]) -> bool:
        """Whether exactly these networks were recorded (the device and the number of live points do not matter)."""
        return [_digests(spec) for spec in specs] == [_digests(spec) for spec, _series in self.runs]


@cache
def recorded() -> Recorded:
    """What the file holds."""
    content = json.loads(PATH.read_text(encoding="utf-8"))
    runs = []
    for i, run in enumerate(content["runs"]):
        runs.append((from_json(RunSpec, json.dumps(run["spec"])), Series(f"recorded-{i}").pull(_Events(run["events"]))))
    return Recorded(tuple(runs), content["command"], content["versions"])


class _Events:
    def __init__(self, bodies: Sequence[dict[str, Any]]):
        self._events = [(seq, ev.load(json.dumps(body))) for seq, body in enumerate(bodies, start=1)]

    def events_after(self, run_id: str, seq: int = 0) -> list[tuple[int, ev.Event]]:
        return self._events[seq:]


def _digests(spec: RunSpec) -> list[str]:
    return [spec.digest(replica) for replica in spec.replicas]


# ---- making it ------------------------------------------------------------------------------------------------------


def record(store: Store) -> dict[str, Any]:
    """The newest experiment of a store as the content of the file."""
    rows = store.runs(experiment=store.runs(limit=1)[0].experiment)[::-1]
    runs, versions = [], {}
    for row in rows:
        found = [event for _seq, event in store.events_after(row.id) if isinstance(event, KEPT)]
        versions = next(event.versions for event in found if isinstance(event, ev.RunStarted))
        runs.append({"spec": row.spec.model_dump(mode="json"), "events": [_slim(event) for event in found]})
    return {"command": shlex.join(("python", "-m", "clcore", *COMMAND)), "versions": versions, "runs": runs}


def _slim(event: ev.Event) -> dict[str, Any]:
    """An event without what the page does not draw, and with short numbers."""
    body = event.model_dump(mode="json")
    if "validation" in body:
        body["validation"] = None
    return _rounded(body)


def _rounded(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _rounded(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_rounded(item) for item in value]
    return round(value, DIGITS) if isinstance(value, float) else value


def main() -> None:
    from clcore import cli

    with tempfile.TemporaryDirectory() as home:
        url = f"sqlite:///{home}/runs.db"
        os.environ |= {"CLCORE_HOME": home, "CLCORE_DATABASE_URL": url}
        if status := cli.main(list(COMMAND)):
            raise SystemExit(status)
        content = record(open_store(url))
    PATH.write_text(json.dumps(content, separators=(",", ":")) + "\n", encoding="utf-8")
    print(f"{PATH.name}: {PATH.stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    main()
