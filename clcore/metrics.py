"""Continual-learning metrics of an accuracy matrix. One definition each; torch-free.

R is a list of T+1 rows of T numbers in 0..1: R[i][j] is the accuracy on task j+1 after training task i, row 0 the untrained
network. None is a cell without meaning; a metric that needs such a cell is None. Formulas count tasks 1..T:

    ACC = mean_j R[T,j]                                  final average accuracy            (Lopez-Paz & Ranzato, NeurIPS 2017)
    BWT = mean_{j<T} (R[T,j] − R[j,j])                   backward transfer                 (ibid.; divided by T−1)
    FWT = mean_{j≥2} (R[j−1,j] − R[0,j])                 forward transfer                  (ibid.)
    F   = mean_{j<T} (max_{j≤l<T} R[l,j] − R[T,j])       forgetting                        (Chaudhry et al., ECCV 2018; the
                                                         maximum starts at the task's own row, so F ≥ −BWT)
    LA  = mean_j R[j,j]                                  learning accuracy                 (Riemer et al., ICLR 2019)
    AIA = mean_k (mean_{j≤k} R[k,j])                     average incremental accuracy      (Rebuffi et al., CVPR 2017)

Two are about the way and not its stations. They take live evaluations A(n), made at training step n on a fixed part of the test
data; t_j is the end of task j. An evaluation that was not made cannot be the lowest, so both are upper bounds:

    min-ACC_k = mean_{j<k} min_{t_j<n≤t_k} A_j(n)        what is left of a task at worst   (De Lange, van de Ven & Tuytelaars,
    WC-ACC_k  = A_k(t_k)/k + (1 − 1/k)·min-ACC_k         and with the newest task          ICLR 2023)
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from scipy.special import stdtrit

Matrix = Sequence[Sequence[float | None]]
VERSION = 1
"""Of the definitions above. It changes when one of them does, and stands beside exported numbers."""


def mean(values: Iterable[float | None]) -> float | None:
    """The mean; None without values or when one is missing: a mean over the others would claim too much."""
    values = list(values)
    if not values or any(v is None for v in values):
        return None
    return math.fsum(values) / len(values)


def minus(a: float | None, b: float | None) -> float | None:
    """a − b; None where one of them is missing."""
    return None if a is None or b is None else a - b


def standard_error(values: Sequence[float]) -> float:
    """s/√n of at least two values, with the sample standard deviation s."""
    n, middle = len(values), math.fsum(values) / len(values)
    return math.sqrt(math.fsum((v - middle) ** 2 for v in values) / (n - 1) / n)


def acc(R: Matrix) -> float | None:
    """Final average accuracy over all tasks."""
    return mean(R[-1])


def bwt(R: Matrix) -> float | None:
    """Backward transfer: how learning later tasks changed earlier ones. None for a single task."""
    T = len(R) - 1
    return mean(minus(R[T][j], R[j + 1][j]) for j in range(T - 1))


def fwt(R: Matrix) -> float | None:
    """Forward transfer: accuracy on a task just before it is learned, above the untrained network's."""
    T = len(R) - 1
    return mean(minus(R[j][j], R[0][j]) for j in range(1, T))


def forgetting(R: Matrix) -> float | None:
    """Average forgetting at the end: best accuracy a task ever had (from its own row on, before the last) minus its last."""
    T = len(R) - 1
    return mean(forgotten(R, T, j) for j in range(T - 1))


def learning_accuracy(R: Matrix) -> float | None:
    """Plasticity: accuracy on each task right after learning it."""
    return mean(R[j + 1][j] for j in range(len(R) - 1))


def average_incremental_accuracy(R: Matrix) -> float | None:
    """Mean over k of the average accuracy over the first k tasks after task k (not ACC)."""
    return mean(average_after(R, k) for k in range(1, len(R)))


def average_after(R: Matrix, k: int) -> float | None:
    """Average accuracy over tasks 1..k after task k."""
    return mean(R[k][:k])


def forgotten(R: Matrix, k: int, j: int) -> float | None:
    """max_{j≤l<k} R[l,j] − R[k,j] for row k ≥ 1 and the 0-based column j; None where j is the row's own task or later."""
    if j + 1 >= k:
        return None
    rows = [R[i][j] for i in range(j + 1, k)]
    if any(r is None for r in rows):
        return None
    return minus(max(rows), R[k][j])


def forgetting_matrix(R: Matrix) -> list[list[float | None]]:
    """(T+1) × T: `forgotten` in every cell below the diagonal, None elsewhere."""
    return [[forgotten(R, k, j) for j in range(len(R) - 1)] for k in range(len(R))]


def transfer(R: Matrix, single: Matrix) -> float | None:
    """Mean over j of R[j,j] − single[j,j]: what learning a task gained from the others, against a network of its own."""
    return mean(minus(R[j + 1][j], single[j + 1][j]) for j in range(len(R) - 1))


def intransigence(R: Matrix, joint: Matrix) -> float | None:
    """Mean over k of joint[k,k] − R[k,k] (Chaudhry et al., ECCV 2018): what is missing to a jointly trained network."""
    return mean(minus(joint[k][k - 1], R[k][k - 1]) for k in range(1, len(R)))


Live = Sequence[tuple[float, Sequence[float | None]]]
"""Live evaluations of one network in order: tasks trained by then, with fraction, and the accuracies on tasks 1..T."""


def min_acc(live: Live, k: int) -> float | None:
    """Mean over the tasks before k of the lowest accuracy after their own end, up to the end of task k."""
    return mean(_least([row[j - 1] for at, row in live if j < at <= k]) for j in range(1, k))


def worst_case_acc(live: Live, k: int) -> float | None:
    """WC-ACC after task k: the newest task as it is, all others at their worst."""
    newest = next((row[k - 1] for at, row in reversed(live) if at == k), None)
    if k == 1:
        return newest
    worst = min_acc(live, k)
    return None if newest is None or worst is None else newest / k + (1 - 1 / k) * worst


def summary(R: Matrix, scenario: str) -> dict[str, float | None]:
    """The metrics of one replica under their JSON names; None where a metric has no meaning in the scenario.

    In the class scenario forward transfer does not exist (unseen classes cannot be predicted), and learning accuracy is
    left out: fine-tuning scores 99 there by forgetting everything else. On a stream without boundaries both are left out:
    its fixed points are no ends of tasks, a task has begun before its part of the stream and goes on after it, and its
    classes may be new.
    """
    measured = {
        "acc": acc, "bwt": bwt, "fwt": fwt, "forgetting": forgetting, "learning_accuracy": learning_accuracy,
        "average_incremental_accuracy": average_incremental_accuracy,
    }  # fmt: skip
    meant = meaningful(measured, scenario)
    return {name: metric(R) if name in meant else None for name, metric in measured.items()}


def meaningful(names: Iterable[str], scenario: str) -> list[str]:
    """Those of the metrics that mean something in the scenario; `summary` says why others do not."""
    return [name for name in names if scenario not in ("class", "task-free") or name not in ("fwt", "learning_accuracy")]


@dataclass(frozen=True)
class Interval:
    """A mean over seeds with its 95 % Student t-interval: mean ± half, None for fewer than two values."""

    mean: float
    half: float | None
    n: int


def interval(values: Iterable[float | None]) -> Interval | None:
    """Mean ± t_{.975,n−1}·s/√n with the sample standard deviation s. None when a value is missing or there is none.

    A missing value (a diverged replica) spoils the mean on purpose: a mean over the survivors would be too good.
    """
    values = list(values)
    if mean(values) is None:
        return None
    n, middle = len(values), math.fsum(values) / len(values)
    if n < 2:
        return Interval(middle, None, n)
    return Interval(middle, float(stdtrit(n - 1, 0.975)) * standard_error(values), n)


def _least(values: Sequence[float | None]) -> float | None:
    return None if not values or any(v is None for v in values) else min(values)
