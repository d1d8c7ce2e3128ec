"""How busy this host is: processors, memory, GPUs, disks; found without torch."""

from __future__ import annotations

import os
import shutil
import subprocess
import threading
import time
from dataclasses import dataclass
from pathlib import Path

import psutil

from clcore.runner.processes import alive

FIRST_LOOK = 0.1  # seconds over which the first reading of the processors is taken
SHORTEST = 1.0  # seconds between two readings: over less, clock ticks are too coarse
_FIELDS = "index,name,memory.used,memory.total,utilization.gpu"


@dataclass(frozen=True)
class Gpu:
    """As the driver reports it. `busy`: share of the last moment in which a kernel ran; None where it does not say."""

    index: int
    name: str
    used: int
    total: int
    busy: float | None


class Processors:
    """The share of all cores that is busy, between one reading and the next. One object may be shared by threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._at, self._busy, self._total = self._read()
        self._share: float | None = None

    def share(self) -> float:
        """0..1, over the time since the last reading that is at least a second old."""
        with self._lock:
            if self._share is None:
                time.sleep(FIRST_LOOK)
            elif time.monotonic() - self._at < SHORTEST:
                return self._share
            at, busy, total = self._read()
            passed = total - self._total
            self._share = min(1.0, max(0.0, (busy - self._busy) / passed)) if passed > 0 else (self._share or 0.0)
            self._at, self._busy, self._total = at, busy, total
            return self._share

    @staticmethod
    def _read() -> tuple[float, float, float]:
        times = psutil.cpu_times()._asdict()
        # Guests are counted in user and nice already.
        total = sum(seconds for name, seconds in times.items() if not name.startswith("guest"))
        return time.monotonic(), total - times["idle"] - times.get("iowait", 0.0), total


def cores() -> int:
    """That this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def memory() -> tuple[int, int]:
    """Bytes (used, in all). Used is what a new process could not have."""
    found = psutil.virtual_memory()
    return found.total - found.available, found.total


def disk(folder: Path) -> tuple[int, int]:
    """Bytes (free, in all) of the disk that holds a folder, which need not exist yet."""
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    found = shutil.disk_usage(folder)
    return found.free, found.total


def resident(pid: int | None, started: float | None) -> int | None:
    """Bytes that a process of this host occupies; None when it is gone."""
    if not alive(pid, started):
        return None
    try:
        return psutil.Process(pid).memory_info().rss
    except psutil.Error:
        return None


def gpus() -> list[Gpu]:
    """The GPUs that nvidia-smi knows; none where it is missing or fails."""
    tool = shutil.which("nvidia-smi")
    if tool is None:
        return []
    command = [tool, f"--query-gpu={_FIELDS}", "--format=csv,noheader,nounits"]
    try:
        answer = subprocess.run(command, capture_output=True, text=True, timeout=5, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return []
    return parse_gpus(answer.stdout) if answer.returncode == 0 else []


def parse_gpus(text: str) -> list[Gpu]:
    """What nvidia-smi prints, line by line; memory is in MiB. A line that cannot be read is passed over."""
    found = []
    for line in text.splitlines():
        parts = [part.strip() for part in line.split(",")]
        if len(parts) < 5 or not parts[0].isdigit():
            continue
        index, *name, used, total, busy = parts  # a name may hold commas
        if used.isdigit() and total.isdigit():
            share = int(busy) / 100 if busy.isdigit() else None
            found.append(Gpu(int(index), ", ".join(name), int(used) << 20, int(total) << 20, share))
    return found
