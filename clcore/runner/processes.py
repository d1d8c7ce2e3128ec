"""Processes of this host, told apart by (pid, creation time): a pid alone is reused sooner or later."""

from __future__ import annotations

import os
import signal
import socket
from pathlib import Path

import psutil

from clcore.settings import settings

PACKAGE_ROOT = Path(__file__).resolve().parents[2]
CLOCK_TOLERANCE = 2.0  # seconds: the boot time, from which creation times are counted, moves when the clock is set


def this_host() -> str:
    return socket.gethostname()


def created(pid: int) -> float | None:
    """When a living process was created (seconds since the epoch); None when there is none, or only a zombie."""
    try:
        process = psutil.Process(pid)
        return None if process.status() == psutil.STATUS_ZOMBIE else process.create_time()
    except psutil.Error:
        return None


def alive(pid: int | None, started: float | None) -> bool:
    """Whether the very process that was created at `started` lives."""
    if pid is None or started is None:
        return False
    found = created(pid)
    return found is not None and abs(found - started) < CLOCK_TOLERANCE


def terminate(pid: int | None, started: float | None) -> bool:
    """Asks a process to stop (SIGTERM); False when it is gone."""
    return _send(pid, started, signal.SIGTERM, group=False)


def kill_group(pid: int | None, started: float | None) -> bool:
    """Kills a process with everything it started in its own session (SIGKILL); False when it is gone."""
    return _send(pid, started, signal.SIGKILL, group=True)


def _send(pid: int | None, started: float | None, number: signal.Signals, *, group: bool) -> bool:
    if not alive(pid, started):
        return False
    try:
        if group and os.getpgid(pid) == pid:
            os.killpg(pid, number)
        else:
            os.kill(pid, number)
    except ProcessLookupError:
        return False
    return True


def child_environment() -> dict[str, str]:
    """The environment of a process of ours: works from any folder, and uses the settings in force here."""
    here = settings()
    path = os.environ.get("PYTHONPATH")
    return os.environ | {
        "PYTHONPATH": os.pathsep.join([str(PACKAGE_ROOT), path] if path else [str(PACKAGE_ROOT)]),
        "CLCORE_HOME": str(here.home),
        "CLCORE_DATA_DIR": str(here.data_dir),
        "CLCORE_DATABASE_URL": here.database_url,
    }
