"""A real dashboard in a home of its own: the server process, and whatever it starts."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import psutil

from clcore.store import LIVE, RunRow, Store, open_store

ROOT = Path(__file__).parents[2]
OVER = ("finished", "failed", "cancelled")


class Server:
    """`streamlit run app.py` on a free port over `home`. `stop` ends everything that works in that home."""

    def __init__(self, home: Path, port: int | None = None):
        home.mkdir(parents=True, exist_ok=True)
        self.home, self.port = home, port or free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.database_url = f"sqlite:///{home / 'runs.db'}"
        self._process: subprocess.Popen | None = None
        self._store: Store | None = None

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def store(self) -> Store:
        self._store = self._store or open_store(self.database_url)
        return self._store

    def start(self) -> Server:
        with (self.home / "server.log").open("ab") as log:
            self._process = subprocess.Popen(
                [
                    sys.executable, "-m", "streamlit", "run", "app.py", "--server.headless=true",
                    f"--server.port={self.port}", "--server.address=127.0.0.1", "--server.fileWatcherType=none",
                ],
                cwd=ROOT, env=self.environment(), stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
            )  # fmt: skip
        self.until(self._answers, seconds=60)
        return self

    def environment(self) -> dict[str, str]:
        """One thread each and no GPU: the same numbers everywhere, and room for a browser beside them."""
        return os.environ | {
            "CLCORE_HOME": str(self.home), "CLCORE_DATA_DIR": str(self.home / "data"),
            "CLCORE_DATABASE_URL": self.database_url, "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1",
            "CUDA_VISIBLE_DEVICES": "",
        }  # fmt: skip

    def kill(self) -> None:
        """SIGKILL to the server alone; runner and workers go on."""
        self._process.kill()
        self._process.wait()

    def stop(self) -> None:
        """Ends server, runner, spare and workers, also those of earlier servers in this home."""
        if self._store is not None:
            self._store.close()
            self._store = None
        for _ in range(3):  # what was starting another process while it was killed
            found = self.processes()
            for process in found:
                kill(process)
            psutil.wait_procs(found, timeout=10)
        if self._process is not None:
            self._process.wait()

    def processes(self) -> list[psutil.Process]:
        """The living processes of this home."""
        return [p for p in psutil.process_iter() if _home_of(p) == str(self.home)]

    def _answers(self) -> bool:
        assert self._process.poll() is None, (self.home / "server.log").read_text()
        try:
            with urllib.request.urlopen(f"{self.url}/_stcore/health", timeout=2) as answer:
                return answer.status == 200
        except (urllib.error.URLError, OSError):
            return False

    # ---- runs -------------------------------------------------------------------------------------------------------

    def rows(self, experiment: str) -> list[RunRow]:
        return self.store.runs(experiment=experiment)

    def wait(self, experiment: str, *states: str, seconds: float = 90) -> list[RunRow]:
        """Waits until every run of the experiment is in one of the states (default: over); returns the rows."""
        wanted = states or OVER
        return self.until(
            lambda: (rows := self.rows(experiment)) and all(r.state in wanted for r in rows) and rows,
            seconds=seconds,
            why=lambda: [(r.method, r.state, r.position, r.error) for r in self.rows(experiment)],
        )

    def cancel_all(self) -> None:
        for row in self.store.runs(states=LIVE):
            self.store.want(row.id, "cancel")

    def warm(self) -> None:
        """Waits until a spare worker is ready, so that what follows measures a click and not an import."""
        self.until(lambda: any(status.warm for status in [self.store.runner_status()]), seconds=90)

    @staticmethod
    def until(condition: Callable[[], Any], *, seconds: float, why: Callable[[], Any] = lambda: "") -> Any:
        deadline = time.monotonic() + seconds
        while not (found := condition()):
            assert time.monotonic() < deadline, f"waited {seconds} s in vain {why()}"
            time.sleep(0.05)
        return found


def matrices(rows: Sequence[RunRow]) -> dict[tuple, Any]:
    """(method, seed, strength, memory) → accuracy matrix."""
    return {
        (row.method, r["seed"], r["strength"], r["memory"]): r["accuracy_matrix"]
        for row in rows
        for r in row.result["replicas"]
    }


def kill(process: psutil.Process) -> None:
    try:
        process.kill()
    except psutil.NoSuchProcess:
        return


def _home_of(process: psutil.Process) -> str | None:
    try:
        if process.pid == os.getpid() or process.status() == psutil.STATUS_ZOMBIE:
            return None
        return process.environ().get("CLCORE_HOME")
    except psutil.Error:
        return None


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
