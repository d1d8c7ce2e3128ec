"""The Compare page in a browser: a link opens it, its charts say what its tables say, groups come and go, files leave it."""

import json

import pytest

from tests.e2e.lab_page import LabPage
from tests.e2e.test_runs_page import GRID
from tests.pages.recorded import experiment, play

DATA = """selector => document.querySelector(selector + ' .js-plotly-plot').data
    .map(t => ({ name: t.name, x: t.x, y: t.y, z: t.z, show: t.showlegend }))"""
CELLS = """selector => [...document.querySelectorAll(selector + ' table tbody tr')]
    .map(row => [...row.cells].map(cell => cell.innerText.trim()))"""


@pytest.fixture(scope="module")
def recorded(server) -> list[str]:
    """Three finished runs of five seeds."""
    return [play(server.store, spec, experiment="compare") for spec in experiment("finetune", "ewc", "er", seeds=5)]


def drawn(lab: LabPage, key: str) -> list[dict]:
    selector = f".st-key-{key}"
    lab.page.locator(f"{selector} .js-plotly-plot .main-svg").first.wait_for()
    return lab.page.evaluate(DATA, selector)


def metrics(lab: LabPage) -> list[list[str]]:
    return lab.until(lambda: lab.page.evaluate(CELLS, ".st-key-metrics-table"))


def test_a_link_opens_it_and_a_charts_number_is_the_tables(server, new_page, recorded):
    lab = new_page(server, "/compare", runs=",".join(recorded))
    rows = metrics(lab)
    assert [row[0] for row in rows] == ["Fine-tuning", "EWC · λ 30", "Experience replay · M 200"]
    lines = [trace for trace in drawn(lab, "averages") if trace["show"]]
    for row, line in zip(rows, lines, strict=True):
        assert row[0] == line["name"] and row[3].startswith(f"{line['y'][-1]:.1f} ±")
    assert lab.page.locator(".st-key-metrics-table strong").first.inner_text() == rows[2][3]
    difference = next(trace for trace in drawn(lab, "difference") if trace["z"])
    last = difference["z"][-1]
    pair = lab.page.evaluate(CELLS, ".st-key-differences-table")[0]
    # The last row's mean over the tasks is the difference in average accuracy, the other way round.
    assert float(pair[2].replace("−", "-")) == pytest.approx(-sum(last) / len(last), abs=0.06)
    assert not lab.errors


def test_groups_are_switched_off_and_the_link_remembers(server, new_page, recorded):
    lab = new_page(server, "/compare", runs=",".join(recorded))
    assert len(metrics(lab)) == 3
    lab.key("shown").get_by_role("button", name="EWC").click()
    lab.until(lambda: len(metrics(lab)) == 2 and lab.query.get("hide"))
    lab.key("points").get_by_text("while training").click()
    lab.until(lambda: lab.query.get("points") == ["training"])
    again = new_page(server, lab.page.url.removeprefix(server.url))
    assert [row[0] for row in metrics(again)] == ["Fine-tuning", "Experience replay · M 200"]
    assert len(drawn(again, "averages")[-1]["y"]) == 20  # every live evaluation


def test_a_curve_over_time_and_smoothed_says_what_its_table_says(server, new_page, recorded):
    lab = new_page(server, "/compare", runs=",".join(recorded), points="training", over="seconds", smooth="0.5")
    line = [trace for trace in drawn(lab, "averages") if trace["show"]][-1]
    assert line["x"][0] < 0.1 and line["x"][-1] == 1.5 and len(line["y"]) == 20  # a memory method's seconds
    lab.key("smooth").get_by_role("slider").press("Home")
    lab.until(lambda: "smooth" not in lab.query)
    rough = lab.until(lambda: (now := drawn(lab, "averages")) and now[-1]["y"] != line["y"] and now[-1])
    assert rough["x"] == line["x"]


def test_headings_make_an_outline(server, new_page, recorded):
    lab = new_page(server, "/compare", runs=",".join(recorded))
    metrics(lab)
    levels = lab.page.evaluate(
        "() => [...document.querySelectorAll('.st-key-page :is(h1,h2,h3,h4,h5,h6)')].map(h => h.tagName)"
    )
    assert levels[0] == "H1" and set(levels[1:]) == {"H2"} and len(levels) > 4


def test_a_selection_of_runs_leads_here_and_leaves_as_files(server, new_page, recorded, tmp_path):
    lab = new_page(server, "/runs")
    canvas = lab.page.locator(f"{GRID} canvas").first
    canvas.wait_for()
    box = canvas.bounding_box()
    lab.page.mouse.click(box["x"] + 18, box["y"] + 18)  # all of them
    lab.button("compare-selected").click()
    lab.until(lambda: "/compare" in lab.page.url)
    assert len(metrics(lab)) == 3
    lab.settle()
    lab.button("compare-export").click()
    with lab.page.expect_download() as download:
        lab.button("compare-html").click()
    file = tmp_path / "report.html"
    download.value.save_as(file)
    report = lab.page.context.new_page()
    errors: list[str] = []
    report.on("pageerror", lambda error: errors.append(str(error)))
    report.context.set_offline(True)
    report.goto(file.as_uri())
    report.locator("#averages .main-svg").first.wait_for()
    assert not errors and report.locator("table td.best").count() >= 1
    before = report.evaluate("() => getComputedStyle(document.body).backgroundColor")
    report.locator("#look").click()
    assert report.evaluate("() => getComputedStyle(document.body).backgroundColor") != before
    lab.page.context.set_offline(False)


@pytest.mark.parametrize("format", ["svg", "png"])
def test_a_chart_is_saved_as_a_picture(server, new_page, recorded, format):
    lab = new_page(server, "/compare", runs=",".join(recorded))
    drawn(lab, "averages")
    lab.settle()
    chart = lab.page.locator(".st-key-averages .js-plotly-plot").first
    chart.hover()
    with lab.page.expect_download() as download:
        chart.locator(f'[data-title="Download as {format.upper()}"]').click()
    content = open(download.value.path(), "rb").read()
    assert content.startswith(b"<svg") if format == "svg" else content.startswith(b"\x89PNG")


def test_a_file_is_imported_or_refused_on_the_runs_page(server, new_page, recorded, tmp_path):
    lab = new_page(server, "/runs")
    row = server.store.run(recorded[0])
    changed = json.loads(json.dumps(row.result))
    changed["replicas"][0]["accuracy_matrix"][5][0] = 0.123
    good, bad = tmp_path / "good.json", tmp_path / "bad.json"
    entry = {"id": "x", "state": "finished", "spec": row.spec.model_dump(mode="json"), "result": changed}
    good.write_text(json.dumps([entry]))
    bad.write_text(json.dumps([entry | {"spec": None}]))
    before = server.store.count_runs()
    lab.button("import").click()
    upload = lab.page.locator(".st-key-import-file input[type=file]")
    upload.set_input_files(bad)
    lab.until(lambda: "bad.json: run 1 does not say what was trained" in lab.page.inner_text("body"))
    assert server.store.count_runs() == before
    upload.set_input_files(good)
    server.until(lambda: server.store.count_runs() == before + 1, seconds=30)
