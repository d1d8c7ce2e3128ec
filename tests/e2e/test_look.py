"""How the pages look: light, dark, and on a phone. The pictures are kept in pytest's temporary folder."""

import pytest

from tests.pages.recorded import experiment, play

LOOKS = {"light": (1400, 1000, "light"), "dark": (1400, 1000, "dark"), "phone": (390, 844, "light"),
         "half a screen": (960, 1000, "light")}  # fmt: skip
# What reaches beyond the window, and by how many pixels; what lies in a box that scrolls sideways may.
OVERFLOW = """() => {
    const width = document.documentElement.clientWidth;
    const scrolls = item => item && (scrolls(item.parentElement) || item.getBoundingClientRect().right <= width
        && item.scrollWidth > item.clientWidth && getComputedStyle(item).overflowX !== 'visible');
    const beyond = item => item.getBoundingClientRect().right - width;
    return [...document.querySelectorAll('html, .st-key-page, .st-key-page *')]
        .filter(item => item.checkVisibility() && beyond(item) > 1 && !scrolls(item.parentElement))
        .map(item => `${item.tagName} ${(item.textContent || '').slice(0, 30)} +${beyond(item)}`);
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


LEGENDS = """() => [...document.querySelectorAll('.st-key-panels .legend')].map(legend =>
    Math.round(legend.getBoundingClientRect().top - legend.closest('.lab-plot').getBoundingClientRect().top))"""


def test_a_legend_comes_back_to_its_place_in_a_window_that_was_narrow(server, new_page, shown):
    lab = new_page(server, x=shown)
    lab.until(lambda: len(lab.page.evaluate(LEGENDS)) == 4)  # one a panel: all are drawn
    lab.settle()
    before = lab.page.evaluate(LEGENDS)
    lab.page.set_viewport_size({"width": 390, "height": 1000})
    lab.until(lambda: lab.page.evaluate(LEGENDS) != before)
    lab.page.set_viewport_size({"width": 1400, "height": 1000})
    lab.until(lambda: lab.page.evaluate(LEGENDS) == before)


@pytest.mark.parametrize("look", LOOKS)
def test_lab_and_runs(server, new_page, shown, pictures, look):
    width, height, scheme = LOOKS[look]
    lab = new_page(server, width=width, height=height, scheme=scheme, x=shown)
    lab.first_point()
    lab.until(lambda: lab.page.locator(".js-plotly-plot .xtick text").count())
    colors, overflow = lab.page.evaluate(COLORS), lab.page.evaluate(OVERFLOW)
    whole = lab.page.evaluate("() => document.querySelector('[data-testid=\"stMain\"]').scrollHeight")
    lab.page.set_viewport_size({"width": width, "height": max(height, whole)})
    lab.page.wait_for_timeout(300)
    lab.page.screenshot(path=pictures / f"lab-{look}.png")
    lab.page.set_viewport_size({"width": width, "height": height})
    assert not overflow
    if look != "phone":  # beside one another, or below: never squeezed
        boxes = lab.page.locator(".st-key-panels .js-plotly-plot, .st-key-closer-look .js-plotly-plot").all()
        assert len(boxes) == 5 and all(box.bounding_box()["width"] > 240 for box in boxes)
    dark = scheme == "dark"
    assert (colors["ground"] < 80) is dark and (colors["text"] > 128) is dark
    lab.open("/runs")
    lab.page.locator('[data-testid="stDataFrame"] canvas').first.wait_for()
    lab.page.screenshot(path=pictures / f"runs-{look}.png")
    assert not lab.page.evaluate(OVERFLOW)
    assert not lab.errors
