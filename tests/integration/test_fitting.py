"""Equal compute and equal memory: budgets become epochs and examples, and the result states what was reached."""

from __future__ import annotations

import json

import pytest

from clcore.accounting import Entry, comparability_key, differences, readable_bytes, readable_count
from clcore.cli import main
from clcore.control import Control
from clcore.errors import Cancelled, RequestError
from clcore.events import Evaluated, Preparing, RunStarted
from clcore.spec import RunSpec, from_json
from tests.training_cases import digits_run, result_of

pytestmark = pytest.mark.usefixtures("one_thread")
SMALL = {"tasks": 3, "options": {"train_per_task": 64}}
STREAM = 3 * 64


def reached(result) -> set[int]:
    return {r["gradient_samples"] for r in result["replicas"]}


@pytest.mark.parametrize(
    ("method", "epochs", "samples"),
    [
        ("finetune", 6, 6 * STREAM),
        ("er", 3.6, 14 * 16 * 5),  # as much again in the second and third task: 14 steps of the 16 of four epochs
        ("joint", 3, 3 * (1 + 2 + 3) * 64),
        (
            "ewc",
            1,
            STREAM + 2 * 64 * 10,
        ),  # its Fisher information alone is more than the budget: it trains one epoch
    ],
)
def test_epochs_are_fitted_to_what_fine_tuning_takes(method, epochs, samples):
    result = result_of(digits_run(method, epochs=6, gradient_samples="fine-tuning", **SMALL))
    assert result["epochs"] == epochs and reached(result) == {samples}
    assert result["protocol"]["budgets"] == {"gradient_samples": "fine-tuning", "memory_bytes": None}


@pytest.mark.parametrize("method", ["den", "packnet"])
def test_methods_that_train_in_halves_of_the_epochs_keep_to_the_budget(method):
    """Half of one epoch is one: from one epoch to two they seem to take next to nothing more."""
    case = {"benchmark": "split-digits", "scenario": "task", "epochs": 6, "live_points": 0}
    budget = result_of(digits_run("finetune", **case))["gradient_samples"]
    result = result_of(digits_run(method, gradient_samples="fine-tuning", **case))
    assert 0.8 * budget < result["gradient_samples"] < 1.2 * budget


@pytest.mark.parametrize("asked", [STREAM // 2, STREAM, 4 * STREAM - 90, 4 * STREAM, 4 * STREAM + 90, 20 * STREAM])
def test_a_number_is_met_within_half_a_step_a_task(asked):
    result = result_of(digits_run("finetune", gradient_samples=asked, **SMALL))
    assert abs(result["gradient_samples"] - asked) <= 3 * 8
    assert result["epochs"] == pytest.approx(asked / STREAM, abs=0.005)
    assert isinstance(result["epochs"], int) == (asked % STREAM == 0)


@pytest.mark.parametrize("method", ["er", "der", "agem", "gem", "mir", "si", "lwf", "er+si", "er-ace", "icarl"])
def test_one_epoch_of_fine_tuning_is_a_budget_for_every_method(method):
    """MNIST's streams train one epoch: what costs more sees a part of each task, and stays comparable."""
    case = {"benchmark": "split-digits", "scenario": "class", "epochs": 1, "batch_size": 8, "memories": (20,), "live_points": 0}
    runs = [digits_run(name, gradient_samples="fine-tuning", **case) for name in ("finetune", method)]
    plain, fitted = map(result_of, runs)
    assert (fitted["epochs"] < 1) == (method not in ("si", "lwf"))
    entries = [Entry(run, ({},), (r["gradient_samples"],)) for run, r in zip(runs, (plain, fitted), strict=True)]
    assert "gradient samples" not in differences(entries)


@pytest.mark.parametrize(
    ("method", "settings", "whole"),
    [("hat", {}, True), ("ags-cl", {"ags-cl.prox_every": "epoch"}, True), ("ags-cl", {"ags-cl.prox_every": "step"}, False)],
)
def test_what_belongs_to_the_end_of_an_epoch_keeps_epochs_whole(method, settings, whole):
    case = {"benchmark": "split-digits", "scenario": "task", "live_points": 0}
    budget = result_of(digits_run("finetune", epochs=1, **case))["gradient_samples"]
    result = result_of(digits_run(method, settings=settings, gradient_samples=2 * budget + budget // 4, **case))
    assert result["epochs"] == (2 if whole else 2.25)


def test_a_fitted_run_is_the_run_with_these_epochs_bit_for_bit():
    """The trials touch no generator of the run."""
    plain = result_of(digits_run("er+ewc", seeds=(0, 1), epochs=3, **SMALL))
    budget = plain["replicas"][0]["gradient_samples"]
    fitted = result_of(digits_run("er+ewc", seeds=(0, 1), epochs=4, gradient_samples=budget, **SMALL))
    assert fitted["epochs"] == 3
    for key in ("accuracy_matrix", "validation_matrix", "gradient_samples"):
        assert [r[key] for r in fitted["replicas"]] == [r[key] for r in plain["replicas"]]


def test_the_plan_says_what_the_budget_came_to():
    events = []
    result_of(digits_run("er", epochs=6, gradient_samples="fine-tuning", **SMALL), report=events.append)
    assert isinstance(events[0], Preparing) and "budget" in events[0].message
    started = next(e for e in events if isinstance(e, RunStarted))
    assert started.epochs == 3.6 and started.note == "3.6 epochs: 1.2 k gradient samples for a budget of 1.2 k."


@pytest.mark.parametrize("memories", [(0, 200), (200, 0), (200, 0, 5)])
def test_the_dearest_memory_decides_in_whatever_order(memories):
    events = []
    run = digits_run("er", epochs=6, gradient_samples="fine-tuning", memories=memories, **SMALL)
    result = result_of(run, report=events.append)
    assert result["epochs"] == 3.6
    reached = {r["memory"]: r["gradient_samples"] for r in result["replicas"]}
    assert (reached[0], reached[200]) == (14 * 16 * 3, 14 * 16 * 5)
    started = next(e for e in events if isinstance(e, RunStarted))
    assert started.note == (
        f"3.6 epochs: 691 to 1.2 k gradient samples for a budget of 1.2 k, fitted to the dearest of {len(memories)} settings."
    )


@pytest.mark.parametrize("strengths", [(100.0, 1.0), (1.0, 100.0)])
def test_a_strength_that_diverges_says_nothing_about_the_others(strengths):
    plain, events = result_of(digits_run("der", strengths=(1.0,), epochs=4, **SMALL)), []
    budget = plain["gradient_samples"]
    run = digits_run("der", strengths=strengths, epochs=6, gradient_samples=budget, **SMALL)
    result = result_of(run, report=events.append)
    status = {r["strength"]: (r["status"], r["gradient_samples"]) for r in result["replicas"]}
    assert result["epochs"] == 4 and status[1.0] == ("finished", budget) and status[100.0][0] == "diverged"
    started = next(e for e in events if isinstance(e, RunStarted))
    assert "1 of 2 settings diverged while this was measured" in started.note


def test_where_every_network_diverges_there_is_nothing_to_measure():
    with pytest.raises(RequestError, match=r"^der diverges before its budget can be measured: .*\.$"):
        result_of(digits_run("der", strengths=(100.0,), gradient_samples=1000, **SMALL))


def test_what_takes_the_same_whatever_the_epochs_says_so():
    events = []
    run = digits_run("gdumb", memories=(20,), epochs=6, gradient_samples="fine-tuning", **SMALL)
    result = result_of(run, report=events.append)
    started = next(e for e in events if isinstance(e, RunStarted))
    assert result["epochs"] == 6
    assert started.note == (
        f"gdumb takes {readable_count(result['gradient_samples'])} gradient samples whatever the epochs: they cannot fit it "
        "to a budget of 1.2 k."
    )


KEPT = 4 * (65 * 32 + 33 * 32 + 33 * 10)  # bytes of a network of the test's size
EXAMPLE = 64 + 8


@pytest.mark.parametrize(
    ("method", "fixed"), [("er", 0), ("er+ewc", 2 * KEPT), ("gem", 2 * KEPT), ("agem", KEPT)]
)
def test_a_replay_memory_gets_what_is_left(method, fixed):
    budget = fixed + 30 * EXAMPLE + 71
    result = result_of(digits_run(method, seeds=(0, 1), memory_bytes=budget, memories=(5, 10), **SMALL))
    assert [(r["seed"], r["memory"]) for r in result["replicas"]] == [(0, 30), (1, 30)]
    for replica in result["replicas"]:
        assert budget - EXAMPLE < replica["bytes"] - KEPT <= budget
    plain = result_of(digits_run(method, seeds=(0, 1), memories=(30,), **SMALL))
    assert [r["accuracy_matrix"] for r in result["replicas"]] == [r["accuracy_matrix"] for r in plain["replicas"]]


def test_a_method_whose_state_is_larger_is_refused_with_one_sentence():
    with pytest.raises(RequestError, match=r"ewc keeps 27.7 kB beside the network, more than the budget of 27.7 kB"):
        result_of(digits_run("ewc", memory_bytes=2 * KEPT - 1, **SMALL))
    assert result_of(digits_run("ewc", memory_bytes=2 * KEPT, **SMALL))["status"] == "finished"
    with pytest.raises(RequestError, match="joint keeps"):
        result_of(digits_run("joint", memory_bytes=1000, **SMALL))


@pytest.mark.parametrize("method", ["gem", "agem"])
def test_where_not_even_the_first_example_fits_there_is_none(method):
    """The gradients come with the first example: it costs far more than the others."""
    events = []
    first = KEPT * (2 if method == "gem" else 1) + EXAMPLE
    run = digits_run(method, memory_bytes=first - 1, **SMALL)
    replica = result_of(run, report=events.append)["replicas"][0]
    assert (replica["memory"], replica["bytes"]) == (0, KEPT)
    started = next(e for e in events if isinstance(e, RunStarted))
    assert started.note.startswith(f"It keeps 0 examples: 0 B of {readable_bytes(first - 1)}. The first would take ")
    replica = result_of(digits_run(method, memory_bytes=first, **SMALL))["replicas"][0]
    assert replica["memory"] == 1 and replica["bytes"] == KEPT + first


def test_there_are_no_more_examples_than_the_stream_has():
    replica = result_of(digits_run("er", memory_bytes=10**12, **SMALL))["replicas"][0]
    assert replica["memory"] == STREAM and replica["bytes"] == KEPT + STREAM * EXAMPLE
    few = {"tasks": 2, "options": {"train_per_task": 10}}
    assert result_of(digits_run("er", memory_bytes=10**12, **few))["replicas"][0]["memory"] == 20


def test_a_method_that_must_have_a_memory_is_fitted_too():
    case = {"benchmark": "split-digits", "scenario": "class", "epochs": 1}
    plenty, some = (result_of(digits_run("bic", memory_bytes=b, **case))["replicas"][0] for b in (400_000, 60_000))
    assert plenty["memory"] > some["memory"] > 100  # all of the stream, and a part of it
    kept = plenty["footprint"]["parameters"]
    assert 60_000 - 2 * EXAMPLE < some["bytes"] - kept <= 60_000
    with pytest.raises(RequestError, match="too few for one of each of 10 classes"):
        result_of(digits_run("bic", memory_bytes=kept + 50 * EXAMPLE, **case))


def test_no_bytes_are_no_memory():
    result = result_of(digits_run("er", memory_bytes=0, **SMALL))
    plain = result_of(digits_run("finetune", **SMALL))
    assert result["replicas"][0]["accuracy_matrix"] == plain["replicas"][0]["accuracy_matrix"]
    assert result["replicas"][0]["memory"] == 0


def test_interrupted_and_resumed_keeps_what_was_fitted(tmp_path, monkeypatch):
    run = digits_run("er", seeds=(0, 1), epochs=3, gradient_samples="fine-tuning", memory_bytes=20 * EXAMPLE, **SMALL)
    whole, control, checkpoint = result_of(run), Control(), tmp_path / "run.pt"

    def report(event):
        if isinstance(event, Evaluated) and event.task == 3:
            control.want("cancel")
        return 7

    with pytest.raises(Cancelled):
        result_of(run, checkpoint=checkpoint, control=control, report=report)
    monkeypatch.setattr("clcore.training.fitted", lambda *_: pytest.fail("measured again"))
    resumed = result_of(run, checkpoint=checkpoint)
    assert resumed["epochs"] == whole["epochs"] == 1.8 and resumed["note"] == whole["note"] != ""
    assert [r["accuracy_matrix"] for r in resumed["replicas"]] == [r["accuracy_matrix"] for r in whole["replicas"]]


def test_budgets_are_part_of_a_spec_and_of_digests_that_were_without_them():
    plain, equal, bytes_ = (
        digits_run("er", **SMALL), digits_run("er", gradient_samples=500, **SMALL), digits_run("er", memory_bytes=9, **SMALL),
    )  # fmt: skip
    for run in (plain, equal, bytes_):
        assert from_json(RunSpec, run.model_dump_json()) == run
    finetune = digits_run("finetune", **SMALL)
    assert finetune.digest(finetune.replicas[0]) == "efe3145e95315b07"  # as before there were budgets
    assert len({run.digest(plain.replicas[0]) for run in (plain, equal, bytes_)}) == 3
    assert differences([Entry(plain), Entry(equal)]) == ["epochs", "equal compute"]
    assert comparability_key(bytes_) != comparability_key(plain)


def test_the_same_budget_in_bytes_is_the_same_memory():
    run, other = digits_run("er", memory_bytes=5000), digits_run("finetune", memory_bytes=5000)
    assert (
        differences([Entry(run, ({"parameters": 9, "memory_samples": 5000},)), Entry(other, ({"parameters": 9},))])
        == []
    )


def test_both_on_the_command_line(tmp_path, capsys):
    target = tmp_path / "out.json"
    arguments = ["run", "--benchmark", "split-digits", "--device", "cpu", "--hidden", "16", "--epochs", "4"]
    assert main([*arguments, "--method", "finetune", "--method", "er", "--equal", "gradient-samples", "--memory-bytes",
                 "1500", "--json", str(target)]) == 0  # fmt: skip
    finetune, er = json.loads(target.read_text())["runs"]
    assert finetune["epochs"] == 4 and er["epochs"] == 2.19 and er["replicas"][0]["memory"] == 1500 // EXAMPLE
    printed = capsys.readouterr()
    assert "er: It keeps 20 examples: 1.4 kB of 1.5 kB. 2.19 epochs: " in printed.err
    assert "these differ" not in printed.out
    assert main([*arguments, "--method", "ewc", "--memory-bytes", "10"]) == 2
    assert "ewc keeps" in capsys.readouterr().err
    for wrong, sentence in (
        (["--equal", "epochs"], "write gradient-samples"), (["--equal", "gradient-samples=0"], "at least 1"),
        (["--equal", "gradient-samples=x"], "give whole numbers"), (["--memory-bytes", "9", "--memory", "9"], "give one"),
        (["--memory-bytes", "-9"], "memory_bytes"),
    ):  # fmt: skip
        assert main([*arguments, "--method", "er", *wrong]) == 2 and sentence in capsys.readouterr().err


def test_every_misfit_is_named_before_anything_trains_or_is_recorded(capsys):
    arguments = ["run", "--benchmark", "split-digits", "--scenario", "class", "--device", "cpu", "--hidden", "16", "--epochs",
                 "1", "--method", "finetune", "--method", "ewc", "--method", "er", "--method", "si"]  # fmt: skip
    assert main([*arguments, "--memory-bytes", "1500"]) == 2
    printed = capsys.readouterr()
    (sentence,) = printed.err.strip().splitlines()
    assert printed.out == "" and sentence.startswith("ewc keeps ") and " and si keeps " in sentence
    assert "more than the budget of 1.5 kB: give at least " in sentence and sentence.endswith(" or leave them out.")
    assert main(["runs", "--json"]) == 0 and json.loads(capsys.readouterr().out) == []


def test_what_the_check_measured_is_not_measured_again(monkeypatch, tmp_path):
    monkeypatch.setattr("clcore.training.fitted", lambda *_: pytest.fail("measured again"))
    target = tmp_path / "out.json"
    assert main(["run", "--benchmark", "split-digits", "--device", "cpu", "--hidden", "16", "--epochs", "1", "--method", "er",
                 "--memory-bytes", "1500", "--json", str(target)]) == 0  # fmt: skip
    assert json.loads(target.read_text())["runs"][0]["replicas"][0]["memory"] == 1500 // EXAMPLE
