"""The Runs page in a browser: it lists, opens and deletes."""

import pytest

from tests.pages.recorded import experiment, play

GRID = '[data-testid="stDataFrame"]'
CELLS = f"() => [...document.querySelectorAll('{GRID} table tbody tr')].map(row => row.innerText)"


@pytest.fixture(scope="module")
def recorded(server) -> str:
    """Three finished runs; returns the experiment of the newest."""
    for method in ("finetune", "joint"):
        play(server.store, experiment(method)[0])
    return server.store.run(play(server.store, experiment("er")[0])).experiment


def select_first(lab) -> None:
    canvas = lab.page.locator(f"{GRID} canvas").first
    box = canvas.bounding_box()
    lab.page.mouse.click(box["x"] + 18, box["y"] + 53)
    lab.button("open").wait_for()
    lab.settle()


def test_list_open_and_delete(server, new_page, recorded):
    lab = new_page(server, "/runs")
    lab.page.locator(f"{GRID} canvas").first.wait_for()
    rows = lab.until(lambda: lab.page.evaluate(CELLS))
    assert len(rows) == 3 and "Experience replay" in rows[0] and "finished" in rows[0]

    select_first(lab)
    lab.button("open").click()
    lab.until(lambda: lab.query.get("x") == [recorded])
    lab.first_point()
    lab.shows("finished")
    lab.until(lambda: lab.controls().get("method-rehearsal") == "Experience replay")  # its code may still be loading

    lab.page.get_by_role("link", name="Runs").first.click()
    lab.page.locator(f"{GRID} canvas").first.wait_for()
    lab.settle()
    select_first(lab)
    lab.button("delete-selected").click()
    lab.button("delete-kept").wait_for()
    assert server.store.count_runs() == 3
    lab.button("delete-confirmed").click()
    server.until(lambda: server.store.count_runs() == 2, seconds=20)
    lab.until(lambda: len(lab.page.evaluate(CELLS)) == 2)
    assert not server.rows(recorded)
