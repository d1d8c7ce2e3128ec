"""The pictures' numbers: the cone against a search over all directions, the valleys against their own gradients."""

import math
import random

import numpy as np
import pytest

from clcore.demonstrations.cone import Vector, agem, allowed, at_angle, gem, harmed, inner, mean
from clcore.demonstrations.valleys import Valleys


def near(z: Vector, x: float, y: float) -> bool:
    return math.hypot(z.x - x, z.y - y) < 1e-9


# Worked by hand; the fourth is the case in which A-GEM lets a task be hurt, the fifth that in which GEM stands still.
@pytest.mark.parametrize(
    "g, past, by_gem, by_agem",
    [
        ((1, 0), [(-1, 1)], (0.5, 0.5), (0.5, 0.5)),
        ((1, 0), [(1, 1)], (1, 0), (1, 0)),
        ((1, 0), [(-1, 1), (-1, -1)], (0, 0), (0, 0)),
        ((1, 0), [(-1, 2), (2, 1)], (0.8, 0.4), (1, 0)),
        ((1, 0.5), [(-1, 1), (0, -1)], (0, 0), (0, 0.5)),
    ],
)
def test_projections_by_hand(g, past, by_gem, by_agem):
    g, past = Vector(*g), [Vector(*p) for p in past]
    assert near(gem(g, past), *by_gem) and near(agem(g, past), *by_agem)


def test_gem_is_the_nearest_allowed_vector_of_all():
    draw = random.Random(0)
    fine = [at_angle(0.25 * i) for i in range(1440)]
    for n in (1, 2, 3) * 40:
        g, past = at_angle(draw.uniform(-180, 180)), [at_angle(draw.uniform(-180, 180)) for _ in range(n)]
        z = gem(g, past)
        assert not harmed(z, past)
        # Along a direction u, the nearest point to g is max(0, <g, u>)·u.
        best = min((1 - max(0.0, inner(g, u)) ** 2 for u in fine if all(inner(u, p) >= 0 for p in past)), default=1.0)
        found = math.hypot(z.x - g.x, z.y - g.y) ** 2
        assert found <= best + 1e-9 and found >= best - 0.01


def test_agem_keeps_the_mean_and_nothing_more():
    past = [at_angle(116.565), at_angle(26.565)]
    z = agem(at_angle(0), past)
    assert inner(z, mean(past)) >= 0 and harmed(z, past) == [0] and harmed(gem(at_angle(0), past), past) == []


def test_the_allowed_directions_are_those_that_nobody_objects_to():
    draw = random.Random(1)
    for n in (1, 2, 3) * 40:
        past = [at_angle(draw.uniform(-180, 180)) for _ in range(n)]
        span = allowed(past)
        for i in range(360):
            u = at_angle(i + 0.5)
            inside = span is not None and (i + 0.5 - span[0]) % 360 <= span[1] - span[0]
            assert inside == (not harmed(u, past))
    assert allowed([at_angle(0), at_angle(120), at_angle(-120)]) is None


@pytest.mark.parametrize("kind", ["diagonal", "equal", "full"])
@pytest.mark.parametrize("strength", [0.0, 0.3, 30.0])
def test_the_marked_minimum_is_one_and_descent_goes_there(kind, strength):
    v = Valleys(turn_a=35)
    z = v.minimiser(strength, kind)
    pull = v.curvature("b") @ (z - v.b) + strength * v.springs(kind) @ (z - v.a)
    assert np.allclose(pull, 0, atol=1e-12)
    path, lr = v.path(strength, kind, steps=4000)
    assert np.allclose(path[0], v.a) and np.allclose(path[-1], z, atol=1e-6) and 0 < lr <= 0.3


def test_without_springs_it_ends_in_b_and_stiff_ones_hold_it_in_a():
    v = Valleys()
    assert np.allclose(v.minimiser(0), v.b) and np.allclose(v.minimiser(1e9), v.a, atol=1e-6)
    assert v.loss("a", v.a) == 0 and v.loss("a", v.b) > v.loss("a", v.minimiser(1))


def test_springs_along_the_axes_are_the_full_fisher_only_for_a_valley_that_is_not_turned():
    straight, turned = Valleys(turn_a=0), Valleys(turn_a=45)
    assert np.allclose(straight.minimiser(1), straight.joint())
    assert not np.allclose(turned.minimiser(1), turned.joint(), atol=0.05)
    total = [float(turned.loss("a", z) + turned.loss("b", z)) for z in (turned.joint(), turned.minimiser(1))]
    assert total[0] < total[1]


def test_the_ellipse_is_where_the_springs_cost_its_level():
    v = Valleys(turn_a=25)
    for kind in ("diagonal", "full"):
        d = v.ellipse(kind, level=0.2) - v.a
        assert np.allclose(0.5 * np.einsum("ni,ij,nj->n", d, v.springs(kind), d), 0.2)
    assert np.allclose(v.loss("a", v.ellipse("full", level=0.2)), 0.2)
