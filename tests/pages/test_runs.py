"""The Runs page: history, filters, opening, deleting."""

import pytest

from clcore.errors import RequestError
from clcore.ui.history import export, history_frame
from tests.pages.recorded import experiment, play

PAGE = "pages/results/runs.py"


def test_empty_history_offers_a_start(app):
    at = app(PAGE)
    assert any("No runs yet" in m.value for m in at.markdown) and at.button(key="to-lab")


def test_history_shows_mean_and_interval(app, store):
    play(store, experiment(seeds=3)[0])
    store.add(experiment("ewc"))
    frame = app(PAGE).dataframe[0].value
    assert list(frame["state"]) == ["○ queued", "✓ finished"] and "±" in frame["acc"][1] and frame["acc"][0] == ""
    assert list(frame["seeds"]) == [3, 3]


def test_filters_come_from_the_url_and_go_back_to_it(app, store):
    play(store, experiment()[0])
    play(store, experiment("er")[0])
    at = app(PAGE, methods=["er"])
    assert list(at.dataframe[0].value["method"]) == ["Experience replay"]
    at.multiselect(key="methods").set_value([]).run()
    assert len(at.dataframe[0].value) == 2 and not at.query_params
    at.text_input(key="find").set_value("nothing like it").run()
    assert "No run matches" in at.info[0].value


def test_a_diverged_run_is_counted(store):
    play(store, experiment(seeds=5)[0], diverged=(1, 2))
    assert history_frame(store.runs())["acc"][0] == "2 of 5 diverged"


def test_a_sweep_shows_its_range(store):
    play(store, experiment("ewc", strengths=(0, 10, 100))[0])
    row = history_frame(store.runs()).iloc[0]
    assert "…" in row["acc"] and row["settings"] == "λ 0, 10, 100"


def test_five_hundred_runs_are_quick(app, store):
    store.add(list(experiment()) * 500)
    at = app(PAGE)
    assert len(at.dataframe[0].value) == 200 and any("500 runs" in c.value for c in at.caption)


def test_export_holds_spec_and_result(store):
    play(store, experiment()[0])
    (entry,) = export(store.runs())
    assert entry["spec"]["benchmark"] == "permuted-digits" and len(entry["result"]["replicas"]) == 3


def test_live_runs_are_not_deleted(store):
    ids = store.add(experiment())
    with pytest.raises(RequestError):
        store.delete(ids)
