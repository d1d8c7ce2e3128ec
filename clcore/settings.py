"""The three settings of an installation, read in one place.

`CLCORE_HOME`          database, checkpoints, logs (default ./runs)
`CLCORE_DATA_DIR`      data sets (default ./data)
`CLCORE_DATABASE_URL`  SQLAlchemy URL of the run store (default: SQLite inside CLCORE_HOME)
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Settings:
    home: Path
    data_dir: Path
    database_url: str


def settings() -> Settings:
    """The settings in force now (the environment is read at every call, so tests can change it)."""
    home = Path(os.environ.get("CLCORE_HOME") or "runs").expanduser().absolute()
    data_dir = Path(os.environ.get("CLCORE_DATA_DIR") or "data").expanduser().absolute()
    url = os.environ.get("CLCORE_DATABASE_URL") or f"sqlite:///{home / 'runs.db'}"
    return Settings(home, data_dir, url)
