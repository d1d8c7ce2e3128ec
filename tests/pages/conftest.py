"""The app in-process, over a store of its own and without a background runner."""

from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

from clcore.store import open_store

ROOT = Path(__file__).parents[2]


@pytest.fixture
def woken(monkeypatch):
    """How often the page asked for a runner."""
    calls = []
    monkeypatch.setattr("clcore.ui.frame.ensure_runner", lambda store=None: calls.append(store))
    return calls


@pytest.fixture
def store(own_home):
    opened = open_store()
    yield opened
    opened.close()


@pytest.fixture
def app(store, woken, monkeypatch):
    monkeypatch.chdir(ROOT)

    def open_app(page: str | None = None, **query) -> AppTest:
        at = AppTest.from_file(str(ROOT / "app.py"), default_timeout=20)
        if page is None:
            at.query_params.update(query)
        at.run()
        if page is not None:
            at.switch_page(page)
            at.query_params.update(query)
            at.run()
        assert not at.exception, at.exception
        return at

    return open_app
