"""Every test gets a home of its own, one torch thread, and the committed catalogue."""

from __future__ import annotations

import os

import pytest

for _name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_name, "1")


@pytest.fixture(autouse=True)
def own_home(tmp_path, monkeypatch):
    monkeypatch.setenv("CLCORE_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("CLCORE_DATABASE_URL", raising=False)


@pytest.fixture
def one_thread():
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
