"""Every figure is valid Plotly in light and dark, and its axes, traces and height do not move while it fills."""

import re
import tomllib
from itertools import combinations
from pathlib import Path

import numpy as np
import pandas as pd
import plotly.graph_objects as go
import pytest

from clcore.catalogue import catalogue
from clcore.charts import theme
from clcore.charts.matrix import matrix_figure, matrix_height
from clcore.charts.per_task import MAX_POINTS, per_task_figure, thinned
from clcore.charts.sweep import Best, best_strength, strength_places, sweep_figure
from clcore.charts.switch import switch_figure
from clcore.charts.words import spread_words
from clcore.frames import COLUMNS, Config, Series
from tests.pages.recorded import experiment, recording
from tests.unit.test_frames import Events

EMPTY = pd.DataFrame([], columns=["position", "task", *COLUMNS])


def series(spec=None, **how) -> Series:
    return Series("r").pull(Events(recording(spec or experiment()[0], **how)))


def curves(s: Series, **more):
    return per_task_figure(s.curves(Config()), s.task_ends(Config()), s.tasks, chance=s.chance(), **more)


def valid(figure):
    for base in ("light", "dark"):
        go.Figure(theme.resolved(figure, base))


@pytest.mark.parametrize(
    "how", [{}, {"until": 2.25}, {"diverged": (0,)}, {"diverged": (0, 1, 2)}, {"tasks": 12}, {"tasks": 1}]
)
def test_per_task_is_valid(how):
    s = series(**how)
    for x in ("tasks", "epochs"):
        valid(curves(s, x=x, epochs=10, position=1.5))


def test_per_task_keeps_traces_axes_and_height_while_it_fills():
    empty, full = per_task_figure(EMPTY, EMPTY, ["a"] * 5), curves(series())
    assert [t["type"] for t in empty["data"]] == [t["type"] for t in full["data"]]
    assert len(full["data"]) == 3 * 5 + 1
    for key in ("range", "tickvals"):
        assert empty["layout"]["xaxis"][key] == full["layout"]["xaxis"][key]
        assert empty["layout"]["yaxis"][key] == full["layout"]["yaxis"][key]
    assert empty["layout"]["height"] == full["layout"]["height"]
    assert len(empty["layout"]["shapes"]) == len(full["layout"]["shapes"])


@pytest.mark.parametrize("how", [{}, {"until": 1.003}, {"diverged": (0,)}])
def test_steps_after_a_switch_are_valid_and_keep_their_traces(how):
    steps = series(experiment(watch_switches=5)[0], **how).switch(Config(), 2)
    figure, empty = switch_figure(steps, 2, 5), switch_figure(steps.iloc[:0], 2, 5)
    valid(figure)
    valid(empty)
    assert [t["type"] for t in figure["data"]] == [t["type"] for t in empty["data"]]
    drawn = figure["data"][1]
    first = steps[steps["task"] == 1]
    assert drawn["x"] == first["step"].tolist()
    assert drawn["y"] == [None if v != v else round(100 * v, 2) for v in first["mean"].astype(float)]


def test_one_seed_has_no_band_and_says_so():
    figure = curves(series(experiment(seeds=1)[0]))
    assert figure["data"][0]["x"] == []
    assert figure["data"][1]["customdata"][0] == "1 seed"


def test_epochs_stretch_the_axis():
    assert curves(series(), x="epochs", epochs=10)["layout"]["xaxis"]["range"] == [0, 50]
    cut = curves(series(), x="epochs", epochs=1.1)["layout"]["xaxis"]["ticktext"]  # equal compute may cut an epoch short
    assert list(cut) == ["0", "1.1", "2.2", "3.3", "4.4", "5.5"]


def test_thinning_keeps_the_last_point():
    frame = pd.DataFrame([(i / 100, 1, i / 1000, 0, 1, 3, 0, 3) for i in range(1000)], columns=EMPTY.columns)
    thin = thinned(frame)
    assert len(thin) <= MAX_POINTS and thin.iloc[-1]["mean"] == 0.999


@pytest.mark.parametrize(("at", "side"), [(1.0, "left"), (10.0, "center"), (100.0, "right")])
def test_the_words_over_a_strength_stay_inside_of_the_chart(at, side):
    frame = pd.DataFrame([], columns=["strength", "curve", *COLUMNS])
    figure = sweep_figure(frame, (1.0, 10.0, 100.0), best=Best(at, None, None, "best"))
    assert figure["layout"]["annotations"][0]["xanchor"] == side


def test_a_band_of_a_sweep_has_a_gap_where_a_strength_diverged():
    spec = experiment("ewc", seeds=2, strengths=(1, 3, 10, 30))[0]
    second = next(i for i, replica in enumerate(spec.replicas) if replica.strength == 3)
    whole, broken = (series(spec, diverged=lost) for lost in ((), (second,)))
    figures = [sweep_figure(s.sweep(), (1.0, 3.0, 10.0, 30.0)) for s in (whole, broken)]
    for figure in figures:
        valid(figure)
    assert figures[0]["data"][0]["x"] == [0.0, *(strength_places((3,))[3], 1.0, strength_places((30,))[30]),
                                          *(strength_places((30,))[30], 1.0, strength_places((3,))[3], 0.0)]  # fmt: skip
    x = figures[1]["data"][0]["x"]
    assert x[:3] == [0.0, 0.0, None] and None not in x[3:] and min(x[3:]) == 1.0


@pytest.mark.parametrize("kind", ["accuracy", "forgetting"])
@pytest.mark.parametrize("how", [{}, {"until": 2.25}, {"diverged": (0,)}, {"tasks": 13}])
def test_matrix_is_valid(kind, how):
    s = series(**how)
    for row0, future in ((False, False), (True, True)):
        cells = s.matrix(Config(), kind)
        valid(matrix_figure(cells, s.tasks, kind=kind, row0=row0, future=future, running=3))


def test_matrix_blanks_what_has_no_meaning():
    s = series()
    z = matrix_figure(s.matrix(Config()), s.tasks)["data"][0]["z"]
    assert z[0][1:] == [None] * 4 and None not in z[4]


def test_matrix_shows_future_tasks_on_request():
    s = series()
    cells = s.matrix(Config())
    hidden, shown = (matrix_figure(cells, s.tasks, row0=True, future=f)["data"] for f in (False, True))
    assert len(hidden) == len(shown) == 2
    assert shown[1]["text"][0][0] == "10" and hidden[1]["text"][0][0] == ""
    assert shown[0]["z"] == hidden[0]["z"]


def test_matrix_marks_divergence_and_hides_text_of_large_ones():
    s = series(diverged=(1,))
    heat = matrix_figure(s.matrix(Config()), s.tasks)["data"][0]
    assert heat["text"][4][0] == "✕" and "diverged" in heat["customdata"][4][0] and heat["z"][4][0] is None
    large = series(tasks=13)
    assert matrix_figure(large.matrix(Config()), large.tasks)["data"][0]["texttemplate"] == ""


def test_matrix_height_is_constant_for_a_run():
    s, empty = series(), pd.DataFrame([], columns=["row", "task", *COLUMNS])
    heights = {matrix_figure(c, s.tasks)["layout"]["height"] for c in (s.matrix(Config()), empty)}
    assert heights == {matrix_height(5)} and (matrix_height(5) - 96) / 5 >= 34


def test_forgetting_diverges_around_zero():
    heat = matrix_figure(series().matrix(Config(), "forgetting"), ["a"] * 5, kind="forgetting")["data"][0]
    assert (heat["zmin"], heat["zmax"]) == (-100, 100)


STRENGTHS = (0, 3, 10, 30, 100)


@pytest.mark.parametrize("how", [{}, {"until": 2.25}, {"diverged": (2,)}, {"until": 0.5}])
def test_sweep_is_valid(how):
    s = series(experiment("ewc", strengths=STRENGTHS)[0], **how)
    figure = sweep_figure(s.sweep(), STRENGTHS, symbol="λ")
    valid(figure)
    assert len(figure["data"]) == 7
    assert figure["layout"]["xaxis"]["ticktext"] == ["0", "3", "10", "30", "100"]


def test_zero_sits_left_of_the_smallest_strength():
    places = strength_places((0, 0.001, 1))
    assert places[0.0] < places[0.001] == -3 and list(places) == [0.0, 0.001, 1]
    assert strength_places((0,)) == {0.0: -0.6}


def test_best_strength_waits_for_all():
    frame = series(experiment("ewc", strengths=STRENGTHS)[0]).sweep()
    assert best_strength(frame, STRENGTHS) in STRENGTHS
    assert best_strength(frame[frame["strength"] < 100], STRENGTHS) is None


def test_a_diverged_strength_is_marked_not_averaged():
    s = series(experiment("ewc", seeds=2, strengths=STRENGTHS)[0], diverged=(4,))
    figure = sweep_figure(s.sweep(), STRENGTHS)
    assert figure["data"][6]["text"] == ["1/2"] and figure["data"][1]["y"][-1] is None


@pytest.mark.parametrize(
    ("args", "words"),
    [((0.1, 0.2, 0), ""), ((0.5, 0.5, 1), "1 seed"), ((0.4, 0.6, 2), "range 40.0 to 60.0, 2 seeds"),
     ((0.4, 0.6, 5), "± 10.0, 5 seeds"), ((None, None, 0, 2, 5), "2 of 5 diverged")],
)  # fmt: skip
def test_words_behind_a_mean(args, words):
    assert spread_words(*args) == words


# ---- colours --------------------------------------------------------------------------------------------------------


def _rgb(color: str) -> np.ndarray:
    return np.array([int(color[i : i + 2], 16) / 255 for i in (1, 3, 5)])


def _linear(rgb):
    return np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)


def _contrast(a: str, b: str) -> float:
    high, low = sorted((float(_linear(_rgb(c)) @ [0.2126, 0.7152, 0.0722]) for c in (a, b)), reverse=True)
    return (high + 0.05) / (low + 0.05)


# Machado, Oliveira & Fernandes (IEEE TVCG 2009), severity 1, on linear RGB.
SIGHT = {
    "normal": np.eye(3),
    "protan": np.array(
        [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]]
    ),
    "deutan": np.array(
        [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]]
    ),
}


def _lab(color: str, sight: str) -> np.ndarray:
    linear = np.clip(SIGHT[sight] @ _linear(_rgb(color)), 0, 1)
    xyz = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]]) @ linear
    f = [t ** (1 / 3) if t > 0.008856 else 7.787 * t + 16 / 116 for t in xyz / [0.95047, 1, 1.08883]]
    return np.array([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])


def ciede2000(a: np.ndarray, b: np.ndarray) -> float:
    """Sharma, Wu & Dalal 2005."""
    C1, C2 = np.hypot(*a[1:]), np.hypot(*b[1:])
    G = 0.5 * (1 - np.sqrt(((C1 + C2) / 2) ** 7 / (((C1 + C2) / 2) ** 7 + 25**7)))
    a1, a2 = a[1] * (1 + G), b[1] * (1 + G)
    C1, C2 = np.hypot(a1, a[2]), np.hypot(a2, b[2])
    h1, h2 = np.degrees(np.arctan2(a[2], a1)) % 360, np.degrees(np.arctan2(b[2], a2)) % 360
    dh = 0.0 if C1 * C2 == 0 else (h2 - h1 + 180) % 360 - 180
    dL, dC, dH = b[0] - a[0], C2 - C1, 2 * np.sqrt(C1 * C2) * np.sin(np.radians(dh / 2))
    L, C = (a[0] + b[0]) / 2, (C1 + C2) / 2
    h = (h1 + h2) / 2 if abs(h1 - h2) <= 180 else ((h1 + h2 + 360) / 2 if h1 + h2 < 360 else (h1 + h2 - 360) / 2)
    T = (1 - 0.17 * np.cos(np.radians(h - 30)) + 0.24 * np.cos(np.radians(2 * h))
         + 0.32 * np.cos(np.radians(3 * h + 6)) - 0.2 * np.cos(np.radians(4 * h - 63)))  # fmt: skip
    SL = 1 + 0.015 * (L - 50) ** 2 / np.sqrt(20 + (L - 50) ** 2)
    SC, SH = 1 + 0.045 * C, 1 + 0.015 * C * T
    RT = -2 * np.sqrt(C**7 / (C**7 + 25**7)) * np.sin(np.radians(60 * np.exp(-(((h - 275) / 25) ** 2))))
    return float(np.sqrt((dL / SL) ** 2 + (dC / SC) ** 2 + (dH / SH) ** 2 + RT * dC / SC * dH / SH))


def test_ciede2000_agrees_with_the_published_pair():
    assert ciede2000(np.array([50, 2.6772, -79.7751]), np.array([50, 0, -82.7485])) == pytest.approx(2.0425, abs=1e-4)


@pytest.mark.parametrize("base", ["light", "dark"])
def test_colours_stand_out_from_the_ground(base):
    ground = theme.SURFACES[base]["background"]
    assert min(_contrast(c, ground) for c in theme.CATEGORICAL[base]) >= 3


@pytest.mark.parametrize("base", ["light", "dark"])
@pytest.mark.parametrize("sight", ["normal", "protan", "deutan"])
def test_tasks_are_told_apart_in_every_sight(base, sight):
    """Colours that come close under a simulated deficiency differ in dash and in marker."""
    styles = [theme.task_style(j, 8) for j in range(1, 9)]
    for a, b in combinations(styles, 2):
        colors = [theme.CATEGORICAL[base][int(s.color[2:])] for s in (a, b)]
        if ciede2000(_lab(colors[0], sight), _lab(colors[1], sight)) < 12:
            assert a.dash != b.dash and a.marker != b.marker, (base, sight, a, b)


def test_no_two_tasks_or_methods_look_alike():
    assert len({theme.task_style(j, 10) for j in range(1, 11)}) == 10
    names = [m.name for m in catalogue().methods]
    looks = [theme.method_style(n) for n in names]
    assert len({s.marker for s in looks}) == len(names)
    drawn_as = {re.sub("-(cross|x|dot)$", "", s.marker) for s in looks}  # filled, these marks cannot be seen
    assert len(drawn_as) == len(names)


def test_a_method_keeps_its_look():
    assert theme.method_style("er+ewc") == theme.method_style("er+ewc")


def test_config_repeats_the_palette():
    config = tomllib.loads((Path(__file__).parents[2] / ".streamlit" / "config.toml").read_text(encoding="utf-8"))
    for base, colors in theme.CATEGORICAL.items():
        assert tuple(config["theme"][base]["chartCategoricalColors"]) == colors
    assert config["runner"]["postScriptGC"] is False


def test_without_boundaries_the_bands_of_neighbours_lie_over_one_another():
    def drawn(**more):
        empty = pd.DataFrame([], columns=["position", "task", *COLUMNS])
        figure = per_task_figure(empty, empty, ["a", "b", "c"], **more)
        valid(figure)
        bands = [(s["x0"], s["x1"]) for s in figure["layout"]["shapes"] if s["type"] == "rect"]
        return bands, figure["layout"]["xaxis"]["title"]["text"]

    assert drawn() == ([(0, 1), (1, 2), (2, 3)], "tasks trained")
    blurred, title = drawn(blur=0.5, epochs=4, x="tasks")
    assert blurred == [(0, 1.25), (0.75, 2.25), (1.75, 3)] and title.startswith("parts of the stream")
    assert drawn(blur=0.5, epochs=4, x="epochs") == ([(0, 5), (3, 9), (7, 12)], "epochs of training")
    assert drawn(blur=0.0)[0] == [(0, 1), (1, 2), (2, 3)]
