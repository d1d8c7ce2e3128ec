"""Decision regions and the drawer in a browser: maps move while training, a finished run is a film, tables agree."""

import pytest

from tests.pages.recorded import experiment
from tests.pages.test_insight import film, layers, play

MAP = '[class*="st-key-map-"] .js-plotly-plot'
MOMENT = f"() => document.querySelector('{MAP}')._fullLayout.annotations[0].text"
CROSSES = f"""() => document.querySelector('{MAP}').data.filter(t => t.mode === 'markers')
    .map(t => t.marker.symbol.filter(s => s === 'x').length)"""
CLOCK = ".st-key-film .lab-clock"
BARS = "() => document.querySelector('.st-key-inside-importance-by-layer .js-plotly-plot').data[0].y"
TOY = {"benchmark": "toy-2d", "method": ["finetune"], "seeds": 1, "epochs": 60}


@pytest.fixture(scope="module")
def recorded(server) -> str:
    return play(server.store, experiment("ewc")[0], layers(1), layers(2), *film())


def test_a_live_map_moves_on_one_node_and_ends_as_a_film(server, new_page):
    lab = new_page(server, **TOY)
    experiment_id = lab.run()
    lab.page.locator(f"{MAP} .heatmaplayer image").first.wait_for(timeout=60_000)
    lab.page.evaluate(f"() => {{ document.querySelector('{MAP}').marked = true; }}")
    seen = set()
    lab.until(lambda: seen.add(lab.page.evaluate(MOMENT)) or len(seen) >= 3, seconds=60)
    server.wait(experiment_id, "finished")
    lab.shows("finished")
    lab.page.locator(CLOCK).wait_for()
    assert lab.page.evaluate(f"() => document.querySelector('{MAP}').marked")
    lab.until(lambda: "after T4" in lab.page.evaluate(MOMENT))
    assert lab.page.evaluate(CROSSES)[0] > 0
    assert not lab.errors


def test_a_film_plays_from_the_beginning_in_the_browser(server, new_page, recorded):
    lab = new_page(server, x=recorded)
    clock = lab.page.locator(CLOCK)
    lab.page.locator(f"{MAP} .heatmaplayer image").first.wait_for()
    lab.settle()
    lab.until(lambda: "after T2" in lab.page.evaluate(MOMENT) and lab.page.evaluate(CROSSES) == [0, 2])
    sent = lab.sent
    clock.get_by_role("button").click()
    lab.until(lambda: "before training" in lab.page.evaluate(MOMENT))
    assert lab.page.evaluate(CROSSES) == [0, 0]
    lab.until(lambda: "after T2" in lab.page.evaluate(MOMENT))
    assert lab.page.evaluate(CROSSES) == [0, 2] and lab.sent == sent and not lab.errors


def test_the_keyboard_moves_through_a_film(server, new_page, recorded):
    lab = new_page(server, x=recorded)
    slider = lab.page.locator(CLOCK).get_by_role("slider")
    lab.page.locator(f"{MAP} .heatmaplayer image").first.wait_for()
    lab.settle()
    slider.focus()
    slider.press("Home")
    lab.until(lambda: "before training" in lab.page.evaluate(MOMENT))
    for _ in range(20):  # a twentieth of a task each
        slider.press("ArrowRight")
    lab.until(lambda: "after T1" in lab.page.evaluate(MOMENT))
    slider.press("End")
    lab.until(lambda: "after T2" in lab.page.evaluate(MOMENT))
    assert slider.get_attribute("aria-valuetext") == "after all tasks" and not lab.errors


def test_a_fresh_deep_link_opens_the_drawer_and_its_table_agrees(fresh_server, new_page):
    run_id = play(fresh_server.store, experiment("ewc")[0], layers(1), layers(2))
    lab = new_page(fresh_server, x=run_id, inside="true")
    lab.page.locator(".st-key-inside-importance-by-layer .barlayer").wait_for()
    lab.settle()
    assert lab.page.evaluate(BARS) == [4, 2, 0.5] and lab.query["inside"] == ["true"]
    lab.key("inside-table-importance-by-layer").locator("button").first.click()
    cells = "() => [...document.querySelectorAll('[data-testid=\"stPopoverBody\"] table tbody tr')].map(r => r.innerText)"
    rows = lab.until(lambda: lab.page.evaluate(cells))
    assert "layer 1" in rows[0] and "4" in rows[0] and "0.5" in rows[2]
    lab.key("inside").locator("summary").first.click()
    lab.until(lambda: "inside" not in lab.query)
    assert not lab.errors
