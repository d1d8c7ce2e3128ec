"""Numbers as the charts write them."""

from __future__ import annotations

import math
import unicodedata
from typing import NamedTuple

from clcore.text import _, n_


class Unit(NamedTuple):
    """How a number is written: multiplied by `factor`, with `decimals`, followed by `sign`."""

    factor: float
    sign: str
    decimals: int

    def of(self, value: float | None) -> float | None:
        """A value for a figure or a table; None where there is none."""
        return None if value is None or math.isnan(value) else round(self.factor * value, 2)

    def text(self, value: float) -> str:
        return f"{self.factor * value:,.{self.decimals}f}"


PERCENT = Unit(100, "%", 1)
KILOBYTES = Unit(1e-3, "kB", 0)


def number(value: float | None) -> float | None:
    """A value for a figure: rounded, None where there is none."""
    return None if value is None or math.isnan(value) else round(value, 3)


def percent(value: float | None) -> float | None:
    """A fraction as a percentage for a figure; None where there is none."""
    return PERCENT.of(value)


def spread_words(
    low: float | None, high: float | None, n: int, diverged: int = 0, total: int = 0, unit: Unit = PERCENT
) -> str:
    """What stands behind a mean: its interval (n ≥ 3), its range (n = 2) or that it is one seed."""
    if diverged:
        return _("{k} of {n} diverged").format(k=diverged, n=total)
    if n == 0:
        return ""
    if n == 1:
        return _("1 seed")
    if n == 2:
        return _("range {low} to {high}, 2 seeds").format(low=unit.text(low), high=unit.text(high))
    return n_("± {half}, {n} seed", "± {half}, {n} seeds", n, half=unit.text((high - low) / 2))


def strength_word(value: float) -> str:
    return f"{value:g}"


def text_width(text: str) -> float:
    """Pixels that a text in a figure's small print (11 px) takes at most: how wide it is shown, only the browser knows."""
    return sum(11.5 if unicodedata.east_asian_width(c) in "WF" else 6.4 for c in text)
