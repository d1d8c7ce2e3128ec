"""Numbers as the command line writes them."""

from clcore.report import percent


def test_an_interval_needs_three_seeds():
    assert percent([0.5]) == "50.0"
    assert percent([0.96, 0.975]) == "96.8 (96.0…97.5)"
    assert percent([0.4, 0.5, 0.6]) == "50.0 ± 24.8"  # 4.303 · 0.1 / √3


def test_what_diverged_is_no_mean_over_the_survivors():
    assert percent([0.5, None]) == "–" and percent([]) == "–"
