"""What to tell whoever has to find a fault: settings, versions, machine, runs; without secrets. No torch.

Like logs and tracebacks this text stays English.
"""

from __future__ import annotations

import os
import platform
from collections import deque
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING

from clcore import __version__
from clcore.settings import VARIABLES, settings

if TYPE_CHECKING:
    from clcore.store import Store

PACKAGES = (
    "torch", "torchvision", "streamlit", "plotly", "pandas", "numpy", "scipy", "scikit-learn", "pydantic", "SQLAlchemy",
    "psutil", "tqdm",
)  # fmt: skip
LOG_LINES = 15
LATEST_FAILURES = 3


@dataclass(frozen=True)
class Setting:
    """`given`: the environment sets it. The value of a secret is only "set" or nothing."""

    variable: str
    value: str
    given: bool
    secret: bool = False


def settings_in_effect() -> list[Setting]:
    """What each variable comes to; passwords are left out."""
    here = settings()
    values = {
        "CLCORE_HOME": str(here.home),
        "CLCORE_DATA_DIR": str(here.data_dir),
        "CLCORE_DATABASE_URL": _without_password(here.database_url),
        "CLCORE_CUDA_GRAPHS": "1" if here.cuda_graphs else "0",
        "CLCORE_RUNS_PER_PERSON": "" if here.runs_per_person is None else str(here.runs_per_person),
        "CLCORE_INSTRUCTOR_CODE": "set" if here.instructor_code else "",
    }
    return [
        Setting(name, values[name], bool(os.environ.get(name)), secret=name == "CLCORE_INSTRUCTOR_CODE")
        for name in VARIABLES
    ]


def _without_password(url: str) -> str:
    """postgresql://user:secret@host/name → postgresql://user:***@host/name."""
    scheme, separator, rest = url.partition("://")
    account, at, place = rest.rpartition("@")
    user, colon, _ = account.partition(":")
    return f"{scheme}://{user}:***@{place}" if separator and at and colon else url


def package_versions() -> dict[str, str]:
    """Of this program, Python, the system and the packages, found without importing them."""
    found = {"Forgetting Lab": __version__, "Python": platform.python_version(), "System": platform.platform()}
    for name in PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            found[name] = "not installed"
    return found


def report(store: Store) -> str:
    """A text to paste into a bug report. The home folder is written as ~; nicknames are left out."""
    from clcore.catalogue import catalogue
    from clcore.datasets import availability
    from clcore.runner.devices import device_slots
    from clcore.runner.load import cores, disk, gpus, memory

    here, facts = settings(), store.about()
    used, total = memory()
    free, _ = disk(here.home)
    lines = [f"Forgetting Lab diagnostics, {datetime.now(UTC):%Y-%m-%d %H:%M} UTC", "", "[versions]"]
    lines += [f"{name}: {version}" for name, version in package_versions().items()]
    lines += ["", "[machine]", f"cores: {cores()}", f"memory: {used / 1e9:.1f} of {total / 1e9:.1f} GB used"]
    lines += [f"gpu {g.index}: {g.name}, {g.used / 1e9:.1f} of {g.total / 1e9:.1f} GB used" for g in gpus()] or ["gpu: none"]
    lines += [f"disk: {free / 1e9:.1f} GB free"]
    lines += ["places: " + ", ".join(f"{device} × {n}" for device, n in device_slots().items())]
    lines += ["", "[settings]"]
    lines += [f"{s.variable} = {s.value or 'unset'} ({'environment' if s.given else 'default'})" for s in settings_in_effect()]
    lines += ["", "[database]", f"{facts.kind} {facts.location}, tables version {facts.schema}"]
    lines += [f"size: {'unknown' if facts.bytes is None else f'{facts.bytes / 1e6:.1f} MB'}, events: {facts.events}"]
    lines += ["runs: " + (", ".join(f"{n} {state}" for state, n in sorted(facts.runs.items())) or "none")]
    lines += ["", "[runner]"]
    for runner in store.runners():
        state = "at work" if runner.alive else "starting" if runner.starting else "gone"
        lines.append(f"{runner.host}: {state}, process {runner.pid}, places {runner.slots}, warm {runner.warm}")
    lines += ["", "[data]"]
    lines += [f"{d.title}: {d.state} {d.where}".rstrip() for d in availability(catalogue().benchmarks, here.data_dir)]
    failures = store.runs(states={"failed"}, limit=LATEST_FAILURES)
    lines += ["", "[latest failures]"] + [f"{row.id} {row.method} on {row.benchmark}: {row.error}" for row in failures]
    lines += ["", "[end of runner.log]", *_tail(here.home / "logs" / "runner.log")]
    home = str(Path.home())
    text = "\n".join(lines)
    return text.replace(home + os.sep, "~" + os.sep) if home != os.sep else text


def _tail(log: Path) -> list[str]:
    try:
        with log.open(encoding="utf-8", errors="replace") as lines:
            return [line.rstrip("\n") for line in deque(lines, LOG_LINES)]
    except OSError:
        return ["(none)"]
