"""A live run in a browser: charts that stay, a zoom that stays, polling that ends, a server without torch."""

import time

import psutil
import pytest

from tests.e2e.lab_page import PANEL

ENDLESS = {"method": ["finetune", "er"], "seeds": 3, "epochs": 400, "option.tasks": 10}
SHORT = {"method": ["finetune", "er"], "seeds": 3, "epochs": 12, "option.tasks": 3}
RANGE = f"() => document.querySelector('{PANEL}')._fullLayout.xaxis.range.map(v => +v.toFixed(4))"


@pytest.fixture
def polls_no_more():
    """Asserts that a page has stopped asking the server."""

    def check(lab) -> None:
        lab.settle()
        lab.page.wait_for_timeout(1500)
        before = lab.sent
        lab.page.wait_for_timeout(4000)
        assert lab.sent == before, f"{lab.sent - before} messages in 4 s after the end"

    return check


def test_charts_keep_their_nodes_their_lines_and_the_zoom(server, new_page, polls_no_more):
    lab = new_page(server, **ENDLESS)
    experiment = lab.run()
    lab.first_point()
    lab.until(lambda: lab.page.locator(".js-plotly-plot").count() == 3)  # two panels and the matrix
    lab.settle()
    lab.watch_charts()
    plot = lab.page.locator(f"{PANEL} .nsewdrag").first.bounding_box()
    unzoomed = lab.page.evaluate(RANGE)
    lab.page.mouse.move(plot["x"] + 30, plot["y"] + 30)
    lab.page.mouse.down()
    lab.page.mouse.move(plot["x"] + 150, plot["y"] + 120, steps=5)
    lab.page.mouse.up()
    lab.until(lambda: lab.page.evaluate(RANGE) != unzoomed)
    zoomed = lab.page.evaluate(RANGE)
    lab.page.evaluate("() => { document.querySelector('[data-testid=\"stMain\"]').scrollTop = 120; }")
    before, sent = lab.probe["redraws"], lab.sent
    lab.until(lambda: lab.sent >= sent + 6 and lab.probe["redraws"] >= before + 6, seconds=60)
    assert lab.page.evaluate(RANGE) == zoomed
    assert lab.page.evaluate("() => document.querySelector('[data-testid=\"stMain\"]').scrollTop") == 120
    lab.button("cancel").click()
    server.wait(experiment, "cancelled")
    lab.shows("cancelled")
    polls_no_more(lab)
    probe = lab.probe
    assert lab.page.evaluate(RANGE) == zoomed
    assert probe["charts"] == 3 and probe["frames"] > 30
    assert (probe["appeared"], probe["vanished"], probe["blank"]) == (0, 0, 0), probe
    assert not lab.errors


def test_a_run_to_its_end(server, new_page, polls_no_more):
    """From the click to the result: first point soon, charts never remounted, polling ends, the server has no torch."""
    lab = new_page(server, **SHORT)
    server.warm()
    clicked = time.perf_counter()
    experiment = lab.run()
    lab.first_point(timeout=15)
    print(f"click -> first point: {time.perf_counter() - clicked:.2f} s")
    lab.until(lambda: lab.page.locator(".js-plotly-plot").count() == 3)
    lab.settle()
    lab.watch_charts()
    rows = server.wait(experiment)
    assert {row.state for row in rows} == {"finished"}
    lab.shows("finished")
    polls_no_more(lab)
    probe = lab.probe
    assert (probe["appeared"], probe["vanished"], probe["blank"]) == (0, 0, 0), probe
    shown = lab.key("tile-acc").inner_text()
    by_label = {row.method: row for row in rows}
    first = by_label["finetune"].result["replicas"]
    assert f"{100 * sum(r['acc'] for r in first) / len(first):.1f} %" in shown
    maps = [entry.path for entry in psutil.Process(server.pid).memory_maps()]
    assert len(maps) > 10 and not [path for path in maps if "torch" in path]
    assert not lab.errors
