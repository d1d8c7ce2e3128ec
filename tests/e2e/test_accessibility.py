"""axe-core on every page with content, and what it cannot see: the keyboard, and names for every chart."""

from __future__ import annotations

import pytest

from tests.e2e.lab_page import PANEL
from tests.pages.recorded import experiment, play

PAGES = {
    "lab": "/?x={x}",
    "lab-first": "/",
    "runs": "/runs",
    "compare": "/compare?runs={runs}",
    "tradeoff": "/tradeoff",
    "lessons": "/learn",
    "lesson": "/learn?lesson=forget",
    "card": "/learn?show=methods&method=ewc",
    "metrics": "/learn?show=metrics",
    "pictures": "/learn?show=pictures",
    "system": "/system",
}
DARK = ("lab", "compare", "card")
CHARTLESS = ("runs", "lessons", "card", "system")
GRAVE = ("serious", "critical")
# Rules of axe that Streamlit's own markup breaks, and why we cannot mend it: rule → reason. None today.
NOT_OURS: dict[str, str] = {}
DRAWN = """() => !document.querySelector('[data-testid="stSkeleton"]')
    && [...document.querySelectorAll('.lab-plot')].every(plot => plot.querySelector('.main-svg'))"""
FOCUSED = """() => { const item = document.activeElement, box = item.closest('[class*="st-key-"]');
    return [box && [...box.classList].find(name => name.startsWith('st-key-')).slice(7),
            item.getAttribute('aria-label') || item.innerText]; }"""


@pytest.fixture(scope="module")
def shown(server) -> dict[str, str]:
    rows = experiment("finetune", "ewc", "er", "joint", seeds=3)
    first = play(server.store, rows[0])
    name = server.store.run(first).experiment
    ids = [first, *(play(server.store, row, experiment=name) for row in rows[1:])]
    return {"x": name, "runs": ",".join(ids)}


@pytest.mark.parametrize(("page", "scheme"), [*((p, "light") for p in PAGES), *((p, "dark") for p in DARK)])
def test_axe_finds_nothing_grave_and_every_chart_has_words(server, new_page, shown, page, scheme):
    sync_playwright = pytest.importorskip("axe_playwright_python.sync_playwright", reason="axe is not installed")
    lab = new_page(server, PAGES[page].format(**shown), scheme=scheme)
    lab.page.wait_for_function(DRAWN)
    found = sync_playwright.Axe().run(lab.page).response["violations"]
    grave = [
        f"{rule['impact']} {rule['id']}: {node['html'][:160]} {node['failureSummary']}"
        for rule in found
        if rule["impact"] in GRAVE and rule["id"] not in NOT_OURS
        for node in rule["nodes"]
    ]
    assert not grave, "\n".join(grave)
    charts = lab.page.locator(".lab-plot").all()
    assert charts or page in CHARTLESS
    for chart in charts:
        assert len(chart.get_attribute("aria-label")) > 20
        stops = chart.locator("button:not([tabindex='-1'])").evaluate_all("all => all.map(b => b.dataset.title)")
        assert stops == ["Download as SVG", "Download as PNG"]  # zoom and pan need a mouse


def test_the_keyboard_goes_through_the_controls_to_run(server, new_page):
    lab = new_page(server)
    lab.page.wait_for_function(DRAWN)
    met = []
    while "run" not in met and len(met) < 100:
        lab.page.keyboard.press("Tab")
        met.append(lab.page.evaluate(FOCUSED)[0])
    order = [met.index(key) for key in ("question", "benchmark", "scenario", "method-baseline", "memory", "seeds", "run")]
    assert order == sorted(order)


def test_ctrl_enter_runs_from_anywhere(fresh_server, new_page):
    lab = new_page(fresh_server, seeds=1, method="finetune")
    lab.button("run").wait_for()
    lab.page.keyboard.press("Control+Enter")
    lab.until(lambda: lab.query.get("x"))
    lab.first_point()
    assert lab.page.locator(PANEL).count() == 1
