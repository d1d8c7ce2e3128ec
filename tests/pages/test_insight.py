"""Look inside: what a method reports of itself, drawn in the Lab; decision regions of a stream in the plane."""

import json

import pytest

from clcore import events as ev
from tests.pages.recorded import experiment, recording
from tests.pages.test_lab import charts, words
from tests.unit.test_insights import answers, example, insight, regions

POINTS = [[(0.1, 0.1, 0), (0.9, 0.9, 1)], [(0.9, 0.1, 0), (0.1, 0.9, 1)]]


def play(store, spec, *more, until=None, diverged=()) -> str:
    """A recorded run with further events after the task that each belongs to."""
    run_id = store.add([spec], state="running")[0]
    events = []
    for event in recording(spec, until=until, diverged=diverged):
        if isinstance(event, ev.TaskFinished):
            events += [m for m in more if m.task == event.task]
        events.append(event)
    store.append(run_id, list(enumerate(events, start=1)))
    return run_id


def layers(task, n=3, scale=1.0):
    rows = [[scale * task * (i + 1), 1.0 + i, 0.5] for i in range(n)]
    return insight(task, replicas=range(n), importance_by_layer=rows)


def figures(at) -> dict:
    """Every live figure of the page, with its data."""
    payloads = [json.loads(element.proto.json) for element in at.get("bidi_component")]
    return {payload["alt"]: json.loads(payload["spec"]) for payload in payloads if "alt" in payload}  # the clock has none


def figure(at, start: str) -> dict:
    return next(spec for alt, spec in figures(at).items() if alt.startswith(start))


def test_the_drawer_is_closed_and_costs_nothing(app, store):
    at = app(x=play(store, experiment("ewc")[0], layers(1)))
    assert charts(at) == 2 and any(e.label == "Look inside" for e in at.expander)


def test_open_it_shows_the_newest_array_over_seeds(app, store):
    at = app(x=play(store, experiment("ewc")[0], layers(1), layers(2)), inside="true")
    bars = figure(at, "How important each layer")["data"][0]
    assert bars["y"] == [4, 2, 0.5] and bars["error_y"]["visible"]
    said = words(at)
    assert "after T2 · λ = 30 · mean of 3 seeds · whiskers: 95 % t-interval" in said and "held firmly" in said
    table = next(d.value for d in at.dataframe if "layer" in d.value.columns)
    assert table["mean"].tolist() == bars["y"]


def test_another_task_and_one_seed_can_be_looked_at(app, store):
    at = app(x=play(store, experiment("ewc")[0], layers(1), layers(2)), inside="true")
    at.select_slider(key="inside-after").set_value(1).run()
    assert figure(at, "How important each layer")["data"][0]["y"] == [2, 2, 0.5] and "after T1 · λ" in words(at)
    next(g for g in at.get("button_group") if g.key == "inside-networks").set_value("one").run()
    assert figure(at, "How important each layer")["data"][0]["y"] == [1, 1, 0.5] and "λ = 30 · seed 0" in words(at)


def test_a_live_run_shows_what_has_been_learned_so_far(app, store):
    spec = experiment("ewc")[0]
    run_id = play(store, spec, layers(1), until=1.5)
    at = app(x=run_id, inside="true")
    assert figure(at, "How important each layer")["data"][0]["y"] == [2, 2, 0.5]
    seq = store.last_seq(run_id)
    store.append(run_id, [(seq + 1, layers(2))])
    at.run()
    assert figure(at, "How important each layer")["data"][0]["y"] == [4, 2, 0.5]


def test_nothing_yet_and_nothing_at_all_are_said(app, store):
    live = store.add(experiment("ewc"))[0]
    assert "first pictures come when" in words(app(x=live, inside="true"))
    assert "This run has no pictures" in words(app(x=play(store, experiment("ewc")[0]), inside="true"))


def test_diverged_networks_make_no_mean(app, store):
    at = app(x=play(store, experiment("ewc")[0], layers(3), diverged=(1,)), inside="true")
    assert "seed 0 · no mean: 1 of 3 networks diverged" in words(at)
    assert figure(at, "How important each layer")["data"][0]["y"] == [3, 1, 0.5]


def test_an_array_of_the_first_networks_only_says_whose_it_is(app, store):
    spec = experiment("ewc", seeds=2, strengths=(1, 30))[0]
    large = insight(1, replicas=range(4), importance_by_layer=[[7.0, 1.0, 1.0]])
    at = app(x=play(store, spec, large), inside="true")
    assert "recorded for the first networks only: seed 0, setting 1" in words(at)


def test_an_unknown_array_is_drawn_under_its_name(app, store):
    at = app(x=play(store, experiment("ewc")[0], insight(1, replicas=range(3), odd_thing=[[1, 2]] * 3)), inside="true")
    assert "**Odd thing**" in words(at) and figure(at, "Odd thing")["data"][0]["y"] == [1, 2]


def test_a_composition_names_the_part(app, store):
    report = insight(1, replicas=range(3), **{"ewc.importance_by_layer": [[1, 2, 3]] * 3, "er.memory_by_task": [[5] * 5] * 3})
    said = words(app(x=play(store, experiment("er+ewc")[0], report), inside="true"))
    assert "to the past** :gray[ewc]" in said and "How old the memory is** :gray[er]" in said


def test_examples_are_named_task_after_task(app, store):
    shown = [example(), example(label="5", task=2)]
    report = [answers(0, "1", "1", examples=shown), *(answers(k, "3" if k < 3 else "8", "5") for k in range(1, 6))]
    at = app(x=play(store, experiment("finetune")[0], *report), inside="true")
    assert "This 3 of T1 is now called 8." in words(at) and "keeps nothing beside the network" in words(at)
    heat = figure(at, "This 3 of T1")["data"][0]
    assert heat["text"][2] == ["✗ 8", "✓ 5"] and heat["text"][0] == ["✓ 3", "· 5"]


def film():
    maps = {0: [0, 0, 1, 1], 1: [0, 0, 1, 1], 2: [0, 1, 0, 1]}
    return [
        regions(float(k), m, task=k, replicas=(0,), points=POINTS if k == 0 else None) for k, m in maps.items()
    ]


def test_regions_are_drawn_for_every_run_with_the_counts_of_points(app, store):
    at = app(x=play(store, experiment("finetune")[0], *film()))
    drawn = figure(at, "Decision regions of Fine-tuning")
    assert len(figures(at)) == 3 and drawn["data"][0]["z"] == [[0, 1], [0, 1]] and len(drawn["frames"]) == 3
    assert "seed 0 · after T2, points on the right side: T1 2 of 2, T2 0 of 2" in words(at)


def test_a_live_map_is_no_film(app, store):
    at = app(x=play(store, experiment("finetune")[0], *film()[:2], until=1.5))
    drawn = figure(at, "Decision regions of Fine-tuning")
    assert "frames" not in drawn and drawn["data"][0]["z"] == [[0, 0], [1, 1]]


def test_a_run_without_a_plane_has_no_regions(app, store):
    assert "Decision regions" not in words(app(x=play(store, experiment("finetune")[0])))


@pytest.mark.parametrize("value", ["maybe", "1"])
def test_an_unknown_word_for_the_drawer_is_said(app, value):
    assert "`inside`" in words(app(inside=value))


def test_the_open_drawer_is_in_the_link(app, store):
    at = app(x=play(store, experiment("ewc")[0], layers(1)), inside="true")
    assert at.query_params["inside"] in ("true", ["true"])
