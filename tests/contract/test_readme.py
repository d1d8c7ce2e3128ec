"""The README's method works as printed: one file, and it trains."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from types import ModuleType

import pytest
import torch

from clcore import registry
from clcore.benchmarks.split_digits import SplitDigits
from clcore.methods.context import Context
from tests.training_cases import digits_run, learner_for

README = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")


def example() -> str:
    return re.search(r"<!-- example: frozen -->\n```python\n(.*?)```", README, re.DOTALL).group(1)


def test_the_example_is_a_whole_method(monkeypatch, one_thread):
    module = ModuleType("clcore.methods.frozen")
    monkeypatch.setitem(sys.modules, module.__name__, module)
    exec(compile(example(), "frozen.py", "exec"), module.__dict__)
    frozen = module.Frozen
    assert frozen.__module__ == "clcore.methods.frozen" and frozen.title and frozen.family == "baseline"
    learner = learner_for(
        digits_run("finetune", benchmark="split-digits", scenario="task", momentum=0.9, lr=0.02, epochs=8)
    )
    context: Context = learner.method.context
    learner.method = frozen(context, {})
    learner.evaluator.method = learner.method
    first, *later = learner.stream.tasks
    learner.learn(first)
    features = [p.detach().clone() for p in list(learner.classifier.network.parameters())[:-2]]
    for task in later:
        learner.learn(task)
    assert all(torch.equal(a, b) for a, b in zip(features, learner.classifier.network.parameters(), strict=False))
    (row,) = learner.row(5, "test")
    assert sum(row) / 5 > 0.75


@pytest.mark.parametrize("name", ["finetune", "joint", "single", "l2", "ewc", "er"])
def test_the_methods_named_in_the_readme_exist(name):
    assert name in registry.methods()


def test_linked_files_exist():
    root = Path(__file__).parents[2]
    for target in re.findall(r"\]\(([^)#:]+)\)", README):
        assert (root / target).exists(), target
    assert SplitDigits.facts.examples == 1797
