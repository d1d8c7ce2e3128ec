"""Samples trained per CPU second, beside Avalanche 0.6, on Split MNIST.

Avalanche lives in a virtual environment of its own, outside this repository:

    python -m venv ../avalanche-venv
    ../avalanche-venv/bin/pip install 'avalanche-lib==0.6.*' 'torch==2.15.*' torchvision
    OMP_NUM_THREADS=1 python -m tests.perf.against_avalanche --avalanche ../avalanche-venv/bin/python [--quick]

Both train a 784-256-256-10 network with SGD on the first examples of each of five tasks (class-incremental), for
fine-tuning (Naive), EWC, experience replay (Replay), A-GEM (memory of 500, reference batches of 256) and GEM (200 examples
a task), at batch 10 and 64, one thread. We train eight seeds side by
side; Avalanche trains them one after another, so that one seed gives its rate. Its data set is a tensor in memory
without transforms, it evaluates nothing and logs nothing. The two alternate in separate processes, each of which
measures all rows; a row shows the median of the rounds' ratios and their range. On a machine that others use, read
the CPU column: wall clock tells how busy the others were. The time counted is `strategy.train` there and
`train_cpu_seconds` here: set-up and evaluation are in neither; for EWC the estimate of the Fisher information is in
both, over 1000 examples a task here and over all of the task's there.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

METHODS = {"finetune": "Naive", "ewc": "EWC", "er": "Replay", "agem": "AGEM", "gem": "GEM"}
BATCHES = (10, 64)
SEEDS = 8
MEMORY = {"gem": 1000}  # examples; 500 for the others
REFERENCE = 256  # examples that A-GEM's reference gradient is made of: our default
TASKS = 5


def ours(method: str, batch: int, per_task: int) -> dict[str, float]:
    import torch

    from clcore.spec import Grid, MethodChoice, NetworkChoice, OptimizerChoice, RunSpec, make
    from clcore.training import train

    torch.set_num_threads(1)
    run = make(
        RunSpec,
        benchmark="split-mnist",
        scenario="class",
        options={"train_per_task": per_task},
        method=MethodChoice(name=method),
        network=NetworkChoice(hidden=(256, 256)),
        optimizer=OptimizerChoice(lr=0.05),
        epochs=1,
        batch_size=batch,
        device="cpu",
        grid=Grid(seeds=tuple(range(SEEDS)), memories=(MEMORY.get(method, 500),)),
    )
    result = train(run, data_dir=Path(os.environ.get("CLCORE_DATA_DIR", "data")))
    samples = result["train_samples"]
    return {"cpu": samples / result["train_cpu_seconds"], "wall": samples / result["train_seconds"]}


def theirs(method: str, batch: int, per_task: int) -> dict[str, float]:
    """Runs in Avalanche's environment."""
    import avalanche
    import torch
    from avalanche.benchmarks import benchmark_from_datasets
    from avalanche.benchmarks.utils import AvalancheDataset, DataAttribute
    from avalanche.training import AGEM, EWC, GEM, Naive, Replay
    from torch import nn
    from torch.utils.data import TensorDataset

    torch.set_num_threads(1)
    stream = []
    for file in sorted(Path(os.environ["SPEED_TASKS"]).glob("*.pt")):
        x, y = torch.load(file)
        data = TensorDataset(x, y)
        labels = y.tolist()
        attributes = [
            DataAttribute(labels, name="targets", use_in_getitem=False),
            DataAttribute([0] * len(labels), name="targets_task_labels", use_in_getitem=True),
        ]
        stream.append(AvalancheDataset([data], data_attributes=attributes))
    experiences = benchmark_from_datasets(train=stream).train_stream
    network = nn.Sequential(nn.Linear(784, 256), nn.ReLU(), nn.Linear(256, 256), nn.ReLU(), nn.Linear(256, 10))
    shared = {
        "model": network,
        "optimizer": torch.optim.SGD(network.parameters(), lr=0.05),
        "criterion": nn.CrossEntropyLoss(),
        "train_mb_size": batch,
        "train_epochs": 1,
        "evaluator": None,
    }
    strategy = {
        "finetune": lambda: Naive(**shared),
        "ewc": lambda: EWC(ewc_lambda=1.0, **shared),
        "er": lambda: Replay(mem_size=500, **shared),
        "agem": lambda: AGEM(patterns_per_exp=500 // TASKS, sample_size=REFERENCE, **shared),
        "gem": lambda: GEM(patterns_per_exp=MEMORY["gem"] // TASKS, memory_strength=0.5, **shared),
    }[method]()
    wall, cpu = time.perf_counter(), time.process_time()
    for experience in experiences:
        strategy.train(experience, num_workers=0)
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    samples = TASKS * per_task
    return {
        "cpu": samples / cpu,
        "wall": samples / wall,
        "version": f"{avalanche.__version__}/torch {torch.__version__}",
    }


def save_tasks(folder: Path, per_task: int) -> None:
    """The stream's first examples as plain tensors, for Avalanche to read."""
    import torch

    from clcore import registry

    build = registry.benchmarks()["split-mnist"]
    data_dir = Path(os.environ.get("CLCORE_DATA_DIR", "data"))
    benchmark = build({"train_per_task": per_task}, scenario="class", data_dir=data_dir, device="cpu")
    folder.mkdir(parents=True, exist_ok=True)
    for task in benchmark.stream([0]).tasks:
        x, y = task.train.gather(torch.arange(per_task).unsqueeze(0))
        torch.save((x[0].flatten(1), y[0]), folder / f"{task.index}.pt")


def round_of(python: str, who: str, per_task: int, env: dict[str, str]) -> dict[str, dict[str, float]]:
    """Every row measured once, in a process of its own."""
    command = [python, "-W", "ignore", __file__, "--measure", who, str(per_task)]
    done = subprocess.run(command, env=env, stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def measure(who: str, per_task: int) -> dict[str, dict[str, float]]:
    rate = {"ours": ours, "theirs": theirs}[who]
    rate("finetune", BATCHES[0], 100)  # imports and first allocations
    return {f"{method}/{batch}": rate(method, batch, per_task) for method in METHODS for batch in BATCHES}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--avalanche", help="the Python of the environment that has Avalanche")
    parser.add_argument("--quick", action="store_true", help="2 rounds on 500 examples a task instead of 5 on 1500")
    parser.add_argument("--json", type=Path, help="write the rows to this file, too")
    parser.add_argument("--measure", nargs=2, metavar=("WHO", "PER_TASK"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        who, per_task = options.measure
        print(json.dumps(measure(who, int(per_task))))
        return
    if not options.avalanche:
        parser.error(
            "--avalanche is missing: give the Python of an environment with Avalanche (see this file's beginning)."
        )
    rounds, per_task = (2, 500) if options.quick else (5, 1500)
    with tempfile.TemporaryDirectory() as folder:
        save_tasks(Path(folder), per_task)
        env = {**os.environ, "OMP_NUM_THREADS": "1", "SPEED_TASKS": folder}
        env.pop("PYTHONPATH", None)
        own = {**env, "PYTHONPATH": str(Path(__file__).parents[2])}
        pairs = [
            (round_of(options.avalanche, "theirs", per_task, env), round_of(sys.executable, "ours", per_task, own))
            for _ in range(rounds)
        ]
    version = pairs[0][0]["finetune/10"]["version"]
    print(f"Python {platform.python_version()}, Avalanche {version}, {per_task} examples a task, {rounds} rounds")
    print(
        "| method | batch | ours, K = 8, per CPU s | Avalanche, per CPU s | ratio, CPU | ratio, wall |\n|---|"
        + "--:|" * 5
    )
    rows = []
    for method, name in METHODS.items():
        for batch in BATCHES:
            cells = [(t[f"{method}/{batch}"], o[f"{method}/{batch}"]) for t, o in pairs]
            ratios = {clock: [o[clock] / t[clock] for t, o in cells] for clock in ("cpu", "wall")}
            row = {
                "method": method, "batch": batch, "avalanche": version,
                "ours": statistics.median(o["cpu"] for _, o in cells),
                "theirs": statistics.median(t["cpu"] for t, _ in cells),
                **{clock: [statistics.median(v), min(v), max(v)] for clock, v in ratios.items()},
            }  # fmt: skip
            rows.append(row)
            shown = [f"**{row[c][0]:.1f}** ({row[c][1]:.1f}–{row[c][2]:.1f})" for c in ("cpu", "wall")]
            print(f"| {method} ({name}) | {batch} | {row['ours']:,.0f} | {row['theirs']:,.0f} | {' | '.join(shown)} |")
    if options.json:
        options.json.write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    main()
