"""Finds the strengths that the form starts from, on validation data only.

    python -m docs.recommend ewc l2                              (a few minutes a method)
    python -m docs.recommend ewc l2 --scenario task-free         (the entries of one scenario alone)

For every offline benchmark and scenario of a method, with the benchmark's usual training: each strength of the grid (the
method's sweep, widened) is trained with seeds 100–102. Recommended is the middle one of the strengths whose mean final
validation accuracy is within one standard error of the best and not below fine-tuning's. Entries are kept in
clcore/recommended.json with how they were found; `python -m clcore catalogue` passes them on to the form.
"""

from __future__ import annotations

import argparse
import json
import math
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

import torch

from clcore.catalogue import SCENARIOS, BenchmarkCard, MethodCard, catalogue
from clcore.registry import RECOMMENDED
from clcore.settings import settings
from clcore.spec import Grid, MethodChoice, NetworkChoice, OptimizerChoice, RunSpec, make
from clcore.training import train

SEEDS = (100, 101, 102)


def grid_of(method: MethodCard) -> tuple[float, ...]:
    """The declared sweep, with 0 and two more decades on the stiff side as far as the method allows."""
    largest, most = max(method.sweep), method.strength.maximum
    grid = {0.0, *method.sweep, largest * 10, largest * 100}
    return tuple(sorted(s for s in grid if most is None or s <= most))


def final_validation(
    name: str, strengths: tuple[float, ...], benchmark: BenchmarkCard, scenario: str
) -> dict[float | None, list[float | None]]:
    """Mean accuracy over tasks after the last one, per strength and seed, on validation data; None where it diverged."""
    training = benchmark.training
    run = make(
        RunSpec,
        benchmark=benchmark.name,
        scenario=scenario,
        method=MethodChoice(name=name, strengths=strengths),
        network=NetworkChoice(hidden=training.hidden),
        optimizer=OptimizerChoice(name=training.optimizer, lr=training.lr),
        epochs=training.epochs,
        batch_size=training.batch_size,
        live_points=0,
        grid=Grid(seeds=SEEDS),
    )
    found: dict[float | None, list[float | None]] = {}
    for replica in train(run, data_dir=settings().data_dir)["replicas"]:
        last = replica["validation_matrix"][-1]
        found.setdefault(replica["strength"], []).append(None if None in last else fmean(last))
    return found


def choose(found: dict[float, list[float | None]], plain: float) -> tuple[float, str]:
    """The recommended strength and the sentence that says why; `plain` is what fine-tuning reaches.

    Strength 0 is not fine-tuning for every method, so that is measured for itself.
    """
    sound = {s: values for s, values in found.items() if None not in values}
    means = {s: fmean(values) for s, values in sound.items()}
    best = max((s for s in means if s > 0), key=means.get)
    floor = max(means[best] - stdev(sound[best]) / math.sqrt(len(SEEDS)), min(plain, means[best]))
    tied = sorted(s for s in means if s > 0 and means[s] >= floor)
    chosen = tied[len(tied) // 2]
    return chosen, (
        f"final validation accuracy {100 * means[chosen]:.1f} % (fine-tuning {100 * plain:.1f} %), mean of seeds "
        f"{SEEDS[0]}–{SEEDS[-1]}; the middle of {', '.join(f'{s:g}' for s in tied)}, which are within one standard error of "
        f"the best of {', '.join(f'{s:g}' for s in sorted(found) if s)}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("methods", nargs="+")
    parser.add_argument("--scenario", choices=SCENARIOS, help="keep the entries of all others")
    torch.set_num_threads(1)
    entries: dict[str, list[dict[str, Any]]] = json.loads(RECOMMENDED.read_text(encoding="utf-8"))
    options = parser.parse_args()
    for name in options.methods:
        method = catalogue().method(name)
        wanted = [s for s in method.scenarios if options.scenario in (None, s)]
        entries[name] = [e for e in entries.get(name, []) if e["scenario"] not in wanted]
        for benchmark in (b for b in catalogue().benchmarks if b.offline and not b.own_data):
            for scenario in (s for s in benchmark.scenarios if s in wanted):
                plain = fmean(final_validation("finetune", (), benchmark, scenario)[None])
                strength, why = choose(final_validation(name, grid_of(method), benchmark, scenario), plain)
                entries[name].append(
                    {"benchmark": benchmark.name, "scenario": scenario, "strength": strength, "provenance": why}
                )
                print(name, benchmark.name, scenario, f"{strength:g}:", why, flush=True)
                Path(RECOMMENDED).write_text(json.dumps(entries, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
