"""What convolutional networks keep for the backward pass counts in the estimate of memory."""

from __future__ import annotations

import pytest
import torch

from clcore import capacity
from clcore.benchmarks.split_digits import SplitDigits
from clcore.errors import TooLarge
from clcore.spec import NetworkChoice, make
from tests.training_cases import digits_run, learner_for

CPU = torch.device("cpu")
CNN = make(NetworkChoice, name="cnn")


def run_of(**more):
    return digits_run("finetune", benchmark="split-digits", scenario="class", network=CNN, seeds=range(16), **more)


def test_activations_grow_with_the_batch_and_with_replay():
    found = [capacity.activation_bytes(run_of(batch_size=n), (1, 8, 8), 10) for n in (16, 64, 128)]
    assert found[0] == found[1] == found[2] / 2  # a measure of importance looks at 64 examples together
    replay = digits_run("er", benchmark="split-digits", scenario="class", network=CNN, batch_size=64)
    assert capacity.activation_bytes(replay, (1, 8, 8), 10) == found[2]
    numbers = 64 + 2 * 16 * 64 + 3 * 16 * 16 + 2 * 32 * 16 + 3 * 32 * 4 + 10
    assert found[1] == 4 * 64 * numbers


def test_a_network_whose_activations_do_not_fit_is_refused(monkeypatch):
    run = run_of(batch_size=4096)
    benchmark = SplitDigits(dict(run.options), scenario="class", data_dir="data")
    capacity.check_fits(run, benchmark, 10, CPU)
    needed = capacity.activation_bytes(run, (1, 8, 8), 10)
    monkeypatch.setattr(capacity, "free_bytes", lambda device: needed)
    with pytest.raises(TooLarge, match="a step of 4096 examples .* choose a smaller batch or network"):
        capacity.check_fits(run, benchmark, 10, CPU)


@pytest.mark.parametrize("share, largest", [(16.5, 16), (4.2, 4), (0.5, 1)])
def test_groups_are_as_small_as_their_activations_need(monkeypatch, share, largest):
    run = run_of(batch_size=256)
    stream = learner_for(run).stream
    each = 2 * capacity.activation_bytes(run, stream.input_shape, stream.outputs)
    monkeypatch.setattr(capacity, "free_bytes", lambda device: int(share * each / capacity._CPU_ACTIVATIONS_SHARE))
    assert max(map(len, capacity.groups(run, stream, CPU))) == largest
