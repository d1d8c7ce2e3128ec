"""Parallel coordinates: valid, every line at the places of its values, and a table that says the same."""

import pytest

from clcore.accounting import readable_bytes
from clcore.charts.parallel import ROW, Scale, parallel_figure, points_word, scales_table, told_apart
from tests.unit.test_charts import valid

SCALES = [
    Scale("Method", ["EWC", "EWC", "ER"], choice=True),
    Scale("Strength", [100.0, 1.0, None], choice=True),
    Scale("Bytes", [300, 100, 200]),
    Scale("Average accuracy, %", [50.0, 60.0, 90.0]),
]
NAMES = ["EWC 100", "EWC 1", "ER"]


def drawn():
    return parallel_figure(NAMES, ["square", "square", "circle"], SCALES)


def ticks(figure):
    return [note for note in figure["layout"]["annotations"] if note["yanchor"] == "top"]


def test_lines_go_through_the_places_of_their_values_the_best_on_top():
    figure = drawn()
    valid(figure)
    lines = {trace["name"]: trace for trace in figure["data"]}
    assert [trace["name"] for trace in figure["data"]] == ["EWC 100", "EWC 1", "ER"]  # by accuracy
    assert lines["EWC 100"]["x"] == [0.0, 1.0, 1.0, 0.0] and lines["ER"]["x"] == [1.0, 0.0, 0.5, 1.0]
    assert lines["EWC 1"]["customdata"] == ["Method: EWC", "Strength: 1", "Bytes: 100", "Average accuracy, %: 60"]
    widths = [trace["line"]["width"] for trace in figure["data"]]
    assert widths == sorted(widths) and lines["ER"]["marker"]["symbol"] == "circle"


def test_ticks_stand_at_their_choices_and_ends():
    written = [(note["y"] // ROW, note["x"], note["text"]) for note in ticks(drawn())]
    assert written == [
        (0, 0.0, "EWC"), (0, 1.0, "ER"), (1, 0.0, "–"), (1, 0.5, "1"), (1, 1.0, "100"),
        (2, 0.0, "100"), (2, 1.0, "300"), (3, 0.0, "50"), (3, 1.0, "90"),
    ]  # fmt: skip


@pytest.mark.parametrize("values", [[70.0] * 3, [0, 0, 0]])
def test_equal_numbers_stand_in_the_middle(values):
    figure = parallel_figure(NAMES, ["x"] * 3, [SCALES[0], Scale("Average accuracy, %", values)])
    valid(figure)
    assert {trace["x"][1] for trace in figure["data"]} == {0.5}


def test_what_was_the_same_everywhere_is_no_row_but_a_result_is():
    same = Scale("Memory", [None] * 3, choice=True)
    assert told_apart([same, *SCALES, Scale("Forgetting", [1.0] * 3)]) == [*SCALES, Scale("Forgetting", [1.0] * 3)]


def test_the_table_says_what_the_lines_say():
    table = scales_table(SCALES)
    assert list(table["Strength"]) == ["100", "1", "–"] and list(table["Bytes"]) == [300, 100, 200]


def test_names_that_would_touch_on_a_phone_stand_on_lines_of_their_own():
    names = ["Fine-tuning", "EWC", "MAS", "Experience replay", "A-GEM", "GEM", "Joint training"]
    rows = [Scale("Method", names, choice=True), Scale("Bytes", list(range(7)))]
    figure = parallel_figure(names, ["x"] * 7, rows)
    valid(figure)
    notes = ticks(figure)
    assert len({note["yshift"] for note in notes}) > 1
    for one, other in zip(notes, notes[1:], strict=False):
        gap = 250 * (other["x"] - one["x"])
        assert one["yshift"] != other["yshift"] or gap >= 3 * (len(one["text"]) + len(other["text"]))
    assert {note["bgcolor"] for note in figure["layout"]["annotations"]} == {"@background"}  # lines pass behind
    deepest = -min(note["yshift"] for note in notes[:7])
    assert notes[-1]["y"] - deepest >= 40  # the next row's title and some of the lines fit between


def test_numbers_are_written_as_on_the_other_views():
    kept = Scale("Bytes", [437_040, 0, 890], word=readable_bytes)
    rows = [kept, Scale("Forgetting", [49.99, -0.75, -0.01], word=points_word)]
    figure = parallel_figure(NAMES, ["x"] * 3, rows)
    assert [note["text"] for note in ticks(figure)] == ["0 B", "437 kB", "−0.8", "50.0"]
    assert {t["name"]: t["customdata"] for t in figure["data"]}["ER"] == ["Bytes: 890 B", "Forgetting: 0.0"]
