"""Every test gets a home of its own, one torch thread, and the committed catalogue."""

from __future__ import annotations

import os
from urllib.error import URLError

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


@pytest.fixture
def double_precision():
    import torch

    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


@pytest.fixture
def no_network(monkeypatch):
    """No address answers."""
    from clcore.benchmarks import downloads

    def refuse(url):
        raise URLError("Name or service not known")

    monkeypatch.setattr(downloads, "_open", refuse)
