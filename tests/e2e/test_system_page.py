"""The System page and a class in a browser: stopping everything, nicknames, the instructor's run."""

import pytest

from tests.e2e.server import Server
from tests.e2e.test_look import LOOKS, OVERFLOW
from tests.pages.recorded import experiment, play

CODE = "chalk"
QUEUE = """() => [...document.querySelectorAll('.st-key-queue [data-testid="stDataFrame"] table tbody tr')]
    .map(row => [...row.children].map(cell => cell.innerText))"""


@pytest.fixture(scope="module")
def server(browser, tmp_path_factory):
    """A server of a class: with a code, and at most six runs a person."""
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("CLCORE_INSTRUCTOR_CODE", CODE)
        environment.setenv("CLCORE_RUNS_PER_PERSON", "6")
        made = Server(tmp_path_factory.mktemp("class") / "home")
        try:
            yield made.start()
        finally:
            made.stop()


@pytest.fixture
def long_runs(server):
    """Three people's runs, more than there are places, each of them too long for a test."""
    specs = [spec.model_copy(update={"epochs": 5000}) for spec in experiment("ewc", "er", "finetune", seeds=2)]
    server.store.add(specs * 40, owner="Ada")
    server.store.add(specs[:1], owner="Lin")
    yield specs
    server.store.cancel_all()
    server.until(lambda: not server.store.live_runs(), seconds=60)


def unlock(lab) -> None:
    lab.key("code").locator("input").fill(CODE)
    lab.page.get_by_role("button", name="I am the instructor").click()
    lab.page.get_by_text("You are the instructor").wait_for()


def test_everything_is_stopped_after_a_question_and_the_page_comes_to_rest(server, new_page, long_runs):
    lab = new_page(server, "/system", u="Lin")
    lab.until(lambda: "2 runs in progress" in lab.key("now").inner_text() or "1 run in" in lab.key("now").inner_text(), 90)
    assert lab.button("stop-everything").is_disabled()
    lab.until(lambda: len(rows := lab.page.evaluate(QUEUE)) > 5 and "go first" in " ".join(rows[3]))
    places = {row.place: row for row in server.store.queue_places()}
    assert len(places) + len(server.store.runs(states={"running", "starting"})) == 121

    unlock(lab)
    lab.button("stop-everything").click()
    dialog = lab.page.get_by_role("dialog")
    dialog.wait_for()
    assert "of 2 people" in dialog.inner_text() and "121 runs" in lab.button("stop-confirmed").inner_text()
    lab.button("stop-kept").click()
    dialog.wait_for(state="detached")
    assert len(server.store.live_runs()) == 121 and not server.store.runs(states={"cancelled"})

    lab.button("stop-everything").click()
    lab.button("stop-confirmed").click()
    server.until(lambda: not server.store.live_runs(), seconds=30)
    assert server.store.count_runs(states={"cancelled"}) == 121
    lab.until(lambda: "No run in progress" in lab.key("now").inner_text())
    lab.until(lambda: lab.button("stop-everything").is_disabled())
    sent = lab.sent
    lab.page.wait_for_timeout(4500)
    assert lab.sent == sent and not lab.errors


def test_a_nickname_survives_a_reload_and_is_in_no_link(server, new_page):
    lab = new_page(server, "/runs", u="Grace Hopper")
    lab.until(lambda: "u" not in lab.query)
    lab.until(lambda: any("nickname" in c["name"] and c["value"] for c in lab.page.context.cookies()))
    lab.page.goto(server.url)
    lab.key("who").wait_for()
    assert "Grace Hopper" in lab.key("who").inner_text() and "u" not in lab.query
    other = new_page(server)
    other.key("who").wait_for()
    assert "Who are you?" in other.key("who").inner_text()


def test_the_class_is_offered_the_instructors_run(server, new_page):
    shown = server.store.run(play(server.store, experiment("er")[0])).experiment
    student = new_page(server, "/", u="Lin", seeds="2")
    teacher = new_page(server, "/system")
    unlock(teacher)
    teacher.button("show").click()
    invitation = student.page.get_by_role("button", name="Follow the instructor's run")
    invitation.wait_for()  # nobody has touched the student's page
    assert "x" not in student.query
    invitation.click()
    student.until(lambda: student.query.get("x") == [shown])
    student.shows("finished")
    assert student.query["seeds"] == ["2"]
    student.page.go_back()
    student.until(lambda: "x" not in student.query)
    teacher.key("people").get_by_role("link").click()
    teacher.until(lambda: teacher.query.get("x") == [shown])
    teacher.shows("finished")
    teacher.button("unshow").click()
    server.until(lambda: server.store.shown_to_all() is None, seconds=20)


@pytest.mark.parametrize("look", LOOKS)
def test_look(server, new_page, long_runs, tmp_path, look):
    width, height, scheme = LOOKS[look]
    lab = new_page(server, "/system", width=width, height=height, scheme=scheme)
    lab.key("queue").locator("canvas").first.wait_for()
    lab.page.screenshot(path=tmp_path / f"system-{look}.png")
    assert not lab.page.evaluate(OVERFLOW) and not lab.errors
