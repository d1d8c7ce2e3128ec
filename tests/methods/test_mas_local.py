"""Local MAS where it differs from MAS; what they share is tested for both in test_mas.py, the measure in test_importance.py."""

import pytest
import torch

from tests.methods.test_mas import assert_forgets_less
from tests.training_cases import digits_run, identical, trained, weights_of

pytestmark = pytest.mark.usefixtures("one_thread")


def both(**case):
    return [trained(digits_run(method, strengths=(0.1,), **case)) for method in ("mas", "mas-local")]


def test_a_linear_classifier_trains_as_with_mas():
    """Signed inputs and biases included: a whole run on one layer, where local and global importance are the same."""
    ours, local = both(hidden=(), seeds=(0, 1), options={"standardise": True}, lr=0.01)
    for row in (0, 1):
        for a, b in zip(weights_of(ours, row), weights_of(local, row), strict=True):
            torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)
    plain = trained(digits_run("finetune", hidden=(), seeds=(0, 1), options={"standardise": True}, lr=0.01))
    assert (weights_of(plain, 0)[0] - weights_of(local, 0)[0]).abs().max() > 1e-2


def test_a_deeper_network_does_not():
    ours, local = both(seeds=(0,))
    assert not identical(weights_of(ours, 0), weights_of(local, 0))
    found, expected = (m.method.springs.importance.tensors for m in (local, ours))
    assert not torch.allclose(found[0], expected[0], rtol=0.1)


def test_importance_takes_no_backward_pass(monkeypatch):
    learner = trained(digits_run("mas-local", strengths=(0.1,)), tasks=1)
    monkeypatch.setattr(torch.autograd, "grad", None)
    learner.method.end(learner.stream.tasks[0])
    assert learner.method.springs.importance.total() > 0


@pytest.mark.parametrize("benchmark, scenario", [("permuted-digits", "domain"), ("split-digits", "task")])
def test_it_forgets_less_than_fine_tuning(benchmark, scenario):
    assert_forgets_less("mas-local", 0.1, benchmark=benchmark, scenario=scenario, epochs=5, tasks=4)
