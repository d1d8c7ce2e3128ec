"""Mini-batches of a phase that is cut short are the first ones of the whole phase."""

import pytest
import torch

from clcore.benchmarks.permuted_digits import PermutedDigits
from clcore.minibatches import MiniBatches
from clcore.randomness import Generators


def batches(epochs: float, active=(True, True)):
    benchmark = PermutedDigits(  # four steps a pass
        {"train_per_task": 64, "tasks": 2}, scenario="domain", data_dir="unused", device=torch.device("cpu")
    )
    return MiniBatches(
        benchmark.stream([0, 1]), (0,), batch_size=16, epochs=epochs, generators=Generators([0, 1], "batches"),
        active=torch.tensor(active), widths=(64,),
    )  # fmt: skip


@pytest.mark.parametrize(("share", "steps"), [(1.0, 12), (0.5, 6), (0.01, 1), (0.99, 12), (0.9, 11)])
def test_a_share_of_the_steps_is_their_beginning(share, steps):
    whole, cut = list(batches(3)), list(batches(3 * share))
    assert len(cut) == steps
    for ours, theirs in zip(cut, whole, strict=False):
        assert torch.equal(ours.ids, theirs.ids) and torch.equal(ours.weight, theirs.weight)
        assert (ours.epoch, ours.ends) == (theirs.epoch, theirs.ends)


def test_who_is_left_out_takes_no_step_however_small_the_share():
    assert batches(0.03, active=(True, False)).steps.tolist() == [1, 0]
