"""The recording that the Lab opens with."""

import shlex

from clcore.demonstrations.recorded import COMMAND, PATH, record, recorded
from clcore.events import RunFinished
from clcore.store import open_store
from tests.pages.recorded import experiment, play


def test_it_is_small_complete_and_names_its_origin():
    assert PATH.stat().st_size < 300_000
    shown = recorded()
    assert [spec.method.name for spec, _series in shown.runs] == ["finetune", "ewc", "er", "joint"]
    for spec, series in shown.runs:
        (config,) = series.configs
        T = len(series.tasks)
        assert series.finished_tasks == T == 5 and series.metric(config, "acc").n == len(spec.grid.seeds) == 5
        curves = series.curves(config)
        assert curves["position"].max() > T - 0.2 and len(curves) > 10 * T
    assert shown.versions["clcore"] and shown.versions["torch"]
    assert shlex.split(shown.command) == ["python", "-m", "clcore", *COMMAND]


def test_it_shows_what_the_readme_says():
    """Fine-tuning forgets most, then EWC; replay holds on; joint training is the ceiling."""
    averages = [series.metric(series.configs[0], "acc").mean for _spec, series in recorded().runs]
    assert averages == sorted(averages) and averages[0] < 0.6 and averages[-1] > 0.9


def test_it_answers_for_exactly_its_networks():
    specs = [spec for spec, _series in recorded().runs]
    assert recorded().answers(specs)
    assert recorded().answers([spec.model_copy(update={"device": "cuda"}) for spec in specs])
    assert not recorded().answers(specs[:3])
    assert not recorded().answers([spec.model_copy(update={"epochs": 3}) for spec in specs])


def test_recording_keeps_what_is_drawn_and_no_more(tmp_path):
    store = open_store(f"sqlite:///{tmp_path / 'runs.db'}")
    run = play(store, experiment("ewc")[0])
    (kept,) = record(store)["runs"]
    types = {body["type"] for body in kept["events"]}
    assert types == {"run_started", "evaluated", "task_finished"} and RunFinished.__name__ not in types
    assert kept["spec"] == store.run(run).spec.model_dump(mode="json")
    assert all(body["validation"] is None for body in kept["events"] if body["type"] == "task_finished")
