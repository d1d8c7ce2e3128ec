"""The command line's contract: output, JSON, exit statuses, sentences."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from clcore.cli import main

ROOT = Path(__file__).parents[2]
SMALL = ["--epochs", "1", "--hidden", "16", "--device", "cpu"]
pytestmark = pytest.mark.usefixtures("one_thread")


def run(*arguments: str) -> int:
    return main(["run", "--benchmark", "split-digits", *SMALL, *arguments])


def test_run_writes_the_contracts_json(tmp_path, capsys):
    target = tmp_path / "out.json"
    assert run("--scenario", "class", "--method", "er", "--method", "ewc", "--strengths", "ewc=0,30", "--memory", "20,50",
               "--seeds", "0,1", "--json", str(target)) == 0  # fmt: skip
    document = json.loads(target.read_text())
    assert (document["benchmark"], document["scenario"]) == ("split-digits", "class")
    er, ewc = document["runs"]
    assert (er["method"], er["status"]) == ("er", "finished")
    for key in ("train_samples", "train_seconds", "train_cpu_seconds", "evaluation_seconds", "replayed_samples"):
        assert er[key] >= 0
    assert [(r["seed"], r["strength"], r["memory"]) for r in er["replicas"]] == [
        (0, None, 20), (0, None, 50), (1, None, 20), (1, None, 50),
    ]  # fmt: skip
    assert [(r["seed"], r["strength"], r["memory"]) for r in ewc["replicas"]] == [
        (0, 0.0, None), (0, 30.0, None), (1, 0.0, None), (1, 30.0, None),
    ]  # fmt: skip
    replica = er["replicas"][0]
    assert len(replica["accuracy_matrix"]) == 6 and all(len(row) == 5 for row in replica["accuracy_matrix"])
    assert replica["accuracy_matrix"][0] == [None] * 5
    assert len(replica["validation_matrix"]) == 6 and len(replica["footprint_per_task"]) == 5
    assert {"parameters", "memory_samples"} == set(replica["footprint"])
    for metric in ("acc", "bwt", "fwt", "forgetting", "learning_accuracy"):
        assert metric in replica
    assert replica["bytes"] == sum(replica["footprint"].values()) and replica["gradient_samples"] > 0
    assert er["gradient_samples"] == er["train_samples"] + er["replayed_samples"]
    assert er["relative_to_fine_tuning"] is None  # nothing to compare with
    assert er["comparability"] != ewc["comparability"]  # nothing was chosen there, and swept here
    assert ewc["protocol"]["selection"] | {"provenance": ""} == {
        "kind": "swept", "strengths": {"ewc": [0.0, 30.0]}, "configurations": 2, "provenance": "",
    }  # fmt: skip
    shown = capsys.readouterr().out
    assert "±" in shown and "class scenario" in shown


def test_runs_are_recorded_shown_exported_and_deleted(capsys):
    assert run("--method", "finetune") == 0
    capsys.readouterr()
    main(["runs", "--json"])
    (row,) = json.loads(capsys.readouterr().out)
    assert (row["method"], row["state"]) == ("finetune", "finished")
    assert main(["show", row["id"][:6]]) == 0 and "finetune" in capsys.readouterr().out
    assert main(["export", row["id"]]) == 0
    assert json.loads(capsys.readouterr().out)["runs"][0]["method"] == "finetune"
    assert main(["export", row["id"], "--format", "csv"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("method,seed") and len(lines) == 1 + 2 * 25
    first = dict(zip(lines[0].split(","), lines[1].split(","), strict=False))
    assert first["run"] == row["id"] and first["benchmark"] == row["benchmark"] and "epochs" in first
    assert main(["cancel", row["id"]]) == 2 and "nothing to cancel" in capsys.readouterr().err
    assert main(["delete", row["id"]]) == 0
    assert main(["show", row["id"]]) == 2


def test_the_tables_say_what_may_be_ranked_and_what_it_cost(tmp_path, capsys):
    target = tmp_path / "out.json"
    assert run("--method", "er", "--method", "finetune", "--method", "ewc", "--memory", "20", "--json", str(target)) == 0
    printed = capsys.readouterr().out
    scores, costs = printed.split("\n\n")
    assert [line.split()[:2] for line in scores.splitlines()[:4]] == [
        ["rank", "method"], ["A", "er"], ["B", "finetune"], ["C", "ewc"],
    ]  # fmt: skip
    assert "Rank only rows with the same letter: these differ in memory bytes." in costs
    plain = costs.splitlines()[2].split()
    assert plain[1] == "finetune" and plain.count("1.00") == 2 and "kB" in plain
    er, finetune, _ = json.loads(target.read_text())["runs"]
    assert finetune["relative_to_fine_tuning"] == {"wall": 1.0, "cpu": 1.0}
    ratio = er["train_seconds"] / finetune["train_seconds"]
    assert er["relative_to_fine_tuning"]["wall"] == pytest.approx(ratio) and er["comparability"] == finetune["comparability"]
    main(["runs", "--json"])
    ids = {row["method"]: row["id"] for row in json.loads(capsys.readouterr().out)}
    assert main(["export", ids["er"]]) == 0  # another command finds the same measure
    assert json.loads(capsys.readouterr().out)["runs"][0]["relative_to_fine_tuning"] == er["relative_to_fine_tuning"]
    assert main(["show", ids["er"]]) == 0 and "gradient samples" in capsys.readouterr().out


def test_one_row_needs_no_warning(capsys):
    assert run("--method", "finetune") == 0
    assert "Rank only" not in capsys.readouterr().out


def test_catalogues_are_listed(capsys):
    for what in ("methods", "benchmarks"):
        assert main([what]) == 0 and len(capsys.readouterr().out.splitlines()) > 5
        assert main([what, "--json"]) == 0
        cards = json.loads(capsys.readouterr().out)
        assert all({"name", "title", "scenarios", "knobs"} <= set(card) for card in cards)


BAD = {
    "unknown method": (["--method", "ewcc"], "There is no method named 'ewcc'. Did you mean 'ewc'?"),
    "unknown benchmark": (["--benchmark", "split-digit", "--method", "ewc"], "Did you mean 'split-digits'?"),
    "strength out of range": (
        ["--method", "ewc", "--strengths", "ewc=-1"],
        "ewc.strength = -1.0 is not allowed: give a number",
    ),
    "setting out of range": (["--method", "ewc", "--set", "ewc.strength=1e30"], "from 0 to 1e+12"),
    "setting not a number": (["--method", "ewc", "--set", "ewc.strength=soft"], "'soft' is not allowed"),
    "unknown setting": (["--method", "ewc", "--set", "ewc.lambda=1"], "ewc has no setting 'lambda'. It has: strength"),
    "setting of a method not chosen": (["--method", "ewc", "--set", "l2.strength=1"], "no chosen method is named 'l2'"),
    "setting without a value": (["--method", "ewc", "--set", "ewc.strength"], "write NAME=VALUE"),
    "tasks that do not divide": (["--method", "ewc", "--tasks", "3"], "it must divide 10: 1, 2, 5, 10"),
    "no such scenario": (["--method", "single", "--scenario", "class"], "single does not work in the class scenario"),
    "strange scenario": (["--method", "ewc", "--scenario", "blurry"], "blurry"),
    "strengths of two methods": (["--method", "ewc", "--method", "l2", "--strengths", "1,2"], "write METHOD=1,10,100"),
    "strengths of one without": (["--method", "er", "--strengths", "1,2"], "1,2: no chosen method has a strength to sweep"),
    "a plus too many": (["--method", "der++"], "without a method on both sides; write it as in er+ewc. Did you mean 'derpp'?"),
    "strength of none": (["--method", "finetune", "--strengths", "finetune=1"], "finetune has no strength to sweep"),
    "seeds twice": (["--method", "ewc", "--seeds", "1,1"], "repeat a value"),
    "seeds not numbers": (["--method", "ewc", "--seeds", "a"], "give whole numbers separated by commas"),
    "negative memory": (["--method", "er", "--memory", "-5"], "A memory budget of -5 is not allowed"),
    "no epochs": (["--method", "ewc", "--epochs", "0"], "epochs"),
    "momentum with adam": (["--method", "ewc", "--optimizer", "adam", "--momentum", "0.9"], "belongs to SGD"),
    "unknown option": (["--method", "ewc", "--option", "angle=3"], "split-digits has no setting 'angle'"),
    "method twice": (["--method", "ewc", "--method", "ewc"], "ewc is chosen twice"),
    "part twice": (["--method", "ewc+ewc"], "names ewc twice"),
    "unwritable json": (["--method", "ewc", "--json", "/nowhere/out.json"], "cannot be written"),
    "json into a folder": (["--method", "ewc", "--json", "/"], "cannot be written"),
    "no learning rate": (["--method", "ewc", "--lr", "0"], "lr"),
    "no seeds": (["--method", "ewc", "--seeds", ""], "give whole numbers"),
    "no strengths": (["--method", "ewc", "--strengths", "ewc="], "give numbers"),
    "json of a detached run": (["--method", "ewc", "--detach", "--json", "x"], "does nothing together with --detach"),
    "more examples than there are": (["--method", "ewc", "--train-per-task", "50000"], "train_per_task = 50000"),
    "a number that is none": (["--method", "ewc", "--epochs", "many"], "many"),
    "no such backbone": (
        ["--method", "piggyback", "--scenario", "task", "--set", "piggyback.backbone=/nope.npz"],
        "piggyback.backbone = '/nope.npz' cannot be read",
    ),
}


@pytest.mark.parametrize("arguments, sentence", BAD.values(), ids=BAD.keys())
def test_a_bad_request_is_one_sentence_and_exit_status_two(arguments, sentence, capsys):
    try:
        status = run(*arguments)
    except SystemExit as stop:  # argparse
        status = stop.code
    printed = capsys.readouterr()
    assert status == 2
    assert sentence in printed.err and len(printed.err.strip().splitlines()) == 1
    assert "Traceback" not in printed.err


@pytest.mark.parametrize("limit", ["0", "-3"])
def test_runs_lists_at_least_one(limit, capsys):
    assert main(["runs", "--limit", limit]) == 2
    assert f"--limit {limit} is not allowed: give a whole number from 1." in capsys.readouterr().err


def test_too_large_for_memory(capsys):
    status = main(["run", "--benchmark", "split-digits", "--method", "finetune", "--hidden", "60000,60000", "--seeds",
                   ",".join(map(str, range(100))), "--device", "cpu"])  # fmt: skip
    printed = capsys.readouterr()
    assert status == 2 and printed.out == ""
    assert "GiB are free" in printed.err and len(printed.err.strip().splitlines()) == 1


def test_an_axis_that_a_method_lacks_is_dropped_and_said(tmp_path, capsys):
    target = tmp_path / "out.json"
    assert run("--method", "ewc", "--memory", "10,20", "--json", str(target)) == 0
    assert "ewc has no memory axis; its values are dropped." in capsys.readouterr().err
    assert [r["memory"] for r in json.loads(target.read_text())["runs"][0]["replicas"]] == [None]


def test_a_linear_classifier_has_no_hidden_layer(tmp_path):
    target = tmp_path / "out.json"
    assert run("--method", "finetune", "--hidden", "none", "--json", str(target)) == 0
    (replica,) = json.loads(target.read_text())["runs"][0]["replicas"]
    assert replica["footprint"]["parameters"] == 4 * 65 * 10


def test_a_missing_gpu_is_said(capsys):
    import torch

    if torch.cuda.is_available():
        pytest.skip("this machine has a GPU")
    assert run("--method", "finetune", "--device", "cuda") == 2
    assert "no cuda device" in capsys.readouterr().err
    assert main(["runs", "--json"]) == 0 and json.loads(capsys.readouterr().out) == []


def test_a_missing_folder_is_said_before_a_run_is_recorded(tmp_path, capsys):
    missing = tmp_path / "nothing"
    assert main(["run", "--benchmark", "image-folder", "--option", f"path={missing}", *SMALL, "--method", "finetune"]) == 2
    assert str(missing) in capsys.readouterr().err
    assert main(["runs", "--json"]) == 0 and json.loads(capsys.readouterr().out) == []


def test_a_read_only_home_is_one_sentence(tmp_path, monkeypatch, capsys):
    blocked = tmp_path / "file"
    blocked.write_text("")
    monkeypatch.setenv("CLCORE_HOME", str(blocked / "home"))
    assert run("--method", "finetune") == 1
    error = capsys.readouterr().err
    assert "Traceback" not in error and str(blocked) in error


def start(*arguments: str, home: Path) -> subprocess.Popen:
    command = [sys.executable, "-m", "clcore", "run", "--benchmark", "permuted-digits", "--device", "cpu", *arguments]
    env = {**os.environ, "CLCORE_HOME": str(home)}
    return subprocess.Popen(command, cwd=ROOT, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def test_ctrl_c_cancels_with_what_was_finished(tmp_path):
    target = tmp_path / "out.json"
    process = start("--method", "finetune", "--epochs", "5000", "--json", str(target), home=tmp_path / "home")
    database = tmp_path / "home" / "runs.db"
    deadline = time.monotonic() + 60
    while not (database.exists() and _position(tmp_path / "home") > 0) and time.monotonic() < deadline:
        time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    output, errors = process.communicate(timeout=30)
    assert process.returncode == 130, errors
    assert "Traceback" not in errors
    (result,) = json.loads(target.read_text())["runs"]
    assert result["status"] == "cancelled" and result["replicas"][0]["accuracy_matrix"][0][0] is not None
    assert _recorded(tmp_path / "home").state == "cancelled"


def _position(home: Path) -> float:
    row = _recorded(home)
    return row.position if row else 0.0


def _recorded(home: Path):
    """The one run of a home's store, if it is there yet."""
    from clcore.store import open_store

    store = open_store(f"sqlite:///{home / 'runs.db'}")
    try:
        return next(iter(store.runs()), None)
    finally:
        store.close()


# ---- files that leave and come back ---------------------------------------------------------------------------------


def test_results_come_back_elsewhere_and_become_a_report(tmp_path, capsys, monkeypatch):
    target = tmp_path / "out.json"
    assert run("--scenario", "class", "--method", "finetune", "--method", "er", "--seeds", "0,1,2", "--json", str(target)) == 0
    assert main(["import", str(target)]) == 0 and "2 of its runs are here already" in capsys.readouterr().out
    monkeypatch.setenv("CLCORE_HOME", str(tmp_path / "elsewhere"))
    assert main(["import", str(target)]) == 0
    ids = [line.split()[0] for line in capsys.readouterr().out.splitlines()]
    html, tex, csv = (tmp_path / f"r.{ending}" for ending in ("html", "tex", "csv"))
    assert main(["report", *ids, "--html", str(html), "--latex", str(tex), "--csv", str(csv), "--title", "Mine"]) == 0
    assert "<h1>Mine</h1>" in html.read_text() and "toprule" in tex.read_text() and "Experience replay" in csv.read_text()


def test_a_report_asks_for_a_file_and_for_finished_runs(tmp_path, capsys):
    assert main(["report", "abcd"]) == 2 and "--html FILE" in capsys.readouterr().err
    assert main(["report", "abcd", "--csv", str(tmp_path / "no" / "x.csv")]) == 2 and "--csv" in capsys.readouterr().err
    assert main(["report", "abcd", "--csv", str(tmp_path / "x.csv")]) == 2 and "no run named" in capsys.readouterr().err


def test_a_bad_file_is_not_imported(tmp_path, capsys):
    bad = tmp_path / "bad.json"
    assert main(["import", str(bad)]) == 2 and "cannot be read" in capsys.readouterr().err
    bad.write_text("{}")
    assert main(["import", str(bad)]) == 2 and "bad.json holds no results" in capsys.readouterr().err
