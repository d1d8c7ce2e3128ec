"""How many runs each device of this host takes at a time, found without torch."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
from collections.abc import Iterable, Mapping

PAUSED_PER_SLOT = 1  # paused processes keep their memory: at most so many beside the running one of each slot


def device_slots(slots: int | None = None) -> dict[str, int]:
    """Slots by device name: "cpu" (one per core), "cuda:0", … (one each), "mps". `slots` overrides every number."""
    found = {"cpu": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1}
    found |= {f"cuda:{name}": 1 for name in _cuda_devices()}
    if platform.system() == "Darwin" and platform.machine() == "arm64":
        found["mps"] = 1
    return found if slots is None else dict.fromkeys(found, slots)


def choose_slot(device: str, free: Mapping[str, int]) -> str | None:
    """The device for a run that asks for "auto", "cpu", "cuda" or "mps"; None while all that suit are busy.

    A device that this host lacks is answered with "cpu": training then says what is missing.
    """
    open_slots = [name for name in suitable_slots(device, free) if free[name] > 0]
    return max(open_slots, key=lambda name: free[name]) if open_slots else None


def suitable_slots(device: str, known: Iterable[str]) -> list[str]:
    """Of the known devices those on which a run may train that asks for `device`."""
    cuda = [name for name in known if name.startswith("cuda")]
    return {"cuda": cuda, "auto": cuda, "mps": [name for name in known if name == "mps"]}.get(device) or ["cpu"]


def _cuda_devices() -> list[str]:
    """Names as in CUDA_VISIBLE_DEVICES, which is respected when it is set."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        return [name.strip() for name in visible.split(",") if name.strip() and name.strip() != "-1"]
    tool = shutil.which("nvidia-smi")
    if tool is None:
        return []
    try:
        listed = subprocess.run([tool, "-L"], capture_output=True, text=True, timeout=20, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return []  # a broken driver: torch will not see the device either
    return [
        str(index) for index, _ in enumerate(line for line in listed.stdout.splitlines() if line.startswith("GPU "))
    ]
