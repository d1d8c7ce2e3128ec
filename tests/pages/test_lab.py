"""The Lab: what it opens with, what a link means, what Run asks for, and the face of every state."""

import subprocess
import sys
from datetime import UTC, datetime, timedelta

import pytest

from clcore import events as ev
from clcore.catalogue import catalogue
from clcore.errors import LabError, RequestError, StoreError
from clcore.ui import live_plot
from clcore.ui.earlier import estimated_seconds
from clcore.ui.links import link_of, params_of, regularizers, values_of
from clcore.ui.url import written
from tests.pages.conftest import ROOT
from tests.pages.recorded import experiment, play, recording


def words(at) -> str:
    kinds = (at.markdown, at.caption, at.warning, at.error, at.info, at.metric)
    return "\n".join(str(e.value) for kind in kinds for e in kind)


def charts(at) -> int:
    return sum(one.proto.component_name in ("lab_plot", "lab_clock") for one in at.get("bidi_component"))


def test_opens_with_an_experiment_and_its_recording(app):
    at = app()
    assert at.selectbox(key="question").value == "forget"
    assert "This is a recording. Press **Run**" in words(at) and charts(at) == 4 + 1  # the clock
    assert "at the end: average 50.0 ± 4.2 %" in words(at)
    assert at.code[-1].value.startswith("python -m clcore run --benchmark permuted-digits")
    table = at.dataframe[0].value
    last = table[(table["method"] == "Fine-tuning") & (table["row"] == 5)]["mean"]
    assert len(last) == 5 and round(last.mean(), 1) == 50.0
    assert not at.button(key="run").disabled


def test_a_clone_has_the_experiments_settings_in_the_controls(app, store):
    runs = [play(store, spec, experiment="mine") for spec in experiment("er", "ewc", seeds=2, epochs=3, memories=(20,))]
    at = app(x="mine")
    assert at.session_state["method"] == ["finetune", "ewc", "er", "joint"]
    at.button(key="clone").click().run()
    assert at.session_state["method"] == ["er", "ewc"] and at.slider(key="seeds").value == 2
    assert at.query_params["x"] in ("mine", ["mine"]) and at.query_params["epochs"] in ("3", ["3"])
    assert "2 runs, 4 networks" in words(at) and len(runs) == 2


def test_the_link_to_copy_is_that_of_the_controls_as_they_stand(app, store):
    at = app()
    at.slider(key="seeds").set_value(2).run()
    assert at.code[0].value.endswith("?seeds=2")


def test_an_estimate_comes_from_runs_that_differ_in_their_grid_only(app, store):
    began = datetime.now(UTC) - timedelta(hours=1)
    for spec in experiment("finetune", "ewc", seeds=2):
        run_id = play(store, spec)
        store.set_state(run_id, "finished", started=began, finished=began + timedelta(seconds=30))
    wanted = experiment("finetune", "ewc", seeds=5, strengths=(1.0, 30.0))
    assert estimated_seconds(store, wanted[:1]) == 15 * 5
    assert estimated_seconds(store, wanted) == 15 * 5 + 15 * 10
    assert estimated_seconds(store, experiment("finetune", "er")) is None
    assert estimated_seconds(store, experiment("finetune", epochs=2)) is None
    assert "estimated 1:15 or less" in words(app(method="finetune", seeds="5", hidden="100,100"))


def test_other_settings_open_with_empty_axes(app):
    at = app(epochs="3")
    assert "Press **Run** to train these methods" in words(at) and charts(at) == 4
    assert "recording" not in words(at)


def test_run_queues_one_run_a_method_and_wakes_the_runner(app, store, woken):
    at = app()
    before = len(woken)
    at.button(key="run").click().run()
    rows = store.runs()
    assert {row.method for row in rows} == {"finetune", "ewc", "er", "joint"}
    assert len({row.experiment for row in rows}) == 1 and {row.state for row in rows} == {"queued"}
    assert at.query_params["x"] == [rows[0].experiment] or at.query_params["x"] == rows[0].experiment
    assert len(woken) > before
    assert "place 1 in the queue" in words(at)


def test_a_link_is_the_experiment(app, store):
    dotted = {"ewc.strength": "25", "epochs": "3", "hidden": "32,16", "option.tasks": "2", "er.loss": "sum"}
    several = {"scenario": ["task", "class"], "method": ["er", "ewc"], "memory": ["20", "75"]}
    at = app(benchmark="split-digits", seeds="2", **several, **dotted)
    at.button(key="run").click().run()
    specs = {(r.method, r.scenario): r.spec for r in store.runs()}
    assert set(specs) == {(m, s) for m in ("er", "ewc") for s in ("task", "class")}
    er, ewc = specs["er", "task"], specs["ewc", "class"]
    assert er.grid.memories == (20, 75) and er.grid.seeds == (0, 1) and er.epochs == 3
    assert er.network.hidden == (32, 16) and er.benchmark_options["tasks"] == 2
    assert er.method.settings == {"er.loss": "sum"} and ewc.method.settings == {"ewc.strength": 25.0}


def test_a_link_says_which_network_and_how_it_is_set(app, store):
    at = app(benchmark="split-digits", method=["ewc"], network="cnn", hidden="24", **{"cnn.norm": "batch", "cnn.channels": "8"})
    at.button(key="run").click().run()
    (row,) = {row.spec.scenario: row for row in store.runs()}.values()
    network = row.spec.network
    assert (network.name, network.hidden, network.settings) == ("cnn", (24,), {"norm": "batch", "channels": 8})
    assert set(at.query_params) == {"benchmark", "method", "network", "hidden", "cnn.norm", "cnn.channels", "x"}


def test_another_network_brings_its_own_widths_and_settings(app, store):
    at = app(benchmark="split-digits", method=["finetune", "pnn"], scenario=["task"])
    at.selectbox(key="network").set_value("vgg-small").run()
    assert at.text_input(key="hidden").value == "256" and at.number_input(key="vgg-small.channels").value == 32
    said = words(at)
    assert "not on the network Small VGG" in said and "pnn does not work on the network vgg-small: its columns" in said
    assert at.button(key="run").disabled
    at.selectbox(key="network").set_value("resnet18-slim").run()
    assert at.text_input(key="hidden").value == "none" and at.text_input(key="hidden").disabled
    at.selectbox(key="network").set_value("mlp").run()
    assert at.text_input(key="hidden").value == "100,100" and not at.button(key="run").disabled
    assert "network" not in at.query_params


def test_a_sweep_is_one_run_with_many_replicas(app, store):
    at = app(question="strength")
    at.button(key="run").click().run()
    (row,) = store.runs()
    assert row.spec.method.strengths == (0, 3, 10, 30, 100, 300, 1000) and len(row.spec.replicas) == 35


def test_what_a_link_cannot_mean_is_said(app):
    at = app(seeds="99", benchmark="imagenet", nonsense="1", **{"option.tasks": "0"})
    said = words(at)
    for part in ("seeds", "imagenet", "nonsense", "permuted-digits.tasks = 0"):
        assert part in said
    assert at.slider(key="seeds").value == 5


def test_a_preset_sets_the_controls_and_the_url_stays_short(app):
    at = app()
    at.selectbox(key="question").set_value("identity").run()
    assert at.selectbox(key="benchmark").value == "split-digits"
    assert set(at.get("button_group")[0].value) == {"task", "domain", "class"}
    assert set(at.query_params) == {"question"}


def test_another_benchmark_brings_its_own_training(app):
    at = app()
    at.selectbox(key="benchmark").set_value("split-mnist").run()
    assert at.number_input(key="epochs").value == 1 and at.text_input(key="hidden").value == "256,256"
    assert set(at.query_params) == {"benchmark"}


def test_bad_settings_are_a_sentence_and_run_is_off(app):
    at = app(method=["single"], benchmark="split-digits", scenario=["class"])
    assert "single does not work in the class scenario" in words(at)
    assert at.button(key="run").disabled
    at = app(hidden="a,b")
    assert "'a' is not" in words(at)


def test_controls_without_meaning_are_disabled_with_a_reason(app):
    at = app(method=["finetune"])
    memory = at.multiselect(key="memory")
    assert memory.disabled and "None of the chosen methods" in memory.help


def test_unknown_experiment(app):
    at = app(x="nosuchrun123")
    assert "nosuchrun123" in words(at) and at.warning


def test_a_run_id_opens_its_experiment(app, store):
    run_id = play(store, experiment()[0])
    assert "finished" in " ".join(str(m.value) for m in app(x=run_id).markdown)


@pytest.mark.parametrize("state", ["queued", "starting", "running", "paused", "lost"])
def test_live_states_have_a_face(app, store, state):
    run_id = store.add(experiment())[0]
    if state != "queued":
        store.append(run_id, [(n, e) for n, e in enumerate(_first_events(), start=1)])
        store.set_state(run_id, state)
    at = app(x=run_id)
    assert {"lost": "restarting"}.get(state, state) in words(at)
    assert not at.button(key="cancel").disabled
    assert any(b.key == "resume" for b in at.button) == (state == "paused")


def test_finished_shows_metrics_matrix_and_sentences(app, store):
    specs = experiment("finetune", "er", seeds=3)
    first = play(store, specs[0])
    play(store, specs[1], experiment=store.run(first).experiment)
    at = app(x=first)
    assert [m.label for m in at.metric][:2] == ["Average accuracy", "Forgetting"]
    assert "3 seeds" in words(at) and "above fine-tuning" in words(at)
    assert charts(at) == 3 and at.button(key="cancel").disabled


def test_the_matrix_says_what_its_cells_are_in(app, store):
    run_id = play(store, experiment()[0])
    assert "In percent; mean of 3 seeds" in words(app(x=run_id)) and "In points;" not in words(app(x=run_id))
    lost = words(app(x=run_id, matrix="forgetting"))
    assert "In points; mean of 3 seeds, 450 test examples a task or more." in lost and "In percent;" not in lost


def test_one_seed_claims_no_interval(app, store):
    at = app(x=play(store, experiment(seeds=1)[0]))
    assert at.metric[0].delta == "1 seed"


def test_diverged_is_counted_not_averaged(app, store):
    at = app(x=play(store, experiment(seeds=5)[0], diverged=(0, 2)))
    assert at.metric[0].value == "–" and at.metric[0].delta == "2 of 5 diverged"
    assert "2 of 5 diverged · lost in T2" in words(at)
    assert "2 of 5 networks" in words(at)


def test_failed_gives_the_sentence_and_folds_the_traceback(app, store):
    run_id = store.add(experiment())[0]
    store.append(
        run_id, [(1, ev.RunFailed(message="The memory is full; ask for fewer seeds.", traceback="Traceback …"))]
    )
    at = app(x=run_id)
    assert "The memory is full; ask for fewer seeds." in words(at)
    assert "Traceback …" in [c.value for c in at.code] and any("Details" in e.label for e in at.expander)


def test_one_failure_among_others_is_counted(app, store):
    done, failed = experiment("finetune", "ewc")
    name = store.run(play(store, done)).experiment
    (failed,) = store.add([failed], experiment=name)
    store.end(failed, ev.RunFailed(message="It keeps more than the budget."))
    told = words(app(x=name))
    assert "finished · 1 of 2" in told and "failed · 1 of 2" in told


def test_a_sweep_draws_its_curve(app, store):
    at = app(x=play(store, experiment("ewc", strengths=(0, 10, 100))[0]))
    assert charts(at) == 3 and "what its strength does" in words(at) and "highest average" in words(at)


def test_while_training_the_sentence_names_the_drop(app, store):
    at = app(x=play(store, experiment(seeds=3)[0], until=2.5))
    assert "has dropped" in words(at) and "sees only task 3 of 5" in words(at)


def test_wishes_reach_the_store(app, store):
    run_id = play(store, experiment()[0], until=1.5)
    at = app(x=run_id)
    at.button(key="pause").click().run()
    assert store.run(run_id).want == "pause"
    at.button(key="cancel").click().run()
    assert store.run(run_id).want == "cancel" and "stopping" in words(at)


def test_earlier_results_of_the_same_settings_are_offered(app, store):
    at = app(method=["finetune"], seeds="2")
    at.button(key="run").click().run()
    (row,) = store.runs()
    store.set_state(row.id, "finished", started=row.created, finished=row.created)
    at = app(method=["finetune"], seeds="2")
    at.button(key="show-earlier").click().run()
    assert "finished" in words(at)


def test_a_broken_database_is_a_sentence(app, monkeypatch):
    def broken(url):
        raise StoreError("The run database is locked by another program.")

    monkeypatch.setattr("clcore.ui.frame._opened", broken)
    at = app()
    assert "locked by another program" in at.error[0].value


def test_coming_back_from_another_page_keeps_the_experiment(app, store):
    run_id = play(store, experiment()[0])
    at = app(x=run_id, seeds="3")
    at.switch_page("pages/results/runs.py").run()
    at.query_params.clear()
    at.switch_page("pages/lab/lab.py").run()
    assert at.slider(key="seeds").value == 3 and at.metric


def test_the_page_never_imports_torch():
    code = (
        "import sys; from streamlit.testing.v1 import AppTest; import clcore.ui.frame as f; "
        "f.ensure_runner = lambda store=None: None; at = AppTest.from_file(sys.argv[1], default_timeout=30).run(); "
        "assert not at.exception; assert 'torch' not in sys.modules"
    )
    command = [sys.executable, "-c", code, str(ROOT / "app.py")]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True, timeout=60)


def _first_events():
    return list(recording(experiment()[0], until=1.0))


def test_links_survive_the_way_through_a_spec():
    runs = (*experiment("er", "ewc", seeds=4, memories=(50, 75), strengths=(1, 10)),)
    values = values_of(link_of(runs))
    assert values["memory"] == [50, 75] and values["seeds"] == 4 and values["ewc.sweep"] is True
    assert values["ewc.strengths"] == [1.0, 10.0]
    assert {k for k, v in params_of(values).items() if v is not None} == set(link_of(runs))


def test_links_keep_every_digit():
    (run,) = experiment("finetune")
    for lr in (0.12345678, 0.1, 1e-05):
        exact = run.model_copy(update={"optimizer": run.optimizer.model_copy(update={"lr": lr})})
        assert values_of(link_of([exact]))["lr"] == lr
    assert written(30.0) == ["30"] and written(0.12345678) == ["0.12345678"]


def test_the_back_button_takes_the_controls_back(app):
    at = app()
    at.slider(key="seeds").set_value(3).run()
    assert at.query_params["seeds"] in ("3", ["3"])
    at.query_params.clear()
    at.run()
    assert at.slider(key="seeds").value == 5 and not at.query_params


def test_a_chart_library_that_cannot_be_written_is_a_sentence(tmp_path, monkeypatch):
    file = tmp_path / "file"
    file.write_text("")
    monkeypatch.setattr(live_plot, "STATIC", file)
    with pytest.raises(LabError, match="give this account write access"):
        live_plot.publish_plotly()


def test_the_chart_library_is_the_installed_one(tmp_path, monkeypatch):
    monkeypatch.setattr(live_plot, "STATIC", tmp_path / "static")
    target = live_plot.publish_plotly()
    assert target.stat().st_size > 1_000_000 and target == live_plot.publish_plotly()


# ---- the choice among many methods ----------------------------------------------------------------------------------


def pills(at, family: str):
    return next(group for group in at.get("button_group") if group.key == f"method-{family}")


def test_methods_stand_in_rows_by_family_and_keep_the_order_of_choice(app, store):
    at = app(method=["er", "finetune"])
    rows = [g.key for g in at.get("button_group") if str(g.key).startswith("method-")]
    assert rows[:2] == ["method-baseline", "method-reference"] and rows[-1] == "method-isolation"
    assert list(pills(at, "rehearsal").value) == ["er"] and list(pills(at, "regularization").value) == []
    pills(at, "regularization").set_value(["ewc"]).run()
    assert at.query_params["method"] == ["er", "finetune", "ewc"]
    pills(at, "rehearsal").set_value([]).run()
    assert at.query_params["method"] == ["finetune", "ewc"]
    at.button(key="run").click().run()
    assert [row.method for row in store.runs()][::-1] == ["finetune", "ewc"]


def test_a_preset_reaches_the_rows(app):
    at = app(method=["joint"])
    at.selectbox(key="question").set_value("strength").run()
    assert list(pills(at, "regularization").value) == ["ewc"] and list(pills(at, "reference").value) == []


def test_a_method_that_does_not_fit_the_scenario_is_marked_with_the_reason(app):
    at = app(benchmark="split-digits", scenario=["task", "class"])
    told = next(c for c in at.caption if "block" in c.value and "One network per task" in c.help)
    assert told.value == ":material/block: not in the class scenario"
    assert "One network per task: not in the class scenario." in told.help
    assert any("block" in option for option in pills(at, "reference").options)
    fits = app(benchmark="split-digits", scenario=["task"])
    assert not any("One network per task" in (c.help or "") for c in fits.caption)


def test_more_than_six_methods_are_one_sentence_and_run_is_off(app):
    seven = ["finetune", "joint", "ewc", "l2", "er", "gem", "agem"]
    at = app(method=seven)
    assert "7 methods are chosen, and at most 6" in words(at) and "take 1 out" in words(at)
    assert at.button(key="run").disabled and at.query_params["method"] == seven
    pills(at, "reference").set_value([]).run()
    assert not at.button(key="run").disabled and charts(at) == 6


def test_every_method_is_there(app):
    at = app()
    rows = [g for g in at.get("button_group") if str(g.key).startswith("method-")]
    cards = catalogue().methods
    assert len(cards) > 30 and sum(len(row.options) for row in rows) == len(cards)
    assert {row.key for row in rows} == {f"method-{card.family}" for card in cards}


# ---- a rehearsal method with a regularizer --------------------------------------------------------------------------


def test_a_regularizer_is_added_beside_the_plain_method(app, store):
    at = app(method=["er"])
    assert not [s for s in at.select_slider if s.key == "ewc.strength"]
    at.selectbox(key="er.with").set_value("ewc").run()
    at.select_slider(key="ewc.strength").set_value(10.0).run()
    assert (at.query_params["er.with"], at.query_params["ewc.strength"]) == ("ewc", "10")
    assert "**Experience replay + EWC**" in words(at) and "2 of at most 6" in words(at)
    assert "er.beside" not in at.query_params
    at.button(key="run").click().run()
    specs = {row.method: row.spec for row in store.runs()}
    assert set(specs) == {"er", "er+ewc"} and specs["er"].method.settings == {}
    assert specs["er+ewc"].method.settings == {"ewc.strength": 10.0}


def test_the_combination_alone_and_swept_comes_from_a_link(app, store):
    at = app(
        method=["er"], **{"er.with": "ewc", "er.beside": "false", "ewc.sweep": "true", "ewc.strengths": ["1", "9"]}
    )
    assert not at.warning
    at.button(key="run").click().run()
    (row,) = store.runs()
    assert row.method == "er+ewc" and row.spec.method.strengths == (1.0, 9.0)
    assert values_of(link_of([row.spec])).items() >= {"er.with": "ewc", "er.beside": False, "method": ["er"]}.items()


def test_a_pair_goes_through_a_link_and_back():
    for names in (("er+l2",), ("er", "er+l2"), ("ewc", "er+ewc")):
        runs = experiment(*names)
        link = link_of(runs)
        assert {k for k, v in params_of(values_of(link)).items() if v is not None} == set(link)
        assert link["er.with"] == [names[-1].split("+")[1]] and ("er.beside" in link) == ("er" not in names)


def test_what_cannot_be_added_is_not_offered_and_refused(monkeypatch):
    real = catalogue()
    owners = {"er": ("task_loss",), "l2": ("task_loss",)}
    kept = [c for c in real.methods if c.name in ("er", "ewc", "l2")]
    cards = tuple(c.model_copy(update={"owns": owners.get(c.name, ())}) for c in kept)
    for module in ("clcore.spec", "clcore.ui.links"):
        monkeypatch.setattr(f"{module}.catalogue", lambda: real.model_copy(update={"methods": cards}))
    assert regularizers(cards[-1]) == ["ewc"] and cards[-1].name == "er"
    with pytest.raises(RequestError, match=r"er\+l2 cannot be combined: er and l2 both decide `task_loss`"):
        experiment("er+l2")


def test_an_unknown_regularizer_in_a_link_is_said(app):
    at = app(method=["er"], **{"er.with": "joint"})
    assert "`er.with`" in words(at) and at.selectbox(key="er.with").value is None


# ---- equal budgets --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("key", ["bytes", "er.replay_batch"])
def test_a_number_that_may_be_none_can_be_emptied(app, key):
    at = app(method=["er"], **{key: 5000})
    assert at.number_input(key=key).value == 5000
    at.number_input(key=key).set_value(None).run()
    assert at.number_input(key=key).value is None and at.query_params.get(key, ["none"])[-1] == "none"


def test_equal_budgets_are_in_the_link_and_in_the_runs(app, store):
    at = app(method=["er", "ewc"])
    at.toggle(key="equal").set_value(True).run()
    at.number_input(key="bytes").set_value(150_000).run()
    assert (at.query_params["equal"], at.query_params["bytes"]) == ("true", "150000")
    assert at.multiselect(key="memory").disabled and "in bytes" in at.multiselect(key="memory").help
    at.button(key="run").click().run()
    specs = [row.spec for row in store.runs()]
    assert {(s.gradient_samples, s.memory_bytes) for s in specs} == {("fine-tuning", 150_000)}
    values = values_of(link_of(specs[::-1]))
    assert (values["equal"], values["bytes"], values["method"]) == (True, 150_000, ["er", "ewc"])


def test_a_budget_in_a_link_that_cannot_be_is_said(app):
    for wrong in ("-3", "many", "1e3"):
        at = app(bytes=wrong)
        assert "bytes" in words(at) and at.number_input(key="bytes").value is None
    at = app(bytes="0")
    assert at.number_input(key="bytes").value == 0 and not at.warning


# ---- around a task switch -------------------------------------------------------------------------------------------


def test_a_link_can_ask_to_watch_task_switches(app, store):
    at = app(method=["er"], **{"watch-switches": "50"})
    at.button(key="run").click().run()
    (row,) = store.runs()
    assert row.spec.watch_switches == 50 and link_of([row.spec])["watch-switches"] == ["50"]


def test_the_steps_after_a_switch_are_shown_with_the_worst_on_the_way(app, store):
    (run,) = experiment("er", watch_switches=4)
    play(store, run, experiment="watched")
    at = app(x="watched", switch="3")
    assert "Around a task switch" in words(at) and "before the switch" in words(at)
    assert {"min-ACC", "Worst-case accuracy (WC-ACC)"} <= {m.label for m in at.metric}
    table = next(f.value for f in at.dataframe if "step" in f.value)
    assert set(table["step"]) == {0, 1, 2, 3, 4} and set(table["task"]) == {1, 2, 3}


def test_a_switch_that_is_not_there_yet_is_not_shown(app, store):
    (run,) = experiment("er", watch_switches=4)
    play(store, run, experiment="early", until=1)
    assert "as soon as task 2 begins" in words(app(x="early", switch="5"))
    play(store, experiment("er")[0], experiment="plain")
    assert "Around a task switch" not in words(app(x="plain"))


# ---- streams without boundaries -------------------------------------------------------------------------------------


def test_options_of_a_stream_without_boundaries_are_offered_there_alone(app, store):
    keys = {f"option.{name}" for name in ("blur", "update_period", "gradual")}
    at = app(benchmark="rotated-digits", scenario=["domain"])
    assert not keys & {widget.key for widget in (*at.number_input, *at.toggle)}
    free = app(benchmark="rotated-digits", scenario=["domain", "task-free"], method=["finetune"], **{"option.blur": "0.25"})
    assert keys <= {widget.key for widget in (*free.number_input, *free.toggle)}
    assert free.number_input(key="option.blur").value == 0.25
    free.button(key="run").click().run()
    specs = {row.scenario: row.spec for row in store.runs()}
    assert specs["task-free"].options == {"blur": 0.25} and specs["domain"].options == {}
    assert free.query_params["option.blur"] in ("0.25", ["0.25"])
    assert "nobody says where a task ends" in words(free)
    assert link_of(list(specs.values()))["option.blur"] == ["0.25"]


def test_a_method_that_needs_boundaries_is_marked_with_the_reason(app):
    at = app(scenario=["task-free"], method=["lwf"])
    assert at.button(key="run").disabled
    assert "lwf does not work in the task-free scenario: its teacher is the network as it was" in words(at)
    told = next(c for c in at.caption if "block" in c.value and "VCL" in c.help)
    assert "its prior is what it knew when the task before had ended" in told.help
    everywhere = app(scenario=["task-free", "domain"], method=["er", "online-ewc"])
    assert not everywhere.button(key="run").disabled


@pytest.mark.parametrize("question, methods", [("stream", 4), ("later", 4)])
def test_a_question_is_a_whole_experiment(app, store, question, methods):
    at = app(question=question)
    assert not at.button(key="run").disabled and set(at.query_params) == {"question"}
    at.button(key="run").click().run()
    rows = store.runs()
    assert len({row.method for row in rows}) == methods
    assert {row.scenario for row in rows} == ({"domain", "task-free"} if question == "stream" else {"domain"})
