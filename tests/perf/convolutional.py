"""How fast convolutional networks train, alone and several side by side, against a bare torch loop with the same network.

    OMP_NUM_THREADS=1 python -m tests.perf.convolutional [--only cnn resnet18-slim] [--replicas 1 8] [--pairs N] [--device cuda]

The bare loop has torch.nn.Conv2d, GroupNorm or BatchNorm2d and Linear layers, torch.optim.SGD, the same stream's examples as
float tensors and shuffled indices; the engine is what trains a group of replicas (`Learner`), without evaluation. Both are
interleaved in one process on one thread, and the table shows the median and the range, over pairs, of the time that a network's
sample takes in the engine as a multiple of the bare loop's: at K = 1 the aim is at most 1.15. With K networks side by side it
is the time of each of them. On a CPU it is CPU time, which other people's work on the machine disturbs less.
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from clcore import registry
from clcore.allocator import keep_freed_memory
from clcore.control import Control
from clcore.learner import Learner
from clcore.spec import Grid, MethodChoice, NetworkChoice, OptimizerChoice, RunSpec, make

DATA = Path(os.environ.get("CLCORE_DATA_DIR", "data"))
CASES = {  # network, its settings, benchmark, batch size, examples of a task
    "cnn": ("cnn", {}, "split-mnist", 64, 640),
    "cnn, batch 16": ("cnn", {}, "split-mnist", 16, 320),
    "cnn, batch norm": ("cnn", {"norm": "batch"}, "split-mnist", 64, 640),
    "cnn, digits": ("cnn", {}, "split-digits", 16, 200),
    "vgg-small": ("vgg-small", {}, "split-mnist", 64, 192),
    "resnet18-slim": ("resnet18-slim", {}, "split-mnist", 10, 50),
    "resnet18-slim, batch 64": ("resnet18-slim", {}, "split-mnist", 64, 128),
}


def run_of(case: str, replicas: int, device: str) -> RunSpec:
    name, settings, benchmark, batch, per_task = CASES[case]
    return make(
        RunSpec, benchmark=benchmark, scenario="class", options={"tasks": 2, "train_per_task": per_task},
        method=MethodChoice(name="finetune"), network=make(NetworkChoice, name=name, settings=settings),
        optimizer=OptimizerChoice(lr=0.02), epochs=1, batch_size=batch, device=device, live_points=0,
        grid=Grid(seeds=tuple(range(replicas))),
    )  # fmt: skip


class _Residual(nn.Module):
    def __init__(self, inputs: int, outputs: int, stride: int):
        super().__init__()
        self.through = nn.Sequential(
            nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU(),
            nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False), nn.BatchNorm2d(outputs),
        )  # fmt: skip
        self.past = nn.Identity()
        if stride != 1 or inputs != outputs:
            self.past = nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.through(x) + self.past(x))


def plain_network(choice: NetworkChoice, shape: tuple[int, ...], outputs: int) -> nn.Module:
    """The same network of stock torch layers."""
    channels, options = shape[0], choice.options
    if choice.name == "resnet18-slim":
        width = options["channels"]
        layers = [nn.Conv2d(channels, width, 3, 1, 1, bias=False), nn.BatchNorm2d(width), nn.ReLU()]
        below = width
        for stage, stride in enumerate((1, 2, 2, 2)):
            for block in range(2):
                layers.append(_Residual(below, width << stage, stride if block == 0 else 1))
                below = width << stage
        return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(below, outputs))
    stages, deep = (3, 2) if choice.name == "vgg-small" else (options["blocks"], 1)
    layers, below, side = [], channels, shape[1]
    for stage in range(stages):
        own = options["channels"] << stage
        for _ in range(deep):
            norm = nn.BatchNorm2d(own) if options["norm"] == "batch" else nn.GroupNorm(8, own)
            layers += [nn.Conv2d(below, own, 3, padding=1), norm, nn.ReLU()]
            below = own
        layers.append(nn.MaxPool2d(2))
        side //= 2
    layers.append(nn.Flatten())
    widths = [below * side * side, *choice.hidden]
    for a, b in zip(widths, widths[1:], strict=False):
        layers += [nn.Linear(a, b), nn.ReLU()]
    return nn.Sequential(*layers, nn.Linear(widths[-1], outputs))


def tasks_of(run: RunSpec) -> tuple[list[tuple[Tensor, Tensor]], int]:
    """The first replica's tasks as plain float pictures, and the number of outputs."""
    build = registry.benchmarks()[run.benchmark]
    stream = build(dict(run.options), scenario=run.scenario, data_dir=DATA, device=run.device).stream([0])
    tasks = []
    for task in stream.tasks:
        x, y = task.train.gather(torch.arange(int(task.train.lengths[0]), device=run.device).unsqueeze(0))
        tasks.append((x[0], y[0]))
    return tasks, stream.outputs


def bare(tasks: list[tuple[Tensor, Tensor]], outputs: int, run: RunSpec) -> float:
    """Seconds a sample takes."""
    network = plain_network(run.network, tuple(tasks[0][0].shape[1:]), outputs).to(run.device)
    optimizer = torch.optim.SGD(network.parameters(), lr=run.optimizer.lr)
    clock = time.perf_counter if run.device == "cuda" else time.process_time
    started, samples = clock(), 0
    for x, y in tasks:
        order = torch.randperm(len(x), device=run.device)
        for start in range(0, len(x), run.batch_size):
            idx = order[start : start + run.batch_size]
            optimizer.zero_grad()
            F.cross_entropy(network(x[idx]), y[idx]).backward()
            optimizer.step()
            samples += len(idx)
    if run.device == "cuda":
        torch.cuda.synchronize()
    return (clock() - started) / samples


def engine(run: RunSpec) -> float:
    """Seconds a sample of one network takes."""
    build = registry.benchmarks()[run.benchmark]
    benchmark = build(dict(run.options), scenario=run.scenario, data_dir=DATA, device=run.device)
    learner = Learner(run, range(len(run.replicas)), benchmark, lambda event: None, Control())
    for task in learner.stream.tasks:
        learner.learn(task)
    counters = learner.counters
    return (counters.train_seconds if run.device == "cuda" else counters.train_cpu_seconds) / counters.train_samples


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", nargs="+", choices=list(CASES), default=list(CASES), metavar="CASE")
    parser.add_argument("--replicas", nargs="+", type=int, default=[1, 8])
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    options = parser.parse_args()
    torch.set_num_threads(1)
    keep_freed_memory()
    print(f"torch {torch.__version__}, {options.device}, one thread, {options.pairs} pairs")
    print("| case | K | bare, ms a sample | engine, ms a sample and network | times the bare loop |\n|---|--:|--:|--:|--:|")
    for case in options.only:
        for replicas in options.replicas:
            run = run_of(case, replicas, options.device)
            tasks, outputs = tasks_of(run)
            bare(tasks[:1], outputs, run)
            pairs = [(bare(tasks, outputs, run), engine(run)) for _ in range(options.pairs)]
            plain, ours = (statistics.median(values) * 1e3 for values in zip(*pairs, strict=True))
            ratios = [b / a for a, b in pairs]
            print(
                f"| {case} | {replicas} | {plain:.3f} | {ours:.3f} "
                f"| **{statistics.median(ratios):.2f}** ({min(ratios):.2f}–{max(ratios):.2f}) |",
                flush=True,
            )


if __name__ == "__main__":
    main()
