"""Results as text for a terminal, and as rows for a table file. English, no torch."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from clcore.metrics import interval
from clcore.store import RunRow

METRICS = {
    "acc": "ACC", "bwt": "BWT", "fwt": "FWT", "forgetting": "forgetting",
    "learning_accuracy": "learning acc.", "average_incremental_accuracy": "avg. incremental",
}  # fmt: skip
CELL_COLUMNS = ("method", "seed", "strength", "memory", "status", "split", "after_task", "task", "accuracy")


def table(results: Sequence[dict[str, Any]], scenario: str) -> str:
    """Mean ± 95 % t-interval over seeds, in percent, a row per method, strength and memory budget."""
    lines = [["method", "strength", "memory", "seeds", *METRICS.values()]]
    for result in results:
        for (strength, memory), replicas in grouped(result["replicas"]).items():
            lost = sum(r["status"] == "diverged" for r in replicas)
            seeds = f"{lost} of {len(replicas)} diverged" if lost else str(len(replicas))
            lines.append(
                [result["method"], _number(strength), _number(memory), seeds]
                + [percent(r[name] for r in replicas) for name in METRICS]
            )
    footer = f"{scenario} scenario, percent, mean ± 95 % t-interval over seeds (– where a metric has no meaning)."
    return "\n".join([*aligned(lines), footer])


def grouped(replicas: Iterable[dict[str, Any]]) -> dict[tuple[float | None, int | None], list[dict[str, Any]]]:
    """Replicas that differ in their seed only, under (strength, memory)."""
    groups: dict[tuple[float | None, int | None], list[dict[str, Any]]] = {}
    for replica in replicas:
        groups.setdefault((replica["strength"], replica["memory"]), []).append(replica)
    return groups


def percent(values: Iterable[float | None]) -> str:
    """ "71.7 ± 5.6", "71.7" for one value, "–" where a value is missing."""
    found = interval(values)
    if found is None:
        return "–"
    return f"{100 * found.mean:.1f}" + ("" if found.half is None else f" ± {100 * found.half:.1f}")


def aligned(lines: Sequence[Sequence[str]]) -> list[str]:
    """Columns under each other, with two blanks between."""
    widths = [max(len(row[i]) for row in lines) for i in range(len(lines[0]))]
    return ["  ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)).rstrip() for row in lines]


def cells(result: dict[str, Any]) -> Iterator[tuple]:
    """A row per cell of every accuracy matrix, in the order of `CELL_COLUMNS`; cells without meaning are left out."""
    for replica in result["replicas"]:
        key = (result["method"], replica["seed"], replica["strength"], replica["memory"], replica["status"])
        for split in ("test", "validation"):
            matrix = replica["accuracy_matrix" if split == "test" else "validation_matrix"]
            for after, row in enumerate(matrix or []):
                for task, accuracy in enumerate(row, start=1):
                    if accuracy is not None:
                        yield (*key, split, after, task, accuracy)


def row_summary(row: RunRow) -> dict[str, Any]:
    return {
        "id": row.id, "experiment": row.experiment, "method": row.method, "benchmark": row.benchmark,
        "scenario": row.scenario, "state": row.state, "created": row.created.isoformat(timespec="seconds"),
        "error": row.error,
    }  # fmt: skip


def history(rows: Sequence[RunRow]) -> str:
    if not rows:
        return "No runs yet. Start one: python -m clcore run --benchmark permuted-digits --method finetune"
    lines = [["run", "state", "method", "benchmark", "scenario", "ACC", "created"]]
    for row in rows:
        replicas = row.result["replicas"] if row.result else []
        score = percent(r["acc"] for r in replicas) if len(grouped(replicas)) == 1 else f"{len(replicas)} replicas"
        created = row.created.astimezone().strftime("%Y-%m-%d %H:%M")
        lines.append([row.id, row.state, row.method, row.benchmark, row.scenario, score, created])
    return "\n".join(aligned(lines))


def details(row: RunRow) -> str:
    lines = [
        ["run", row.id],
        ["state", row.state],
        ["experiment", row.experiment],
        ["created", row.created.isoformat()],
    ]
    if row.error:
        lines.append(["error", row.error])
    lines.append(["spec", row.spec.model_dump_json(exclude_defaults=True)])
    text = "\n".join(aligned(lines))
    return text if row.result is None else f"{text}\n\n{table([row.result], row.scenario)}"


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:g}"
