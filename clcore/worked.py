"""Metrics of a small accuracy matrix with the numbers filled into their formulas, in LaTeX.

The value always comes from `clcore.metrics`; what is written out here are the cells that enter it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from clcore import metrics
from clcore.metrics import Matrix

Cell = tuple[int, int]  # (row, column) of R: row 0 is the untrained network, column 0 the first task


@dataclass(frozen=True)
class Worked:
    """One metric: its formula, the formula with numbers (None where a cell is missing), its value, and the cells that enter."""

    name: str
    formula: str
    numbers: str | None
    value: float | None
    cells: tuple[Cell, ...]


FORMULAS = {
    "acc": r"\mathrm{ACC}=\frac1T\sum_{j} R_{T,j}",
    "forgetting": r"F=\frac1{T-1}\sum_{j<T}\Big(\max_{j\le l<T}R_{l,j}-R_{T,j}\Big)",
    "bwt": r"\mathrm{BWT}=\frac1{T-1}\sum_{j<T}\big(R_{T,j}-R_{j,j}\big)",
    "learning_accuracy": r"\mathrm{LA}=\frac1T\sum_j R_{j,j}",
    "average_incremental_accuracy": r"\mathrm{AIA}=\frac1T\sum_{k}\frac1k\sum_{j\le k}R_{k,j}",
    "fwt": r"\mathrm{FWT}=\frac1{T-1}\sum_{j\ge2}\big(R_{j-1,j}-R_{0,j}\big)",
}
_VALUES: dict[str, Callable[[Matrix], float | None]] = {
    "acc": metrics.acc, "forgetting": metrics.forgetting, "bwt": metrics.bwt,
    "learning_accuracy": metrics.learning_accuracy,
    "average_incremental_accuracy": metrics.average_incremental_accuracy, "fwt": metrics.fwt,
}  # fmt: skip


def worked(R: Matrix) -> dict[str, Worked]:
    """All metrics of R ((T+1) × T, fractions, None where there is no value)."""
    found = {}
    for name, formula in FORMULAS.items():
        cells = tuple(dict.fromkeys(_cells(name, len(R) - 1)))
        complete = all(R[i][j] is not None for i, j in cells)
        numbers = _numbers(name, R) if complete and cells else None
        found[name] = Worked(name, formula, numbers, _VALUES[name](R), cells)
    return found


def _cells(name: str, T: int) -> list[Cell]:
    last = range(T - 1)
    return {
        "acc": [(T, j) for j in range(T)],
        "forgetting": [(i, j) for j in last for i in range(j + 1, T + 1)],
        "bwt": [cell for j in last for cell in ((T, j), (j + 1, j))],
        "learning_accuracy": [(j + 1, j) for j in range(T)],
        "average_incremental_accuracy": [(k, j) for k in range(1, T + 1) for j in range(k)],
        "fwt": [cell for j in range(1, T) for cell in ((j, j), (0, j))],
    }[name]


def _numbers(name: str, R: Matrix) -> str:
    T = len(R) - 1
    last = range(T - 1)
    if name == "acc":
        return _mean([_pct(R[T][j]) for j in range(T)])
    if name == "learning_accuracy":
        return _mean([_pct(R[j + 1][j]) for j in range(T)])
    if name == "bwt":
        return _mean([rf"({_pct(R[T][j])}-{_pct(R[j + 1][j])})" for j in last])
    if name == "fwt":
        return _mean([rf"({_pct(R[j][j])}-{_pct(R[0][j])})" for j in range(1, T)])
    if name == "forgetting":
        return _mean([rf"({_best([R[i][j] for i in range(j + 1, T)])}-{_pct(R[T][j])})" for j in last])
    return _mean([_mean([_pct(R[k][j]) for j in range(k)]) for k in range(1, T + 1)])


def _mean(terms: list[str]) -> str:
    return terms[0] if len(terms) == 1 else rf"\frac{{{'+'.join(terms)}}}{{{len(terms)}}}"


def _best(values: list[float]) -> str:
    words = [_pct(v) for v in values]
    return words[0] if len(words) == 1 else r"\max(" + r",\,".join(words) + ")"


def _pct(value: float) -> str:
    return f"{100 * value:.1f}".removesuffix(".0")
