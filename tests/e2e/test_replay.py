"""The recording on an empty first page: it plays, is steered, keeps still for who wants that, and goes when Run is pressed."""

from __future__ import annotations

import pytest

DRAWN = """() => { const plots = [...document.querySelectorAll('.lab-plot')];
    return plots.length === 4 && plots.every(plot => plot.querySelector('.main-svg')); }"""
POINTS = """() => [...document.querySelectorAll('.lab-plot')].map(plot => plot.data
    .filter(trace => trace.customdata).reduce((sum, trace) => sum + trace.x.length, 0))"""
MOVE = "(time, at) => { time.value = at; time.dispatchEvent(new Event('input')); }"


@pytest.fixture
def first(server, new_page):
    lab = new_page(server)
    lab.page.wait_for_function(DRAWN)
    return lab


def test_it_plays_at_once_and_the_slider_is_the_time(first):
    clock = first.page.locator(".lab-clock")
    before = first.page.evaluate(POINTS)
    sent = first.sent
    first.until(lambda: min(first.page.evaluate(POINTS)) > max(before))
    clock.get_by_role("slider").evaluate(MOVE, 1)
    first.until(lambda: len(set(first.page.evaluate(POINTS))) == 1)
    some = first.page.evaluate(POINTS)[0]
    clock.get_by_role("slider").evaluate(MOVE, 5)
    first.until(lambda: "after all tasks" in clock.inner_text() and min(first.page.evaluate(POINTS)) > 3 * some)
    assert first.sent == sent  # nothing asked of the server
    assert clock.get_by_role("button").inner_text().endswith("Replay")


def test_it_ends_where_its_table_does(first):
    first.page.locator(".lab-clock").get_by_role("slider").evaluate(MOVE, 5)
    last = """() => Math.round(10 * document.querySelector('.lab-plot').data
        .filter(trace => trace.mode === 'markers').reduce((sum, trace) => sum + trace.y.at(-1), 0) / 5) / 10"""
    average = first.until(lambda: first.page.evaluate(last))
    assert f"average {average:.1f}" in first.key("recorded-0").inner_text()


def test_who_prefers_less_motion_finds_the_end(server, browser):
    context = browser.new_context(viewport={"width": 1400, "height": 1000}, reduced_motion="reduce")
    page = context.new_page()
    page.goto(server.url)
    page.wait_for_function(DRAWN)
    assert "after all tasks" in page.locator(".lab-clock").inner_text()
    points = page.evaluate(POINTS)
    page.wait_for_timeout(500)
    assert page.evaluate(POINTS) == points and min(points) > 100
    context.close()


def test_run_puts_the_real_thing_in_its_place(fresh_server, new_page):
    lab = new_page(fresh_server)
    lab.page.wait_for_function(DRAWN)
    assert "recorded" in lab.status
    lab.run()
    lab.page.locator(".lab-clock").wait_for(state="detached")
    lab.until(lambda: "recorded" not in lab.status)
    lab.first_point()


def test_the_toolbar_of_a_chart_leaves_the_labels_of_the_tasks_free(server, new_page):
    lab = new_page(server)
    plot = lab.page.locator(".lab-plot.js-plotly-plot").first
    plot.hover()
    bar, labels = plot.evaluate("""plot => [plot.querySelector('.modebar').getBoundingClientRect().bottom,
        [...plot.querySelectorAll('.annotation-text')].filter(e => /^T\\d/.test(e.textContent))
            .map(e => e.getBoundingClientRect().top)]""")
    assert labels and bar <= min(labels)
    plot.locator(".modebar-btn").first.hover(timeout=5000)  # what is beside it does not cover it
