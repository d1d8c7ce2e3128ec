"""Not a page: it only lets a fresh server find /compare; runs.py says why."""

import runpy
from pathlib import Path

runpy.run_path(str(Path(__file__).parents[1] / "app.py"))
