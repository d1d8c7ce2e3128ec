"""Pictures of arrays: every known kind and any unknown one is valid Plotly, and its table holds the numbers of the figure."""

import base64
import io
import json
import zlib

import numpy as np
import plotly.graph_objects as go
import pytest
from PIL import Image

from clcore.charts import theme
from clcore.charts.answers import AHEAD, FORGOTTEN, NEVER, RIGHT, Asked, answers_figure
from clcore.charts.kinds import KINDS, SATELLITES, Reading, kind_of, parted
from clcore.charts.png import data_uri
from clcore.charts.regions import moment_words, regions_figure, regions_table, right_counts
from clcore.insights import Plane, extent

TASKS = ["a", "b", "c", "d"]
DRAW = np.random.default_rng(0)

# A shape of every array that methods report, without the axis of networks.
SHAPES = {
    "importance_by_input": (1, 8, 8), "importance_by_layer": (3,), "drift_by_layer": (3,), "sigma_by_layer": (3,),
    "important_nodes": (2,), "node_states": (120,), "node_importance_1": (60,), "memory_by_class": (10,),
    "memory_by_task": (4,), "memory_examples": (16, 1, 8, 8), "retrieved_by_task": (4,), "gradient_angle": (4,),
    "violated_share": (4,), "length_removed": (), "answers_kept": (2,), "bias_scale": (4,), "bias_shift": (4,),
    "dreams": (8, 3, 6, 6), "dreams_by_class": (10,), "columns": (4,), "lateral_strength": (4, 4),
    "widths_by_birth_task": (2, 4), "ownership": (2, 5), "mask_density": (4, 2), "mask_overlap": (4, 4),
    "gates_layer_1": (4, 30), "capacity_used": (2,), "drift": (80,), "expanded": (4,), "split": (4,),
    "loss_before_growth": (4,), "picked": (4, 2), "goal": (4,), "reached": (4,), "freed": (4,), "size": (4,),
    "inferred_task": (2, 2),
}  # fmt: skip


def valid(figure):
    json.dumps(figure, allow_nan=False)
    for base in ("light", "dark"):
        go.Figure(theme.resolved(figure, base))


def reading(name, shape, n=3, until=2, **more) -> Reading:
    history = {k: DRAW.random((n, *shape)) for k in range(1, until + 1)}
    floor, peak = extent(history)
    units = [""] * 8 + ["cat", "dog"]
    return Reading(name=name, task=until, history=history, tasks=TASKS, units=units, floor=floor, peak=peak, **more)


def drawn(name, shape, **more):
    return kind_of(name).draw(reading(name, shape, **more))


def test_every_kind_is_tested():
    assert {parted(name)[1] for name in SHAPES} == set(KINDS)


@pytest.mark.parametrize("name", SHAPES)
@pytest.mark.parametrize("n", [1, 2, 5])
def test_a_known_array_is_drawn(name, n):
    picture = drawn(name, SHAPES[name], n=n)
    valid(picture.figure)
    assert len(picture.table) and kind_of(name).title() and kind_of(name).look().endswith(".")
    before = drawn(name, SHAPES[name], n=n, until=1)
    assert [t["type"] for t in before.figure["data"]] == [t["type"] for t in picture.figure["data"]]


@pytest.mark.parametrize("shape", [(), (1,), (7,), (200,), (3, 5), (60, 40), (2, 3, 4), (6, 8, 8), (6, 3, 8, 8)])
def test_an_unknown_array_is_never_invisible(shape):
    picture = drawn("some_new_thing", shape)
    valid(picture.figure)
    assert kind_of("some_new_thing").title() == "Some new thing" and len(picture.table)


@pytest.mark.parametrize("name", ["importance_by_layer", "memory_by_task", "length_removed", "gradient_angle"])
def test_numbers_that_are_missing_are_gaps(name):
    r = reading(name, SHAPES[name])
    r.history[2][:] = np.nan
    valid(kind_of(name).draw(r).figure)


def test_bars_and_table_hold_the_same_numbers():
    picture = drawn("importance_by_layer", (3,))
    trace = picture.figure["data"][0]
    assert picture.table["mean"].tolist() == trace["y"] and trace["x"] == ["layer 1", "layer 2", "output"]
    reach = [m + h for m, h in zip(trace["y"], trace["error_y"]["array"], strict=True)]
    assert reach == pytest.approx(picture.table["high"].tolist()) and "95 % interval" in trace["customdata"][0]
    single = drawn("importance_by_layer", (3,), n=1).figure["data"][0]
    assert single["customdata"][0] == "1 seed" and not single["error_y"]["visible"]


def test_heatmap_and_table_hold_the_same_numbers():
    picture = drawn("mask_overlap", (4, 4))
    assert picture.table.drop(columns="task").to_numpy().tolist() == picture.figure["data"][0]["z"]
    assert picture.figure["data"][0]["zmax"] == 100


def test_owners_are_stacked_with_what_is_free_last():
    r = reading("ownership", (2, 5), n=1)
    r.history[2][:] = [[[0.5, 0.2, 0, 0, 0.3], [0.1, 0.1, 0, 0, 0.8]]]
    picture = kind_of("ownership").draw(r)
    names = [t["name"] for t in picture.figure["data"]]
    assert names == ["T1", "T2", "T3", "T4", "free"] and picture.figure["layout"]["barmode"] == "stack"
    assert picture.figure["data"][0]["x"] == [50, 10] and picture.table["free"].tolist() == [30, 80]
    assert picture.figure["data"][4]["marker"]["color"] == "@panel"
    assert {t["marker"]["pattern"]["fillmode"] for t in picture.figure["data"]} == {"overlay"}  # else no colour is seen


def test_nodes_are_drawn_with_the_free_ones():
    r = reading("important_nodes", (2,), n=1, beside={"free_nodes": np.array([[30.0, 20.0]])})
    assert kind_of("important_nodes").draw(r).figure["data"][1]["x"] == [30, 20] and "free_nodes" in SATELLITES


def test_bars_of_different_tasks_share_an_axis():
    r = reading("drift_by_layer", (3,))
    earlier = Reading(**{**r.__dict__, "task": 1, "history": {1: r.history[1]}})
    axes = [kind_of("drift_by_layer").draw(x).figure["layout"]["yaxis"]["range"] for x in (r, earlier)]
    assert axes[0] == axes[1]


def test_a_node_raster_has_a_row_for_every_task_from_the_start():
    z = drawn("node_states", (9,), until=2).figure["data"][0]["z"]
    assert len(z) == 4 and None not in z[1] and set(z[2]) == {None}


def test_a_composition_says_which_part_reports():
    assert parted("ewc.importance_by_layer") == ("ewc", "importance_by_layer", None)
    assert kind_of("ewc.importance_by_layer") is KINDS["importance_by_layer"]
    assert parted("ags-cl.node_importance_2") == ("ags-cl", "node_importance", 2)
    assert kind_of("node_importance_2").title().endswith("layer 2")


def test_thumbnails_are_named_after_their_classes():
    r = reading("memory_examples", (2, 1, 8, 8), n=1, beside={"memory_examples_unit": np.array([[8, -1]])})
    picture = kind_of("memory_examples").draw(r)
    assert picture.table["caption"].tolist() == ["cat", ""] and len(picture.figure["layout"]["images"]) == 2


def test_png_holds_the_pixels():
    uri = data_uri(np.array([[0, 255], [128, 7]]), side=4)
    data = base64.b64decode(uri.split(",")[1])
    at = data.index(b"IDAT")
    rows = zlib.decompress(data[at + 4 : at + 4 + int.from_bytes(data[at - 4 : at])])
    assert data.startswith(b"\x89PNG") and int.from_bytes(data[16:20]) == 4
    assert list(rows) == [0, 0, 0, 255, 255] * 2 + [0, 128, 128, 7, 7] * 2
    assert data_uri(np.zeros((3, 4, 4))) != data_uri(np.zeros((4, 4)))


def colours_of(uri: str) -> np.ndarray:
    """(h, w, 3) of a PNG data URI."""
    picture = Image.open(io.BytesIO(base64.b64decode(uri.split(",")[1])))
    assert picture.mode == "RGB"
    return np.asarray(picture)


def test_colour_pictures_keep_their_colours():
    """A red and a blue image, as the memory reports them (0 to 1) and as the answers do (bytes)."""
    red, blue = np.zeros((3, 8, 8)), np.zeros((3, 8, 8))
    red[0], blue[2] = 1.0, 0.5
    history = {1: np.stack([red, blue])[None]}
    memory = kind_of("memory_examples").draw(
        Reading(name="memory_examples", task=1, history=history, tasks=TASKS, units=["cat", "dog"], floor=0.0, peak=1.0)
    )
    first, second = (colours_of(image["source"])[0, 0].tolist() for image in memory.figure["layout"]["images"])
    assert (first, second) == ([255, 0, 0], [0, 0, 127])
    asked = [Asked(1, name, (255 * one).astype(np.uint8), {1: "cat"}) for name, one in (("cat", red), ("dog", blue))]
    shown = [colours_of(image["source"])[3, 3].tolist() for image in answers_figure(asked, 1).figure["layout"]["images"]]
    assert shown == [[255, 0, 0], [0, 0, 127]]


# ---- regions --------------------------------------------------------------------------------------------------------

BOUNDS = ((0.0, 1.0), (0.0, 1.0))
POINTS = [[(0.1, 0.1, 0), (0.9, 0.9, 1)], [(0.9, 0.1, 0), (0.1, 0.9, 1)]]
LOWER = np.array([[0, 0], [1, 1]])  # answers 0 below, 1 above
LEFT = np.array([[0, 1], [0, 1]])


def planes(*entries):
    return [Plane(task, position, maps) for task, position, maps in entries]


FILM = planes((0, 0.0, (LOWER,)), (1, 0.5, (LOWER,)), (1, 1.0, (LEFT,)), (2, 2.0, (LEFT,)))


@pytest.mark.parametrize("film", [False, True])
@pytest.mark.parametrize("maps", [(LOWER,), (LOWER, None), (LOWER, LEFT), (None,)])
def test_regions_are_valid(film, maps):
    shown = planes((0, 0.0, (None,) * len(maps)), (1, 0.5, maps))
    valid(regions_figure(shown, POINTS, BOUNDS, ["", ""], film=film))


def test_points_on_the_wrong_side_are_crosses_once_their_task_is_met():
    early, late = (regions_figure(FILM[:n], POINTS, BOUNDS, ["", ""])["data"] for n in (2, 4))
    markers = [[t["marker"]["symbol"] for t in data if t["mode"] == "markers"] for data in
               ([t for t in d if t.get("mode")] for d in (early, late))]  # fmt: skip
    assert markers[0] == [["circle", "square"], ["circle", "square"]]
    assert markers[1] == [["circle", "square"], ["x", "x"]]
    assert right_counts(FILM[3], POINTS, BOUNDS) == [(2, 2), (0, 2)]


def test_the_border_is_where_answers_change():
    heat, border, *_ = regions_figure(FILM[:1], POINTS, BOUNDS, ["", ""])["data"]
    assert heat["z"] == [[0, 0], [1, 1]] and (border["x"], border["y"]) == ([0, 1, None], [0.5, 0.5, None])


def test_a_film_has_a_frame_for_every_moment_and_keeps_the_traces():
    figure = regions_figure(FILM, POINTS, BOUNDS, ["", ""], film=True)
    still = regions_figure(FILM, POINTS, BOUNDS, ["", ""])
    assert [float(frame["name"]) for frame in figure["frames"]] == [p.position for p in FILM]
    assert {len(f["data"]) for f in figure["frames"]} == {len(figure["data"])} == {len(still["data"])}
    assert figure["layout"]["height"] == still["layout"]["height"] and "frames" not in still


def test_the_table_of_regions_counts_points():
    table = regions_table(FILM, POINTS, BOUNDS)
    assert table["T2: right of 2"].tolist() == [2, 2, 0, 0] and table["tasks trained"].tolist() == [0, 0.5, 1, 2]


def test_moments_in_words():
    assert [moment_words(p) for p in FILM[:3]] == ["before training", "in T1, 50 % through", "after T1"]


# ---- examples -------------------------------------------------------------------------------------------------------


def asked(label, called, task=1):
    return Asked(task, label, np.zeros((4, 4)), dict(enumerate(called, start=1)))


def test_forgotten_is_what_was_right_once_its_task_was_learned():
    one = asked("3", ["3", "8", "3", None])
    assert [one.mark(k) for k in range(1, 5)] == [RIGHT, FORGOTTEN, RIGHT, None]
    assert asked("3", ["8", "8"]).mark(2) == NEVER
    late = asked("3", ["3", "8", "3"], task=2)
    assert [late.mark(k) for k in (1, 2, 3)] == [AHEAD, NEVER, RIGHT]


def test_answers_are_a_cell_each_and_a_table():
    several = [asked("3", ["3", "8"]), asked("ankle boot", ["bag", "bag"], task=2)]
    picture = answers_figure(several, 4)
    valid(picture.figure)
    heat = picture.figure["data"][0]
    assert heat["text"][1][0] == "✗ 8" and heat["customdata"][1][0][3] == "forgotten"
    assert heat["z"][2] == [None, None] and len(heat["z"]) == 4
    assert picture.table["after T2"].tolist() == ["8 (forgotten)", "bag (not learned)"]
