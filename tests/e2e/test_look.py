"""How the pages look: light, dark, and on a phone. The pictures are kept in pytest's temporary folder."""

import pytest

from tests.pages.recorded import experiment, play

LOOKS = {"light": (1400, 1000, "light"), "dark": (1400, 1000, "dark"), "phone": (390, 844, "light")}
# How far anything in the page's column reaches beyond the window; what scrolls inside itself may be wider.
OVERFLOW = """() => {
    const width = document.documentElement.clientWidth;
    const main = document.querySelector('[data-testid="stMain"]');
    const plots = [...document.querySelectorAll('.st-key-page .js-plotly-plot, .st-key-page button')];
    return Math.max(document.documentElement.scrollWidth - width, main.scrollWidth - main.clientWidth,
        ...plots.map(item => Math.ceil(item.getBoundingClientRect().right) - width));
}"""
COLORS = """() => {
    const brightness = color => color.match(/[\\d.]+/g).slice(0, 3).reduce((sum, c) => sum + Number(c), 0) / 3;
    const text = document.querySelector('.js-plotly-plot .xtick text');
    return { ground: brightness(getComputedStyle(document.querySelector('[data-testid="stApp"]')).backgroundColor),
             text: text && brightness(getComputedStyle(text).fill) };
}"""


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    return tmp_path_factory.mktemp("pictures")


@pytest.fixture(scope="module")
def shown(server) -> str:
    rows = experiment("finetune", "ewc", "er", "joint", seeds=5)
    name = server.store.run(play(server.store, rows[0])).experiment
    for row in rows[1:]:
        play(server.store, row, experiment=name)
    return name


@pytest.mark.parametrize("look", LOOKS)
def test_lab_and_runs(server, new_page, shown, pictures, look):
    width, height, scheme = LOOKS[look]
    lab = new_page(server, width=width, height=height, scheme=scheme, x=shown)
    lab.first_point()
    lab.until(lambda: lab.page.locator(".js-plotly-plot .xtick text").count())
    lab.page.screenshot(path=pictures / f"lab-{look}.png", full_page=True)
    colors, overflow = lab.page.evaluate(COLORS), lab.page.evaluate(OVERFLOW)
    assert overflow <= 0, f"{overflow} pixels wider than the window"
    dark = scheme == "dark"
    assert (colors["ground"] < 80) is dark and (colors["text"] > 128) is dark
    lab.open("/runs")
    lab.page.locator('[data-testid="stDataFrame"] canvas').first.wait_for()
    lab.page.screenshot(path=pictures / f"runs-{look}.png")
    assert lab.page.evaluate(OVERFLOW) <= 0
    assert not lab.errors
