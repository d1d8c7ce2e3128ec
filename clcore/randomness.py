"""Random numbers: one generator per replica and purpose, never the global one.

Because a generator depends on (seed, purpose) alone, a replica draws the same stream, weights and mini-batches whether it
trains alone or among others and whichever method it trains with: comparisons are paired.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache

import torch
from torch import Tensor


def generator(seed: int, purpose: str) -> torch.Generator:
    """A CPU generator that depends on `seed` and `purpose` only (draws are made on the CPU, so devices agree)."""
    digest = hashlib.sha256(f"{seed}/{purpose}".encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:8], "big") >> 1)


class Generators:
    """One generator per replica for one purpose: a list with a state that can be saved and restored row by row."""

    def __init__(self, seeds: Sequence[int], purpose: str):
        self._generators = [generator(seed, purpose) for seed in seeds]

    def __len__(self) -> int:
        return len(self._generators)

    def __getitem__(self, replica: int) -> torch.Generator:
        return self._generators[replica]

    def __iter__(self):
        return iter(self._generators)

    def state_dict(self) -> dict:
        return {"states": torch.stack([g.get_state() for g in self._generators])}

    def load_state_dict(self, state: dict) -> None:
        for g, saved in zip(self._generators, state["states"], strict=True):
            g.set_state(saved.cpu().clone())  # torch reads a row of a larger tensor from that tensor's beginning


def normals(generators: Generators, rows: int, width: int, device: torch.device) -> Tensor:
    """Standard normal numbers (K, rows, width) on `device`, drawn on the CPU, every replica's from its own generator.

    For a GPU replicas draw side by side, since the processor's cores have nothing else to do, into memory that the GPU reads
    by itself: the call returns while earlier steps are still under way there.
    """
    to_gpu = device.type == "cuda"
    drawn = torch.empty(len(generators), rows, width, pin_memory=to_gpu)
    each = _drawers().map if to_gpu else map
    for _ in each(lambda replica, generator: replica.normal_(generator=generator), drawn, generators):
        pass  # waits, and raises what went wrong in a thread
    return drawn.to(device, non_blocking=to_gpu)


@cache
def _drawers() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(max_workers=os.cpu_count(), thread_name_prefix="draw")
