"""A small accuracy matrix in which the cells that a metric reads are marked."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pandas as pd

from clcore.charts.matrix import matrix_figure
from clcore.metrics import Matrix
from clcore.worked import Cell


def marked_matrix(R: Matrix, marked: Sequence[Cell], *, row0: bool) -> dict[str, Any]:
    """The matrix (fractions, None where there is no value) with a frame around the marked cells."""
    rows = [
        (i, j + 1, value, value, value, 0, 0, 0)
        for i, row in enumerate(R)
        for j, value in enumerate(row)
        if value is not None
    ]
    cells = pd.DataFrame(rows, columns=["row", "task", "mean", "low", "high", "n", "diverged", "total"])
    figure = matrix_figure(cells, [""] * len(R[0]), row0=row0, future=True, revision="worked")
    first = 0 if row0 else 1
    figure["layout"]["shapes"] += [_frame(i - first, j) for i, j in marked if i >= first]
    return figure


def _frame(row: int, column: int) -> dict[str, Any]:
    return {
        "type": "rect", "xref": "x", "yref": "y", "x0": column - 0.46, "x1": column + 0.46, "y0": row - 0.44,
        "y1": row + 0.44, "line": {"color": "@c5", "width": 4},
    }  # fmt: skip
