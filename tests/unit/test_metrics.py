"""Metrics on matrices worked by hand; the 4×4 one separates the competing definitions of forgetting."""

import pytest

from clcore import metrics

# Row 0 untrained; task 1 peaks at task 2's row (not its own), task 2 rises at the very end, task 3 peaked before being learned.
R = [
    [0.10, 0.10, 0.10, 0.10],
    [0.80, 0.20, 0.95, 0.10],
    [0.90, 0.70, 0.30, 0.20],
    [0.60, 0.50, 0.80, 0.40],
    [0.50, 0.75, 0.60, 0.90],
]


def test_by_hand():
    assert metrics.acc(R) == pytest.approx((0.50 + 0.75 + 0.60 + 0.90) / 4)
    assert metrics.bwt(R) == pytest.approx(((0.50 - 0.80) + (0.75 - 0.70) + (0.60 - 0.80)) / 3)
    assert metrics.fwt(R) == pytest.approx(((0.20 - 0.10) + (0.30 - 0.10) + (0.40 - 0.10)) / 3)
    assert metrics.learning_accuracy(R) == pytest.approx((0.80 + 0.70 + 0.80 + 0.90) / 4)
    assert metrics.average_incremental_accuracy(R) == pytest.approx(
        (0.80 + (0.90 + 0.70) / 2 + (0.60 + 0.50 + 0.80) / 3 + (0.50 + 0.75 + 0.60 + 0.90) / 4) / 4
    )


def test_forgetting_is_the_drop_from_the_best_row_since_the_task_was_learned():
    ours = ((0.90 - 0.50) + (0.70 - 0.75) + (0.80 - 0.60)) / 3
    assert metrics.forgetting(R) == pytest.approx(ours)
    first_minus_last = -metrics.bwt(R)
    with_final_row = ((0.90 - 0.50) + (0.75 - 0.75) + (0.80 - 0.60)) / 3
    with_rows_before_learning = ((0.90 - 0.50) + (0.70 - 0.75) + (0.95 - 0.60)) / 3
    divided_by_all_tasks = ours * 3 / 4
    for other in (first_minus_last, with_final_row, with_rows_before_learning, divided_by_all_tasks):
        assert abs(ours - other) > 0.01


def test_the_dossiers_example():
    R3 = [[0.1, 0.1, 0.1], [0.9, 0.2, 0.1], [0.7, 0.8, 0.3], [0.6, 0.9, 0.7]]
    assert metrics.acc(R3) == pytest.approx(0.7333, abs=1e-4)
    assert metrics.bwt(R3) == pytest.approx(-0.10)
    assert metrics.fwt(R3) == pytest.approx(0.15)
    assert metrics.forgetting(R3) == pytest.approx(0.10)
    assert metrics.average_incremental_accuracy(R3) == pytest.approx(0.7944, abs=1e-4)


def test_identities():
    T = 4
    assert metrics.acc(R) == pytest.approx(metrics.learning_accuracy(R) + (T - 1) / T * metrics.bwt(R))
    assert metrics.forgetting(R) >= -metrics.bwt(R)


def test_forgetting_matrix_has_cells_below_the_diagonal_only():
    F = metrics.forgetting_matrix(R)
    assert len(F) == 5 and F[0] == F[1] == [None] * 4
    assert F[2][0] == pytest.approx(0.80 - 0.90) and F[2][1:] == [None] * 3
    assert F[4][:3] == pytest.approx([0.40, -0.05, 0.20]) and F[4][3] is None


def test_a_missing_cell_spoils_what_needs_it_and_nothing_else():
    holed = [row[:] for row in R]
    holed[0] = [None] * 4
    assert metrics.fwt(holed) is None
    assert metrics.acc(holed) == metrics.acc(R)
    holed[4][1] = None
    assert metrics.acc(holed) is None and metrics.bwt(holed) is None and metrics.forgetting(holed) is None


def test_the_class_scenario_has_neither_forward_transfer_nor_learning_accuracy():
    assert metrics.summary(R, "class")["fwt"] is None
    assert metrics.summary(R, "class")["learning_accuracy"] is None
    assert metrics.summary(R, "task")["fwt"] == metrics.fwt(R)


def test_a_single_task_has_an_accuracy_and_no_forgetting():
    one = [[0.1], [0.9]]
    assert metrics.acc(one) == 0.9
    assert metrics.bwt(one) is None and metrics.fwt(one) is None and metrics.forgetting(one) is None


def test_transfer_and_intransigence():
    single = [[None] * 4, [0.7] * 4, [0.7] * 4, [0.7] * 4, [0.7] * 4]
    assert metrics.transfer(R, single) == pytest.approx((0.1 + 0.0 + 0.1 + 0.2) / 4)
    assert metrics.intransigence(R, single) == pytest.approx(-(0.1 + 0.0 + 0.1 + 0.2) / 4)


LIVE = [
    (0.5, [0.7, None, None]), (1.0, [0.9, None, None]),
    (1.1, [0.4, 0.3, None]), (1.6, [0.6, 0.7, None]), (2.0, [0.8, 0.9, None]),
    (2.1, [0.5, 0.6, 0.2]), (3.0, [0.7, 0.7, 0.8]),
]  # fmt: skip


def test_the_worst_on_the_way_counts_from_a_tasks_own_end():
    """Task 1 is lowest (0.4) early in task 2, task 2 (0.6) early in task 3; 0.3 while task 2 is learned does not count."""
    assert metrics.min_acc(LIVE, 3) == pytest.approx((0.4 + 0.6) / 2)
    assert metrics.worst_case_acc(LIVE, 3) == pytest.approx(0.8 / 3 + 2 / 3 * 0.5)
    assert metrics.min_acc(LIVE, 2) == 0.4 and metrics.worst_case_acc(LIVE, 2) == pytest.approx(0.9 / 2 + 0.4 / 2)
    assert metrics.min_acc(LIVE, 1) is None and metrics.worst_case_acc(LIVE, 1) == 0.9


def test_the_worst_on_the_way_needs_every_evaluation():
    blown = [*LIVE[:5], (2.1, [None, None, None]), LIVE[6]]
    assert metrics.min_acc(blown, 3) is None and metrics.worst_case_acc(blown, 3) is None
    assert metrics.worst_case_acc(LIVE[:-1], 3) is None and metrics.min_acc([], 2) is None


def test_interval_is_students():
    found = metrics.interval([0.7, 0.8, 0.9])
    assert found.mean == pytest.approx(0.8) and found.n == 3
    assert found.half == pytest.approx(4.302653 * 0.1 / 3**0.5, rel=1e-5)
    assert metrics.interval([0.7]).half is None
    assert metrics.interval([0.7, None]) is None and metrics.interval([]) is None


def test_what_has_no_meaning_in_a_scenario_is_no_number():
    R = [[0.1, 0.1], [0.9, 0.2], [0.5, 0.8]]
    for scenario, left_out in (("task", set()), ("domain", set()), ("class", {"fwt", "learning_accuracy"})):
        found = metrics.summary(R, scenario)
        assert {name for name, value in found.items() if value is None} == left_out
        assert set(metrics.meaningful(found, scenario)) == set(found) - left_out
