"""Training with convolutional networks: replicas are independent, batch statistics are state, and strength 0 is fine-tuning."""

from __future__ import annotations

import pytest
import torch

from clcore.networks.convolution import Conv2d
from clcore.spec import NetworkChoice, make
from tests.training_cases import assert_resumes, digits_run, learner_for, trained

pytestmark = pytest.mark.usefixtures("one_thread")

NETWORKS = {
    "cnn": make(NetworkChoice, name="cnn", settings={"channels": 4}),
    "cnn, batch": make(NetworkChoice, name="cnn", settings={"channels": 4, "norm": "batch"}),
    "resnet18-slim": make(NetworkChoice, name="resnet18-slim", settings={"channels": 2}),
    "vgg-small": make(NetworkChoice, name="vgg-small", hidden=(8,), settings={"channels": 2}),
}
EVERY_NETWORK = pytest.mark.parametrize("network", NETWORKS.values(), ids=NETWORKS)
BATCH = NETWORKS["cnn, batch"]


def run_of(method: str, network: NetworkChoice, **more):
    options = {"train_per_task": 20, "tasks": 2} | more.pop("options", {})
    case = {"benchmark": "split-digits", "scenario": "class", "lr": 0.01, "options": options, **more}
    return digits_run(method, network=network, **case)


def state_of(learner, row: int) -> list[torch.Tensor]:
    network = learner.classifier.network
    return [t.detach()[row].clone() for t in (*network.parameters(), *network.statistics)]


def assert_close(a, b, **tolerance):
    for x, y in zip(a, b, strict=True):
        torch.testing.assert_close(x, y, **{"rtol": 1e-3, "atol": 1e-5} | tolerance)


GRIDS = pytest.mark.parametrize("method, grid", [
    ("finetune", {"seeds": range(4)}), ("ewc", {"seeds": (0, 1), "strengths": (0, 10)}),
    ("er", {"seeds": (0, 1), "memories": (3, 20)}), ("gem", {"seeds": (0, 1), "memories": (10, 20)}),
])  # fmt: skip


@EVERY_NETWORK
@GRIDS
def test_a_replica_alone_is_the_same_as_among_others(network, method, grid, double_precision):
    """In double precision, where what is left of the difference is nothing that training could amplify."""
    run = run_of(method, network, **grid)
    together = trained(run)
    for row in (0, 3):
        found, expected = state_of(together, row), state_of(trained(run, members=[row]), 0)
        assert found[0].dtype == torch.float64
        assert_close(found, expected, rtol=1e-7, atol=1e-9)


@EVERY_NETWORK
def test_a_replica_alone_is_close_to_the_same_in_single_precision(network):
    """For a few steps: normalising by a batch whose features hardly vary makes rounding grow a hundredfold in every step."""
    run = run_of("finetune", network, seeds=range(4), batch_size=40, options={"train_per_task": 80})
    together = trained(run, tasks=1)
    for row in (0, 3):
        assert_close(state_of(together, row), state_of(trained(run, members=[row], tasks=1), 0), rtol=1e-3, atol=1e-4)


def test_a_replica_that_is_through_keeps_its_batch_statistics():
    """Seeded orders give replicas streams of different length: while one is through, the others' batches are its padding."""
    options = {"order": "seeded", "train_per_task": None, "validation": 0.5}
    run = run_of("finetune", BATCH, seeds=range(6), options=options, batch_size=8)
    together = trained(run, tasks=1)
    steps = -(-together.stream.tasks[0].train.lengths // run.batch_size)
    shortest, longest = int(steps.argmin()), int(steps.argmax())
    assert steps[shortest] < steps[longest]
    for row in (shortest, longest):
        assert_close(state_of(together, row), state_of(trained(run, members=[row], tasks=1), 0), atol=1e-4)


def test_training_moves_the_batch_statistics_and_looking_does_not():
    run = run_of("finetune", BATCH, live_points=0)
    learner, watched = trained(run, tasks=1), trained(run_of("finetune", BATCH, live_points=5), tasks=1)
    moved = [values.clone() for values in learner.classifier.network.statistics]
    assert all(float(mean.abs().max()) > 0 for mean in moved[::2])
    learner.row(1, "test")
    assert all(torch.equal(a, b) for a, b in zip(moved, learner.classifier.network.statistics, strict=True))
    assert all(torch.equal(a, b) for a, b in zip(moved, watched.classifier.network.statistics, strict=True))


@pytest.mark.parametrize("method", ["er", "lwf", "gdumb", "single", "si"])
def test_resumed_is_uninterrupted_with_batch_statistics(method, tmp_path):
    options = {"tasks": 5, "train_per_task": 30}
    scenario = "task" if method == "single" else "class"
    settings = {"gdumb.memory_epochs": 3} if method == "gdumb" else {}
    run = run_of(method, BATCH, options=options, scenario=scenario, seeds=(0, 1), memories=(20,), settings=settings)
    assert_resumes(run, tmp_path / "checkpoint")


def test_a_replica_that_diverges_leaves_the_others_batch_statistics_alone():
    options = {"tasks": 2, "train_per_task": 60}
    settings = {"ewc.penalty_step": "explicit"}
    run = run_of("ewc", BATCH, seeds=(0,), strengths=(1.0, 1e12), settings=settings, options=options)
    learner = trained(run)
    assert learner.alive.tolist() == [True, False]
    assert_close(state_of(learner, 0), state_of(trained(run, members=[0]), 0))
    assert all(torch.isfinite(t).all() for t in learner.classifier.network.statistics)


@EVERY_NETWORK
@pytest.mark.parametrize("method", ["ewc", "online-ewc", "si", "mas", "rwalk", "l2", "lwf", "dgr"])
def test_strength_zero_is_fine_tuning(network, method):
    plain = trained(run_of("finetune", network))
    held = trained(run_of(method, network, strengths=(0,)))
    expected, found = state_of(plain, 0), state_of(held, 0)
    weights = len(list(plain.classifier.network.parameters()))
    assert_close(found[:weights], expected[:weights])
    if method != "dgr":  # whose dreams pass through the network, and through its statistics, though they weigh nothing
        assert_close(found, expected)


@EVERY_NETWORK
def test_memory_zero_is_fine_tuning(network):
    plain = state_of(trained(run_of("finetune", network)), 0)
    for method in ("er", "gem", "agem", "derpp", "mir"):
        assert_close(state_of(trained(run_of(method, network, memories=(0,))), 0), plain)


def test_a_teacher_keeps_the_statistics_of_its_time():
    learner = trained(run_of("lwf", BATCH, options={"tasks": 2, "train_per_task": 60}), tasks=1)
    x, _ = learner.stream.tasks[0].test.gather(torch.arange(8).unsqueeze(0))
    teacher = learner.method.teacher
    teacher.copy()
    before = learner.classifier(x).detach()
    learner.classifier.network.statistics[0].add_(1.0)
    assert torch.equal(teacher(x), before) and not torch.equal(learner.classifier(x), before)


def test_single_networks_answer_with_their_own_statistics():
    learner = trained(run_of("single", BATCH, scenario="task", options={"tasks": 2, "train_per_task": 60}))
    x, _ = learner.stream.tasks[0].test.gather(torch.arange(8).unsqueeze(0))
    present = [values.clone() for values in learner.classifier.network.statistics]
    first = learner.method.predict(x, 0)
    assert all(torch.equal(a, b) for a, b in zip(present, learner.classifier.network.statistics, strict=True))
    again = trained(run_of("single", BATCH, scenario="task", options={"tasks": 2, "train_per_task": 60}), tasks=1)
    torch.testing.assert_close(first, again.classifier(x), rtol=1e-4, atol=1e-4)


def test_a_footprint_charges_the_statistics():
    batch, group = learner_for(run_of("finetune", BATCH)), learner_for(run_of("finetune", NETWORKS["cnn"]))
    channels = sum(m.outputs for m in batch.classifier.network.modules() if isinstance(m, Conv2d))
    difference = batch.footprint()[0]["parameters"] - group.footprint()[0]["parameters"]
    assert difference == 4 * 2 * channels
