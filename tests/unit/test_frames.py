"""A run's events become tables: folded once, incrementally, with honest numbers."""

import threading

import pytest

from clcore import events as ev
from clcore.frames import Config, Series, replica_table, result_spreads, spread
from tests.pages.recorded import experiment, recording, result


class Events:
    """An event source that counts what is read."""

    def __init__(self, events):
        self.events = list(enumerate(events, start=1))
        self.read = 0

    def events_after(self, run_id, seq=0):
        new = [(n, e) for n, e in self.events if n > seq]
        self.read += len(new)
        return new


def folded(events) -> Series:
    return Series("r").pull(Events(events))


def test_spread_needs_three_seeds_for_an_interval():
    assert spread([0.5]).half is None and spread([0.5]).n == 1
    two = spread([0.4, 0.6])
    assert (two.mean, two.low, two.high, two.half) == (0.5, 0.4, 0.6, None)
    three = spread([0.4, 0.5, 0.6])
    assert three.half == pytest.approx(4.302653 * 0.1 / 3**0.5)


def test_spread_has_no_mean_over_survivors():
    lost = spread([0.5, 0.6, None], diverged=1)
    assert lost.mean is None and (lost.diverged, lost.total) == (1, 3)


def test_series_reads_each_event_once():
    source = Events(list(recording(experiment()[0])))
    series = Series("r").pull(source)
    series.pull(source)
    assert source.read == len(source.events)


def test_pieces_give_the_same_as_the_whole():
    events = list(recording(experiment("ewc")[0]))
    whole, piecewise, source = folded(events), Series("r"), Events([])
    for n, event in enumerate(events, start=1):
        source.events.append((n, event))
        piecewise.pull(source)
        piecewise.curves(Config(30.0))
    assert whole.curves(Config(30.0)).equals(piecewise.curves(Config(30.0)))
    assert whole.matrix(Config(30.0)).equals(piecewise.matrix(Config(30.0)))


def test_curves_hold_mean_and_band_of_the_seeds():
    spec = experiment(seeds=3)[0]
    events = list(recording(spec))
    curves = folded(events).curves(Config())
    first = next(e for e in events if isinstance(e, ev.Evaluated))
    expected = spread([row[0] for row in first.accuracy])
    got = curves.iloc[0]
    assert (got["task"], got["n"]) == (1, 3)
    assert got["mean"] == pytest.approx(expected.mean) and got["high"] == pytest.approx(expected.high)
    assert set(curves[curves["position"] <= 1]["task"]) == {1}


def test_final_metrics_equal_the_result():
    spec = experiment("er", seeds=4)[0]
    series, stored = folded(recording(spec)), result_spreads(result(spec))
    config = Config(None, 200)
    assert series.metric(config, "acc") == stored[config]["acc"]
    assert series.metric(config, "forgetting") == stored[config]["forgetting"]


def test_metrics_while_running_cover_the_tasks_so_far():
    series = folded(recording(experiment(seeds=1)[0], until=2.25))
    assert series.finished_tasks == 2
    cells = {(c.row, c.task): c.mean for c in series.matrix(Config()).itertuples()}
    assert series.metric(Config(), "acc").mean == pytest.approx((cells[2, 1] + cells[2, 2]) / 2)


def test_resumed_supersedes_what_came_after_the_checkpoint():
    events = list(recording(experiment()[0], until=2.5))
    checkpoint = next(n for n, e in enumerate(events, start=1) if isinstance(e, ev.TaskFinished) and e.task == 1)
    series = folded([*events, ev.Resumed(from_seq=checkpoint, task=1)])
    assert series.finished_tasks == 1 and series.position == 1.0 and series.resumes == 1
    assert series.curves(Config())["position"].max() == 1.0


def test_resumed_forgets_a_divergence_after_the_checkpoint():
    events = list(recording(experiment()[0], until=2.5, diverged=(1,)))
    checkpoint = next(n for n, e in enumerate(events, start=1) if isinstance(e, ev.TaskFinished) and e.task == 1)
    assert folded(events).diverged_in(Config()) == 1
    assert folded([*events, ev.Resumed(from_seq=checkpoint, task=1)]).diverged_in(Config()) == 0


def test_a_diverged_seed_spoils_the_mean_from_there_on():
    series = folded(recording(experiment(seeds=5)[0], diverged=(1, 3)))
    cells = series.matrix(Config())
    assert cells[cells["row"] == 1]["mean"].notna().all()
    late = cells[(cells["row"] == 5) & (cells["task"] == 1)].iloc[0]
    assert late["mean"] != late["mean"] and (late["diverged"], late["total"]) == (2, 5)
    assert series.metric(Config(), "acc").diverged == 2


def test_all_diverged_is_still_said():
    series = folded(recording(experiment(seeds=2)[0], diverged=(0, 1)))
    last = series.matrix(Config())
    assert set(last[last["row"] == 5]["diverged"]) == {2}


def test_sweep_has_three_curves_per_strength():
    spec = experiment("ewc", strengths=(0, 10, 1000))[0]
    frame = folded(recording(spec)).sweep()
    assert len(frame) == 9 and set(frame["curve"]) == {"average", "old", "last"}
    old = {r.strength: r.mean for r in frame.itertuples() if r.curve == "old"}
    assert old[10] > old[0]


def test_configs_leave_seeds_out():
    series = folded(recording(experiment("er", seeds=3, memories=(50, 200))[0]))
    assert series.configs == [Config(None, 50), Config(None, 200)]
    assert series.seeds(Config(None, 50)) == [0, 1, 2]


def test_groups_of_replicas_join_at_one_position():
    spec = experiment(seeds=4)[0]
    events = []
    for event in recording(spec, until=1.0):
        if isinstance(event, ev.Evaluated):
            for part in ([0, 1], [2, 3]):
                rows = [event.accuracy[i] for i in part]
                events.append(event.model_copy(update={"replicas": part, "accuracy": rows}))
        else:
            events.append(event)
    assert set(folded(events).curves(Config())["n"]) == {4}


def test_many_threads_may_pull():
    source, series = Events(list(recording(experiment()[0]))), Series("r")
    threads = [threading.Thread(target=series.pull, args=(source,)) for _ in range(8)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert source.read == len(source.events)


def test_replica_table_is_one_row_a_network():
    spec = experiment("ewc", seeds=2, strengths=(1, 10))[0]
    table = replica_table([("abc", spec, result(spec))])
    assert len(table) == 4 and list(table["strength"]) == [1, 10, 1, 10]


def test_replica_table_says_what_tells_runs_apart():
    short, long = experiment("ewc", epochs=2)[0], experiment("ewc", epochs=200)[0]
    table = replica_table([("a", short, result(short)), ("b", long, result(long))])
    assert list(table.groupby("run")["epochs"].first()) == [2, 200]
    one = table.iloc[0]
    assert (one["benchmark"], one["scenario"], one["tasks"]) == (short.benchmark, short.scenario, 5)
    assert (one["network"], one["hidden"], one["optimizer"]) == ("mlp", "100-100", "sgd")
    assert (one["lr"], one["batch_size"]) == (short.optimizer.lr, short.batch_size)


def test_what_happens_before_training_is_said_until_it_starts():
    begun, *_ = recording(experiment()[0])
    download = ev.Preparing(message="Downloading MNIST", share=0.4)
    assert folded([download]).preparing == download
    assert folded([download, begun]).preparing is None


def test_the_steps_after_a_switch_stand_beside_what_was_before():
    (run,) = experiment("er", watch_switches=3)
    series = folded(recording(run))
    assert series.switches() == [2, 3, 4, 5]
    steps = series.switch(Config(None, 200), 3)
    assert sorted(set(steps["step"])) == [0, 1, 2, 3] and sorted(set(steps["task"])) == [1, 2, 3]
    curve = series.curves(Config(None, 200))
    before = curve[(curve["position"] == 2) & (curve["task"] == 1)]["mean"].item()
    assert steps[(steps["step"] == 0) & (steps["task"] == 1)]["mean"].item() == before
    assert set(steps[steps["step"] == 0]["task"]) == {1, 2}  # task 3 has not begun
    worst, final = series.way_metric(Config(None, 200), "min_acc"), series.metric(Config(None, 200), "acc")
    assert worst.n == 3 and worst.mean <= final.mean + 0.05


def test_runs_that_watch_no_switch_have_none():
    series = folded(recording(experiment("er")[0]))
    assert series.switches() == [] and series.switch(Config(None, 200), 2).empty


def test_a_diverged_network_has_no_worst_case():
    (run,) = experiment("er", watch_switches=2)
    worst = folded(recording(run, diverged=(1,))).way_metric(Config(None, 200), "worst_case_acc")
    assert worst.mean is None and (worst.diverged, worst.total) == (1, 3)
