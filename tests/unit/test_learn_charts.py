"""The Learn page's figures are valid Plotly, and their traces stay the same while controls move."""

import pytest

from clcore.charts.cone import cone_figure
from clcore.charts.valleys import price_figure, valleys_figure
from clcore.charts.worked import marked_matrix
from clcore.demonstrations.cone import at_angle, gem
from clcore.demonstrations.valleys import Valleys
from clcore.worked import worked
from tests.unit.test_charts import valid


def test_the_cone_is_valid_and_keeps_its_traces():
    usual = cone_figure(at_angle(0), [at_angle(117), at_angle(27)])
    for past in ([at_angle(0), at_angle(120), at_angle(-120)], [at_angle(180)], [at_angle(10), at_angle(-170)]):
        figure = cone_figure(at_angle(60), past)
        valid(figure)
        assert [t["type"] for t in figure["data"]] == [t["type"] for t in usual["data"]]
    valid(usual)


def test_the_arrow_called_gem_ends_where_gem_does():
    g, past = at_angle(0), [at_angle(117), at_angle(27)]
    arrow = next(t for t in cone_figure(g, past)["data"] if t["name"] == "GEM")
    assert (arrow["x"][1], arrow["y"][1]) == tuple(round(c, 3) for c in gem(g, past))


@pytest.mark.parametrize("springs", ["diagonal", "equal", "full"])
@pytest.mark.parametrize("strength", [0.0, 1.0, 100.0])
def test_valleys_are_valid_and_mark_the_end(springs, strength):
    v = Valleys(turn_a=30)
    figure = valleys_figure(v, strength, springs)
    valid(figure)
    valid(price_figure(v, strength, springs))
    end = v.minimiser(strength, springs)
    assert figure["data"][-1]["x"] == [round(float(end[0]), 3)] and figure["data"][-1]["y"] == [round(float(end[1]), 3)]


def test_the_price_of_both_is_the_sum():
    a, b, both = (t["y"] for t in price_figure(Valleys(), 1.0)["data"])
    assert all(abs(x + y - z) < 2e-4 for x, y, z in zip(a, b, both, strict=True))
    assert a == sorted(a, reverse=True) and b == sorted(b)


@pytest.mark.parametrize("row0", [True, False])
def test_marked_cells_get_a_frame_each(row0):
    R = [[0.1, 0.1, None], [0.98, 0.11, 0.09], [0.6, 0.97, 0.12], [0.4, 0.75, 0.96]]
    cells = worked(R)["fwt"].cells
    figure = marked_matrix(R, cells, row0=row0)
    valid(figure)
    assert len(figure["layout"]["shapes"]) == 1 + sum(i > 0 or row0 for i, _j in cells)
