"""Overlapping tasks: digits turned up to 40 degrees, 40 new ones a task. Later tasks improve the earlier ones, provably."""

import pytest

from clcore import metrics
from tests.training_cases import digits_run, result_of

pytestmark = pytest.mark.usefixtures("one_thread")

OVERLAP = dict(benchmark="rotated-digits", seeds=range(10), hidden=(50, 50), live_points=0, memories=(100,))
WIDEST, EPOCHS = 40.0, 100


def matrices(method, tasks=5, epochs=EPOCHS):
    options = {"max_angle": WIDEST * tasks / 5, "train_per_task": 40}
    result = result_of(digits_run(method, tasks=tasks, epochs=epochs, options=options, **OVERLAP))
    return [replica["accuracy_matrix"] for replica in result["replicas"]]


def test_later_tasks_improve_earlier_ones_where_replay_keeps_them():
    """The 95 % interval of backward transfer over ten seeds is above 0. So is that of task 1's gain over a network that has
    practised task 1 alone for as many steps as all five tasks took: what is won came from the other tasks."""
    replay = matrices("er")
    bwt = metrics.interval([metrics.bwt(R) for R in replay])
    assert bwt.n == 10 and bwt.mean - bwt.half > 0.02
    practised = matrices("finetune", tasks=1, epochs=5 * EPOCHS)
    gain = metrics.interval([R[5][0] - alone[1][0] for R, alone in zip(replay, practised, strict=True)])
    assert gain.mean - gain.half > 0


def test_fine_tuning_wins_from_the_next_task_and_loses_it_again():
    plain = matrices("finetune")
    won = metrics.interval([R[2][0] - R[1][0] for R in plain])
    lost = metrics.interval([R[5][0] - R[1][0] for R in plain])
    assert won.mean - won.half > 0 > lost.mean + lost.half
