"""Starts the background service when this host has none. Cheap enough to be called at every page load."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import uuid

from clcore.errors import LabError
from clcore.runner.processes import alive, child_environment, this_host
from clcore.settings import settings
from clcore.store import Store, open_store

STARTING = 15.0  # seconds that a runner has to report after it was launched


def ensure_runner(store: Store | None = None) -> None:
    """Makes sure that a runner looks after this host; returns before it is up.

    The lease is taken in the new runner's name before it is started, so of two callers only one starts a runner. Raises
    StoreError when the database cannot be used, LabError when no process can be started.
    """
    if store is not None:
        return _ensure(store)
    store = open_store()
    try:
        _ensure(store)
    finally:
        store.close()


def _ensure(store: Store) -> None:
    host = this_host()
    status = store.runner_status(host)
    if status.starting or (status.alive and alive(status.pid, status.pid_started)):
        return
    holder = uuid.uuid4().hex
    if not store.take_lease(host, holder, STARTING, over=status.holder):
        return
    log = settings().home / "logs" / "runner.log"
    try:
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("ab") as output:
            process = subprocess.Popen(
                [sys.executable, "-m", "clcore.runner.service", "--holder", holder],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                cwd=os.sep,
                env=child_environment(),
                start_new_session=True,
            )
    except OSError as error:
        store.release_lease(host, holder)
        raise LabError(
            f"The background runner could not be started ({error.strerror}); start it by hand with "
            f"`python -m clcore runner`."
        ) from error
    threading.Thread(target=process.wait, name="runner's end", daemon=True).start()  # or a zombie would stay
