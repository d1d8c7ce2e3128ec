"""The Compare page in every state: what it shows, what it refuses to rank, and what its link holds."""

import json

import sqlalchemy as sa

from clcore import events as ev
from clcore.comparison import groups, names
from clcore.export import tables
from clcore.export.importing import import_results
from clcore.store import open_store
from clcore.store.tables import events, runs
from clcore.ui.compare.files import document
from tests.pages.recorded import experiment, play

PAGE = "pages/results/compare.py"


def words(at) -> str:
    kinds = (at.markdown, at.caption, at.warning, at.error, at.info)
    return "\n".join(str(e.value) for kind in kinds for e in kind)


def charts(at) -> int:
    return len(at.get("bidi_component"))


def played(store, *methods, name="e", **asked) -> list[str]:
    return [play(store, spec, experiment=name) for spec in experiment(*methods, **asked)]


def param(at, name: str) -> str | None:
    value = at.query_params.get(name)
    return value[-1] if isinstance(value, list) else value


def awaited(at) -> str:
    return " ".join(bar.proto.text for bar in at.get("progress"))


def opened(app, ids, **query):
    return app(PAGE, runs=",".join(ids), **query)


def test_an_empty_store_offers_the_lab(app):
    at = app(PAGE)
    assert "Nothing to compare yet" in words(at) and at.button(key="to-lab")


def test_without_a_choice_the_newest_experiments_are_offered(app, store):
    played(store, "finetune", "er")
    play(store, experiment("ewc")[0])
    at = app(PAGE)
    assert "What should be compared?" in words(at)
    offers = [b.label for b in at.button if b.key.startswith("suggest-")]
    assert offers[0].startswith("Fine-tuning, Experience replay") and len(offers) == 2


def test_one_run_is_one_group(app, store):
    at = opened(app, played(store, "finetune"))
    assert charts(at) == 4 and "Differences" not in words(at)  # averages, finals, a matrix, time


def test_groups_stand_side_by_side(app, store):
    ids = played(store, "finetune", "er", "joint", seeds=5)
    at = opened(app, ids)
    table, found = at.table[0].value, groups([store.run(i) for i in ids])
    assert list(table["Group"]) == names(found)
    assert table["Average accuracy, %"][1] == f"**{tables.spread_text(found[1].spread('acc'))}**"
    assert list(table["Alike"]) == ["A", "B", "A"]
    assert "Not to be ranked together. They differ in: memory bytes." in words(at)
    assert charts(at) == 8 and len(at.table[1].value) == 3  # pairs


def test_seeds_of_two_runs_are_one_chip(app, store):
    first, second = experiment("er", seeds=3)[0], experiment("er", seeds=5)[0]
    at = opened(app, [play(store, first), play(store, second)])
    (chips,) = [group for group in at.button_group if group.key == "shown"]
    assert len(chips.options) == 1 and "seeds 0–4" in str(chips.options[0])


def test_a_chip_takes_a_group_away_and_the_link_keeps_it(app, store):
    ids = played(store, "finetune", "er")
    at = opened(app, ids)
    keys = at.session_state["shown"]
    at.session_state["shown"] = keys[:1]
    at.run()
    assert len(at.table[0].value) == 1 and param(at, "hide") == keys[1]
    again = opened(app, ids, hide=keys[1])
    assert list(again.table[0].value["Group"]) == ["Fine-tuning"]
    again.session_state["shown"] = []
    again.run()
    assert "Every group is switched off" in words(again)


def test_the_link_is_the_view(app, store):
    ids = played(store, "finetune", "er")
    at = opened(app, ids, points="training", lines="false", metric="forgetting")
    assert at.selectbox(key="metric").value == "forgetting" and not at.toggle(key="lines").value
    assert param(at, "metric") == "forgetting" and "a part of the test data" in words(at).lower()
    assert param(at, "runs") == ",".join(ids)
    at.selectbox(key="metric").set_value("acc").run()
    assert "metric" not in at.query_params


def test_what_a_link_cannot_mean_is_said(app, store):
    ids = played(store, "finetune")
    at = opened(app, [*ids, "nowhere"], metric="beauty", points="x", strange="1")
    assert all(part in words(at) for part in ("`nowhere`", "`metric`", "`points`", "`strange`"))
    assert len(at.table[0].value) == 1
    only_bad = opened(app, ["nowhere"])
    assert "`nowhere`" in words(only_bad) and "What should be compared?" in words(only_bad)


def test_other_streams_are_not_subtracted(app, store):
    ids = [*played(store, "er"), *played(store, "er", benchmark="split-digits", scenario="class")]
    at = opened(app, ids)
    assert "different streams" in words(at) and "benchmark" in words(at)
    assert len(at.table) == 3  # metrics, what differs, run card: no pairs


def test_few_seeds_claim_nothing(app, store):
    at = opened(app, played(store, "finetune", "er", seeds=2))
    assert "best mean, untested" in at.table[0].value["Average accuracy, %"][1]
    assert "no claim" in at.table[1].value["What may be said"][0]
    one = opened(app, played(store, "finetune", "er", seeds=1))
    assert "(1 seed)" in one.table[0].value["Average accuracy, %"][0] and "no interval" in words(one)


def test_a_diverged_seed_is_counted_and_not_averaged(app, store):
    ids = [play(store, experiment("ewc", seeds=3)[0], diverged=(1,)), *played(store, "finetune", seeds=3)]
    at = opened(app, ids)
    assert at.table[0].value["Average accuracy, %"][0] == "1 of 3 diverged"
    assert "1 seed diverged" in at.table[1].value["What may be said"][0]


def test_a_live_run_is_awaited_and_then_joins(app, store):
    (done,) = played(store, "finetune")
    live = play(store, experiment("er")[0], until=2.5)
    at = opened(app, [done, live])
    assert "Experience replay" in awaited(at) and len(at.table[0].value) == 1
    alone = opened(app, [live])
    assert "Experience replay" in awaited(alone) and not alone.table


def test_a_failed_run_is_named(app, store):
    (failed,) = store.add(experiment("er"))
    store.end(failed, ev.RunFailed(message="Out of memory."))
    at = opened(app, [failed, *played(store, "finetune")])
    assert "left out: Experience replay (failed)" in words(at)
    assert "None of these runs has a result" in words(opened(app, [failed]))


def test_a_large_sweep_shows_eight_and_says_so(app, store):
    at = opened(app, played(store, "ewc", strengths=tuple(float(s) for s in range(1, 12))))
    assert len(at.table[0].value) == 8 and "11 groups" in words(at)
    assert "hide" not in at.query_params


def test_files_say_that_they_hold_the_groups_shown(app, store):
    few = opened(app, played(store, "ewc", strengths=(1.0, 10.0)))
    assert "The files hold" not in words(few)
    at = opened(app, played(store, "ewc", strengths=tuple(float(s) for s in range(1, 12))))
    assert "The files hold the 8 groups that are shown, of 11." in words(at)


def test_results_of_an_older_program_are_shown(app, store):
    run_id = play(store, experiment("er")[0])
    result = json.loads(json.dumps(store.run(run_id).result))
    del result["protocol"]
    for replica in result["replicas"]:
        del replica["gradient_samples"], replica["bytes"], replica["footprint_per_task"]
    with store._write() as connection:
        connection.execute(sa.update(runs).values(result=json.dumps(result)))
    at = opened(app, [run_id])
    assert at.table[0].value["Gradient samples"][0] == "–"


def test_the_json_export_can_be_imported(store, tmp_path):
    found = groups([store.run(i) for i in played(store, "finetune", "er")])
    elsewhere = open_store(f"sqlite:///{tmp_path / 'elsewhere.db'}")
    done = import_results(elsewhere, json.dumps(document(found, names(found))))
    assert len(done.new) == 2
    elsewhere.close()


def averages(at):
    """The numbers of the curves: the first table under a chart."""
    return at.dataframe[0].value


def test_curves_over_examples_and_time_are_smoothed_where_there_is_something_to_smooth(app, store):
    ids = played(store, "finetune", "er", seeds=3)
    at = opened(app, ids, points="training", over="examples", smooth="0.5")
    frame = averages(at)
    assert frame["examples"].max() == 6000 and param(at, "over") == "examples" and param(at, "smooth") == "0.5"
    assert "Smoothed with weight 0.5" in words(at)
    rough = averages(opened(app, ids, points="training"))
    assert list(rough.columns) == ["group", "position", *frame.columns[3:]] and rough["mean"].std() > frame["mean"].std()
    at = opened(app, ids, over="seconds", smooth="0.9")
    assert not any(slider.key == "smooth" for slider in at.select_slider) and "Smoothed" not in words(at)
    assert param(at, "smooth") == "0.9"  # kept for when there is something to smooth
    assert list(averages(at)["seconds"])[:5] == [0.2, 0.4, 0.6, 0.8, 1.0]
    assert "newest run" in words(at)


def test_a_run_that_does_not_tell_its_time_is_left_out_by_name(app, store):
    first, second = played(store, "finetune", "er")
    with store._write() as connection:
        connection.execute(sa.delete(events).where(events.c.run_id == second, events.c.type == "progress"))
    at = opened(app, [first, second], over="seconds")
    assert set(averages(at)["group"]) == {"Fine-tuning"}
    assert "Not drawn, since the run does not tell: Experience replay · M 200." in words(at)


def test_many_configurations_are_lines_over_their_choices(app, store):
    few = opened(app, played(store, "ewc", strengths=tuple(float(s) for s in range(1, 7))))
    assert "Configurations" not in words(few)
    ids = [*played(store, "ewc", strengths=tuple(float(s) for s in range(1, 9))), *played(store, "er", memories=(20, 200))]
    at = opened(app, [*ids, play(store, experiment("l2", seeds=3)[0], diverged=(1,))])
    frame = at.dataframe[-1].value
    assert list(frame.columns) == ["Method", "Strength", "Memory", "Alike", "Bytes", "Gradient samples", "Learning accuracy, %",
                                   "Forgetting, points", "Average accuracy, %"]  # fmt: skip
    assert len(frame) == 10 and "1 group is not drawn, because a seed diverged" in words(at)
    assert list(frame["Strength"][:2]) == ["1", "2"] and list(frame["Memory"][-3:]) == ["–", "20", "200"]


def test_headings_do_not_jump(app, store):
    at = opened(app, played(store, "finetune", "er"))
    assert [t.value for t in at.title] == ["Compare"]
    levels = {str(m.value).split(" ")[0] for m in at.markdown if str(m.value).startswith("#")}
    assert levels == {"##"}


def test_the_run_card_names_the_commit(app, store):
    spec = experiment("er")[0]
    run_id = play(store, spec)
    result = store.run(run_id).result
    result["protocol"]["commit"] = {"hash": "0123456789abcdef" * 2, "modified": True}
    with store._write() as connection:
        connection.execute(sa.update(runs).values(result=json.dumps(result)))
    at = opened(app, [run_id])
    card = {row.iloc[0]: row.iloc[1] for _, row in at.table[-1].value.iterrows()}
    assert card["Commit of the program"] == "0123456789ab + changes"


def test_five_hundred_runs_do_not_slow_it_down(app, store):
    ids = played(store, "finetune", "ewc", "er", "joint", seeds=5)
    run_id = play(store, experiment("l2", seeds=5)[0])
    with store._write() as connection:
        row = dict(connection.execute(sa.select(runs).where(runs.c.id == run_id)).mappings().one())
        del row["number"]
        row |= {name: row[name].decode() for name in ("spec", "result")}
        connection.execute(sa.insert(runs), [row | {"id": f"copy{i:08d}"} for i in range(500)])
    at = opened(app, ids)
    assert len(at.table[0].value) == 4 and len(at.multiselect(key="runs").options) >= 200
