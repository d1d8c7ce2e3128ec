"""Lessons: a prediction is locked before anything runs, then laid over what happened."""

import pytest

from clcore import events as ev
from clcore.charts.prediction import Line, curve_figure, options_figure
from clcore.charts.theme import method_style
from clcore.charts.words import KILOBYTES
from clcore.frames import Series, Spread, spread
from clcore.spec import RunSpec
from clcore.store import Classroom
from clcore.ui.learn.guide import _found_runs, prediction_table
from clcore.ui.learn.lessons import Option, Question, lessons, truth
from clcore.ui.learn.verdict import verdict
from tests.pages import recorded
from tests.pages.recorded import play, recording
from tests.unit.test_charts import valid
from tests.unit.test_frames import Events

PAGE = "pages/learn/learn.py"
STEPS = [(lesson, step) for lesson in lessons().values() for step in lesson.steps]
ASKED = "forget/task-one"


@pytest.fixture(autouse=True)
def all_methods_can_be_played(monkeypatch):
    for name in {run.method.name for _lesson, step in STEPS for run in step.runs()}:
        monkeypatch.setitem(recorded.KEPT, name, recorded.KEPT.get(name, 0.8))


def step_one():
    return lessons()["forget"].steps[0]


def words(at) -> str:
    return " ".join(m.value for m in (*at.markdown, *at.caption))


# ---- the lessons themselves -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("lesson, step", STEPS, ids=[f"{lesson.name}/{step.name}" for lesson, step in STEPS])
def test_a_step_asks_what_its_runs_can_answer(lesson, step):
    runs = step.runs()
    assert all(isinstance(run, RunSpec) for run in runs) and len({run.model_dump_json() for run in runs}) == len(runs)
    assert {run.method.name for run in runs} <= set(lesson.methods)
    series = [Series("r").pull(Events(recording(run))) for run in runs]
    asked = step.question
    assert asked.tasks == runs[0].benchmark_options["tasks"]
    assert len({o.name for o in asked.options}) == len(asked.options) >= 2
    settings = [(o.run, o.config(series[o.run])) for o in asked.options]
    assert len(set(settings)) == len(settings)
    assert all(config in series[run].configs for run, config in settings)
    for option in asked.options:
        points = truth(asked, option, series[option.run])
        assert all(p is not None and p.mean is not None for p in points)
    assert step.text.endswith(".") and step.told.endswith(".") and step.question.prompt.endswith("?")


@pytest.mark.parametrize("lesson", lessons().values(), ids=lambda lesson: lesson.name)
def test_a_lesson_has_steps_of_its_own_and_notes(lesson):
    assert len({step.name for step in lesson.steps}) == len(lesson.steps) and sum(m for m, _n in lesson.notes) >= 10


# ---- locking and running --------------------------------------------------------------------------------------------


def test_the_page_opens_with_the_lessons(app):
    at = app(PAGE)
    assert [b.key for b in at.button if b.label == "Begin"] == [f"begin-{name}" for name in lessons()]
    at.button(key="begin-forget").click().run()
    assert at.query_params["lesson"] == "forget" and at.header[0].value == lessons()["forget"].title


def test_nothing_runs_before_the_prediction_is_locked(app, store, woken):
    at = app(PAGE, lesson="forget")
    assert not any(b.label == "Run" for b in at.button) and len(at.number_input) == 5
    at.number_input(key=f"level-{ASKED}-1").set_value(70.0)
    at.button(key=f"lock-{ASKED}").click().run()
    assert all(n.disabled for n in at.number_input) and not store.count_runs()
    me = at.query_params["me"]
    assert Classroom.in_database(store).prediction_of(ASKED, me).answer == [50, 70, 50, 50, 50]
    before = len(woken)
    at.button(key=f"run-{ASKED}").click().run()
    assert [row.method for row in store.runs()][::-1] == ["finetune", "joint"] and len(woken) > before
    assert at.query_params["ran"] == ASKED and "queued" in words(at)


def locked(app, store, question=ASKED, answer=(95, 80, 60, 50, 40), **query):
    Classroom.in_database(store).lock(question, "me", list(answer) if not isinstance(answer, str) else answer,
                                      room=query.get("class", ""))  # fmt: skip
    name, step = question.split("/")
    at = next(i for i, s in enumerate(lessons()[name].steps, start=1) if s.name == step)
    return app(PAGE, lesson=name, step=str(at), me="me", **query)


def test_a_stored_result_is_shown_and_nothing_is_trained_again(app, store):
    for run in step_one().runs():
        play(store, run)
    at = locked(app, store)
    assert "was run before" in words(at)
    at.button(key=f"run-{ASKED}").click().run()
    assert store.count_runs() == 2 and "points off on average" in words(at)
    frame = at.dataframe[0].value
    assert list(frame["prediction"]) == [95, 80, 60, 50, 40]
    series = Series("r").pull(Events(recording(step_one().runs()[0])))
    shown = truth(step_one().question, step_one().question.options[0], series)
    assert list(frame["Fine-tuning"]) == [round(100 * p.mean, 2) for p in shown]


def test_a_reload_shows_what_was_locked_and_run(app, store):
    for run in step_one().runs():
        play(store, run)
    at = locked(app, store, ran=ASKED)
    assert at.number_input[1].value == 80 and at.number_input[1].disabled and "points off on average" in words(at)


def test_a_live_run_fills_the_chart(app, store):
    first, second = step_one().runs()
    play(store, first, until=2)
    store.add([second])
    at = locked(app, store, ran=ASKED)
    assert "of 10 tasks trained" in words(at) and "points off" not in words(at)
    assert at.dataframe[0].value["Fine-tuning"].notna().sum() == 2


def test_a_failed_run_says_why_and_can_be_repeated(app, store):
    first, second = step_one().runs()
    play(store, second)
    store.end(store.add([first])[0], ev.RunFailed(message="The memory was full."))
    at = locked(app, store, ran=ASKED)
    assert at.error[0].value == "The memory was full."
    at.button(key=f"run-{ASKED}").click().run()
    assert store.count_runs() == 3 and store.count_runs(states={"queued"}) == 1


def test_diverged_networks_make_no_verdict(app, store):
    first, second = step_one().runs()
    play(store, first, diverged=(1,))
    play(store, second)
    assert "No verdict" in words(locked(app, store, ran=ASKED))


def test_a_class_sees_its_predictions_only_after_locking(app, store):
    room = Classroom.in_database(store)
    for k, who in enumerate(("ann", "bo", "cy")):
        room.lock(ASKED, who, [90, 60 + 10 * k, 50, 40, 30], room="7b")
    at = app(PAGE, **{"lesson": "forget", "class": "7b"})
    assert "3 predictions are locked" in words(at) and "3 predictions of the class" not in words(at)
    at.toggle(key="present").set_value(True).run()
    assert "3 predictions of the class" in words(at)
    at = locked(app, store, **{"class": "7b"})
    assert "4 predictions of the class" in words(at)


def test_votes_are_taken_and_judged(app, store):
    step = lessons()["springs"].steps[1]
    play(store, step.runs()[0])
    at = app(PAGE, lesson="springs", step="2")
    assert at.button(key="lock-springs/strength").disabled
    at.radio(key="vote-springs/strength").set_value("0").run()
    at.button(key="lock-springs/strength").click().run()
    at.button(key="run-springs/strength").click().run()
    assert "You voted for λ = 0" in words(at)


@pytest.mark.parametrize("name", list(lessons()))
def test_every_step_of_a_lesson_opens(app, name):
    for k in range(1, len(lessons()[name].steps) + 1):
        at = app(PAGE, lesson=name, step=str(k))
        assert lessons()[name].steps[k - 1].text in words(at) and not at.warning


def test_five_hundred_runs_do_not_matter(store, app):
    store.add(list(step_one().runs()) * 250)
    at = locked(app, store)
    assert any(b.label == "Run" for b in at.button)


def test_the_newest_finished_run_answers_and_a_live_one_is_joined(store):
    first, second = step_one().runs()
    old, new = play(store, first), play(store, first)
    live = store.add([first, second])[1]
    assert old != new and [row.id for row in _found_runs(store, [first, second])] == [new, live]


# ---- accuracy and size ----------------------------------------------------------------------------------------------


def rooms_step(name: str):
    return next(step for step in lessons()["rooms"].steps if step.name == name)


def grown(run: RunSpec, bytes_after=lambda k: 1000 * k * k, identical: bool | None = None):
    """A recording whose networks keep this many bytes after task k, all replicas the same."""
    for event in recording(run):
        if event.type == "task_finished":
            proof = ev.Verdict(identical=identical, changed_by=None, largest_change=0.0)
            event = event.model_copy(update={
                "footprint": [{"parameters": bytes_after(event.task)}] * len(run.replicas),
                "old_logits": None if identical is None else [proof] * len(run.replicas),
            })  # fmt: skip
        yield event


def test_a_size_is_told_in_kilobytes_by_chart_table_and_verdict(app, store):
    for run in rooms_step("size").runs():
        run_id = store.add([run], state="running")[0]
        store.append(run_id, list(enumerate(grown(run, identical=True), start=1)))
    at = locked(app, store, "rooms/size", (1, 4, 9, 16, 35), ran="rooms/size")
    assert "You were 2 kB off on average, most at T5: you said 35, it was 25 kB (in each of 3 networks)." in words(at)
    assert list(at.dataframe[0].value["PNN"]) == [1, 4, 9, 16, 25]
    table = at.dataframe[1].value
    assert list(table["after task 1"]) == ["1 kB"] * 3 and list(table["after task 5"]) == ["25 kB"] * 3
    assert table["average accuracy"].str.endswith(" %").all() and set(table["old outputs"]) == {"identical"}
    assert "old outputs identical, bit for bit" in words(at)


def test_who_promises_nothing_carries_no_badge(app, store):
    for run in rooms_step("den").runs():
        run_id = store.add([run], state="running")[0]
        proof = True if run.method.name == "cpg" else None
        store.append(run_id, list(enumerate(grown(run, identical=proof), start=1)))
    at = locked(app, store, "rooms/den", ran="rooms/den")
    assert list(at.dataframe[1].value["old outputs"]) == ["no promise", "identical"]
    assert any(m.value == "CPG" for m in at.markdown) and not any(m.value == "DEN" for m in at.markdown)


@pytest.mark.parametrize("step", lessons()["rooms"].steps, ids=lambda step: step.name)
def test_methods_that_grow_are_never_shown_by_accuracy_alone(step):
    assert step.sizes


# ---- verdict, table and charts --------------------------------------------------------------------------------------

VOTE = Question("vote", "Which?", (Option("a", "A"), Option("b", "B")))
LEVELS = Question("levels", "How much?", VOTE.options)


def over(*values: float) -> Spread:
    return spread(list(values))


def test_a_vote_is_judged_by_means_and_intervals():
    clear = [over(0.9, 0.91, 0.92), over(0.5, 0.51, 0.52)]
    close = [over(0.9, 0.7, 0.8), over(0.79, 0.8, 0.75)]
    assert verdict(VOTE, "a", clear) == "You voted for A, and it came out best, with 91.0 ± 2.5 % (3 seeds)."
    assert "You voted for B" in verdict(VOTE, "b", clear) and "overlap" not in verdict(VOTE, "b", clear)
    assert "do not settle it" in verdict(VOTE, "a", close) and "do not settle it" in verdict(VOTE, "b", close)
    lowest = Question("vote", "Which?", VOTE.options, metric="forgetting", best="lowest")
    assert "best was B" in verdict(lowest, "a", clear)


def test_numbers_are_judged_by_their_distance():
    said = verdict(LEVELS, [80, 60], [over(0.9, 0.9, 0.9), over(0.54, 0.54, 0.54)])
    assert said.startswith("You were 8 points off on average, most at A: you said 80, it was 90.0")
    assert "No verdict" in verdict(LEVELS, [1, 2], [None, over(0.5)])


def test_tables_hold_the_charts_numbers():
    points = [over(0.9, 0.92, 0.94), None]
    figure = options_figure(LEVELS.labels, points, [method_style("er")] * 2, "%", mine=[80, 60])
    table = prediction_table(LEVELS, [80, 60], [[p] for p in points])
    truth_trace, mine = figure["data"][-2], figure["data"][-1]
    assert truth_trace["y"][0] == table["truth"][0] == 92 and truth_trace["y"][1] is None and mine["y"] == [80, 60]


def test_charts_are_valid_and_keep_their_traces():
    points = [over(0.9, 0.92, 0.94), over(0.5), None]
    lines = [Line("EWC", method_style("ewc"), points), Line("ER", method_style("er"), [None] * 3)]
    empty = [Line(line.name, line.style, [None] * 3) for line in lines]
    crowd = [[90, 80, 70], [95, 60, 50], [10, 20, 30]]
    labels = ("T1", "T2", "T3")
    full, bare = curve_figure(labels, lines, [90, 50, 40], crowd, title="%"), curve_figure(labels, empty, None, title="%")
    for figure in (full, bare, curve_figure(labels, lines, [1, 2, 3], crowd[:1], title="%")):
        valid(figure)
    assert [t["type"] for t in full["data"]] == [t["type"] for t in bare["data"]]
    assert full["data"][1]["y"] == [90, 60, 50]  # the class's median
    sizes = [over(87e3, 87e3), over(1.3e6, 1.4e6), None]
    in_bytes = [Line("PNN", method_style("pnn"), sizes)]
    figure = curve_figure(labels, in_bytes, [90, 200, 300], title="kB", unit=KILOBYTES)
    valid(figure)
    assert figure["data"][4]["y"] == [87, 1350] and figure["layout"]["yaxis"]["range"][1] > 1400
    styles = [method_style("er")] * 3
    for figure in (
        options_figure(labels, sizes, styles, "kB", mine=[1, 2, 3000], unit=KILOBYTES),
        options_figure(labels, points, styles, "%", mine=[1, 2, 3], crowd=crowd),
        options_figure(labels, [None] * 3, styles, "%"),
        options_figure(labels, points, styles, "%", vote=2, votes=[3, 0, 1], signed=True),
    ):
        valid(figure)
        assert [t["type"] for t in figure["data"]] == ["bar", "box", "scatter", "scatter"]


def test_a_difference_may_be_negative_and_is_told_in_points(app):
    asked = next(step for step in lessons()["later"].steps if step.name == "alike").question
    at = app(PAGE, lesson="later", step="3")
    box = at.number_input(key="level-later/alike-0")
    assert box.min == -100 and box.value == 0 and box.label.endswith("pts")
    said = verdict(asked, [5, 5, 5], [spread([0.05, 0.06, 0.07]), spread([0.0, 0.01, 0.02]), spread([-0.05, -0.03, -0.01])])
    assert "it was -3.0 ± 5.0 points" in said or "it was −3.0 ± 5.0 points" in said


def test_task_one_at_the_end_is_its_last_cell():
    step = next(step for step in lessons()["later"].steps if step.name == "practice")
    series = Series("r").pull(Events(recording(step.runs()[0])))
    (point,) = truth(step.question, step.question.options[0], series)
    cells = series.matrix(series.configs[0])
    assert point.mean == cells[(cells["row"] == 5) & (cells["task"] == 1)]["mean"].iloc[0]


def test_an_axis_around_zero_holds_what_is_shown():
    points = [spread([-0.06, -0.05, -0.04]), spread([0.04, 0.05, 0.06])]
    figure = options_figure(["a", "b"], points, [method_style("er")] * 2, "t", signed=True, fitted=True, mine=[20, -9])
    valid(figure)
    low, high = figure["layout"]["yaxis"]["range"]
    assert low < -9 and 20 < high < 25
