"""How fast the engine trains: one replica and many, against a bare torch loop that trains one network.

    OMP_NUM_THREADS=1 python -m tests.perf.replicas [--quick] [--only digits mnist-64] [--replicas 1 16] [--json FILE]

The bare loop is what anybody would write: torch.nn.Linear layers, torch.optim.SGD, the same stream's examples as
float tensors, shuffled indices, x[idx], cross-entropy, backward, step. The engine is the whole product:
`clcore.training.train` with its default live evaluation and a report that nobody reads. Everything runs in one
process on one thread.

Timings on a shared machine drift, so the two are interleaved (bare, engine, bare, engine, …) and each pair gives one
ratio of samples per second; the table shows the median and the range of the pairs' ratios, three times: by wall clock
and by CPU time while training, and by wall clock for the whole call (with data, evaluation and set-up). The last
column is the share of the machine's single-precision matrix rate that training reaches (6 flops per weight and
sample, as is usual; one large torch.mm, timed beside every pair). A network needs no gradient of its inputs, so 6
overstates what is computed: on 784-256-256-10 it is 4.5.

The MNIST cases train on the first examples of each task and evaluate on whole test sets, which leaves the training
rate as it is but makes the whole call look slower than it is on full data.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import time
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from clcore import registry
from clcore.spec import Grid, MethodChoice, NetworkChoice, OptimizerChoice, RunSpec, make
from clcore.training import train

DATA = Path(os.environ.get("CLCORE_DATA_DIR", "data"))


@dataclass(frozen=True)
class Case:
    benchmark: str
    scenario: str
    hidden: tuple[int, ...]
    batch: int
    targets: dict[int, float]  # replicas → the least acceptable ratio; 0 where none is set
    epochs: int = 1
    per_task: int | None = None
    tasks: int | None = None

    def run(self, replicas: int, method: str = "finetune") -> RunSpec:
        chosen = {"train_per_task": self.per_task, "tasks": self.tasks}
        return make(
            RunSpec,
            benchmark=self.benchmark,
            scenario=self.scenario,
            options={k: v for k, v in chosen.items() if v is not None},
            method=MethodChoice(name=method),
            network=NetworkChoice(hidden=self.hidden),
            optimizer=OptimizerChoice(lr=0.05),
            epochs=self.epochs,
            batch_size=self.batch,
            device="cpu",
            grid=Grid(seeds=tuple(range(replicas))),
        )


CASES = {
    "digits": Case("permuted-digits", "domain", (100, 100), 16, {1: 0.65, 16: 3.2}, epochs=3),
    "split-digits": Case("split-digits", "class", (100, 100), 16, {1: 0.65, 16: 3.2}, epochs=12),
    "mnist-10": Case("split-mnist", "class", (256, 256), 10, {1: 0.0, 8: 1.5}, per_task=1500),
    "mnist-64": Case("split-mnist", "class", (256, 256), 64, {1: 0.85, 8: 1.2}, per_task=4000),
    "permuted-mnist-64": Case("permuted-mnist", "domain", (256, 256), 64, {1: 0.85, 8: 1.2}, per_task=4000, tasks=2),
}


@dataclass(frozen=True)
class Timing:
    """Samples trained per second: of training (wall, CPU), and of the whole call (wall)."""

    wall: float
    cpu: float
    whole: float


def stream_of(run: RunSpec) -> tuple[list[tuple[Tensor, Tensor]], int]:
    """The first replica's tasks as plain float tensors, and the number of outputs."""
    build = registry.benchmarks()[run.benchmark]
    benchmark = build(dict(run.options), scenario=run.scenario, data_dir=DATA, device=run.device)
    stream = benchmark.stream([run.replicas[0].seed])
    tasks = []
    for task in stream.tasks:
        x, y = task.train.gather(torch.arange(int(task.train.lengths[0]), device=stream.device).unsqueeze(0))
        tasks.append((x[0].flatten(1), y[0]))
    return tasks, stream.outputs


def bare(tasks: list[tuple[Tensor, Tensor]], outputs: int, run: RunSpec) -> Timing:
    """Trains one network of stock torch layers through the tasks, on the device where they lie."""
    widths = [tasks[0][0].shape[1], *run.network.hidden]
    layers = [m for a, b in zip(widths, widths[1:], strict=False) for m in (nn.Linear(a, b), nn.ReLU())]
    network = nn.Sequential(*layers, nn.Linear(widths[-1], outputs)).to(tasks[0][0].device)
    optimizer = torch.optim.SGD(network.parameters(), lr=run.optimizer.lr)
    wall, cpu, samples = time.perf_counter(), time.process_time(), 0
    for x, y in tasks:
        for _ in range(run.epochs):
            order = torch.randperm(len(x), device=x.device)
            for start in range(0, len(x), run.batch_size):
                idx = order[start : start + run.batch_size]
                optimizer.zero_grad()
                F.cross_entropy(network(x[idx]), y[idx]).backward()
                optimizer.step()
                samples += len(idx)
    network[0].bias.tolist()  # a GPU has finished before the clock is read
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    return Timing(samples / wall, samples / cpu, samples / wall)


def engine(run: RunSpec) -> Timing:
    """Trains the run through the whole product."""
    started = time.perf_counter()
    result = train(run, data_dir=DATA)
    whole = time.perf_counter() - started
    samples = result["train_samples"]
    return Timing(samples / result["train_seconds"], samples / result["train_cpu_seconds"], samples / whole)


def matrix_rate(size: int = 1024, times: int = 4) -> float:
    """Flops per CPU second of one large matrix product."""
    a, b = torch.randn(size, size), torch.randn(size, size)
    torch.mm(a, b)
    started = time.process_time()
    for _ in range(times):
        torch.mm(a, b)
    return times * 2 * size**3 / (time.process_time() - started)


def compare(case: Case, replicas: int, pairs: int) -> dict:
    run = case.run(replicas)
    tasks, outputs = stream_of(run)
    build = registry.networks()[run.network.name]
    flops = 6 * build.count_parameters((tasks[0][0].shape[1],), outputs, run.network.hidden)
    bare(tasks[:1], outputs, run)
    engine(run)
    ratios: dict[str, list[float]] = {"wall": [], "cpu": [], "whole": []}
    rates, shares = [], []
    for _ in range(pairs):
        plain, ours = bare(tasks, outputs, run), engine(run)
        for clock, values in ratios.items():
            values.append(getattr(ours, clock) / getattr(plain, clock))
        rates.append((plain.wall, ours.wall))
        shares.append(flops * ours.cpu / matrix_rate())
    return {
        "replicas": replicas,
        "target": case.targets.get(replicas, 0.0),
        "bare_samples_per_second": statistics.median(r[0] for r in rates),
        "samples_per_second": statistics.median(r[1] for r in rates),
        **{clock: [statistics.median(v), min(v), max(v)] for clock, v in ratios.items()},
        "matrix_share": statistics.median(shares),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="3 pairs per row")
    parser.add_argument("--pairs", type=int, help="pairs per row (default 7)")
    parser.add_argument("--only", nargs="+", choices=list(CASES), default=list(CASES), metavar="CASE")
    parser.add_argument("--replicas", nargs="+", type=int, help="numbers of replicas (default: those with a target)")
    parser.add_argument("--json", type=Path, help="write the rows to this file, too")
    options = parser.parse_args()
    torch.set_num_threads(1)
    pairs = options.pairs or (3 if options.quick else 7)
    print(
        f"torch {torch.__version__}, Python {platform.python_version()}, {platform.machine()}, one thread, {pairs} pairs"
    )
    print("| case | K | bare /s | engine /s | target | wall | CPU | whole call | matrix rate |\n|---|" + "--:|" * 8)
    rows = []
    for name in options.only:
        case = CASES[name]
        for replicas in options.replicas or list(case.targets):
            row = {"case": name, **compare(case, replicas, pairs)}
            rows.append(row)
            clocks = [f"**{row[c][0]:.2f}** ({row[c][1]:.2f}–{row[c][2]:.2f})" for c in ("wall", "cpu", "whole")]
            print(
                f"| {name} | {replicas} | {row['bare_samples_per_second']:,.0f} | {row['samples_per_second']:,.0f} "
                f"| {row['target'] or '–'} | {' | '.join(clocks)} | {row['matrix_share']:.0%} |",
                flush=True,
            )
    if options.json:
        options.json.write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    main()
