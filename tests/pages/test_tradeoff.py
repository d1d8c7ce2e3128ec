"""The Trade-off page in every state, and the numbers behind it."""

import pytest

from clcore.charts.tradeoff import plane_figure
from clcore.events import TaskFinished
from clcore.outcomes import conditions_key, outcomes, read
from clcore.spec import RunSpec
from clcore.tradeoff import table
from clcore.ui.sweep_builder import estimate, first_sweep, usual_conditions
from clcore.ui.tradeoff.choice import short_name
from tests.pages.recorded import experiment, play, recording

PAGE = "pages/results/tradeoff.py"


def charts(at) -> list:
    return at.get("bidi_component")


def said(at) -> str:
    return " ".join(element.value for kind in (at.caption, at.markdown, at.warning) for element in kind)


def sweeps(store, **how):
    for spec in experiment("finetune", "ewc", "er", "joint", strengths=(0, 3, 30, 300), memories=(10, 50, 200)):
        play(store, spec, **how)


def test_an_empty_page_queues_a_first_sweep(app, store, woken):
    at = app(PAGE)
    assert "Nothing has been trained yet" in said(at) and not charts(at)
    at.button(key="first-sweep").click().run()
    assert not at.exception and {row.method for row in store.runs()} == {"finetune", "ewc", "er", "joint"}
    assert woken and "4 runs are on their way" in said(at)


def test_the_first_sweep_is_a_valid_request():
    assert sum(len(spec.replicas) for spec in first_sweep()) == 3 * (1 + 8 + 6 + 1)


def test_one_run_is_one_point(app, store):
    play(store, experiment(seeds=1)[0])
    at = app(PAGE)
    assert len(charts(at)) == 3 and "1 seed each: no interval." in said(at)


def test_sweeps_fill_all_charts(app, store):
    sweeps(store)
    at = app(PAGE)
    assert len(charts(at)) == 5
    table = at.dataframe[0].value
    assert len(table) == 1 + 4 + 3 + 1 and table["non-dominated (means)"].any()
    assert "differ in memory bytes" in said(at)


def test_a_configuration_is_looked_at_and_linked(app, store):
    sweeps(store)
    at = app(PAGE, point="er~m50")
    assert "**Experience replay** memory 50" in said(at) and len(charts(at)) == 6
    assert "er~m50" in at.query_params["point"]
    at.selectbox(key="point").set_value("ewc~30").run()
    assert "λ = 30" in said(at) and "ewc~30" in at.query_params["point"]


@pytest.mark.parametrize(
    "query", [{"stream": "nothing.task"}, {"compute": "hours"}, {"unheard": "of"}, {"point": "er~m7"}]
)
def test_what_a_link_asks_in_vain_is_said(app, store, query):
    sweeps(store)
    at = app(PAGE, **query)
    assert "could not be used" in said(at) or "There is no configuration 'er~m7'" in said(at)
    assert len(charts(at)) == 5


def test_scenarios_never_share_a_chart(app, store):
    play(store, experiment("er")[0])
    play(store, experiment("finetune", benchmark="split-digits", scenario="class")[0])
    at = app(PAGE, stream="permuted-digits.domain")
    assert list(at.dataframe[0].value["method"]) == ["Experience replay"]
    at.selectbox(key="stream").set_value("split-digits.class").run()
    assert list(at.dataframe[0].value["method"]) == ["Fine-tuning"]


def test_other_conditions_are_shown_one_at_a_time(app, store):
    sweeps(store)
    short = experiment("er")[0]
    short = RunSpec.model_validate({**short.model_dump(), "epochs": 2})
    play(store, short)
    at = app(PAGE)
    assert len(at.dataframe[0].value) == 9
    choice = at.selectbox(key="conditions")
    assert choice.options == ["epochs 10", "epochs 2"]
    choice.set_value(short_name(conditions_key(short))).run()
    assert len(at.dataframe[0].value) == 1


def test_a_live_sweep_fills_in(app, store):
    play(store, experiment("finetune")[0])
    play(store, experiment("ewc", strengths=(0, 30))[0], until=3.5)
    at = app(PAGE)
    table = at.dataframe[0].value
    assert list(table["tasks trained"]) == [5, 3, 3] and list(table["non-dominated (means)"]) == [True, False, False]
    assert "still training" in said(at) and "none is chosen: its runs are not finished" in said(at)


def test_diverged_configurations_are_named(app, store):
    play(store, experiment("ewc", strengths=(0, 30))[0], diverged=(1,))
    assert "λ = 30: 1 of 3 diverged" in said(app(PAGE))


def test_the_builder_queues_what_it_says(app, store, woken):
    play(store, experiment("er")[0])
    at = app(PAGE)
    assert "3 runs, 30 networks" in said(at)
    at.selectbox(key="sweep-method").set_value("er").run()
    at.multiselect(key="sweep-memories-er").set_value([20, 100]).run()
    at.toggle(key="sweep-references").set_value(False).run()
    assert "1 run, 6 networks · estimated 0:03" in said(at)
    at.button(key="queue-sweep").click().run()
    (queued,) = store.runs(states={"queued"})
    assert queued.spec.grid.memories == (20, 100) and queued.spec.grid.seeds == (0, 1, 2)


def test_the_builders_choices_are_in_the_link(app, store):
    play(store, experiment("er")[0])
    at = app(PAGE)
    assert not {"new", "vary", "strengths", "budgets", "seeds", "references"} & set(at.query_params)
    at.selectbox(key="sweep-method").set_value("er").run()
    at.multiselect(key="sweep-memories-er").set_value([20, 300]).run()
    at.number_input(key="sweep-seeds").set_value(2).run()
    link = {name: at.query_params[name] for name in ("new", "budgets", "seeds")}
    again = app(PAGE, **link)
    assert again.multiselect(key="sweep-memories-er").value == [20, 300]
    assert "3 runs, 8 networks" in said(again)  # with the references
    assert next(box for box in again.expander if box.label == "New sweep").proto.expanded


@pytest.mark.parametrize(
    ("query", "told"),
    [
        ({"new": "sgd"}, "`new`"), ({"strengths": ["-1"]}, "`strengths`"), ({"seeds": "900"}, "`seeds`"),
        ({"vary": "lr"}, "`vary`"),
    ],
)  # fmt: skip
def test_a_sweep_that_a_link_asks_in_vain_is_said(app, store, query, told):
    play(store, experiment("er")[0])
    at = app(PAGE, **query)
    assert "could not be used" in said(at) and told in said(at) and at.selectbox(key="sweep-method").value == "ewc"


def test_figures_are_folded_once_until_an_outcome_changes(app, store, monkeypatch):
    from clcore.ui.tradeoff import charts as drawing
    from clcore.ui.tradeoff import fold

    made = []
    monkeypatch.setattr(fold, "table", lambda *given: made.append("table") or table(*given))
    monkeypatch.setattr(drawing, "plane_figure", lambda *given, **more: made.append("plane") or plane_figure(*given, **more))
    sweeps(store)
    live = play(store, experiment("ewc", strengths=(1,), seeds=2)[0], until=2.5)
    at = app(PAGE)
    assert made == ["table", "plane"]
    at.run()
    assert made == ["table", "plane"]  # nothing new
    events = list(recording(experiment("ewc", strengths=(1,), seeds=2)[0]))
    told = len(list(recording(experiment("ewc", strengths=(1,), seeds=2)[0], until=2.5)))
    rest = list(enumerate(events, start=1))[told:]
    row = next(i for i, (_seq, event) in enumerate(rest) if isinstance(event, TaskFinished))
    store.append(live, rest[:row])  # evaluations only
    at.run()
    assert made == ["table", "plane"]
    store.append(live, rest[row : row + 1])
    at.run()
    assert made == ["table", "plane"] * 2


def test_many_configurations_are_lines_over_their_choices(app, store):
    sweeps(store)
    play(store, experiment("ewc", strengths=(0.1,))[0], diverged=(1,))
    at = app(PAGE)
    assert len(charts(at)) == 5 and "1 configuration is not drawn, because a seed diverged" in said(at)
    frame = at.dataframe[-1].value
    assert len(frame) == 9 and list(frame.columns[:3]) == ["Method", "Strength", "Memory"]


def test_an_estimate_needs_something_that_ran(store):
    specs = (usual_conditions("permuted-digits", "domain"),)
    assert estimate(specs, []) is None
    play(store, experiment("er")[0])
    assert estimate(specs, [read(row) for row in store.runs()]) == pytest.approx(1.5)


def test_five_hundred_runs(app, store):
    spec = experiment("ewc", strengths=(0, 30), seeds=2)[0]
    for _ in range(500):
        play(store, spec, points=1)
    at = app(PAGE)
    assert len(at.dataframe[0].value) == 2 and "(500 runs)" in at.selectbox(key="stream").options[0]
    (first, second) = outcomes(store.runs())
    assert len(first.trials) == 2, "the same seeds trained again count once"
