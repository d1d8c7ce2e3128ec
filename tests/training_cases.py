"""What tests of training share: small runs on real digits, and learners to look inside."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from clcore import registry
from clcore.control import Control
from clcore.learner import Learner
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
        network=NetworkChoice(hidden=hidden),
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


def weights_of(learner: Learner, row: int) -> list[torch.Tensor]:
    """One replica's parameters."""
    return [p.detach()[row].clone() for p in learner.classifier.network.parameters()]


def identical(a: list[torch.Tensor], b: list[torch.Tensor]) -> bool:
    return all(torch.equal(x, y) for x, y in zip(a, b, strict=True))
