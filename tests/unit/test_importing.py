"""Results come back in: the same numbers, once; whatever is wrong with a file is one sentence and nothing is recorded."""

import copy
import json

import pytest

from clcore import report
from clcore.comparison import groups
from clcore.errors import RequestError
from clcore.export.importing import import_results
from clcore.frames import Config, Series
from clcore.spec import MethodChoice
from clcore.store import open_store
from clcore.ui.history import export
from tests.pages.recorded import experiment, play


@pytest.fixture
def store(own_home, tmp_path):
    opened = open_store(f"sqlite:///{tmp_path / 'here.db'}")
    yield opened
    opened.close()


@pytest.fixture
def other(own_home, tmp_path):
    """Another database, with runs."""
    opened = open_store(f"sqlite:///{tmp_path / 'there.db'}")
    for spec in experiment("finetune", "er", seeds=3):
        play(opened, spec)
    yield opened
    opened.close()


def document(other) -> dict:
    rows = other.runs()
    return json.loads(json.dumps(report.document("permuted-digits", "domain", [report.measured(r) for r in rows])))


@pytest.mark.parametrize("shape", ["command line", "runs page"])
def test_a_file_comes_back_with_the_same_numbers(store, other, shape):
    data = document(other) if shape == "command line" else export(other.runs())
    done = import_results(store, json.dumps(data))
    assert len(done.new) == 2 and done.known == 0
    before, after = (
        {group.method: group for group in groups(place.runs())} for place in (other, store)
    )  # fmt: skip
    for method in ("finetune", "er"):
        assert after[method].by_seed("acc") == before[method].by_seed("acc")
        assert after[method].spec == before[method].spec and after[method].key == before[method].key
    row = store.run(done.new[0])
    assert row.state == "finished" and row.tasks == 5
    series = Series(row.id).pull(store)
    assert series.replica_matrix(1) == row.result["replicas"][1]["accuracy_matrix"]
    assert "Imported" in series.started.note


def test_a_result_of_what_cannot_be_combined_any_more_comes_back_too(store, other):
    play(other, experiment("finetune")[0].model_copy(update={"method": MethodChoice(name="single+er")}))
    done = import_results(store, json.dumps(export(other.runs()[:1])))
    assert store.run(done.new[0]).spec.method.name == "single+er"


def test_the_same_file_twice_is_recorded_once(store, other):
    text = json.dumps(document(other))
    import_results(store, text)
    again = import_results(store, text)
    assert again.new == () and again.known == 2 and store.count_runs() == 2


def test_a_diverged_network_stays_diverged(store, other):
    play(other, experiment("ewc", seeds=2)[0], diverged=(1,))
    data = document(other)
    done = import_results(store, json.dumps({"runs": [data["runs"][0]]}))
    series = Series(done.new[0]).pull(store)
    assert set(series.diverged) == {1} and series.metric(Config(30.0), "acc").diverged == 1


def test_metrics_are_not_taken_on_trust(store, other):
    data = document(other)
    true = data["runs"][0]["replicas"][0]["acc"]
    data["runs"][0]["replicas"][0]["acc"] = 0.999
    done = import_results(store, json.dumps(data))
    assert store.run(done.new[0]).result["replicas"][0]["acc"] == pytest.approx(true)


def broken(path, value):
    def change(data):
        *way, last = path
        for step in way:
            data = data[step]
        if value is None:
            del data[last]
        else:
            data[last] = value

    return change


FIRST = ("runs", 0)
REPLICA = (*FIRST, "replicas", 0)
BAD = {
    "no spec": (broken((*FIRST, "spec"), None), "no `spec`"),
    "a spec that is not allowed": (broken((*FIRST, "spec", "epochs"), 0), "cannot be read"),
    "an unknown method": (broken((*FIRST, "spec", "method", "name"), "magic"), "cannot be read"),
    "another method": (broken((*FIRST, "method"), "ewc"), "was to train"),
    "not finished": (broken((*FIRST, "status"), "cancelled"), "damaged at status"),
    "no replicas": (broken((*FIRST, "replicas"), []), "damaged at replicas"),
    "a seed less": (broken((*FIRST, "replicas", 0), None), "not those that its specification asks for"),
    "another seed": (broken((*REPLICA, "seed"), 77), "not those"),
    "text for a number": (broken((*REPLICA, "accuracy_matrix", 2, 0), "0.5"), "damaged at replicas.0.accuracy_matrix"),
    "an impossible accuracy": (broken((*REPLICA, "accuracy_matrix", 2, 0), 1.5), "not from 0 to 1"),
    "a short row": (broken((*REPLICA, "accuracy_matrix", 2), [0.5]), "a row more than tasks"),
    "gaps at the end": (broken((*REPLICA, "accuracy_matrix", 5), [None] * 5), "gaps"),
    "bytes as text": (broken((*REPLICA, "footprint", "parameters"), "many"), "damaged at replicas.0.footprint"),
    "a strange protocol": (broken((*FIRST, "protocol", "versions"), ["1"]), "damaged at protocol.versions"),
    "no list": (broken(("runs",), None), "holds no results"),
    "an empty list": (broken(("runs",), []), "holds no run"),
    "a list of numbers": (broken(("runs",), [1, 2]), "has no result"),
}


@pytest.mark.parametrize("case", BAD)
def test_a_bad_file_is_one_sentence_and_nothing_is_recorded(store, other, case):
    change, said = BAD[case]
    data = copy.deepcopy(document(other))
    change(data)
    with pytest.raises(RequestError) as refused:
        import_results(store, json.dumps(data), name="file.json")
    assert said in str(refused.value) and "\n" not in str(refused.value) and "file.json" in str(refused.value)
    assert store.count_runs() == 0


@pytest.mark.parametrize("text", [b"\xff\xfe\x00", b"", b"{", b"[NaN]", b"3", b"[" * 100_000])
def test_what_is_not_json_is_refused(store, text):
    with pytest.raises(RequestError, match="JSON|holds no"):
        import_results(store, text)
