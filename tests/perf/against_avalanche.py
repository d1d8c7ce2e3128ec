"""Samples trained per CPU second, beside Avalanche 0.6, on Split MNIST.

Avalanche lives in a virtual environment of its own, outside this repository:

    python -m venv ../avalanche-venv
    ../avalanche-venv/bin/pip install 'avalanche-lib==0.6.*' quadprog torch torchvision
    OMP_NUM_THREADS=1 python -m tests.perf.against_avalanche --avalanche ../avalanche-venv/bin/python [--only ewc]

Both train a 784-256-256-10 network with SGD on the first examples of each of five tasks (class-incremental), one thread. We
train eight seeds or sixteen strengths side by side; Avalanche trains them one after another, so that one of them gives
its rate. It evaluates nothing and logs nothing, and is measured twice: `stock` is its own SplitMNIST benchmark as its
documentation shows it (images are transformed one by one), `tensors` a data set that is a tensor in memory without
transforms, which is the fastest it can be fed. Each side runs in processes of its own, turn by turn; a row shows the median of
the rounds' ratios and their range. On a machine that others use, read the CPU columns. The time counted is
`strategy.train` there and `train_cpu_seconds` here: set-up and evaluation are in neither. Defaults of both sides: EWC estimates
the exact Fisher information on 1000 examples a task here, the empirical one by mini-batches over the whole task there; MAS
(1000 examples a task) and SI stand beside Avalanche's EWC; replay adds one remembered example per new one, A-GEM 64, GEM
remembers 200 a task.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

BATCHES = (10, 64)
FEEDS = ("stock", "tensors")
TASKS = 5
_STRENGTHS = tuple(float(10 ** (i / 4)) for i in range(-4, 12))


@dataclass(frozen=True)
class Row:
    """What we train side by side, and the Avalanche strategy beside it."""

    theirs: str
    seeds: tuple[int, ...] = tuple(range(8))
    strengths: tuple[float, ...] = ()
    memory: int = 500
    settings: dict = field(default_factory=dict)

    @property
    def replicas(self) -> int:
        return len(self.seeds) * max(1, len(self.strengths))


ROWS = {
    "finetune": Row("Naive"),
    "ewc": Row("EWC", seeds=(0,), strengths=_STRENGTHS),
    "mas": Row("EWC", seeds=(0,), strengths=tuple(s / 1000 for s in _STRENGTHS)),
    "si": Row("EWC", seeds=(0,), strengths=_STRENGTHS),
    "er": Row("Replay"),
    "agem": Row("AGEM", settings={"agem.reference_batch": 64}),
    "gem": Row("GEM", memory=200 * TASKS),
}


def ours(method: str, batch: int, per_task: int) -> dict[str, float]:
    import torch

    from clcore.spec import Grid, MethodChoice, NetworkChoice, OptimizerChoice, RunSpec, make
    from clcore.training import train

    torch.set_num_threads(1)
    row = ROWS[method]
    run = make(
        RunSpec,
        benchmark="split-mnist",
        scenario="class",
        options={"train_per_task": per_task},
        method=MethodChoice(name=method, settings=row.settings, strengths=row.strengths),
        network=NetworkChoice(hidden=(256, 256)),
        optimizer=OptimizerChoice(lr=0.05),
        epochs=1,
        batch_size=batch,
        device="cpu",
        grid=Grid(seeds=row.seeds, memories=(row.memory,)),
    )
    result = train(run, data_dir=Path(os.environ.get("CLCORE_DATA_DIR", "data")))
    samples = result["train_samples"]
    return {
        "cpu": samples / result["train_cpu_seconds"],
        "wall": samples / result["train_seconds"],
        "megabytes": _peak_megabytes(),
    }


def _peak_megabytes() -> float:
    """The most memory that this process has had resident so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def stock(method: str, batch: int, per_task: int) -> dict[str, float]:
    """Avalanche with its own benchmark, in Avalanche's environment."""
    from avalanche.benchmarks.classic import SplitMNIST
    from avalanche.benchmarks.utils.data import make_avalanche_dataset

    root = os.environ.get("CLCORE_DATA_DIR", "data")
    benchmark = SplitMNIST(n_experiences=TASKS, dataset_root=root, fixed_class_order=list(range(10)))
    data = [e.dataset.subset(list(range(per_task))) for e in benchmark.train_stream]
    return _avalanche(method, batch, per_task, [make_avalanche_dataset(d) for d in data])


def tensors(method: str, batch: int, per_task: int) -> dict[str, float]:
    """Avalanche with tensors in memory, in Avalanche's environment."""
    import torch
    from avalanche.benchmarks.utils import AvalancheDataset, DataAttribute
    from torch.utils.data import TensorDataset

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
    return _avalanche(method, batch, per_task, stream)


def _avalanche(method: str, batch: int, per_task: int, stream: list) -> dict[str, float]:
    import avalanche
    import torch
    from avalanche.benchmarks import benchmark_from_datasets
    from avalanche.training import AGEM, EWC, GEM, Naive, Replay
    from torch import nn

    torch.set_num_threads(1)
    row = ROWS[method]
    experiences = benchmark_from_datasets(train=stream).train_stream
    network = nn.Sequential(nn.Flatten(), nn.Linear(784, 256), nn.ReLU(), nn.Linear(256, 256), nn.ReLU(), nn.Linear(256, 10))
    shared = {
        "model": network,
        "optimizer": torch.optim.SGD(network.parameters(), lr=0.05),
        "criterion": nn.CrossEntropyLoss(),
        "train_mb_size": batch,
        "train_epochs": 1,
        "evaluator": None,
    }
    per_experience = row.memory // TASKS
    strategy = {
        "Naive": lambda: Naive(**shared),
        "EWC": lambda: EWC(ewc_lambda=1.0, **shared),
        "Replay": lambda: Replay(mem_size=row.memory, **shared),
        "AGEM": lambda: AGEM(patterns_per_exp=per_experience, sample_size=64, **shared),
        "GEM": lambda: GEM(patterns_per_exp=per_experience, memory_strength=0.5, **shared),
    }[row.theirs]()
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


def round_of(python: str, who: str, options: argparse.Namespace, env: dict[str, str]) -> dict[str, dict[str, float]]:
    """Every row measured once, in a process of its own."""
    asked = ["--only", *options.only, "--batches", *map(str, options.batches), "--examples", str(options.examples)]
    command = [python, "-W", "ignore", __file__, *asked, "--measure", who]
    done = subprocess.run(command, env=env, stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def measure(who: str, methods: list[str], batches: list[int], per_task: int) -> dict[str, dict[str, float]]:
    rate = {"ours": ours, "stock": stock, "tensors": tensors}[who]
    rate("finetune", batches[0], 100)  # imports and first allocations
    return {f"{method}/{batch}": rate(method, batch, per_task) for method in methods for batch in batches}


def _row(method: str, batch: int, found: list[dict], feeds: list[str]) -> dict[str, Any]:
    """Medians of the rates, and of the rounds' ratios with their range."""
    key = f"{method}/{batch}"
    rates = {who: [f[who][key]["cpu"] for f in found] for who in ("ours", *feeds)}
    ratios = {feed: [a / b for a, b in zip(rates["ours"], rates[feed], strict=True)] for feed in feeds}
    return {
        "method": method, "batch": batch, "replicas": ROWS[method].replicas,
        **{who: statistics.median(values) for who, values in rates.items()},
        **{f"to_{feed}": [statistics.median(v), min(v), max(v)] for feed, v in ratios.items()},
        "megabytes": max(f["ours"][key]["megabytes"] for f in found),
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--avalanche", help="the Python of the environment that has Avalanche")
    parser.add_argument("--only", nargs="+", choices=list(ROWS), default=list(ROWS), metavar="METHOD")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--examples", type=int, default=3000, help="of each task; its smallest has 9827 for training")
    parser.add_argument("--batches", nargs="+", type=int, default=list(BATCHES), metavar="B")
    parser.add_argument("--feeds", nargs="+", choices=FEEDS, default=list(FEEDS), help="how Avalanche gets its examples")
    parser.add_argument("--json", type=Path, help="write the rows to this file, too")
    parser.add_argument("--measure", metavar="WHO", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        print(json.dumps(measure(options.measure, options.only, options.batches, options.examples)))
        return
    if not options.avalanche:
        parser.error(
            "--avalanche is missing: give the Python of an environment with Avalanche (see this file's beginning)."
        )
    with tempfile.TemporaryDirectory() as folder:
        save_tasks(Path(folder), options.examples)
        env = {**os.environ, "OMP_NUM_THREADS": "1", "SPEED_TASKS": folder}
        env.pop("PYTHONPATH", None)
        own = {**env, "PYTHONPATH": str(Path(__file__).parents[2])}
        sides = {**{feed: (options.avalanche, env) for feed in options.feeds}, "ours": (sys.executable, own)}
        found = [
            {who: round_of(python, who, options, where) for who, (python, where) in sides.items()}
            for _ in range(options.rounds)
        ]
    version = found[0][options.feeds[0]][f"{options.only[0]}/{options.batches[0]}"]["version"]
    print(
        f"Python {platform.python_version()}, Avalanche {version}, {options.examples} examples a task, "
        f"{options.rounds} rounds"
    )
    heads = [*(f"Avalanche, {feed}" for feed in options.feeds), *(f"ratio to {feed}" for feed in options.feeds)]
    print(f"| method (Avalanche's) | K | batch | ours, per CPU s | {' | '.join(heads)} | our peak |")
    print("|---|" + "--:|" * (4 + len(heads)))
    rows = [_row(method, batch, found, options.feeds) for method in options.only for batch in options.batches]
    for row in rows:
        rates = [f"{row[feed]:,.0f}" for feed in options.feeds]
        ratios = ["**{:.1f}** ({:.1f}–{:.1f})".format(*row[f"to_{feed}"]) for feed in options.feeds]
        print(
            f"| {row['method']} ({ROWS[row['method']].theirs}) | {row['replicas']} | {row['batch']} | {row['ours']:,.0f} "
            f"| {' | '.join(rates + ratios)} | {row['megabytes']:,.0f} MB |"
        )
    if options.json:
        options.json.write_text(json.dumps([{**row, "avalanche": version} for row in rows], indent=1) + "\n")


if __name__ == "__main__":
    main()
