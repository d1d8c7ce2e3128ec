"""Results as text for a terminal, and as rows for a table file. English, no torch."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from clcore.accounting import (
    INTERVAL,
    Entry,
    FineTuning,
    Measured,
    comparability_key,
    differences,
    mean_of,
    rank_marks,
    readable_bytes,
    readable_count,
    selection,
)
from clcore.identity import COLUMNS as IDENTITY
from clcore.identity import identity
from clcore.metrics import interval
from clcore.spec import RunSpec
from clcore.store import RunRow

METRICS = {
    "acc": "ACC", "bwt": "BWT", "fwt": "FWT", "forgetting": "forgetting",
    "learning_accuracy": "learning acc.", "average_incremental_accuracy": "avg. incremental",
}  # fmt: skip
COSTS = ("bytes", "gradient samples", "time", "CPU time", "strength chosen")
SELECTIONS = {
    "none": "–", "recommended": "by validation", "given": "given", "default": "default", "swept": "swept here",
}  # fmt: skip
CELL_COLUMNS = ("method", "seed", "strength", "memory", "status", "split", "after_task", "task", "accuracy",
                "run", *IDENTITY)  # fmt: skip


def table(runs: Sequence[Measured], fine_tuning: Iterable[Measured] = ()) -> str:
    """Two tables with a row per method, strength and memory budget: the metrics, and what they cost under which protocol.

    `fine_tuning`: further runs whose training time may be the measure, beside those shown.
    """
    plain = FineTuning([*runs, *fine_tuning])
    settings = [(run, key, group) for run in runs for key, group in grouped(run.result["replicas"]).items()]
    entries = [
        Entry(run.spec, (group[0]["footprint"],), (max(r.get("gradient_samples", 0) for r in group),))
        for run, _, group in settings
    ]
    scores = [["rank", "method", "strength", "memory", "seeds", *METRICS.values()]]
    costs = [["rank", "method", "strength", "memory", *COSTS]]
    for (run, (strength, memory), group), mark in zip(settings, rank_marks(entries), strict=True):
        lost = sum(r["status"] == "diverged" for r in group)
        seeds = f"{lost} of {len(group)} diverged" if lost else str(len(group))
        name = [mark, run.result["method"], _number(strength), _number(memory)]
        scores.append([*name, seeds, *(percent(r[metric] for r in group) for metric in METRICS)])
        relative = plain.relative_cost(run)
        costs.append([
            *name, readable_bytes(max(sum(r["footprint"].values()) for r in group)),
            "–" if "gradient_samples" not in group[0] else readable_count(mean_of(r["gradient_samples"] for r in group)),
            *("–" if relative is None else f"{ratio:.2f} ×" for ratio in relative or (None, None)),
            SELECTIONS[selection(run.spec).kind],
        ])  # fmt: skip
    scenario = ", ".join(dict.fromkeys(run.spec.scenario for run in runs))
    footer = f"{scenario} scenario, percent, mean ± {INTERVAL}, or the range of two seeds (– where a metric has no meaning)."
    told = (
        "Bytes and gradient samples: of one network, everything counted. Time: against as many networks of fine-tuning."
    )
    return "\n".join([*aligned(scores), footer, "", *aligned(costs), told, *_proofs(runs), *_ranking(entries)])


def _proofs(runs: Sequence[Measured]) -> list[str]:
    """A sentence for every run whose method promises that old outputs stay as they are."""
    said = []
    for run in runs:
        verdicts = [v for r in run.result["replicas"] if (v := r.get("old_logits")) and v["identical"] is not None]
        if not verdicts:
            continue
        kept = sum(v["identical"] for v in verdicts)
        if kept == len(verdicts):
            where = f"in all {kept} networks" if kept > 1 else "in the one network"
            said.append(f"{run.result['method']}: old outputs identical, bit for bit, {where}.")
        else:
            largest = max(v["largest_change"] for v in verdicts)
            said.append(
                f"{run.result['method']} promises that old outputs stay as they are, but in {len(verdicts) - kept} of "
                f"{len(verdicts)} networks they changed, by up to {largest:.2g}: please report this."
            )
    return said


def _ranking(entries: Sequence[Entry]) -> list[str]:
    """A sentence where not all rows may be ranked together."""
    if len(entries) < 2 or not (named := differences(entries)):
        return []
    return [f"Rank only rows with the same letter: these differ in {' and '.join(named)}."]


def document(benchmark: str, scenario: str, runs: Sequence[Measured], fine_tuning: Iterable[Measured] = ()) -> dict:
    """Results as the command line's JSON: each run with its training time relative to fine-tuning's, where there is one.

    Runs with the same `comparability` may be ranked where their bytes agree within 5 % too, and
    under equal compute their gradient samples.
    """
    plain = FineTuning([*runs, *fine_tuning])
    found = []
    for run in runs:
        relative = plain.relative_cost(run)
        key = hashlib.sha256(comparability_key(run.spec).encode()).hexdigest()[:16]
        cost = None if relative is None else relative._asdict()
        spec = run.spec.model_dump(mode="json")
        found.append(run.result | {"spec": spec, "relative_to_fine_tuning": cost, "comparability": key})
    return {"benchmark": benchmark, "scenario": scenario, "runs": found}


def measured(row: RunRow) -> Measured:
    return Measured(row.spec, row.result, row.experiment)


def grouped(replicas: Iterable[dict[str, Any]]) -> dict[tuple[float | None, int | None], list[dict[str, Any]]]:
    """Replicas that differ in their seed only, under (strength, memory)."""
    groups: dict[tuple[float | None, int | None], list[dict[str, Any]]] = {}
    for replica in replicas:
        groups.setdefault((replica["strength"], replica["memory"]), []).append(replica)
    return groups


def percent(values: Iterable[float | None]) -> str:
    """ "71.7 ± 5.6", "71.7 (70.9…72.5)", the range, for two values, "71.7" for one, "–" where a value is missing."""
    values = list(values)
    found = interval(values)
    if found is None:
        return "–"
    if found.n == 2:
        return f"{100 * found.mean:.1f} ({100 * min(values):.1f}…{100 * max(values):.1f})"
    return f"{100 * found.mean:.1f}" + ("" if found.half is None else f" ± {100 * found.half:.1f}")


def aligned(lines: Sequence[Sequence[str]]) -> list[str]:
    """Columns under each other, with two blanks between."""
    widths = [max(len(row[i]) for row in lines) for i in range(len(lines[0]))]
    return ["  ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)).rstrip() for row in lines]


def cells(run_id: str, spec: RunSpec, result: dict[str, Any]) -> Iterator[tuple]:
    """A row per cell of every accuracy matrix, in the order of `CELL_COLUMNS`; cells without meaning are left out."""
    told = (run_id, *identity(spec, result).values())
    for replica in result["replicas"]:
        key = (result["method"], replica["seed"], replica["strength"], replica["memory"], replica["status"])
        for split in ("test", "validation"):
            matrix = replica["accuracy_matrix" if split == "test" else "validation_matrix"]
            for after, row in enumerate(matrix or []):
                for task, accuracy in enumerate(row, start=1):
                    if accuracy is not None:
                        yield (*key, split, after, task, accuracy, *told)


def row_summary(row: RunRow) -> dict[str, Any]:
    return {
        "id": row.id, "experiment": row.experiment, "method": row.method, "benchmark": row.benchmark,
        "scenario": row.scenario, "state": row.state, "created": row.created.isoformat(timespec="seconds"),
        "error": row.error,
    }  # fmt: skip


def history(rows: Sequence[RunRow]) -> str:
    if not rows:
        return "No runs yet. Start one: python -m clcore run --benchmark permuted-digits --method finetune"
    lines = [["run", "state", "method", "benchmark", "scenario", "seeds", "ACC", "created"]]
    for row in rows:
        score = _score(row.result["replicas"] if row.result else [])
        created = row.created.astimezone().strftime("%Y-%m-%d %H:%M")
        seeds = str(len(row.spec.grid.seeds))
        lines.append([row.id, _state(row), row.method, row.benchmark, row.scenario, seeds, score, created])
    return "\n".join(aligned(lines))


def _state(row: RunRow) -> str:
    """With how far a live run is, where that is known: before it trains its tasks are not."""
    return f"{row.state} {row.position / row.tasks:.0%}" if row.live and row.tasks else row.state


def _score(replicas: Sequence[dict[str, Any]]) -> str:
    """The accuracy of one setting; of several their means from lowest to highest, as the page of runs has it."""
    settings = list(grouped(replicas).values())
    if len(settings) <= 1:
        return percent(r["acc"] for r in replicas) if replicas else ""
    found = [interval([r["acc"] for r in group]) for group in settings]
    means = [100 * spread.mean for spread in found if spread is not None]
    lost = sum(any(r["status"] == "diverged" for r in group) for group in settings)
    text = "–" if not means else f"{means[0]:.1f}" if len(means) == 1 else f"{min(means):.1f} … {max(means):.1f}"
    return f"{text} ({lost} diverged)" if lost else text


def details(row: RunRow, fine_tuning: Iterable[RunRow] = ()) -> str:
    """A run's state and results; `fine_tuning` as in `table`."""
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
    return text if row.result is None else f"{text}\n\n{table([measured(row)], map(measured, fine_tuning))}"


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:g}"
