"""The System page in every state, and class mode on the pages that it touches."""

from datetime import UTC, datetime, timedelta

import pytest

from clcore import events as ev
from clcore.store import Classroom
from clcore.ui.system import activity
from tests.pages.recorded import experiment, play

PAGE = "pages/system/system.py"
LAB = "pages/lab/lab.py"
RUNS = "pages/results/runs.py"


def words(at) -> str:
    kinds = (at.markdown, at.caption, at.warning, at.error, at.info, at.code)
    return "\n".join(str(e.value) for kind in kinds for e in kind)


def bars(at) -> str:
    return "\n".join(bar.proto.text for bar in at.get("progress"))


def links(at) -> dict[str, str]:
    """label → query string."""
    return {link.proto.label: link.proto.query_string for link in at.get("page_link")}


def column(at, key: str, name: str) -> list:
    [frame] = [table.value for table in at.dataframe if name in table.value.columns and key in table.value.columns]
    return list(frame[name])


@pytest.fixture
def classroom(monkeypatch):
    monkeypatch.setenv("CLCORE_INSTRUCTOR_CODE", "chalk")
    monkeypatch.setenv("CLCORE_RUNS_PER_PERSON", "4")


def unlock(at, code="chalk"):
    at.text_input(key="code").set_value(code)
    return next(b for b in at.button if b.label == "I am the instructor").click().run()


# ---- states --------------------------------------------------------------------------------------------------------


def test_nothing_yet(app, woken):
    at = app(PAGE)
    said = words(at)
    for part in ("No run in progress", "No run waiting", "not running", "0 runs", "SQLite, version 1"):
        assert part in said
    assert at.button(key="stop-everything").disabled and at.button(key="start-runner")
    assert "To the Lab" in links(at)
    for part in ("Processors:", "Memory:", "Disk of the database:"):
        assert part in bars(at)
    before = len(woken)
    at.button(key="start-runner").click().run()
    assert len(woken) > before and not at.exception


def test_what_runs_is_linked_to_the_lab(app, store):
    [run_id] = store.add(experiment("ewc", seeds=2), owner="Ada", state="starting")
    store.append(run_id, [(1, ev.RunStarted(
        method="ewc", benchmark="permuted-digits", scenario="domain", tasks=["a", "b", "c", "d"], replicas=[], epochs=1,
        chance=[], test_examples=[], train_examples=[], device="cpu"))])  # fmt: skip
    at = app(PAGE)
    row = store.run(run_id)
    assert f"x={row.experiment}" in links(at)["EWC · Permuted digits · domain"]
    assert "seeds=2" in links(at)["EWC · Permuted digits · domain"]
    assert "1 run in progress" in words(at) and "Ada · in a terminal · task 1 of 4" in words(at)


def test_a_silent_and_a_stopping_run_say_so(app, store):
    silent, stopping = store.add(experiment("ewc", "er"), state="starting")
    store.set_state(silent, "running", heartbeat=datetime.now(UTC) - timedelta(seconds=90))
    store.set_state(stopping, "running", heartbeat=datetime.now(UTC))
    store.want(stopping, "cancel")
    said = words(app(PAGE))
    assert "last sign of life 9" in said and "stopping" in said


def test_the_queue_has_places_and_reasons(app, store):
    store.add(experiment("ewc", "er", "finetune"), owner="Ada")
    store.add(experiment("l2"), owner="Lin")
    store.take_lease("here", "a", 60, pid=1, pid_started=1.0)
    at = app(PAGE, u="Lin")
    assert column(at, "why", "who") == ["Ada", "Lin (you)", "Ada", "Ada"] and column(at, "why", "place") == [1, 2, 3, 4]
    assert column(at, "why", "why")[1] == "1 run of others goes first."
    assert "4 runs waiting" in words(at) and "Your next run is in place 2." in words(at)


def test_runner_and_warm_worker(app, store):
    store.take_lease("here", "a", 60, pid=1, pid_started=1.0)
    store.renew_lease("here", "a", 60, slots=4, warm=True)
    store.take_lease("there", "b", 60)
    at = app(PAGE)
    said = words(at)
    assert "at work" in said and "warm worker" in said and "here · process 1 · 4 places" in said and "starting" in said
    assert not any(button.key == "start-runner" for button in at.button)


def test_five_hundred_runs_and_no_runner(app, store, woken):
    finished = list(experiment(seeds=1))
    for _ in range(20):
        play(store, finished[0])
    store.add(finished * 480, owner="Ada")
    at = app(PAGE)
    said = words(at)
    assert "480 runs waiting" in said and "The first 100 are shown." in said and len(column(at, "why", "why")) == 100
    assert set(column(at, "why", "why")) == {"No runner is at work."}
    assert "500 runs: 480 queued, 20 finished" in said and woken


def test_it_polls_only_while_a_run_is_live(app, store, monkeypatch):
    asked = []
    real = activity.st.fragment
    monkeypatch.setattr(activity.st, "fragment", lambda **how: asked.append(how.get("run_every")) or real(**how))
    app(PAGE)
    assert set(asked) == {None}
    asked.clear()
    store.add(experiment())
    app(PAGE)
    assert asked[-1] == activity.POLL_SECONDS


def test_gpus_are_shown(app, monkeypatch):
    from clcore.runner.load import Gpu

    activity._gpus.clear()
    monkeypatch.setattr(activity, "gpus", lambda: [Gpu(0, "H100", 20 * 10**9, 80 * 10**9, 0.37)])
    at = app(PAGE)
    activity._gpus.clear()
    assert "GPU 0, H100: 20.0 GB of 80.0 GB" in bars(at) and "GPU 0 computes 37 % of the time" in bars(at)


def test_a_full_disk_is_a_warning(app, monkeypatch):
    monkeypatch.setattr(activity, "disk", lambda folder: (10**8, 10**12))
    assert "Less than 1 GB of disk is left" in words(app(PAGE))


def test_data_sets_and_settings(app, tmp_path, monkeypatch):
    folder = tmp_path / "sets" / "KMNIST" / "raw"
    folder.mkdir(parents=True)
    (folder / "train-labels-idx1-ubyte").write_bytes(b"half")
    monkeypatch.setenv("CLCORE_DATA_DIR", str(tmp_path / "sets"))
    at = app(PAGE)
    states = dict(zip(column(at, "origin", "data"), column(at, "origin", "state"), strict=True))
    assert states["MNIST"] == "↓ will be downloaded" and states["KMNIST"] == "✕ damaged"
    assert states["Handwritten digits"] == "✓ comes with scikit-learn"
    assert "KMNIST is damaged (train-labels-idx1-ubyte" in words(at)
    table = next(t.value for t in at.table if "Variable" in t.value)
    row = table[table["Variable"] == "`CLCORE_DATA_DIR`"].iloc[0]
    assert row["Value"] == f"`{tmp_path / 'sets'}`" and row["Set by"] == "the environment"


# ---- class mode ----------------------------------------------------------------------------------------------------


def test_one_person_needs_no_nickname_and_is_not_asked(app, store):
    at = app()
    assert not any(field.key == "nickname" for field in at.text_input)
    at.button(key="run").click().run()
    assert {row.owner for row in store.runs()} == {""}
    assert not app(PAGE).button(key="stop-everything").disabled


def test_a_nickname_comes_with_a_link_and_leaves_the_address(app, store):
    at = app(u="Ada <b>", seeds="2")
    assert set(at.query_params) == {"seeds"} and not at.warning
    at.button(key="run").click().run()
    assert {row.owner for row in store.runs()} == {"Ada b"}
    at.text_input(key="nickname").set_value(" Grace ").run()
    at.button(key="run").click().run()
    assert store.count_runs(owners=["Grace"]) == 4 and at.text_input(key="nickname").value == "Grace"


def test_in_a_class_runs_belong_to_somebody(app, store, classroom):
    at = app()
    at.button(key="run").click().run()
    assert "give a nickname" in words(at) and store.count_runs() == 0
    at.text_input(key="nickname").set_value("Ada").run()
    at.button(key="run").click().run()
    assert store.count_runs(owners=["Ada"]) == 4
    at.button(key="run").click().run()
    assert "Ada has 4 of at most 4 runs" in words(at) and store.count_runs() == 4
    assert len(at.get("bidi_component")) > 1  # the runs are still shown


def test_only_the_instructor_stops_everything(app, store, classroom):
    store.add(experiment("ewc", "er"), owner="Lin")
    at = app(PAGE, u="Ada")
    assert at.button(key="stop-everything").disabled and "Only the instructor" in at.button(key="stop-everything").help
    unlock(at, "cheese")
    assert at.button(key="stop-everything").disabled and "not the code" in words(at)
    unlock(at)
    assert "You are the instructor" in words(at)
    at.button(key="stop-everything").click().run()
    assert "Cancel **0 runs in progress** and **2 waiting runs**, of 1 person?" in words(at)
    at.button(key="leave").click().run()
    assert "You are the instructor" not in words(at) and at.button(key="stop-everything").disabled


def test_the_instructors_run_is_offered_and_never_forced(app, store, classroom):
    first = store.run(play(store, experiment("er")[0])).experiment
    at = app(PAGE, u="Ada")
    assert not any(button.key == "show" for button in at.button)
    unlock(at)
    at.button(key="show").click().run()
    assert store.shown_to_all().experiment == first and store.shown_to_all().by == "Ada"
    student = app(u="Lin", seeds="2")
    assert set(student.query_params) == {"seeds"}
    student.button(key="follow-shown").click().run()
    assert set(student.query_params) == {"seeds", "x"} and student.slider(key="seeds").value == 2
    assert "shown to the class" in words(student)
    follower = app(u="Lin", x=first)
    assert "shown to the class" in words(follower) and not any(button.key == "show" for button in follower.button)
    at.button(key="unshow").click().run()
    assert not any(button.key == "follow-shown" for button in app(u="Lin").button)


def test_the_lab_shows_a_run_to_the_class(app, store):
    name = store.run(play(store, experiment("er")[0])).experiment
    at = app(x=name, u="Ada")
    at.button(key="show").click().run()
    assert store.shown_to_all().experiment == name
    at.button(key="unshow").click().run()
    assert store.shown_to_all() is None


def test_students_steer_their_own_runs_only(app, store, classroom):
    [run_id] = store.add(experiment("er"), owner="Ada")
    x = store.run(run_id).experiment
    assert app(x=x, u="Lin").button(key="cancel").disabled and "started by Ada" in words(app(x=x, u="Lin"))
    assert app(x=x).button(key="cancel").disabled
    assert not app(x=x, u="Ada").button(key="cancel").disabled


def test_mine_or_all(app, store):
    play(store, experiment("er")[0])
    store.add(experiment("ewc"), owner="Ada")
    at = app(RUNS, u="Ada")
    assert len(at.dataframe[0].value) == 2 and list(at.dataframe[0].value["owner"]) == ["Ada", ""]
    at = app(RUNS, u="Ada", whose="mine")
    assert list(at.dataframe[0].value["method"]) == ["EWC"]
    assert set(at.query_params) == {"whose"} and at.query_params["whose"] in ("mine", ["mine"])


def test_mine_without_a_nickname_and_an_unknown_choice_are_answered(app, store):
    play(store, experiment("er")[0])
    at = app(RUNS, whose="mine")
    assert "without a nickname" in words(at) and len(at.dataframe[0].value) == 1 and "owner" not in at.dataframe[0].value
    assert "`whose` can be mine or all, not 'theirs'" in words(app(RUNS, whose="theirs"))


def test_the_instructor_alone_takes_a_classs_predictions_along(app, store, classroom):
    Classroom.in_database(store).lock("forget/fine-tuning", "ann", [90.0] * 5, room="7b")
    at = app(PAGE)
    assert not any(s.key == "room" for s in at.selectbox) and "Predictions of a class" not in words(at)
    at = unlock(at)
    assert at.selectbox(key="room").options == ["7b · 1 prediction"]
    assert any(b.proto.label == "Download as CSV" for b in at.get("download_button"))


def test_without_a_prediction_the_way_to_one_is_said(app):
    assert "No class has locked a prediction yet" in words(app(PAGE))  # no code: everybody is the instructor


def test_the_queue_says_when_its_runs_start(app, store, monkeypatch):
    monkeypatch.setattr(activity, "_slots", lambda: {"cpu": 1})
    store.take_lease("here", "a", 60, pid=1, pid_started=1.0)
    [done] = store.add(experiment("er"), state="starting")
    began = datetime.now(UTC) - timedelta(minutes=10)
    store.set_state(done, "finished", slot="cpu", attempts=1, started=began, finished=began + timedelta(seconds=90))
    store.add([*experiment("er"), *experiment("er"), *experiment("ewc"), *experiment("er")])
    at = app(PAGE)
    assert column(at, "why", "starts") == ["now", "in about 1:30", "in about 3:00", "unknown"]
    assert "unknown where nothing like it has been timed" in words(at)


def test_a_bad_limit_is_one_sentence(app, monkeypatch):
    monkeypatch.setenv("CLCORE_RUNS_PER_PERSON", "lots")
    assert "CLCORE_RUNS_PER_PERSON = 'lots' is not allowed" in words(app())
