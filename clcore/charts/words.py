"""Numbers as the charts write them."""

from __future__ import annotations

import math

from clcore.text import _, n_


def number(value: float | None) -> float | None:
    """A value for a figure: rounded, None where there is none."""
    return None if value is None or math.isnan(value) else round(value, 3)


def percent(value: float | None) -> float | None:
    """A fraction as a percentage for a figure; None where there is none."""
    return None if value is None or math.isnan(value) else round(100 * value, 2)


def spread_words(low: float | None, high: float | None, n: int, diverged: int = 0, total: int = 0) -> str:
    """What stands behind a mean: its interval (n ≥ 3), its range (n = 2) or that it is one seed; in percent."""
    if diverged:
        return _("{k} of {n} diverged").format(k=diverged, n=total)
    if n == 0:
        return ""
    if n == 1:
        return _("1 seed")
    low, high = 100 * low, 100 * high
    if n == 2:
        return _("range {low:.1f} to {high:.1f}, 2 seeds").format(low=low, high=high)
    return n_("± {half}, {n} seed", "± {half}, {n} seeds", n, half=f"{(high - low) / 2:.1f}")


def strength_word(value: float) -> str:
    return f"{value:g}"
