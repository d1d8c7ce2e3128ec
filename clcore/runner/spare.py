"""Spare workers: processes that have imported torch and wait for a run, so that a click is answered in a second.

After a run on the CPU a worker comes back and waits for the next one: importing torch again would cost as much as
training a small run.
"""

from __future__ import annotations

import logging
import os
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from clcore.runner.processes import PACKAGE_ROOT, child_environment
from clcore.runner.worker import READY

START_AGAIN = 30.0  # seconds to wait after a spare died by itself
_log = logging.getLogger("clcore.runner")


@dataclass
class Spare:
    """A worker that was started without a run. `code`: when the program it has loaded was last changed."""

    process: subprocess.Popen
    code: float
    ready: bool = False

    def newest_source() -> float:
    """When the program was last changed. A spare from before that would train with old code."""
    return max(path.stat().st_mtime for path in (PACKAGE_ROOT / "clcore").rglob("*.py"))
