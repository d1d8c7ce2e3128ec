"""Colours that stand side by side are told apart by every eye: by hue under simulated dichromacy, or by dash and marker."""

from __future__ import annotations

import itertools
import math

import pytest

from clcore.catalogue import catalogue
from clcore.charts.theme import CATEGORICAL, FEW_TASKS, SURFACES, method_style, task_style

# Severity 1.0 of Machado, Oliveira & Fernandes (2009), "A Physiologically-based Model for Simulation of Color Vision
# Deficiency", IEEE TVCG 15(6): matrices on linear RGB.
DEFICIENCIES = {
    "none": ((1, 0, 0), (0, 1, 0), (0, 0, 1)),
    "protanopia": (
        (0.152286, 1.052583, -0.204868), (0.114503, 0.786281, 0.099216), (-0.003882, -0.048116, 1.051998),
    ),
    "deuteranopia": (
        (0.367322, 0.860646, -0.227968), (0.280085, 0.672501, 0.047413), (-0.011820, 0.042940, 0.968881),
    ),
    "tritanopia": (
        (1.255528, -0.076749, -0.178779), (-0.078411, 0.930809, 0.147602), (0.004733, 0.691367, 0.303900),
    ),
}  # fmt: skip
APART = 9.0
"""CIEDE2000: many times a just noticeable difference, since lines are thin and lie apart."""


def linear(color: str) -> list[float]:
    channels = (int(color[i : i + 2], 16) / 255 for i in (1, 3, 5))
    return [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]


def seen(color: str, deficiency: str) -> list[float]:
    """Linear RGB as an eye with the deficiency would see it."""
    rgb = linear(color)
    return [min(1.0, max(0.0, sum(m * c for m, c in zip(row, rgb, strict=True)))) for row in DEFICIENCIES[deficiency]]


def lab(rgb: list[float]) -> tuple[float, float, float]:
    """CIELAB under D65."""
    to_xyz = (0.4124564, 0.3575761, 0.1804375), (0.2126729, 0.7151522, 0.0721750), (0.0193339, 0.1191920, 0.9503041)
    white = 0.95047, 1.0, 1.08883
    ratios = (sum(m * c for m, c in zip(row, rgb, strict=True)) / w for row, w in zip(to_xyz, white, strict=True))
    x, y, z = (t ** (1 / 3) if t > 216 / 24389 else (24389 / 27 * t + 16) / 116 for t in ratios)
    return 116 * y - 16, 500 * (x - y), 200 * (y - z)


def ciede2000(one: tuple[float, float, float], other: tuple[float, float, float]) -> float:
    """Sharma, Wu & Dalal (2005), with all weights 1."""
    (L1, a1, b1), (L2, a2, b2) = one, other
    c7 = ((math.hypot(a1, b1) + math.hypot(a2, b2)) / 2) ** 7
    g = 0.5 * (1 - math.sqrt(c7 / (c7 + 25**7)))
    C1, C2 = math.hypot((1 + g) * a1, b1), math.hypot((1 + g) * a2, b2)
    h1, h2 = (math.degrees(math.atan2(b, (1 + g) * a)) % 360 if a or b else 0.0 for a, b in ((a1, b1), (a2, b2)))
    turn = 0.0 if C1 * C2 == 0 else (h2 - h1 + 180) % 360 - 180
    if C1 * C2 and h2 - h1 == 180:
        turn = 180.0
    dL, dC, dH = L2 - L1, C2 - C1, 2 * math.sqrt(C1 * C2) * math.sin(math.radians(turn / 2))
    L, C = (L1 + L2) / 2, (C1 + C2) / 2
    h = h1 + h2 if C1 * C2 == 0 else (h1 + turn / 2) % 360
    t = (
        1 - 0.17 * math.cos(math.radians(h - 30)) + 0.24 * math.cos(math.radians(2 * h))
        + 0.32 * math.cos(math.radians(3 * h + 6)) - 0.20 * math.cos(math.radians(4 * h - 63))
    )  # fmt: skip
    sL = 1 + 0.015 * (L - 50) ** 2 / math.sqrt(20 + (L - 50) ** 2)
    sC, sH = 1 + 0.045 * C, 1 + 0.015 * C * t
    rT = -2 * math.sqrt(C**7 / (C**7 + 25**7)) * math.sin(math.radians(60 * math.exp(-(((h - 275) / 25) ** 2))))
    return math.sqrt((dL / sL) ** 2 + (dC / sC) ** 2 + (dH / sH) ** 2 + rT * dC / sC * dH / sH)


def difference(one: str, other: str, deficiency: str) -> float:
    return ciede2000(lab(seen(one, deficiency)), lab(seen(other, deficiency)))


def contrast(one: str, other: str) -> float:
    """WCAG 2: of relative luminances."""
    dark, light = sorted(0.2126 * r + 0.7152 * g + 0.0722 * b for r, g, b in (linear(one), linear(other)))
    return (light + 0.05) / (dark + 0.05)


def test_the_formula_gives_published_values():
    """Pairs of the test data of Sharma, Wu & Dalal."""
    assert ciede2000((50, 2.6772, -79.7751), (50, 0, -82.7485)) == pytest.approx(2.0425, abs=1e-4)
    assert ciede2000((50, 2.5, 0), (73, 25, -18)) == pytest.approx(27.1492, abs=1e-4)
    assert ciede2000((60.2574, -34.0099, 36.2677), (60.4626, -34.1751, 39.4387)) == pytest.approx(1.2644, abs=1e-4)
    assert ciede2000((2.0776, 0.0795, -1.135), (0.9033, -0.0636, -0.5514)) == pytest.approx(0.9082, abs=1e-4)


def test_a_dichromat_confuses_red_with_green_and_not_with_blue():
    assert difference("#FF6666", "#99AA33", "none") > 30
    assert difference("#D55E00", "#7A8A00", "deuteranopia") < 12
    assert difference("#D55E00", "#0072B2", "deuteranopia") > 40


@pytest.mark.parametrize("deficiency", DEFICIENCIES)
@pytest.mark.parametrize("base", ["light", "dark"])
def test_every_two_colours_are_told_apart(base, deficiency):
    confused = {
        (a, b): round(difference(a, b, deficiency), 1)
        for a, b in itertools.combinations(CATEGORICAL[base], 2)
        if difference(a, b, deficiency) < APART
    }
    assert not confused


@pytest.mark.parametrize("tasks", range(2, FEW_TASKS + 1))
def test_tasks_of_one_colour_differ_in_dash(tasks):
    styles = [task_style(j, tasks) for j in range(1, tasks + 1)]
    for one, other in itertools.combinations(styles, 2):
        assert one.color != other.color or one.dash != other.dash


def test_methods_of_one_colour_differ_in_dash_or_marker():
    styles = [method_style(card.name) for card in catalogue().methods]
    for one, other in itertools.combinations(styles, 2):
        assert one.color != other.color or (one.dash, one.marker) != (other.dash, other.marker)


@pytest.mark.parametrize("base", ["light", "dark"])
def test_lines_stand_out_from_their_ground(base):
    for color in CATEGORICAL[base]:
        assert contrast(color, SURFACES[base]["background"]) >= 3
