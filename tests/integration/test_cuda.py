"""Every method on a GPU: it trains there, and learns what it learns on the CPU.

Skipped where torch finds no GPU. Draws are made on the CPU, so both devices begin alike and see the same mini-batches; what
differs is rounding, which training amplifies a little (and a method that sorts or thresholds, a little more).
"""

from __future__ import annotations

import math
from statistics import fmean

import pytest
import torch

from clcore.catalogue import catalogue
from clcore.events import Insight, TaskFinished
from clcore.randomness import Generators, normals
from clcore.registry import methods
from clcore.spec import NetworkChoice, make
from tests.training_cases import broken_off_and_resumed, digits_run, result_of, trained, weights_of

pytestmark = [
    pytest.mark.usefixtures("one_thread"),
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU"),
]

METHODS = catalogue().methods
CONVOLUTIONS = {
    "cnn": make(NetworkChoice, name="cnn", settings={"channels": 8}),
    "cnn with batch normalisation": make(NetworkChoice, name="cnn", settings={"channels": 4, "norm": "batch"}),
    "resnet18-slim": make(NetworkChoice, name="resnet18-slim", settings={"channels": 2}),
    "vgg-small": make(NetworkChoice, name="vgg-small", hidden=(8,), settings={"channels": 2}),
}
CELLS = [(card, scenario) for card in METHODS for scenario in card.scenarios]
STATIC = [card for card in METHODS if methods()[card.name].static_step]
FROZEN = [card.name for card in METHODS if card.family == "isolation" and card.name != "den"]


def both(method: str, scenario: str, **more) -> tuple[dict, dict]:
    """The result on the CPU and on the GPU."""
    case = {"seeds": (0, 1, 2), "benchmark": "split-digits", "memories": (100, 200), "epochs": 3, **more}
    run = digits_run(method, scenario=scenario, **case)
    return result_of(run), result_of(run.model_copy(update={"device": "cuda"}))


def final(result: dict) -> float:
    """Mean accuracy after the last task, over replicas and tasks."""
    return fmean(replica["acc"] for replica in result["replicas"])


@pytest.mark.parametrize("card, scenario", CELLS, ids=lambda value: getattr(value, "name", value))
def test_a_method_learns_on_a_gpu_what_it_learns_on_the_cpu(card, scenario):
    cpu, gpu = both(card.name, scenario)
    assert [r["status"] for r in gpu["replicas"]] == [r["status"] for r in cpu["replicas"]]
    for a, b in zip(cpu["replicas"], gpu["replicas"], strict=True):
        assert a["bytes"] == pytest.approx(b["bytes"], rel=0.05) and a["gradient_samples"] == b["gradient_samples"]
    assert final(gpu) == pytest.approx(final(cpu), abs=0.03)


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
@pytest.mark.parametrize("card", STATIC, ids=lambda card: card.name)
def test_repeating_a_recorded_step_is_asking_for_it_anew(card, optimizer, monkeypatch):
    case = {"seeds": (0, 1), "benchmark": "split-digits", "memories": (200,), "epochs": 3, "optimizer": optimizer}
    run = digits_run(card.name, scenario=card.scenarios[0], **case).model_copy(update={"device": "cuda"})
    weights, finals = [], []
    for switch in ("0", "1"):
        monkeypatch.setenv("CLCORE_CUDA_GRAPHS", switch)
        learner = trained(run)
        assert learner._records == (switch == "1")
        weights.append([weights_of(learner, row) for row in range(2)])
        finals.append(fmean(learner.evaluator.row(len(learner.stream.tasks)).flatten().tolist()))
    assert finals[0] == pytest.approx(finals[1], abs=0.03)
    if optimizer == "adam" or card.name in ("supsup", "piggyback"):
        return  # Adam on the device counts its steps in single precision: the weights come out a little different
    for asked, repeated in zip(*weights, strict=True):
        for a, b in zip(asked, repeated, strict=True):
            torch.testing.assert_close(a, b, rtol=1e-2, atol=1e-3)


@pytest.mark.parametrize("name", CONVOLUTIONS)
@pytest.mark.parametrize("card", METHODS, ids=lambda card: card.name)
def test_a_method_trains_convolutions_on_a_gpu(card, name):
    network = CONVOLUTIONS[name]
    if not card.works_on(network.name, network.options):
        pytest.skip(card.network_reason)
    run = digits_run(
        card.name, benchmark="split-digits", scenario=card.scenarios[-1], network=network, lr=0.02, seeds=(0, 1),
        memories=(100,), options={"tasks": 2, "train_per_task": 24},
        settings={"gdumb.memory_epochs": 2} if card.name == "gdumb" else None,
    ).model_copy(update={"device": "cuda"})  # fmt: skip
    seen = []
    for replica in result_of(run, report=seen.append)["replicas"]:
        assert replica["status"] == "finished"
        assert all(math.isfinite(x) for row in replica["accuracy_matrix"][1:] for x in row[:1])
    assert [event.task for event in seen if isinstance(event, TaskFinished)] == [0, 1, 2]


@pytest.mark.parametrize("method", FROZEN)
@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_frozen_outputs_stay_identical_on_a_gpu(method, optimizer):
    more = {"momentum": 0.9} if optimizer == "sgd" else {}
    run = digits_run(method, benchmark="split-digits", scenario="task", optimizer=optimizer, weight_decay=1e-3, **more)
    for replica in result_of(run.model_copy(update={"device": "cuda"}))["replicas"]:
        assert replica["old_logits"]["identical"], replica["old_logits"]


@pytest.mark.parametrize("method", ["ewc", "er", "gem", "vcl", "hat", "dgr", "icarl"])
def test_training_goes_on_after_a_break(method, tmp_path):
    scenario = "task" if method == "hat" else "class"
    run = digits_run(method, benchmark="split-digits", scenario=scenario, seeds=(0, 1)).model_copy(update={"device": "cuda"})
    whole, resumed = result_of(run), broken_off_and_resumed(run, tmp_path / "checkpoint")
    assert final(resumed) == pytest.approx(final(whole), abs=0.02)
    assert [r["gradient_samples"] for r in resumed["replicas"]] == [r["gradient_samples"] for r in whole["replicas"]]


def test_normal_numbers_are_drawn_alike():
    for_cpu, for_gpu = (Generators(range(20), "noise") for _ in range(2))
    for _ in range(5):  # side by side, and into memory that is used again
        asked = normals(for_gpu, 64, 100, torch.device("cuda"))
        assert asked.is_cuda and torch.equal(asked.cpu(), normals(for_cpu, 64, 100, torch.device("cpu")))


@pytest.mark.parametrize("method", ["er+ewc", "er+si", "agem+mas"])
def test_compositions(method):
    cpu, gpu = both(method, "domain")
    assert final(gpu) == pytest.approx(final(cpu), abs=0.03)


@pytest.mark.parametrize("method", ["finetune", "er", "ewc", "der"])
def test_streams_without_boundaries(method):
    cpu, gpu = both(method, "task-free", epochs=1)
    assert final(gpu) == pytest.approx(final(cpu), abs=0.03)


@pytest.mark.parametrize("budget", [{"gradient_samples": "fine-tuning"}, {"memory_bytes": 400_000}])
def test_budgets_are_fitted_alike(budget):
    cpu, gpu = both("er", "class", memories=(100,), **budget)
    assert gpu["epochs"] == cpu["epochs"] and gpu["note"] == cpu["note"]


@pytest.mark.parametrize("card", METHODS, ids=lambda card: card.name)
def test_insights_come_back_from_a_gpu(card):
    """Every picture's numbers come back from the device."""
    seen = []
    run = digits_run(card.name, benchmark="split-digits", scenario=card.scenarios[0], options={"tasks": 2}, memories=(100,))
    result_of(run.model_copy(update={"device": "cuda"}), report=seen.append)
    cpu = []
    result_of(run, report=cpu.append)
    names = lambda events: {name for e in events if isinstance(e, Insight) for name in e.arrays}  # noqa: E731
    assert names(seen) == names(cpu)
