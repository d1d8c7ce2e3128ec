"""A browser for the session, a server for the module, pages and live runs for the tests."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import urlencode

import pytest

from tests.e2e.lab_page import LabPage
from tests.e2e.server import Server

FLAGS = (
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
)  # fmt: skip


FAILED = pytest.StashKey[bool]()


def pytest_collection_modifyitems(items):
    here = Path(__file__).parent
    for item in items:
        if here in item.path.parents:
            item.add_marker(pytest.mark.e2e)


@pytest.fixture(scope="session")
def browser() -> Iterator:
    """Chromium: the variable CHROMIUM, or the PATH, or what Playwright has downloaded."""
    try:
        from playwright.sync_api import Error, sync_playwright
    except ImportError:
        _no_browser("the package playwright is not installed")
    executable = os.environ.get("CHROMIUM") or shutil.which("chromium")
    with sync_playwright() as playwright:
        try:
            launched = playwright.chromium.launch(executable_path=executable, args=list(FLAGS))
        except Error as error:
            _no_browser(str(error).strip().splitlines()[0])
        yield launched
        launched.close()


def _no_browser(why: str) -> None:
    sentence = f"no browser: {why}; install chromium, name one in CHROMIUM, or run `playwright install chromium`"
    if os.environ.get("CI") == "true":
        pytest.fail(sentence)
    pytest.skip(sentence)


@pytest.fixture(scope="module")
def server(browser, tmp_path_factory) -> Iterator[Server]:
    made = Server(tmp_path_factory.mktemp("server") / "home")
    try:
        yield made.start()
    finally:
        made.stop()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    report = yield
    item.stash[FAILED] = item.stash.get(FAILED, False) or report.failed
    return report


@pytest.fixture(autouse=True)
def leaves_no_run_behind(request) -> Iterator[None]:
    """A test that fails half-way must not leave the next one queued behind its run."""
    yield
    if request.node.stash.get(FAILED, False) and "server" in request.fixturenames:
        request.getfixturevalue("server").cancel_all()


@pytest.fixture
def fresh_server(browser, tmp_path) -> Iterator[Server]:
    """A server of this test alone, that nobody has opened a page of."""
    made = Server(tmp_path / "fresh")
    try:
        yield made.start()
    finally:
        made.stop()


@pytest.fixture
def new_page(browser) -> Iterator[Callable[..., LabPage]]:
    """Opens a page in a context (a browser profile) of its own."""
    contexts = []

    def open_page(server: Server, path: str = "/", *, width: int = 1400, height: int = 1000, scheme: str = "light",
                  **query) -> LabPage:  # fmt: skip
        context = browser.new_context(viewport={"width": width, "height": height}, color_scheme=scheme)
        context.set_default_timeout(30_000)
        contexts.append(context)
        page = LabPage(context.new_page(), server)
        page.open(path + (f"?{urlencode(query, doseq=True)}" if query else ""))
        return page

    yield open_page
    for context in contexts:
        context.close()
