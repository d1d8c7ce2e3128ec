"""A run's command asks for that run again."""

import shlex

import pytest

from clcore import cli
from clcore.export.commands import command
from clcore.spec import ExperimentSpec, Grid, MethodChoice, NetworkChoice, OptimizerChoice, make

CASES = {
    "defaults": {},
    "class": {"benchmark": "split-digits", "scenario": "class", "active_classes": "all"},
    "options": {"benchmark": "permuted-digits", "options": {"tasks": 4, "stream_seed": 3}},
    "training": {
        "network": NetworkChoice(hidden=(7, 9)),
        "optimizer": OptimizerChoice(lr=0.037, momentum=0.9, weight_decay=1e-4),
    },
    "linear": {"network": NetworkChoice(hidden=()), "optimizer": OptimizerChoice(name="adam", lr=1e-3)},
    "convolutional": {"network": make(NetworkChoice, name="cnn", hidden=(9,), settings={"norm": "batch", "blocks": 3})},
    "residual": {"network": make(NetworkChoice, name="resnet18-slim")},
    "kept": {"optimizer_state": "keep", "epochs": 3, "batch_size": 8},
    "compute": {"gradient_samples": 50_000},
    "like": {"gradient_samples": "fine-tuning"},
    "bytes": {"memory_bytes": 20_000},
}
METHODS = (
    MethodChoice(name="finetune"),
    MethodChoice(name="ewc", settings={"ewc.penalty_step": "explicit"}, strengths=(0.5, 10, 1 / 3)),
    MethodChoice(name="er+ewc", settings={"ewc.strength": 12.5, "er.loss": "sum"}),
)


@pytest.mark.parametrize("method", METHODS, ids=lambda m: m.name)
@pytest.mark.parametrize("case", CASES)
def test_the_command_line_reads_it_back(case, method):
    fields = {"benchmark": "permuted-digits", "scenario": "domain", "grid": Grid(seeds=(0, 2, 5))} | CASES[case]
    if method.uses_memory and "memory_bytes" not in fields:
        fields["grid"] = Grid(seeds=(0, 2, 5), memories=(20, 50))
    (spec,) = make(ExperimentSpec, methods=(method,), **fields).runs()
    program, *words = shlex.split(command(spec))
    options = cli._parser().parse_args(words[2:])
    (again,) = cli.experiment_from(options).runs()
    assert program == "python" and again == spec
