"""How fast a GPU trains: samples per second of K networks side by side, against a bare torch loop with one on the same GPU.

    python -m tests.perf.gpu [--only finetune ewc] [--replicas 1 16 128] [--device cuda] [--json FILE]

Split MNIST in the class scenario, 784-256-256-10, batch 64, SGD. The bare loop has torch.nn.Linear layers, torch.optim.SGD and
the task's examples as float tensors on the device. Both train the same examples, one after the other in one process, and the
device has finished before a clock is read. A network this small leaves a GPU idle between kernels, so K networks take hardly
longer than one: the table says how many samples of all networks a second of training gives, as a multiple of the bare
loop's, and the milliseconds of a step.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import nn

from clcore import registry
from clcore.spec import Grid, MethodChoice, NetworkChoice, OptimizerChoice, RunSpec, make
from clcore.training import train

DATA = Path(os.environ.get("CLCORE_DATA_DIR", "data"))
METHODS = ("finetune", "ewc", "mas", "si", "lwf", "er", "derpp", "agem", "gem", "vcl", "hat")
BATCH = 64


def run_of(method: str, replicas: int, device: str, examples: int) -> RunSpec:
    scenario = "task" if method == "hat" else "class"
    return make(
        RunSpec, benchmark="split-mnist", scenario=scenario, options={"train_per_task": examples},
        method=MethodChoice(name=method), network=NetworkChoice(hidden=(256, 256)), optimizer=OptimizerChoice(lr=0.05),
        epochs=1, batch_size=BATCH, device=device, live_points=0, grid=Grid(seeds=tuple(range(replicas)), memories=(1000,)),
    )  # fmt: skip


def bare_rate(device: str, examples: int, tasks: int = 2) -> float:
    """Samples per second of one network of stock layers."""
    run = run_of("finetune", 1, device, examples)
    stream = registry.benchmarks()["split-mnist"](
        dict(run.options), scenario="class", data_dir=DATA, device=device
    ).stream([0])
    network = nn.Sequential(nn.Linear(784, 256), nn.ReLU(), nn.Linear(256, 256), nn.ReLU(), nn.Linear(256, 10)).to(device)
    optimizer = torch.optim.SGD(network.parameters(), lr=0.05)
    seconds, samples = 0.0, 0
    for task in stream.tasks[:tasks]:
        x, y = task.train.gather(torch.arange(int(task.train.lengths[0]), device=device).unsqueeze(0))
        x, y = x[0].flatten(1), y[0]
        float(x.sum())
        started = time.perf_counter()
        order = torch.randperm(len(x), device=device)
        for at in range(0, len(x), BATCH):
            chosen = order[at : at + BATCH]
            optimizer.zero_grad()
            F.cross_entropy(network(x[chosen]), y[chosen]).backward()
            optimizer.step()
            samples += len(chosen)
        float(next(network.parameters()).detach().sum())
        seconds += time.perf_counter() - started
    return samples / seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", nargs="+", choices=METHODS, default=METHODS, metavar="METHOD")
    parser.add_argument("--replicas", nargs="+", type=int, default=[1, 16, 128], metavar="K")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--examples", type=int, default=9800, help="training examples of a task")
    parser.add_argument("--json", type=Path, help="write the rows to this file, too")
    options = parser.parse_args()
    name = torch.cuda.get_device_name() if options.device == "cuda" else options.device
    print(f"torch {torch.__version__}, {name}, batch {BATCH}, {options.examples} examples a task")
    print("| method | K | bare /s | ours /s | ours ÷ bare | ms a step | evaluation s | whole call s | GiB |")
    print("|---|" + "--:|" * 8)
    bare_rate(options.device, options.examples)
    rows = []
    for method in options.only:
        for replicas in options.replicas:
            if options.device == "cuda":
                torch.cuda.reset_peak_memory_stats()
            bare = bare_rate(options.device, options.examples)
            started = time.perf_counter()
            result = train(run_of(method, replicas, options.device, options.examples), data_dir=DATA)
            whole = time.perf_counter() - started
            seconds, samples = result["train_seconds"], result["train_samples"]
            steps = sum(-(-options.examples // BATCH) for _ in range(5))
            row = {
                "method": method, "replicas": replicas, "bare": bare, "ours": samples / seconds,
                "ratio": samples / seconds / bare, "step_ms": 1000 * seconds / steps,
                "evaluation_seconds": result["evaluation_seconds"], "whole_seconds": whole,
                "gib": torch.cuda.max_memory_allocated() / 2**30 if options.device == "cuda" else None,
            }  # fmt: skip
            rows.append(row)
            print(
                f"| {method} | {replicas} | {bare:,.0f} | {row['ours']:,.0f} | {row['ratio']:.1f} | {row['step_ms']:.2f} "
                f"| {row['evaluation_seconds']:.1f} | {whole:.1f} | {row['gib'] or 0:.1f} |",
                flush=True,
            )
    if options.json:
        options.json.write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    main()
