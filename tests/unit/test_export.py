"""What leaves the program: the same numbers in every form, and a report that needs nothing else."""

import csv
import io
import json
import re

import pandas as pd
import plotly.graph_objects as go
import pytest

from clcore.charts.comparison import Curve, group_styles, growth_figure
from clcore.charts.theme import method_style, resolved
from clcore.comparison import groups, names, paired_differences
from clcore.export import figures, tables
from clcore.export.commands import command
from clcore.export.html import report
from clcore.frames import Series
from clcore.store import open_store
from tests.pages.recorded import experiment, play


@pytest.fixture
def store(own_home):
    opened = open_store()
    yield opened
    opened.close()


def played(store, *specs, **how):
    found = groups([store.run(play(store, spec, **how)) for spec in specs])
    return found, names(found)


def valid(figure):
    for base in ("light", "dark"):
        go.Figure(resolved(figure, base))


CASES = [
    (dict(seeds=1), {}), (dict(seeds=2), {}), (dict(seeds=5), {}), (dict(seeds=3), {"diverged": (1,)}),
    (dict(seeds=3), {"diverged": (0, 1, 2)}), (dict(seeds=3), {"tasks": 1}), (dict(seeds=3), {"tasks": 13}),
]  # fmt: skip


@pytest.mark.parametrize(("asked", "how"), CASES)
def test_every_figure_is_valid(store, asked, how):
    found, labels = played(store, *experiment("finetune", "ewc", "er", **asked), **how)
    series = {}

    def series_of(run_id):
        return series.setdefault(run_id, Series(run_id)).pull(store)

    for look in ({}, {"seeds": False, "band": False}):
        valid(figures.averages(found, labels, **look)[0])
        valid(figures.averages(found, labels, series=series_of, **look)[0])
    valid(figures.finals(found, labels)[0])
    valid(figures.matrix(found[0])[0])
    valid(figures.difference_matrix(found[1], found[0])[0])
    valid(figures.forest(paired_differences(found, "acc"), labels))
    valid(figures.time_growth(found, labels, {g.rows[0].id: [1.0] * g.tasks for g in found})[0])


def test_a_charts_numbers_are_those_of_its_table(store):
    found, labels = played(store, *experiment("finetune", "er", seeds=3))
    figure, frame = figures.averages(found, labels)
    lines = [t for t in figure["data"] if t["showlegend"]]
    assert [t["name"] for t in lines] == labels
    for line, label in zip(lines, labels, strict=True):
        assert line["y"] == list(frame[frame["group"] == label]["mean"])
    figure, frame = figures.difference_matrix(found[1], found[0])
    drawn = [v for row in figure["data"][0]["z"] for v in row if v is not None]
    assert drawn == list(frame["mean"])


def test_while_training_the_line_passes_through_every_live_evaluation(store):
    found, labels = played(store, *experiment("er", seeds=3))
    series = Series(found[0].rows[0].id).pull(store)
    _, frame = figures.averages(found, labels, series=lambda run_id: series)
    assert len(frame) == 20 and set(frame["n"]) == {3} and frame["position"].iloc[-1] == 5


def test_groups_of_one_method_keep_its_colour_and_differ_in_dash_and_marker():
    styles = group_styles(["ewc", "er", "ewc", "ewc"])
    assert styles[0] == method_style("ewc") and {s.color for s in (styles[0], styles[2], styles[3])} == {"@c0"}
    assert len({(s.dash, s.marker) for s in styles}) == 4


def test_the_table_marks_the_best_in_every_form(store):
    found, labels = played(store, *experiment("finetune", "er", seeds=5))
    table = tables.metrics_table(found, labels)
    acc = table.heads.index("Average accuracy, %")
    assert [row[acc].mark for row in table.rows] == ["", "best"]
    best = table.rows[1][acc].text
    assert "\\textbf{" + best.replace("±", "$\\pm$") + "}" in tables.as_latex(found, labels)
    assert f'<td class="best">{best}</td>' in report(found, labels)


def test_what_is_not_separated_from_the_best_is_called_that_and_no_tie(store):
    found, labels = played(store, *experiment("er", seeds=5), *experiment("er", seeds=5, epochs=11))
    table = tables.metrics_table(found, labels)
    acc = table.heads.index("Average accuracy, %")
    assert [row[acc].mark for row in table.rows] == ["unseparated"] * 2
    latex, page = tables.as_latex(found, labels), report(found, labels)
    assert "\\underline{" in latex and "not separated from" in latex and "tied" not in latex
    assert '<td class="unseparated">' in page and 'td.unseparated::after { content: " not sep."' in page
    assert "not separated from the best by a paired test with Holm&#x27;s correction" in page
    (row, *_) = csv.DictReader(io.StringIO(tables.as_csv(found, labels)))
    assert row["standing"] == "unseparated"


def test_csv_holds_the_tables_numbers(store):
    found, labels = played(store, *experiment("finetune", "er", seeds=5))
    rows = list(csv.DictReader(io.StringIO(tables.as_csv(found, labels))))
    table = tables.metrics_table(found, labels)
    acc = table.heads.index("Average accuracy, %")
    for i, label in enumerate(labels):
        (row,) = [r for r in rows if r["group"] == label and r["metric"] == "acc"]
        half = (float(row["high"]) - float(row["low"])) / 2
        assert table.rows[i][acc].text == f"{100 * float(row['mean']):.1f} ± {100 * half:.1f} (5)"
        assert row["standing"] == table.rows[i][acc].mark


def test_csv_says_what_a_group_is(store):
    found, labels = played(store, *experiment("ewc", "er", seeds=3, epochs=7))
    rows = list(csv.DictReader(io.StringIO(tables.as_csv(found, labels))))
    ewc, er = (next(r for r in rows if r["group"] == label) for label in labels)
    assert (ewc["method"], float(ewc["strength"]), ewc["memory"]) == ("ewc", 30, "") and er["memory"] == "200"
    assert (ewc["seeds"], ewc["runs"], ewc["epochs"]) == ("0 1 2", found[0].rows[0].id, "7")
    assert (ewc["benchmark"], ewc["scenario"]) == (found[0].spec.benchmark, found[0].spec.scenario)
    assert int(ewc["bytes"]) == found[0].bytes and ewc["gradient_samples"] in ("", str(found[0].gradient_samples))


def test_few_seeds_and_divergence_are_written_as_they_are(store):
    (one,), _ = played(store, *experiment("finetune", seeds=1))
    (two,), _ = played(store, *experiment("er", seeds=2))
    (lost,), _ = played(store, *experiment("ewc", seeds=3), diverged=(2,))
    texts = [tables.spread_text(group.spread("acc")) for group in (one, two, lost)]
    assert "(1 seed)" in texts[0] and "…" in texts[1] and "2 seeds" in texts[1] and texts[2] == "1 of 3 diverged"
    assert tables.points(-0.0001) == "0.0" and tables.signed_points(-0.123) == "−12.3"


def test_latex_escapes_what_has_a_meaning_there(store):
    text = tables.as_latex(*played(store, *experiment("ewc", seeds=3)))
    assert "$\\lambda$ 30" in text and "accuracy, \\%" in text and "λ" not in text and "±" not in text


def test_the_report_needs_nothing_but_itself(store):
    found, labels = played(store, *experiment("finetune", "ewc", "er", seeds=3))
    text = report(found, labels, title="A </title><script>alert(1)</script>")
    shell = re.sub(r"<script>.*?</script>", "", text, flags=re.S)  # without the library and the code
    assert not re.search(r"""(src|href)\s*=|url\(|@import|https?://""", shell)
    assert "<script>alert" not in text and text.count("</script>") == 4
    assert "plotly.js v" in text[: text.index("getElementById('figures')")]
    specs = json.loads(re.search(r'id="figures" type="application/json">(.*?)</script>', text, re.S)[1])
    assert {"averages", "finals", "forest", *(f"matrix-{g.key}" for g in found)} <= set(specs)
    for name, spec in specs.items():
        assert f'id="{name}"' in text
        valid(spec)
    for group in found:
        assert command(group.rows[0].spec) in text


def test_one_group_makes_a_report_too(store):
    text = report(*played(store, *experiment("er", seeds=1)))
    assert "Run card" in text and "Paired differences" not in text


def test_the_data_hold_every_seed_and_every_pair(store):
    found, labels = played(store, *experiment("finetune", "er", seeds=3))
    data = json.loads(json.dumps(tables.as_data(found, labels)))
    assert data[1]["metrics"]["acc"]["by_seed"]["2"] == found[1].by_seed("acc")[2]
    pairs = [d for d in tables.differences_data(found, labels) if d["metric"] == "acc"]
    assert pairs[0]["verdict"] == "below" and pairs[0]["n"] == 3


def test_a_legend_has_the_room_that_it_takes_on_a_phone():
    """Otherwise Plotly shrinks the plot and the legend rises into the axis's title."""

    def bottom(names):
        frame = pd.DataFrame({"task": [1], "value": [1.0], "words": ["x"]})
        return growth_figure([Curve(n, method_style("er"), frame) for n in names], 1, unit="seconds")["layout"]["margin"]["b"]

    assert bottom(["EWC", "ER", "SI"]) == bottom(["EWC"]) < bottom(["Experience replay · M 200"] * 3)


def test_bytes_on_an_axis_are_written_as_in_the_tables():
    frame = pd.DataFrame({"task": [1, 2], "value": [70_400, 437_040], "words": ["x", "y"]})
    ticks = growth_figure([Curve("ER", method_style("er"), frame)], 2, unit="bytes")["layout"]["yaxis"]["ticktext"]
    assert ticks == ["0 B", "100 kB", "200 kB", "300 kB", "400 kB"]
