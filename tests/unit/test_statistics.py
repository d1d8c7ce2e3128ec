"""Paired differences: worked by hand, against SciPy's t-test, and what may not be claimed."""

import math

import pytest
from scipy import stats

from clcore.statistics import Difference, all_pairs, holm, paired, standings

A = {0: 0.70, 1: 0.74, 2: 0.72}
B = {0: 0.60, 1: 0.68, 2: 0.64}


def test_a_difference_worked_by_hand():
    # d = 0.10, 0.06, 0.08: mean 0.08, s = 0.02, s/√3 = 0.011547, t_{.975,2} = 4.302653
    found = paired(A, B)
    assert found.mean == pytest.approx(0.08)
    assert found.half == pytest.approx(4.302653 * 0.02 / math.sqrt(3), rel=1e-6)
    assert (found.low, found.high) == pytest.approx((0.08 - 0.0496828, 0.08 + 0.0496828), abs=1e-6)
    # t = 0.08 / 0.011547 = 6.9282 with 2 degrees of freedom; P(|T| ≥ t) = 1 − t/√(t² + 2)
    assert found.p == pytest.approx(1 - 6.9282032 / math.sqrt(48 + 2), rel=1e-6)


@pytest.mark.parametrize("n", [3, 5, 10, 30])
def test_it_agrees_with_scipys_paired_t_test(n):
    a = [0.5 + 0.3 * math.sin(i) for i in range(n)]
    b = [0.45 + 0.3 * math.sin(i + 0.2 * math.cos(7 * i)) for i in range(n)]
    found, expected = paired(dict(enumerate(a)), dict(enumerate(b))), stats.ttest_rel(a, b)
    assert found.p == pytest.approx(expected.pvalue, rel=1e-9)
    assert (found.low, found.high) == pytest.approx(tuple(expected.confidence_interval(0.95)), rel=1e-9)


def test_the_interval_leaves_zero_out_exactly_where_p_is_below_five_percent():
    for shift in range(-20, 21):
        found = paired({i: 0.01 * shift + 0.02 * math.sin(5 * i) for i in range(6)}, dict.fromkeys(range(6), 0.0))
        assert (found.low <= 0 <= found.high) == (found.p >= 0.05)


def test_holm_worked_by_hand():
    # p = .01 .04 .03 .005 in order: .005·4 = .02, .01·3 = .03, .03·2 = .06, .04·1 → max(.06, .04) = .06
    found = holm([Difference(0, i, 0.1, 0.05, 0.15, 5, p=p) for i, p in enumerate((0.01, 0.04, 0.03, 0.005))])
    assert [d.adjusted for d in found] == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert [d.verdict for d in found] == ["above", "open", "open", "above"]


def test_holm_never_exceeds_one_and_passes_over_what_was_not_tested():
    found = holm(
        [
            Difference(0, 1, 0.1, -1, 1, 5, p=0.9),
            Difference(0, 2, 0.1, 0, 0.2, 2),
            Difference(1, 2, 0.0, -1, 1, 5, p=0.8),
        ]
    )
    assert [d.adjusted for d in found] == [1.0, None, 1.0]


def test_an_interval_that_contains_zero_is_a_tie():
    found = all_pairs([{0: 0.5, 1: 0.7, 2: 0.6}, {0: 0.6, 1: 0.6, 2: 0.6}])[0]
    assert found.verdict == "tie" and not found.clear


def test_one_or_two_seeds_claim_nothing():
    two = paired({0: 0.9, 1: 0.8}, {0: 0.1, 1: 0.1})
    assert (two.verdict, two.n, two.p, two.half) == ("few", 2, None, None)
    assert (two.low, two.high) == pytest.approx((0.7, 0.8))
    assert paired({0: 0.9}, {0: 0.1}).verdict == "few"


def test_only_shared_seeds_are_paired():
    found = paired({0: 0.5, 1: 0.6, 2: 0.7, 3: 0.1}, {1: 0.5, 2: 0.5, 3: 0.0, 9: 1.0})
    assert (found.n, found.unshared) == (3, 2) and [s for s, _ in found.by_seed] == [1, 2, 3]
    assert paired({0: 0.5}, {1: 0.5}).verdict == "none"


def test_a_diverged_seed_spoils_the_pair():
    found = paired(A | {3: None}, B | {3: 0.5}, lost=frozenset({3}))
    assert (found.verdict, found.mean, found.diverged) == ("diverged", None, 1)
    assert paired({0: None, 1: 0.5, 2: 0.5}, B).verdict == "none"


def test_the_same_numbers_twice_are_a_tie_and_a_constant_shift_is_certain():
    (same,) = all_pairs([A, A])
    (shifted,) = all_pairs([A, {s: v - 0.25 for s, v in A.items()}])
    assert same.verdict == "tie" and shifted.verdict == "above" and shifted.adjusted < 1e-6


def marks(groups, **how):
    means = [sum(g.values()) / len(g) for g in groups]
    return [s.mark for s in standings(means, all_pairs(groups), **how)]


def test_the_best_is_marked_only_where_it_is_clear():
    low, high = {i: 0.3 + 0.01 * (i % 3) for i in range(6)}, {i: 0.9 + 0.01 * (i % 2) for i in range(6)}
    near = {i: v + 0.03 * (-1) ** (i // 2) for i, v in high.items()}
    assert marks([low, high]) == ["", "best"]
    assert marks([low, high], higher_is_better=False) == ["best", ""]
    assert marks([low, high, near]) == ["", "unseparated", "unseparated"]
    assert marks([{0: 0.1, 1: 0.1}, {0: 0.9, 1: 0.9}]) == ["", "untested"]
    assert marks([high]) == [""]


def test_a_setting_without_a_mean_stands_nowhere():
    good, lost = {i: 0.9 + 0.001 * i for i in range(4)}, dict.fromkeys(range(4))
    found = standings([0.9, None], all_pairs([good, lost], lost=[frozenset(), frozenset({1})]))
    assert [s.mark for s in found] == ["", ""]
