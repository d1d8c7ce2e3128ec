"""What tests of training share: small runs on real digits, and learners to look inside."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from clcore import registry
from clcore.control import Control
from clcore.errors import Cancelled
from clcore.events import Evaluated
from clcore.learner import Learner
from clcore.methods.base import Phase
from clcore.spec import Grid, MethodChoice, NetworkChoice, OptimizerChoice, RunSpec, make
from clcore.training import train


def digits_run(
    method: str,
    *,
    seeds=(0,),
    strengths=(),
    memories=(200,),
    settings: dict[str, Any] | None = None,
    benchmark: str = "permuted-digits",
    scenario: str = "domain",
    optimizer: str = "sgd",
    lr: float | None = None,
    hidden=(32, 32),
    network: NetworkChoice | None = None,
    epochs: int = 1,
    batch_size: int = 16,
    tasks: int = 3,
    options: dict[str, Any] | None = None,
    momentum: float = 0.0,
    weight_decay: float = 0.0,
    **more: Any,
) -> RunSpec:
    split = {"tasks": 5} if benchmark == "split-digits" else {"tasks": tasks}
    return make(
        RunSpec,
        benchmark=benchmark,
        options={**split, **(options or {})},
        scenario=scenario,
        method=make(MethodChoice, name=method, settings=settings or {}, strengths=tuple(map(float, strengths))),
        network=network or NetworkChoice(hidden=hidden),
        optimizer=make(
            OptimizerChoice,
            name=optimizer,
            lr=lr or (0.1 if optimizer == "sgd" else 0.003),
            momentum=momentum,
            weight_decay=weight_decay,
        ),
        epochs=epochs,
        batch_size=batch_size,
        device="cpu",
        grid=Grid(seeds=tuple(seeds), memories=tuple(memories)),
        **{"live_points": 3, **more},
    )


def result_of(run: RunSpec, **options: Any) -> dict[str, Any]:
    return train(run, data_dir=Path("data"), **options)


def learner_for(run: RunSpec, members=None, report=lambda event: None) -> Learner:
    """A learner of some of a run's replicas (all by default), on the run's device."""
    build = registry.benchmarks()[run.benchmark]
    benchmark = build(dict(run.options), scenario=run.scenario, data_dir=Path("data"), device=run.device)
    members = range(len(run.replicas)) if members is None else members
    return Learner(run, members, benchmark, report, Control())


def trained(run: RunSpec, members=None, tasks: int | None = None) -> Learner:
    """A learner that has been through its stream (or the first `tasks` of it)."""
    learner = learner_for(run, members)
    for task in learner.stream.tasks[:tasks]:
        learner.learn(task)
    return learner


def trained_unaware(run: RunSpec) -> Learner:
    """A learner that has been through its stream without ever being told of a task's beginning or end, or of its number."""
    learner = learner_for(run)
    for task in learner.stream.tasks:
        learner._train(task, Phase())
    return learner


def weights_of(learner: Learner, row: int) -> list[torch.Tensor]:
    """One replica's parameters."""
    return [p.detach()[row].clone() for p in learner.classifier.network.parameters()]


def identical(a: list[torch.Tensor], b: list[torch.Tensor]) -> bool:
    return all(torch.equal(x, y) for x, y in zip(a, b, strict=True))


def assert_independent(**case: Any) -> None:
    """A replica is the same, bit for bit, alone and among fifteen others; `case` must describe sixteen replicas."""
    run = digits_run(**case)
    assert len(run.replicas) == 16
    together = trained(run)
    for row in (0, 5, 14):
        alone = trained(run, members=[row])
        assert identical(weights_of(together, row), weights_of(alone, 0)), f"replica {run.replicas[row]}"


def assert_is_fine_tuning(method: str, grid: dict[str, Any], **case: Any) -> None:
    """With this grid (strength 0, memory 0) a method is fine-tuning, bit for bit."""
    settings = case.pop("settings", None)
    case = {"seeds": (0, 1), "benchmark": "split-digits", "scenario": "task", **case}
    plain = trained(digits_run("finetune", **case))
    held = trained(digits_run(method, settings=settings, **case, **grid))
    for row in range(2):
        assert identical(weights_of(plain, row), weights_of(held, row))


def assert_resumes(run: RunSpec, checkpoint: Path, task: int = 3) -> None:
    """Cancelled within `task` and resumed from the checkpoint, a run ends with the same numbers as when left alone."""
    whole, resumed = result_of(run), broken_off_and_resumed(run, checkpoint, task)
    for key in ("accuracy_matrix", "validation_matrix", "footprint", "old_logits"):
        assert [r[key] for r in resumed["replicas"]] == [r[key] for r in whole["replicas"]]
    for key in ("train_samples", "replayed_samples", "gradient_samples"):
        assert resumed[key] == whole[key]


def broken_off_and_resumed(run: RunSpec, checkpoint: Path, task: int = 3) -> dict[str, Any]:
    """The result of a run that is cancelled within `task` and goes on from the checkpoint."""
    control = Control()

    def report(event):
        if isinstance(event, Evaluated) and event.task == task:
            control.want("cancel")
        return 7

    with pytest.raises(Cancelled):
        result_of(run, checkpoint=checkpoint, control=control, report=report)
    return result_of(run, checkpoint=checkpoint)


OPTIMIZERS = {
    "sgd": {"optimizer": "sgd"},
    "sgd, momentum and decay": {"optimizer": "sgd", "momentum": 0.9, "weight_decay": 1e-3},
    "adam": {"optimizer": "adam"},
    "adam, decay": {"optimizer": "adam", "weight_decay": 1e-3},
    "adamw": {"optimizer": "adamw", "weight_decay": 0.05},
}


def assert_keeps_old_logits(method: str, **case: Any) -> None:
    """Every old task's logits are the same bits after each later task, with every optimizer; and the proof can fail."""
    case = {"benchmark": "split-digits", "scenario": "task", "seeds": (0, 1), **case}
    for name, optimizer in OPTIMIZERS.items():
        lr = {"lr": 0.05} if name == "sgd, momentum and decay" else {}
        learner = trained(digits_run(method, **{**case, **optimizer, **lr}))
        told = learner.verdicts()
        assert [v["identical"] for v in told] == [True] * len(told), f"{name}: {told}"
    assert_proof_can_fail(learner)


def assert_proof_can_fail(learner: Learner) -> None:
    """Moves the first replica's weights, one tensor after another, until an old output changes: the others' stay proven."""
    last = len(learner.stream.tasks) - 1
    for parameter in learner.classifier.network.parameters():
        with torch.no_grad():
            parameter[0] += 0.05
        learner.probe.learned(last)
        learner.probe.logits.pop()
        if learner.verdicts()[0]["identical"] is False:
            assert [v["identical"] for v in learner.verdicts()[1:]] == [True] * (len(learner.seeds) - 1)
            return
    raise AssertionError("No weight of the network moves an old output: the proof looks at nothing.")
