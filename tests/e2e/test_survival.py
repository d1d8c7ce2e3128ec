"""What a run and its page survive: a reload, a second tab, the death of the server, the death of the worker."""

import psutil
import pytest

from tests.e2e.lab_page import LabPage
from tests.e2e.server import matrices

ENDLESS = "method=finetune&seeds=1&epochs=400&option.tasks=10"
WHOLE = {"method": "er", "seeds": 2, "epochs": 30, "option.tasks": 3}


@pytest.fixture(scope="module")
def endless(server, browser):
    """The experiment of a run that outlasts the tests, started from the page."""
    context = browser.new_context()
    lab = LabPage(context.new_page(), server)
    lab.open(f"/?{ENDLESS}")
    experiment = lab.run()
    server.wait(experiment, "running")
    context.close()
    yield experiment
    for row in server.rows(experiment):
        server.store.want(row.id, "cancel")


def test_a_reload_and_a_second_tab_find_the_run(server, new_page, endless):
    lab = new_page(server, x=endless)
    lab.first_point()
    lab.page.reload()
    lab.first_point()
    assert "running" in lab.status
    before = sum(lab.points())
    lab.until(lambda: sum(lab.points()) > before)
    second = new_page(server, x=endless)
    second.first_point()
    second.until(lambda: sum(second.points()) > before)
    assert [row.attempts for row in server.rows(endless)] == [1]


def test_a_killed_server_comes_back_to_its_run(server, new_page, endless):
    lab = new_page(server, x=endless)
    lab.first_point()
    [row] = server.rows(endless)
    server.kill()
    position = server.store.run(row.id).position
    server.until(lambda: server.store.run(row.id).position > position, seconds=20)  # with nobody looking
    before = sum(lab.points())
    server.start()
    lab.until(lambda: sum(lab.points()) > before, seconds=60)  # the open page, by itself
    fresh = new_page(server, x=endless)
    fresh.first_point()
    now = server.store.run(row.id)
    assert "running" in fresh.status
    assert (now.pid, now.pid_started, now.attempts) == (row.pid, row.pid_started, 1)


def test_a_killed_worker_restarts_and_ends_where_an_undisturbed_run_does(server, new_page, endless):
    for row in server.rows(endless):
        server.store.want(row.id, "cancel")
    server.wait(endless, "cancelled", seconds=20)
    lab = new_page(server, **WHOLE)
    disturbed = lab.run()
    lab.first_point()
    lab.watch_charts()
    [run] = server.rows(disturbed)
    killed = server.until(lambda: (row := server.store.run(run.id)).position > 1.1 and row, seconds=60)
    assert killed.state == "running" and killed.position < 3
    psutil.Process(killed.pid).kill()
    server.wait(disturbed, "lost", seconds=10)
    again = server.wait(disturbed, "running", seconds=60)[0]
    assert again.attempts == 2 and again.pid != killed.pid
    [row] = server.wait(disturbed)
    assert row.state == "finished"
    resumed = [event for _, event in server.store.events_after(run.id) if event.type == "resumed"]
    assert [event.task for event in resumed] == [int(killed.position)]
    lab.shows("finished")
    words = " ".join(lab.probe["words"])
    assert "restarting" in words and lab.probe["appeared"] == lab.probe["vanished"] == 0, lab.probe

    undisturbed = lab.run()
    other = server.wait(undisturbed)
    assert undisturbed != disturbed and other[0].attempts == 1
    assert matrices([row]) == matrices(other)
