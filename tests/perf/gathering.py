"""How long a stream takes to hand out a mini-batch, against indexing a tensor of floats.

    OMP_NUM_THREADS=1 python -m tests.perf.gathering

A permuted mini-batch of 64 is meant to take at most 0.2 ms, a rotated one 0.6 ms. The best of 100 of each, turn by turn.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

import torch

from clcore import registry

DATA = Path(os.environ.get("CLCORE_DATA_DIR", "data"))
AIMS = {"split-mnist": None, "permuted-mnist": 0.2, "rotated-mnist": 0.6}  # ms


def best_of(functions: dict[str, Callable[[], object]], times: int = 100) -> dict[str, float]:
    """Milliseconds."""
    best = dict.fromkeys(functions, float("inf"))
    for _ in range(times):
        for name, function in functions.items():
            started = time.perf_counter()
            function()
            best[name] = min(best[name], 1000 * (time.perf_counter() - started))
    return best


def main() -> None:
    torch.set_num_threads(1)
    functions: dict[str, Callable[[], object]] = {}
    for name in AIMS:
        benchmark = registry.benchmarks()[name]
        options = {"train_per_task": 1000}
        train = benchmark(options, scenario="domain", data_dir=DATA).stream([0]).tasks[1].train
        positions = torch.randint(0, 1000, (1, 64))
        functions[name] = lambda train=train, positions=positions: train.gather(positions)
    floats, chosen = torch.rand(1000, 784), torch.randint(0, 1000, (64,))
    functions["plain"] = lambda: floats[chosen]
    found = best_of(functions)
    print("| mini-batch of 64 | best, ms | aim, ms | times a plain x[idx] |\n|---|--:|--:|--:|")
    for name, milliseconds in found.items():
        print(f"| {name} | {milliseconds:.3f} | {AIMS.get(name) or '–'} | {milliseconds / found['plain']:.1f} |")


if __name__ == "__main__":
    main()
