"""The Runs page: history, filters, opening, deleting."""

import pytest

from clcore.catalogue import catalogue
from clcore.errors import RequestError
from clcore.spec import MethodChoice, NetworkChoice, OptimizerChoice, RunSpec, make
from clcore.ui.history import comparison, export, history_frame
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


def test_a_sweep_with_diverged_settings_says_how_many(store):
    spec = experiment("ewc", seeds=2, strengths=(1, 30, 300))[0]
    play(store, spec, diverged=(0,))
    play(store, spec, diverged=(0, 2))
    play(store, spec, diverged=(0, 2, 4))
    all_lost, one_left, two_left = history_frame(store.runs())["acc"]
    assert all_lost == "all diverged" and one_left.endswith(" (2 diverged)") and "…" not in one_left
    assert two_left.endswith(" (1 diverged)") and "…" in two_left


def test_a_diverged_run_is_counted(store):
    play(store, experiment(seeds=5)[0], diverged=(1, 2))
    assert history_frame(store.runs())["acc"][0] == "2 of 5 diverged"


def test_a_sweep_shows_its_range(store):
    play(store, experiment("ewc", strengths=(0, 10, 100))[0])
    row = history_frame(store.runs()).iloc[0]
    assert "…" in row["acc"] and row["settings"] == "λ 0, 10, 100"


def test_settings_tell_runs_apart_that_were_trained_differently(store):
    usual = catalogue().benchmark("permuted-digits").training
    suggested = {"epochs": usual.epochs, "batch_size": usual.batch_size, "network": NetworkChoice(hidden=usual.hidden),
                 "optimizer": OptimizerChoice(name=usual.optimizer, lr=usual.lr)}  # fmt: skip
    others = (
        {}, {"epochs": 200}, {"optimizer": OptimizerChoice(name="adam", lr=0.001)}, {"network": NetworkChoice(hidden=(7,))},
        {"batch_size": 99}, {"optimizer": OptimizerChoice(name=usual.optimizer, lr=usual.lr, momentum=0.9)},
    )  # fmt: skip
    for change in others:
        store.add(experiment("er", **(suggested | change)))
    assert list(history_frame(store.runs())["settings"])[::-1] == [
        "memory 200", "memory 200 · 200 epochs", "memory 200 · Adam lr 0.001", "memory 200 · mlp 7",
        "memory 200 · batch size 99", "memory 200 · momentum 0.9",
    ]  # fmt: skip


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


def test_a_run_of_what_cannot_be_combined_any_more_is_still_shown(app, store):
    play(store, experiment()[0].model_copy(update={"method": MethodChoice(name="single+er")}))
    assert list(app(PAGE).dataframe[0].value["state"]) == ["✓ finished"]


# ---- cost, protocol, comparability ----------------------------------------------------------------------------------


def rows_of(store, *specs) -> dict:
    name = store.run(play(store, specs[0])).experiment
    for spec in specs[1:]:
        play(store, spec, experiment=name)
    return {row.method: row for row in store.runs()}


def line(frame, method: str):
    return frame[frame["method"] == method].iloc[0]


def test_history_shows_what_a_run_cost_and_how_its_strength_was_chosen(app, store):
    rows_of(store, *experiment("finetune", "ewc", "er"))
    frame = app(PAGE).dataframe[0].value
    er, ewc = line(frame, "Experience replay"), line(frame, "EWC")
    assert (er["bytes"], er["samples"], er["cost"], er["selection"]) == ("84.4 kB", "24.0 k", "1.5 ×", "–")
    assert (ewc["bytes"], ewc["cost"], ewc["selection"]) == ("70.0 kB", "1.0 ×", "by validation")


def test_networks_of_several_budgets_show_their_range(store):
    rows = rows_of(store, *experiment("er", memories=(10, 200)))
    frame = history_frame(list(rows.values()))
    assert (frame["bytes"][0], frame["samples"][0]) == ("70.7 … 84.4 kB", "12.6 … 24.0 k")


def test_without_fine_tuning_under_the_same_conditions_there_is_no_relative_time(store):
    rows = rows_of(store, *experiment("er", seeds=2), *experiment("finetune", seeds=3))
    assert line(history_frame(list(rows.values()), [rows["finetune"]]), "Experience replay")["cost"] == ""


def test_only_runs_that_may_be_ranked_share_a_letter(store):
    plain, again, other, ewc = (
        *experiment("finetune"), *experiment("l2", strengths=()), *experiment("finetune", seeds=5),
        *experiment("ewc", strengths=(31,)),
    )  # fmt: skip
    ids = [play(store, spec) for spec in (plain, plain, other, ewc, again)]
    queued = store.add([plain])
    frame = history_frame([store.run(i) for i in (*ids, *queued)])
    assert list(frame["rank"]) == ["A", "A", "B", "C", "A", ""]


def test_a_selection_says_whether_it_may_be_ranked(store):
    finetune, er = (store.run(play(store, spec)) for spec in experiment("finetune", "er"))
    assert comparison([finetune]) is None and comparison([]) is None
    assert "memory bytes" in comparison([finetune, er])[1] and "Not to be ranked" in comparison([finetune, er])[1]
    assert "may be ranked together" in comparison([finetune, store.run(play(store, finetune.spec))])[1]
    longer = make(RunSpec, **{**{k: getattr(er.spec, k) for k in RunSpec.model_fields}, "epochs": 3})
    assert "epochs" in comparison([er, store.run(play(store, longer))])[1]


def test_results_of_an_older_program_are_shown_without_what_they_lack(store):
    row = store.run(play(store, experiment("er")[0]))
    del row.result["protocol"]
    for replica in row.result["replicas"]:
        del replica["gradient_samples"], replica["bytes"]
    frame = history_frame([row], [row])
    assert frame["samples"][0] == "" and frame["bytes"][0] == "84.4 kB"
