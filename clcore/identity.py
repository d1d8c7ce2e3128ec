"""What tells one run from another, as columns of a table file: numbers that leave the program keep saying what they are of.

English and unrounded, since files are read by programs. Torch-free.
"""

from __future__ import annotations

import json
from typing import Any

from clcore.spec import RunSpec

COLUMNS = (
    "benchmark", "options", "scenario", "tasks", "epochs", "batch_size", "network", "hidden", "network_settings",
    "optimizer", "lr", "momentum", "weight_decay", "optimizer_state", "active_classes", "equal_compute", "memory_budget",
    "settings",
)  # fmt: skip


def identity(spec: RunSpec, result: dict[str, Any]) -> dict[str, Any]:
    """A value for each of `COLUMNS`: the conditions of a run, and what its method was set to beside strength and memory."""
    network, optimizer = spec.network, spec.optimizer
    values = (
        spec.benchmark, _json(spec.benchmark_options), spec.scenario, _tasks(result),
        result.get("epochs") or spec.epochs,  # those trained: equal compute fits them
        spec.batch_size, network.name, "-".join(map(str, network.hidden)), _json(network.settings),
        optimizer.name, optimizer.lr, optimizer.momentum, optimizer.weight_decay, spec.optimizer_state,
        spec.active_classes, spec.gradient_samples, spec.memory_bytes, _json(spec.method.settings),
    )  # fmt: skip
    return dict(zip(COLUMNS, values, strict=True))


def _tasks(result: dict[str, Any]) -> int | None:
    """A matrix has a row before any training and one after each task."""
    matrix = next((replica["accuracy_matrix"] for replica in result["replicas"]), None)
    return len(matrix) - 1 if matrix else None


def _json(settings: dict[str, Any]) -> str | None:
    return json.dumps(settings, sort_keys=True) if settings else None
