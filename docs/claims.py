"""Published figures beside ours, under the protocol for claims.

    python -m docs.claims docs/studies/split_mnist_hsu.py [--only ewc/task …] [--device cuda --together]

A study is a Python file with `TITLE`, `CONDITIONS` (keyword arguments of RunSpec) and `CLAIMS`; with `SIZES = True` its table
also says how large everything that a method keeps has become, network included, beside the plain network. For each claim
the strength is chosen from its grid on final validation accuracy with seeds 100–102, then reported on seeds 0–9 on test
data. A result agrees with a published figure when the difference is at most 1.5 points or twice the combined standard error,
whichever is larger. Everything is kept beside the study as JSON (a finished claim is not trained again), and the table in
docs/results.md is rewritten from it. `--device` trains elsewhere than the study says. With `--together` the seeds that choose
and those that are reported train side by side with every strength, which a GPU does in the time of one.
"""

from __future__ import annotations

import argparse
import json
import math
import runpy
import time
from dataclasses import dataclass, field
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

import torch

from clcore import registry
from clcore.capacity import parameter_count
from clcore.events import Insight
from clcore.settings import settings
from clcore.spec import Grid, MethodChoice, RunSpec, make
from clcore.training import train

CHOOSING = (100, 101, 102)
REPORTING = tuple(range(10))
RESULTS = Path(__file__).with_name("results.md")


@dataclass(frozen=True)
class Claim:
    """One published figure (percent; `std` over `n` runs, None where the source gives none) and how we try to meet it.

    `published` is None for a figure of our own that no source gives. `variant` tells claims of one method and scenario
    apart; `memory` is the replay budget of a method that has one. `shows` names arrays of the method's insight (K, L)
    whose mean over seeds after the last task is kept.
    """

    method: str
    scenario: str
    published: float | None
    std: float | None = None
    n: int = 1
    grid: tuple[float, ...] = ()
    settings: dict[str, Any] = field(default_factory=dict)
    conditions: dict[str, Any] = field(default_factory=dict)
    seeds: tuple[int, ...] = REPORTING
    memory: int = 200
    cause: str = ""
    variant: str = ""
    shows: tuple[str, ...] = ()

    @property
    def key(self) -> str:
        return "/".join(filter(None, (self.method, self.scenario, self.variant)))


def measure(claim: Claim, conditions: dict[str, Any], *, together: bool = False) -> dict[str, Any]:
    """Chooses the strength, then reports the seeds that did not choose it."""
    started = time.perf_counter()
    seen: list[Insight] = []
    keep = lambda event: seen.append(event) if isinstance(event, Insight) else None  # noqa: E731
    chosen, searched = None, {}
    if claim.grid and together:
        result = _train(claim, conditions, CHOOSING + claim.seeds, claim.grid)
        chosen, searched = _choice(claim, [r for r in result["replicas"] if r["seed"] in CHOOSING])
        replicas = [r for r in result["replicas"] if r["seed"] in claim.seeds and r["strength"] == chosen]
    else:
        if claim.grid:
            chosen, searched = _choice(claim, _train(claim, conditions, CHOOSING, claim.grid)["replicas"])
        result = _train(claim, conditions, claim.seeds, () if chosen is None else (chosen,), keep)
        replicas = result["replicas"]
    return {
        "acc": [None if r["acc"] is None else 100 * r["acc"] for r in replicas],
        "forgetting": [None if r["forgetting"] is None else 100 * r["forgetting"] for r in replicas],
        "strength": chosen, "memory": replicas[0]["memory"], "validation": searched, "seeds": list(claim.seeds),
        "plain_bytes": 4 * _plain_parameters(claim, conditions),
        "bytes": fmean(r["bytes"] for r in replicas),
        "old_logits": [r["old_logits"] and r["old_logits"]["identical"] for r in replicas],
        "cpu_seconds": result["train_cpu_seconds"], "wall_seconds": time.perf_counter() - started,
        "device": result["protocol"]["device"],
        "shown": {name: _last_mean(seen, name) for name in claim.shows},
    }  # fmt: skip


def _choice(claim: Claim, replicas: list[dict[str, Any]]) -> tuple[float, dict[str, float | None]]:
    """The strength of the best final validation accuracy (percent), and every strength's; None where one diverged."""
    searched = {}
    for strength in claim.grid:
        matrices = [r["validation_matrix"] for r in replicas if r["strength"] == strength]
        finals = [None if any(v is None for v in m[-1]) else 100 * fmean(m[-1]) for m in matrices]
        searched[f"{strength:g}"] = None if None in finals else fmean(finals)
    return max((s for s in claim.grid if searched[f"{s:g}"] is not None), key=lambda s: searched[f"{s:g}"]), searched


def _plain_parameters(claim: Claim, conditions: dict[str, Any]) -> int:
    """Numbers in the network that fine-tuning would train."""
    given = {**conditions, **claim.conditions}
    run = make(RunSpec, **given, scenario=claim.scenario, method=MethodChoice(name="finetune"))
    benchmark = registry.benchmarks()[run.benchmark]
    stream = benchmark(dict(run.options), scenario=run.scenario, data_dir=settings().data_dir, device="cpu").stream([0])
    return parameter_count(run, stream.input_shape, stream.outputs)


def _last_mean(seen: list[Insight], name: str) -> list[float]:
    """The mean over replicas of an insight array (K, L) after the last task, over all groups."""
    last = max(event.task for event in seen)
    rows = [row for event in seen if event.task == last for row in event.arrays[name]]
    return [round(fmean(column), 4) for column in zip(*rows, strict=True)]


def _train(claim: Claim, conditions: dict[str, Any], seeds, strengths, report=lambda event: None) -> dict[str, Any]:
    method = make(MethodChoice, name=claim.method, settings=claim.settings, strengths=tuple(strengths))
    given = {**conditions, **claim.conditions, "scenario": claim.scenario, "method": method, "live_points": 0}
    run = make(RunSpec, **given, grid=Grid(seeds=tuple(seeds), memories=(claim.memory,)))
    return train(run, data_dir=settings().data_dir, report=report)


def verdict(claim: Claim, accs: list[float | None]) -> tuple[str, bool | None]:
    """Our figure ± sample standard deviation, and whether it agrees (None: nothing is published)."""
    if any(a is None for a in accs):
        return f"{sum(a is None for a in accs)} of {len(accs)} diverged", False
    mean, std = fmean(accs), stdev(accs)
    if claim.published is None:
        return f"{mean:.1f} ± {std:.1f}", None
    combined = math.sqrt(std**2 / len(accs) + (claim.std or 0) ** 2 / claim.n)
    return f"{mean:.1f} ± {std:.1f}", abs(mean - claim.published) <= max(1.5, 2 * combined)


def table(study: dict[str, Any], results: dict[str, Any]) -> str:
    """The study's markdown table."""
    lines = [
        "| scenario | method | published | ours (n) | difference | agrees | strength, chosen from |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    sizes = study.get("SIZES", False)
    if sizes:
        lines = ["| stream | method | ACC (n) | forgetting | size | old outputs | strength, chosen from |", lines[1]]
    for claim in study["CLAIMS"]:
        found = results.get(claim.key)
        if found is None:
            continue
        ours, agrees = verdict(claim, found["acc"])
        if sizes:
            lines.append(_size_line(claim, found, ours))
            continue
        published = "–" if claim.published is None else f"{claim.published:.1f}"
        published += "" if claim.std is None else f" ± {claim.std:.1f}"
        difference = (
            "–" if None in found["acc"] or claim.published is None else f"{fmean(found['acc']) - claim.published:+.1f}"
        )
        grid = (
            "–"
            if found["strength"] is None
            else f"{found['strength']:g} from {', '.join(found['validation'])}"
        )
        word = {True: "yes", None: "–", False: f"**no**: {claim.cause or 'cause not found'}"}[agrees]
        kept = ("" if found.get("memory") is None else f"M = {found['memory']}",)
        name = ", ".join(filter(None, (claim.method, claim.variant, *kept)))
        name += "".join(f"; {show}: {', '.join(f'{v:g}' for v in found['shown'][show])}" for show in claim.shows)
        n = len(found["acc"])
        lines.append(
            f"| {claim.scenario} | {name} | {published} | {ours} ({n}) | {difference} | {word} | {grid} |"
        )
    return "\n".join(lines)


def _size_line(claim: Claim, found: dict[str, Any], ours: str) -> str:
    """A row of a table about growth: accuracy and size always together. Size 1 is the plain network, as fine-tuning has it."""
    forgetting = "–" if None in found["forgetting"] else f"{fmean(found['forgetting']):.1f}"
    kept = [v for v in found["old_logits"] if v is not None]
    proof = "–" if not kept else "identical" if all(kept) else f"changed in {kept.count(False)} of {len(kept)}"
    grid = "–" if found["strength"] is None else f"{found['strength']:g} from {', '.join(found['validation'])}"
    size = f"{found['bytes'] / found['plain_bytes']:.2f} ×"
    return f"| {claim.variant} | {claim.method} | {ours} ({len(found['acc'])}) | {forgetting} | {size} | {proof} | {grid} |"


def rewrite(name: str, text: str) -> None:
    """Puts a table between its markers in docs/results.md."""
    start, end = f"<!-- {name} -->", f"<!-- /{name} -->"
    page = RESULTS.read_text(encoding="utf-8")
    before, _, rest = page.partition(start)
    _, _, after = rest.partition(end)
    RESULTS.write_text(f"{before}{start}\n{text}\n{end}{after}", encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("study", type=Path)
    parser.add_argument("--only", nargs="+", help="keys of claims, such as ewc/task")
    parser.add_argument("--device", help="train on this device instead of the study's")
    parser.add_argument("--together", action="store_true", help="train the seeds that choose with those that are reported")
    parser.add_argument("--table", action="store_true", help="rewrite the table without training")
    options = parser.parse_args()
    torch.set_num_threads(1)
    study = runpy.run_path(str(options.study))
    store = options.study.with_suffix(".json")
    results = json.loads(store.read_text(encoding="utf-8")) if store.exists() else {}
    conditions = study["CONDITIONS"] | ({"device": options.device} if options.device else {})
    for claim in study["CLAIMS"]:
        if options.table or claim.key in results or (options.only and claim.key not in options.only):
            continue
        found = measure(claim, conditions, together=options.together and not claim.shows)
        print(claim.key, verdict(claim, found["acc"]), found["strength"], flush=True)
        # Two programs may work on one study: what the other has finished since is kept.
        results = (json.loads(store.read_text(encoding="utf-8")) if store.exists() else {}) | {claim.key: found}
        store.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    if RESULTS.exists():
        rewrite(options.study.stem, table(study, results))


if __name__ == "__main__":
    main()
