"""The Trade-off page in a browser: a fresh link, numbers that agree, a point that is clicked, a sweep that fills in."""

import pytest

from tests.pages.recorded import experiment, play, recording

PLANE = ".st-key-plane .js-plotly-plot"
TRACES = """selector => document.querySelector(selector)?.data?.filter(t => t.ids).map(
    t => ({ name: t.name, ids: t.ids, x: t.x, y: t.y, opacity: t.marker.opacity }))"""
CELLS = """() => [...document.querySelectorAll('.st-key-table-plane table tbody tr')].map(
    row => [...row.children].map(cell => cell.innerText))"""
# Where a point is on the screen.
PLACE = """([selector, id]) => {
    const plot = document.querySelector(selector), box = plot.getBoundingClientRect(), f = plot._fullLayout;
    const trace = plot.data.find(t => t.ids && t.ids.includes(id)), i = trace.ids.indexOf(id);
    return [box.x + f._size.l + f.xaxis.l2p(trace.x[i]), box.y + f._size.t + f.yaxis.l2p(trace.y[i])];
}"""


@pytest.fixture(scope="module")
def recorded(server) -> None:
    for spec in experiment("finetune", "ewc", "er", "joint", strengths=(0, 30, 300), memories=(10, 200)):
        play(server.store, spec)


def points(lab) -> dict[str, tuple[float, float]]:
    traces = lab.until(lambda: lab.page.evaluate(TRACES, PLANE), seconds=60)
    return {id_: (x, y) for t in traces for id_, x, y in zip(t["ids"], t["x"], t["y"], strict=False)}


def test_a_fresh_link_shows_the_numbers_of_its_table(server, new_page, recorded):
    lab = new_page(server, "/tradeoff", stream="permuted-digits.domain", point="er~m200")
    drawn = points(lab)
    assert set(drawn) == {"finetune", "ewc~0", "ewc~30", "ewc~300", "er~m10", "er~m200", "joint"}
    assert "Experience replay" in lab.key("configuration").inner_text()
    lab.key("table-plane").locator("summary").click()
    rows = lab.until(lambda: lab.page.evaluate(CELLS))
    (row,) = [row for row in rows if "memory 200" in row]
    stability, plasticity = drawn["er~m200"]
    assert {f"{stability:g}", f"{plasticity:g}"} <= set(row)


def test_a_click_opens_the_configuration_and_names_it_in_the_link(server, new_page, recorded):
    lab = new_page(server, "/tradeoff")
    points(lab)
    lab.page.wait_for_timeout(500)  # the last layout pass of the page
    lab.page.mouse.click(*lab.page.evaluate(PLACE, [PLANE, "ewc~300"]))
    lab.until(lambda: lab.query.get("point") == ["ewc~300"])
    lab.until(lambda: "λ = 300" in lab.key("configuration").inner_text())
    assert lab.query["stream"] == ["permuted-digits.domain"] and not lab.errors


def test_a_live_sweep_fills_in_on_the_same_node(server, new_page, recorded):
    spec = experiment("ewc", strengths=(10, 1000), scenario="task")[0]
    events = list(enumerate(recording(spec), start=1))
    finished = [i for i, (_, event) in enumerate(events, start=1) if event.type == "task_finished"]
    (run_id,) = server.store.add([spec], state="running")
    server.store.append(run_id, events[: finished[3]])
    lab = new_page(server, "/tradeoff", stream="permuted-digits.task")
    before = points(lab)
    assert set(before) == {"ewc~10", "ewc~1000"}
    lab.page.evaluate("selector => { document.querySelector(selector).tagged = true; }", PLANE)
    server.store.append(run_id, events[finished[3] :])
    lab.until(lambda: lab.page.evaluate(TRACES, PLANE)[0]["opacity"] == [1, 1], seconds=60)
    assert points(lab) != before
    assert lab.page.evaluate("selector => document.querySelector(selector).tagged", PLANE)
