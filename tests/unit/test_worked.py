"""What is written out on the Learn page has the value that the metric has."""

import re

import pytest

from clcore import metrics
from clcore.worked import FORMULAS, worked

R = [[0.1, 0.125, 0.08], [0.98, 0.11, 0.09], [0.6, 0.97, 0.12], [0.405, 0.75, 0.96]]


def evaluated(latex: str) -> float:
    """The number that a formula with numbers comes to."""
    text = latex.replace(r"\,", "").replace(r"\max", "max")
    while r"\frac" in text:
        text = re.sub(r"\\frac\{([^{}]*)\}\{([^{}]*)\}", r"((\1)/(\2))", text)
    return eval(text, {"max": max})


@pytest.mark.parametrize("name", FORMULAS)
def test_written_numbers_come_to_the_metrics_value(name):
    one = worked(R)[name]
    assert one.value == getattr(metrics, name)(R)
    assert evaluated(one.numbers) == pytest.approx(100 * one.value, abs=1e-9)


@pytest.mark.parametrize("name", FORMULAS)
def test_a_metric_depends_on_the_cells_that_are_marked_and_on_no_other(name):
    one = worked(R)[name]
    for i in range(4):
        for j in range(3):
            without = [[None if (i, j) == (k, m) else R[k][m] for m in range(3)] for k in range(4)]
            lost = worked(without)[name]
            assert (lost.value is None) == (lost.numbers is None) == ((i, j) in one.cells)


def test_forgetting_shows_the_best_that_a_task_had():
    assert worked(R)["forgetting"].numbers == r"\frac{(\max(98,\,60)-40.5)+(97-75)}{2}"
