"""Differences between two settings, seed by seed, and how many of them may be believed at once. Torch-free.

Replicas with the same seed share stream, initial weights and batch order, so that the difference of a seed is free of what
the seed decides for both. With d_s = a_s − b_s over the n seeds that both have:

    d̄ ± t_{.975,n−1} · s_d / √n          95 % Student t-interval of the mean difference
    p = 2 · P(T_{n−1} ≥ |d̄| √n / s_d)     two-sided paired t-test
    p̃_(i) = max_{j≤i} min(1, (m−j+1) p_(j))   Holm's step-down over the m shown pairs (Holm, Scand. J. Statist. 1979)
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from scipy.special import stdtr

from clcore import metrics

LEVEL = 0.05
FEWEST = 3
"""With fewer shared seeds no difference is claimed: two give a range, one a number."""

Verdict = Literal["above", "below", "tie", "open", "few", "diverged", "none"]


@dataclass(frozen=True)
class Difference:
    """What separates setting `a` from setting `b` (positions in the list that was compared).

    mean, low, high   of a − b over the shared seeds; low and high are the 95 % t-interval for n ≥ 3, the range for n = 2
    n                 shared seeds; `unshared` have a partner on neither side
    p, adjusted       two-sided p, and Holm's over all pairs of the comparison; None for n < 3
    diverged          shared seeds where a replica of either side blew up: then nothing is claimed
    """

    a: int
    b: int
    mean: float | None
    low: float | None
    high: float | None
    n: int
    p: float | None = None
    adjusted: float | None = None
    diverged: int = 0
    unshared: int = 0
    by_seed: tuple[tuple[int, float], ...] = ()

    @property
    def verdict(self) -> Verdict:
        """What may be said.

        above, below  clearly different, also after Holm's correction
        tie           the interval contains 0
        open          the interval leaves 0 out, but with so many pairs that may be chance (a pair on its own is never open)
        few           fewer than three shared seeds
        diverged      a mean over the survivors would be too good
        none          no shared seed, or a metric without meaning
        """
        if self.diverged:
            return "diverged"
        if self.mean is None:
            return "none"
        if self.n < FEWEST:
            return "few"
        if self.low <= 0 <= self.high:
            return "tie"
        if (self.p if self.adjusted is None else self.adjusted) >= LEVEL:
            return "open"
        return "above" if self.mean > 0 else "below"

    @property
    def clear(self) -> bool:
        return self.verdict in ("above", "below")

    @property
    def half(self) -> float | None:
        return None if self.mean is None or self.n < FEWEST else (self.high - self.low) / 2


def paired(
    ours: Mapping[int, float | None],
    theirs: Mapping[int, float | None],
    *,
    a: int = 0,
    b: int = 1,
    lost: frozenset[int] = frozenset(),
) -> Difference:
    """The difference ours − theirs over the seeds that both have (seed → value; None has no meaning).

    lost    seeds of which a replica of either side diverged
    """
    seeds = sorted(ours.keys() & theirs.keys())
    unshared = len(ours.keys() | theirs.keys()) - len(seeds)
    diverged = sum(seed in lost for seed in seeds)
    values = [(seed, metrics.minus(ours[seed], theirs[seed])) for seed in seeds]
    if diverged or not seeds or any(d is None for _, d in values):
        return Difference(a, b, None, None, None, 0, diverged=diverged, unshared=unshared)
    d = [value for _, value in values]
    n, mean = len(d), math.fsum(d) / len(d)
    found = Difference(a, b, mean, min(d), max(d), n, unshared=unshared, by_seed=tuple(values))
    if n < FEWEST:
        return found
    error = metrics.standard_error(d)
    half = metrics.interval(d).half
    return replace(found, low=mean - half, high=mean + half, p=_two_sided(mean, error, n))


def all_pairs(
    values: Sequence[Mapping[int, float | None]],
    *,
    lost: Sequence[frozenset[int]] | None = None,
    allowed: Sequence[tuple[int, int]] | None = None,
) -> list[Difference]:
    """The paired differences of every two settings (or of the `allowed` pairs), corrected together after Holm.

    values  a setting each: seed → value
    lost    a setting each: the seeds that diverged
    """
    blown = lost or [frozenset()] * len(values)
    pairs = itertools.combinations(range(len(values)), 2) if allowed is None else allowed
    return holm([paired(values[a], values[b], a=a, b=b, lost=blown[a] | blown[b]) for a, b in pairs])


def holm(differences: Sequence[Difference]) -> list[Difference]:
    """The same differences with Holm's adjusted p over those that have one."""
    tested = sorted((d.p, i) for i, d in enumerate(differences) if d.p is not None)
    adjusted: dict[int, float] = {}
    largest = 0.0
    for rank, (p, i) in enumerate(tested):
        largest = max(largest, min(1.0, (len(tested) - rank) * p))
        adjusted[i] = largest
    return [replace(d, adjusted=adjusted.get(i)) for i, d in enumerate(differences)]


@dataclass(frozen=True)
class Standing:
    """How a setting stands in a metric: the best, not separated from the best, or neither.

    mark  "best": clearly better than every other; "unseparated": the best mean, or not clearly worse than it, among several
          (less than a verdict "tie": the interval of a pair may leave 0 out, and Holm's correction is not passed);
          "untested": the best mean, but too few seeds to say more; "" otherwise
    """

    mark: Literal["best", "unseparated", "untested", ""]


def standings(
    means: Sequence[float | None], differences: Sequence[Difference], *, higher_is_better: bool = True
) -> list[Standing]:
    """A standing per setting, from its mean and the corrected differences of all pairs.

    Settings without a mean stand nowhere. A single setting with a mean is compared with nothing and has no mark.
    """
    sign = 1 if higher_is_better else -1
    ranked = [i for i, mean in enumerate(means) if mean is not None]
    none = [Standing("")] * len(means)
    if len(ranked) < 2:
        return none
    best = max(ranked, key=lambda i: sign * means[i])
    between = {frozenset((d.a, d.b)): d for d in differences}
    against = {i: between.get(frozenset((best, i))) for i in ranked if i != best}
    if any(d is None or d.verdict in ("few", "none", "diverged") for d in against.values()):
        return [Standing("untested" if i == best else "") for i in range(len(means))]
    among = {best, *(i for i, d in against.items() if not d.clear)}
    mark = "best" if len(among) == 1 else "unseparated"
    return [Standing(mark if i in among else "") for i in range(len(means))]


def _two_sided(mean: float, error: float, n: int) -> float:
    """p of a paired t-test; differences that are all the same are certain, or exactly nothing."""
    if error == 0:
        return 1.0 if mean == 0 else 0.0
    return min(1.0, 2.0 * float(stdtr(n - 1, -abs(mean) / error)))
