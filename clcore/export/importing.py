"""Results from a file into the store: what `run --json`, the Runs page and a comparison have written.

    {"benchmark": …, "scenario": …, "runs": [{"spec": …, "method": …, "replicas": […], …}]}
    [{"id": …, "state": "finished", "spec": …, "result": …}]

A file is somebody else's claim. It must fit its own specification, replica by replica and cell by cell; metrics are computed
again from the matrices. What the file does not say (the names of the tasks, chance levels) stays empty.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from clcore import events as ev
from clcore import metrics
from clcore.errors import LabError, RequestError
from clcore.spec import RunSpec, from_json
from clcore.store import Store

LARGEST = 64 * 1024 * 1024
Matrix = list[list[float | None]]


class _Checked(BaseModel):
    model_config = ConfigDict(extra="allow", strict=True, allow_inf_nan=False)


class _Replica(_Checked):
    seed: int
    strength: float | None
    memory: int | None
    status: Literal["finished", "diverged"]
    accuracy_matrix: Matrix
    validation_matrix: Matrix | None = None
    footprint: dict[str, int]
    footprint_per_task: list[dict[str, int]] = []
    gradient_samples: float | None = None
    bytes: int | None = None


class _Commit(_Checked):
    hash: str
    modified: bool


class _Protocol(_Checked):
    versions: dict[str, str] = {}
    commit: _Commit | None = None
    device: str | None = None


class _Result(_Checked):
    method: str
    status: Literal["finished"]
    train_seconds: float = Field(ge=0)
    train_cpu_seconds: float = Field(ge=0)
    epochs: int | float | None = Field(None, gt=0)
    protocol: _Protocol | None = None
    replicas: list[_Replica] = Field(min_length=1)


@dataclass(frozen=True)
class Imported:
    """Ids of the new runs, and how many of the file were in the store already."""

    new: tuple[str, ...]
    known: int


def import_results(store: Store, content: bytes | str, *, name: str = "The file", owner: str = "") -> Imported:
    """Records the runs of a file as finished ones, all or none. Raises RequestError with one sentence."""
    found = [_checked(entry, where, name) for where, entry in _entries(content, name)]
    new = [(spec, result) for spec, result in found if not _known(store, spec, result)]
    if not new:
        return Imported((), len(found))
    ids = store.add([spec for spec, _ in new], state="starting", owner=owner)
    try:
        for run_id, (spec, result) in zip(ids, new, strict=True):
            store.append(run_id, list(enumerate(_events(spec, result), start=1)))
    except LabError:
        for run_id in ids:
            store.end(run_id, ev.RunCancelled())
        store.delete(ids)
        raise
    return Imported(tuple(ids), len(found) - len(new))


def _entries(content: bytes | str, name: str) -> list[tuple[str, Any]]:
    """(where in the file, {"spec": …, "result": …})"""
    if len(content) > LARGEST:
        raise RequestError(f"{name} is larger than {LARGEST // 2**20} MiB; results are smaller than that.")
    try:
        data = json.loads(content, parse_constant=_no_constant)
    except (ValueError, RecursionError):
        raise RequestError(
            f"{name} is not JSON; choose a file that `run --json`, the Runs page or the Compare page has written."
        ) from None
    if isinstance(data, dict) and isinstance(data.get("runs"), list):
        entries = [{"spec": run.get("spec"), "result": run} if isinstance(run, dict) else run for run in data["runs"]]
    elif isinstance(data, list):
        entries = data
    else:
        raise RequestError(f"{name} holds no results: it needs a list `runs`, as `run --json` writes it.")
    if not entries:
        raise RequestError(f"{name} holds no run.")
    return [(f"run {i}", entry) for i, entry in enumerate(entries, start=1)]


def _no_constant(text: str) -> None:
    raise ValueError(f"{text} is not JSON")


def _checked(entry: Any, where: str, name: str) -> tuple[RunSpec, dict[str, Any]]:
    """A run's spec and its result, which fits it."""
    if not isinstance(entry, dict) or not isinstance(entry.get("result"), dict):
        raise RequestError(f"{name}: {where} has no result; only finished runs can be imported.")
    if not isinstance(entry.get("spec"), dict):
        raise RequestError(
            f"{name}: {where} does not say what was trained (it has no `spec`), because an older program wrote it; "
            "run its command again."
        )
    spec: RunSpec = _within(name, where, lambda: from_json(RunSpec, json.dumps(entry["spec"]), recorded=True))
    result = {key: v for key, v in entry["result"].items() if key not in _ADDED}
    try:
        _Result.model_validate(result)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"]))
        raise RequestError(f"{name}: {where} is damaged at {place}: {first['msg']}.") from None
    if result["method"] != spec.method.name:
        raise RequestError(f"{name}: {where} says {result['method']} and was to train {spec.method.name}.")
    planned = [(r.seed, r.strength, r.memory) for r in spec.replicas]
    if [(r["seed"], r["strength"], r["memory"]) for r in result["replicas"]] != planned:
        raise RequestError(f"{name}: the networks of {where} are not those that its specification asks for.")
    tasks = len(result["replicas"][0]["accuracy_matrix"]) - 1
    for replica, asked in zip(result["replicas"], spec.replicas, strict=True):
        _check_matrices(replica, tasks, f"{name}: {where}, seed {replica['seed']}")
        replica["digest"] = spec.digest(asked)
        replica |= metrics.summary(replica["accuracy_matrix"], spec.scenario)
    return spec, result


_ADDED = ("spec", "relative_to_fine_tuning", "comparability")  # by `report.document`; not part of a result


def _within(name: str, where: str, read):
    try:
        return read()
    except RequestError as error:
        raise RequestError(f"{name}: {where} cannot be read: {error}") from None


def _check_matrices(replica: dict[str, Any], tasks: int, where: str) -> None:
    for kind in ("accuracy_matrix", "validation_matrix"):
        matrix = replica.get(kind)
        if matrix is None:
            continue
        if tasks < 1 or len(matrix) != tasks + 1 or any(len(row) != tasks for row in matrix):
            raise RequestError(f"{where}: its {kind.replace('_', ' ')} does not have a row more than tasks.")
        for value in (v for row in matrix for v in row if v is not None):
            if not (math.isfinite(value) and 0 <= value <= 1):
                raise RequestError(f"{where}: an accuracy of {value:g} is not from 0 to 1.")
        last = matrix[-1]
        if kind == "accuracy_matrix" and replica["status"] == "finished" and any(v is None for v in last):
            raise RequestError(f"{where}: it is said to have finished, and its last row has gaps.")


def _known(store: Store, spec: RunSpec, result: dict[str, Any]) -> bool:
    """Whether the store has this run, to the last number."""
    rows = store.runs(states={"finished"}, methods={spec.method.name}, benchmarks={spec.benchmark})
    return any(row.spec == spec and _numbers(row.result) == _numbers(result) for row in rows)


def _numbers(result: dict[str, Any]) -> list:
    return [(r["seed"], r["strength"], r["memory"], r["accuracy_matrix"]) for r in result["replicas"]]


def _events(spec: RunSpec, result: dict[str, Any]) -> Sequence[ev.Event]:
    """What a run with this result would have reported at its start, at the ends of its tasks, and at its end."""
    replicas, stated = result["replicas"], result.get("protocol") or {}
    T = len(replicas[0]["accuracy_matrix"]) - 1
    with_validation = all(replica.get("validation_matrix") for replica in replicas)
    started = ev.RunStarted(
        method=spec.method.name, benchmark=spec.benchmark, scenario=spec.scenario, tasks=[f"task {j + 1}" for j in range(T)],
        replicas=[
            ev.ReplicaInfo(seed=r["seed"], strength=r["strength"], memory=r["memory"], digest=r["digest"]) for r in replicas
        ],
        epochs=result.get("epochs") or spec.epochs,
        chance=[[None] * T for _ in range(T + 1)], test_examples=[], train_examples=[],
        device=str(stated.get("device") or "unknown"), versions=stated.get("versions") or {}, note="Imported from a file.",
    )  # fmt: skip
    finished = []
    for k in range(T + 1):
        grown = [r.get("footprint_per_task") or [] for r in replicas]
        finished.append(
            ev.TaskFinished(
                task=k,
                test=[r["accuracy_matrix"][k] for r in replicas],
                validation=[r["validation_matrix"][k] for r in replicas] if with_validation else None,
                footprint=[
                    steps[k - 1] if k and len(steps) == T else r["footprint"]
                    for r, steps in zip(replicas, grown, strict=True)
                ],
                diverged=[i for i, r in enumerate(replicas) if r["status"] == "diverged" and _gone(r, k)],
            )
        )  # fmt: skip
    lost = [
        ev.Diverged(replica=i, task=_first_gap(r["accuracy_matrix"]), step=0, term="")
        for i, r in enumerate(replicas)
        if r["status"] == "diverged"
    ]
    return [started, *finished, *lost, ev.RunFinished(result=result)]


def _gone(replica: dict[str, Any], k: int) -> bool:
    return replica["accuracy_matrix"][k][0] is None


def _first_gap(matrix: Matrix) -> int:
    """The task in which a replica was lost: the first row without a number."""
    return next((k for k, row in enumerate(matrix) if k and row[0] is None), len(matrix) - 1)
