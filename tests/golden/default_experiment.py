"""The default experiment: its spec, its recorded matrices, and how to record them again.

python -m tests.golden.default_experiment        rewrites default_experiment.json (about half a minute)
"""

from __future__ import annotations

import json
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

from clcore.spec import ExperimentSpec, Grid, MethodChoice, NetworkChoice, OptimizerChoice, make
from clcore.training import train

PATH = Path(__file__).with_suffix(".json")
SEEDS = tuple(range(10))
# Final ACC in percent, mean and sample standard deviation over 10 seeds, as measured with an independent prototype.
FIGURES = {
    "finetune": (50.2, 4.6),
    "ewc 30": (71.7, 5.6),
    "er 50": (73.4, 1.7),
    "er 200": (88.5, 1.8),
    "joint": (97.0, 1.0),
}


def experiment(seeds=SEEDS) -> ExperimentSpec:
    return make(
        ExperimentSpec,
        benchmark="permuted-digits",
        options={"tasks": 5},
        scenario="domain",
        methods=tuple(MethodChoice(name=name) for name in ("finetune", "ewc", "er", "joint")),
        network=NetworkChoice(hidden=(100, 100)),
        optimizer=OptimizerChoice(lr=0.1),
        epochs=10,
        batch_size=16,
        device="cpu",
        live_points=0,
        grid=Grid(seeds=seeds, memories=(50, 200)),
    )


def matrices(seeds=SEEDS) -> dict[str, list[Any]]:
    """Accuracy matrices per method ("er 50": with that budget; "ewc 30": with that strength), in the order of seeds."""
    found: dict[str, list[Any]] = {}
    for run in experiment(seeds).runs():
        for replica in train(run, data_dir=Path("data"))["replicas"]:
            axis = replica["memory"] or replica["strength"]
            name = run.method.name + ("" if axis is None else f" {axis:g}")
            found.setdefault(name, []).append(replica["accuracy_matrix"])
    return found


def final_acc(found: list[Any]) -> tuple[float, float]:
    """Mean and sample standard deviation of ACC, in percent."""
    accs = [100 * fmean(matrix[-1]) for matrix in found]
    return fmean(accs), stdev(accs)


if __name__ == "__main__":
    recorded = matrices()
    PATH.write_text(json.dumps(recorded) + "\n", encoding="utf-8")
    for name, rows in recorded.items():
        (mean, spread), (theirs, their_spread) = final_acc(rows), FIGURES[name]
        print(f"{name}: {mean:.1f} ± {spread:.1f} (prototype {theirs:.1f} ± {their_spread:.1f})")
