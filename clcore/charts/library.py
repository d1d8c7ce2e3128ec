"""Where the plotly.js of the installed wheel lies."""

from __future__ import annotations

import importlib.util
from pathlib import Path


def plotly_javascript() -> Path:
    found = importlib.util.find_spec("plotly")
    return Path(found.submodule_search_locations[0]) / "package_data" / "plotly.min.js"
