"""A laboratory in a temporary folder: a store, workers whose training is a counter, runners."""

import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from clcore.runner import service
from clcore.runner.processes import child_environment, created, kill_group, this_host
from clcore.runner.service import Patience, Runner
from clcore.spec import Grid, MethodChoice, RunSpec, make
from clcore.store import LIVE, open_store

HERE = Path(__file__).parent
FAKE_WORKER = (sys.executable, str(HERE / "fake_worker.py"))


class Lab:
    def __init__(self, home: Path):
        self.home = home
        self.store = open_store()
        self._runners: list[tuple[Runner, threading.Thread]] = []
        self._processes: list[subprocess.Popen] = []

    def behave(self, *how: str) -> None:
        """What training does; see fake_worker.py."""
        (self.home / "behaviour").write_text(" ".join(how))

    def add(self, count: int = 1, owner: str = "", device: str = "cpu", seed: int = 0) -> list[str]:
        spec = make(
            RunSpec,
            benchmark="split-digits",
            scenario="class",
            method=MethodChoice(name="finetune"),
            device=device,
            grid=Grid(seeds=(seed,)),
        )
        return self.store.add([spec] * count, owner=owner)

    def start(self, *, spares: int = 0, **patience: float) -> Runner:
        """A runner in a thread."""
        patience = {"grace": 0.6, "silence": 0.5, **patience}
        options = {"patience": Patience(**patience), "worker": FAKE_WORKER, "spares": spares}
        runner = Runner(self.store, slots=2, **options)
        thread = threading.Thread(target=runner.run)
        thread.start()
        self._runners.append((runner, thread))
        return runner

    def start_process(self) -> subprocess.Popen:
        """A runner in a process of its own, to be killed."""
        script = (
            "from clcore.runner.service import Patience, Runner\n"
            "from clcore.store import open_store\n"
            f"options = {{'worker': {FAKE_WORKER!r}, 'spares': 0, 'patience': Patience(silence=0.5)}}\n"
            "Runner(open_store(), slots=2, **options).run()\n"
        )
        process = subprocess.Popen([sys.executable, "-c", script], env=child_environment(), start_new_session=True)
        self._processes.append(process)
        return process

    def worker(self, run_id: str | None, *, prepare: bool = True) -> subprocess.Popen:
        """A worker without a runner; the run is made ready for it."""
        if run_id is not None and prepare:
            attempt = self.store.run(run_id).attempts + 1
            self.store.set_state(run_id, "starting", host=this_host(), attempts=attempt)
        command = [*FAKE_WORKER, *([run_id] if run_id else [])]
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE} if run_id is None else {}
        process = subprocess.Popen(command, env=child_environment(), start_new_session=True, **pipes)
        self._processes.append(process)
        return process

    def stop(self) -> None:
        for runner, _ in self._runners:
            runner.stop()
        for _, thread in self._runners:
            thread.join()
        for runner, _ in self._runners:
            self._processes += [ward.process for ward in runner._wards.values() if ward.process]
        self._runners.clear()

    def close(self) -> None:
        self.stop()
        for row in self.store.runs(states=LIVE):
            kill_group(row.pid, row.pid_started)
        for process in self._processes:
            kill_group(process.pid, created(process.pid))
            process.wait()
            for pipe in (process.stdin, process.stdout):
                if pipe:
                    pipe.close()
        self.store.close()

    def wait(self, run_id: str, *states: str, seconds: float = 20.0):
        """Waits until the run is in one of the states (default: over); returns the row."""
        states = states or ("finished", "failed", "cancelled")
        row = self.store.run(run_id)
        deadline = time.monotonic() + seconds
        while row.state not in states:
            assert time.monotonic() < deadline, f"still {row.state} after {seconds} s: {row.error}"
            time.sleep(0.01)
            row = self.store.run(run_id)
        return row

    def types(self, run_id: str) -> list[str]:
        return [event.type for _, event in self.store.events_after(run_id)]


def until(condition, seconds: float = 20.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.01)


@pytest.fixture
def lab(tmp_path, monkeypatch):
    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.setenv("CLCORE_HOME", str(home))
    monkeypatch.setenv("CLCORE_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.delenv("CLCORE_DATABASE_URL", raising=False)
    monkeypatch.setattr(service, "RESTART_DELAY", 0.2)
    lab = Lab(home)
    yield lab
    lab.close()
