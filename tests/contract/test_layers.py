"""Imports point one way, and the dashboard's side of the program works without torch."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SOURCES = sorted([ROOT / "app.py", *(ROOT / "pages").rglob("*.py"), *(ROOT / "clcore").rglob("*.py")])


def imports(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return found


def uses(path: Path, package: str) -> bool:
    return any(name == package or name.startswith(package + ".") for name in imports(path))


def under(path: Path, *places: str) -> bool:
    relative = path.relative_to(ROOT).as_posix()
    return any(relative == p or relative.startswith(p + "/") for p in places)


@pytest.mark.parametrize(
    "package, allowed",
    [
        ("streamlit", ("app.py", "pages", "clcore/ui")),
        ("plotly", ("clcore/charts", "clcore/ui/live_plot.py")),  # live_plot serves plotly's own javascript file
        ("sqlalchemy", ("clcore/store",)),
        ("subprocess", ("clcore/runner", "clcore/provenance.py")),  # provenance asks git
        ("signal", ("clcore/runner", "clcore/cli.py")),
    ],
)
def test_a_library_stays_in_its_place(package, allowed):
    strays = [p.relative_to(ROOT).as_posix() for p in SOURCES if uses(p, package) and not under(p, *allowed)]
    assert not strays, f"{package} is used in {strays}; it belongs to {allowed}"


# place → what it must not import, directly
FORBIDDEN = {
    "clcore/networks": ("clcore.methods", "clcore.training", "clcore.learner", "clcore.runner", "clcore.store"),
    "clcore/benchmarks": ("clcore.methods", "clcore.networks", "clcore.training", "clcore.runner", "clcore.store"),
    "clcore/methods/parts": (
        "clcore.training",
        "clcore.learner",
        "clcore.runner",
        "clcore.methods.base",
        "clcore.store",
    ),
    "clcore/methods": ("clcore.training", "clcore.learner", "clcore.runner", "clcore.store"),
    "clcore/training.py": ("clcore.runner", "clcore.store", "clcore.ui", "clcore.cli"),
    "clcore/learner.py": ("clcore.runner", "clcore.store", "clcore.ui", "clcore.cli"),
    "clcore/store": ("clcore.runner", "clcore.ui", "clcore.training", "torch"),
    "clcore/charts": ("clcore.ui", "clcore.store", "clcore.frames", "clcore.runner", "torch"),
    "clcore/frames.py": ("clcore.ui", "clcore.charts", "clcore.runner", "torch"),
    "clcore/export": ("clcore.ui", "clcore.runner", "clcore.training", "torch"),
    "clcore/ui": ("torch", "clcore.training", "clcore.learner", "clcore.registry", "clcore.methods", "clcore.networks"),
    "pages": ("torch", "clcore.training", "clcore.store", "clcore.runner"),
    "app.py": ("torch", "clcore.training", "clcore.store"),
}


@pytest.mark.parametrize("place", FORBIDDEN)
def test_imports_point_one_way(place):
    paths = [p for p in SOURCES if under(p, place)]
    assert paths
    wrong = [f"{p.relative_to(ROOT).as_posix()} → {name}" for p in paths for name in FORBIDDEN[place] if uses(p, name)]
    assert not wrong


TORCH_FREE = (
    "clcore.spec", "clcore.catalogue", "clcore.knobs", "clcore.events", "clcore.errors", "clcore.settings", "clcore.metrics",
    "clcore.control", "clcore.store", "clcore.frames", "clcore.cli", "clcore.report", "clcore.runner.service",
    "clcore.runner.launch", "clcore.charts.per_task", "clcore.charts.matrix", "clcore.charts.sweep", "clcore.ui.lab",
    "clcore.ui.history", "clcore.accounting", "clcore.outcomes", "clcore.tradeoff", "clcore.charts.tradeoff",
    "clcore.ui.tradeoff.view", "clcore.statistics", "clcore.comparison", "clcore.export.html", "clcore.export.importing",
    "clcore.ui.comparing", "clcore.ui.learn.page",
    "clcore.ui.system.activity", "clcore.ui.system.people", "clcore.ui.system.installation", "clcore.diagnostics",
    "clcore.datasets", "clcore.picture_folders", "clcore.runner.load",
    "clcore.insights", "clcore.packing", "clcore.charts.kinds",
    "clcore.charts.regions", "clcore.charts.answers", "clcore.ui.insight", "clcore.ui.recorded",
)  # fmt: skip


@pytest.mark.parametrize("module", TORCH_FREE)
def test_a_module_of_the_dashboards_side_does_not_import_torch(module):
    code = f"import sys, {module}; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT).returncode == 0


def test_pages_are_thin():
    for page in (ROOT / "pages").rglob("*.py"):
        assert len(page.read_text(encoding="utf-8").splitlines()) <= 80, page
