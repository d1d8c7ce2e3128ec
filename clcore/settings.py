"""The settings of an installation, read in one place.

`CLCORE_HOME`             database, checkpoints, logs (default ./runs)
`CLCORE_DATA_DIR`         data sets (default ./data)
`CLCORE_DATABASE_URL`     SQLAlchemy URL of the run store (default: SQLite inside CLCORE_HOME)
`CLCORE_CUDA_GRAPHS`      0: a GPU takes every training step as Python asks for it (default 1: recorded ones where possible)

For a class, both unset by default:
`CLCORE_RUNS_PER_PERSON`  how many runs one person may have queued or running at a time
`CLCORE_INSTRUCTOR_CODE`  who knows it may stop everything and say which experiment all should look at
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path

from clcore.errors import RequestError

VARIABLES = (
    "CLCORE_HOME", "CLCORE_DATA_DIR", "CLCORE_DATABASE_URL", "CLCORE_CUDA_GRAPHS", "CLCORE_RUNS_PER_PERSON",
    "CLCORE_INSTRUCTOR_CODE",
)  # fmt: skip


@dataclass(frozen=True)
class Settings:
    home: Path
    data_dir: Path
    database_url: str
    cuda_graphs: bool = True
    runs_per_person: int | None = None
    instructor_code: str | None = field(default=None, repr=False)  # never printed


def settings() -> Settings:
    """The settings in force now (the environment is read at every call, so tests can change it)."""
    home = Path(os.environ.get("CLCORE_HOME") or "runs").expanduser().absolute()
    data_dir = Path(os.environ.get("CLCORE_DATA_DIR") or "data").expanduser().absolute()
    url = os.environ.get("CLCORE_DATABASE_URL") or f"sqlite:///{home / 'runs.db'}"
    code = os.environ.get("CLCORE_INSTRUCTOR_CODE", "").strip()
    return Settings(home, data_dir, url, _switch("CLCORE_CUDA_GRAPHS"), _limit("CLCORE_RUNS_PER_PERSON"), code or None)


def _switch(variable: str) -> bool:
    text = os.environ.get(variable, "").strip() or "1"
    if text not in ("0", "1"):
        raise RequestError(f"{variable} = '{text}' is not allowed: give 0 or 1, or leave it unset.")
    return text == "1"


def _limit(variable: str) -> int | None:
    text = os.environ.get(variable, "").strip()
    if not text:
        return None
    if not text.isascii() or not text.isdigit() or int(text) < 1:
        raise RequestError(f"{variable} = '{text}' is not allowed: give a whole number from 1, or leave it unset.")
    return int(text)
