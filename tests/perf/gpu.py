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
import time
from pathlib import Path

import torch

from clcore.spec import Grid, MethodChoice, NetworkChoice, OptimizerChoice, RunSpec, make
from clcore.training import train
from tests.perf.replicas import DATA, bare, stream_of

METHODS = ("finetune", "ewc", "mas", "si", "lwf", "er", "derpp", "agem", "gem", "vcl", "hat")
BATCH, TASKS = 64, 5


def run_of(method: str, replicas: int, device: str, examples: int) -> RunSpec:
    scenario = "task" if method == "hat" else "class"
    return make(
        RunSpec, benchmark="split-mnist", scenario=scenario, options={"train_per_task": examples},
        method=MethodChoice(name=method), network=NetworkChoice(hidden=(256, 256)), optimizer=OptimizerChoice(lr=0.05),
        epochs=1, batch_size=BATCH, device=device, live_points=0, grid=Grid(seeds=tuple(range(replicas)), memories=(1000,)),
    )  # fmt: skip


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
    plain = run_of("finetune", 1, options.device, options.examples)
    tasks, outputs = stream_of(plain)
    bare(tasks[:1], outputs, plain)
    rows = []
    for method in options.only:
        for replicas in options.replicas:
            if options.device == "cuda":
                torch.cuda.reset_peak_memory_stats()
            rate = bare(tasks[:2], outputs, plain).wall
            started = time.perf_counter()
            result = train(run_of(method, replicas, options.device, options.examples), data_dir=DATA)
            whole = time.perf_counter() - started
            seconds, samples = result["train_seconds"], result["train_samples"]
            steps = TASKS * -(-options.examples // BATCH)
            row = {
                "method": method, "replicas": replicas, "bare": rate, "ours": samples / seconds,
                "ratio": samples / seconds / rate, "step_ms": 1000 * seconds / steps,
                "evaluation_seconds": result["evaluation_seconds"], "whole_seconds": whole,
                "gib": torch.cuda.max_memory_allocated() / 2**30 if options.device == "cuda" else None,
            }  # fmt: skip
            rows.append(row)
            print(
                f"| {method} | {replicas} | {rate:,.0f} | {row['ours']:,.0f} | {row['ratio']:.1f} | {row['step_ms']:.2f} "
                f"| {row['evaluation_seconds']:.1f} | {whole:.1f} | {row['gib'] or 0:.1f} |",
                flush=True,
            )
    if options.json:
        options.json.write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    main()
