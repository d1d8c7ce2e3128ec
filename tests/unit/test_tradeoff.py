"""The trade-off's data by hand, and its figures: valid, and saying what the data say."""

import json

import pandas as pd
import plotly.graph_objects as go
import pytest

from clcore.charts import theme
from clcore.charts.sweep import Best, sweep_figure
from clcore.charts.tradeoff import compute_figure, memory_figure, plane_figure
from clcore.frames import Spread
from clcore.outcomes import Configuration, Outcome, Trial
from clcore.spec import RunSpec
from clcore.tradeoff import bytes_per_example, chosen, name_of, non_dominated, paths, representative, sweep, table
from clcore.ui.tradeoff.fold import worded

SPEC = RunSpec(benchmark="permuted-digits", scenario="domain", method={"name": "er"})
T = 5


def outcome(
    method="ewc",
    strength=None,
    memory=None,
    stability=(0.8, 0.8, 0.8),
    plasticity=0.9,
    validation=None,
    settings=(),
    **more,
):
    """Seeds 0, 1, … with the given stabilities; ACC follows where no task gained after it was learned."""
    trials = []
    for seed, s in enumerate(stability):
        acc = None if s is None else plasticity - (T - 1) / T * (1 - s)
        numbers = {
            "acc": acc, "stability": s, "forgetting": None if s is None else 1 - s,
            "plasticity": None if s is None else plasticity, "bwt": None, "old": acc, "last": acc,
            "validation_acc": acc if validation is None else validation[seed],
            "bytes": 1000 + 70 * (memory or 0), "kept_bytes": 70 * (memory or 0), "gradient_samples": more.get("samples", 100),
        }  # fmt: skip
        footprint = {"parameters": 1000, "memory_samples": 70 * (memory or 0)}
        trials.append(Trial("r", seed, f"{seed}", more.get("after", T), T, s is None, numbers, footprint))
    key = Configuration(method, settings, strength, memory)
    return Outcome(key, "c", SPEC, tuple(trials), relative_time=Spread(2.0, 2.0, 2.0, 1, 0, 1))


SOME = [
    outcome("finetune", stability=(0.2, 0.3, 0.4), plasticity=0.97),
    *(
        outcome("ewc", strength=s, stability=(x, x + 0.02, x - 0.02))
        for s, x in ((0.0, 0.3), (10.0, 0.6), (100.0, 0.5))
    ),
    *(outcome("er", memory=m, stability=(x, x + 0.01, x - 0.01), plasticity=0.95) for m, x in ((10, 0.5), (100, 0.8))),
    outcome("joint", stability=(1.0, 1.0, 1.0), plasticity=0.98),
]


def reference(outcomes):
    return {o.configuration.method: o for o in outcomes if o.configuration.method in ("finetune", "joint")}


def framed(outcomes=SOME) -> pd.DataFrame:
    return worded(table(outcomes, reference(outcomes)))


# ---- the front ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "points, front",
    [
        ([], []),
        ([(1, 1)], [0]),
        ([(1, 3), (2, 2), (3, 1)], [0, 1, 2]),
        ([(1, 3), (2, 2), (1.5, 2)], [0, 1]),
        ([(2, 2), (2, 3)], [1]),
        ([(2, 2), (3, 2)], [1]),
        ([(2, 2), (2, 2)], [0]),
    ],
)
def test_non_dominated(points, front):
    assert non_dominated(points) == front


def test_the_front_leaves_out_references_and_what_is_not_final():
    live = outcome("er", memory=1000, stability=(0.99, 0.99, 0.99), plasticity=0.99, after=3)
    lost = outcome("si", strength=1.0, stability=(None, 0.99, 0.99), plasticity=0.99)
    frame = framed([*SOME, live, lost])
    assert list(frame.loc[frame["front"], "id"]) == ["finetune", "er~m100"]


# ---- paths ----------------------------------------------------------------------------------------------------------


def test_a_path_grows_and_keeps_the_other_thing_fixed():
    grid = [outcome("derpp", strength=s, memory=m) for s in (2.0, 0.5) for m in (200, 50)]
    found = paths([*SOME, *grid])
    assert [(p.method, p.axis, len(p.outcomes)) for p in found] == [
        ("finetune", "", 1), ("ewc", "strength", 3), ("er", "memory", 2), ("joint", "", 1),
        ("derpp", "strength", 2), ("derpp", "strength", 2),
    ]  # fmt: skip
    assert [o.configuration.strength for o in found[-1].outcomes] == [0.5, 2.0]


def test_settings_make_another_path():
    found = paths([outcome(strength=1.0), outcome(strength=2.0, settings=(("ewc.fisher", "empirical"),))])
    assert [p.axis for p in found] == ["", ""]


def test_names_of_links():
    assert (
        name_of(Configuration("ewc", (), 30.0)) == "ewc~30" and name_of(Configuration("er", (), None, 50)) == "er~m50"
    )


def test_bytes_of_an_example_need_agreement():
    assert bytes_per_example(SOME) == 70
    odd = outcome("der", memory=10)
    odd.trials[0].footprint["memory_samples"] = 5000
    assert bytes_per_example([*SOME, odd]) is None and bytes_per_example(SOME[:1]) is None


# ---- the chosen strength --------------------------------------------------------------------------------------------


def swept(*validation, **more):
    (path,) = paths([outcome(strength=10.0**i, validation=v, **more) for i, v in enumerate(validation)])
    return path


def test_validation_chooses_and_says_what_it_cannot_tell_apart():
    """Against 10: 1 is 0.10 worse in every seed; 100 is −0.01, 0.02 and 0.05 away, and that interval holds 0."""
    picked = chosen(swept((0.4, 0.5, 0.6), (0.5, 0.6, 0.7), (0.51, 0.58, 0.65), (0.1, 0.1, 0.1)))
    assert (picked.strength, picked.low, picked.high, picked.tried, picked.n) == (10.0, 10.0, 100.0, 4, 3)


def test_two_seeds_choose_without_an_interval():
    picked = chosen(swept((0.4, 0.5), (0.5, 0.6), stability=(0.8, 0.8)))
    assert (picked.strength, picked.low, picked.high) == (10.0, None, None)


def test_test_data_never_choose():
    weak = outcome(strength=1.0, stability=(0.9, 0.9, 0.9), validation=(0.1, 0.1, 0.1))
    strong = outcome(strength=2.0, stability=(0.1, 0.1, 0.1), validation=(0.2, 0.2, 0.2))
    assert chosen(paths([weak, strong])[0]).strength == 2.0
    assert chosen(swept((None,) * 3, (0.5, 0.6, 0.7))) is None
    assert chosen(swept((0.4,) * 3, (0.5,) * 3, after=2)) is None


def test_a_diverged_strength_was_tried():
    lost = outcome(strength=100.0, stability=(None, 0.9, 0.9), validation=(None, 0.9, 0.9))
    picked = chosen(paths([outcome(strength=1.0), lost])[0])
    assert (picked.strength, picked.tried) == (1.0, 2)


def test_what_stands_for_a_method():
    assert representative(paths(SOME)[0]) is SOME[0]
    assert representative(paths(SOME)[1]) is SOME[2]


# ---- figures --------------------------------------------------------------------------------------------------------

FIGURES = {
    "plane": plane_figure,
    "memory": lambda f, **m: memory_figure(f, [1], {"finetune": 0.4, "joint": 0.9}, per_example=70.0, **m),
    "samples": lambda f, **m: compute_figure(f, {"finetune": 0.4}, **m),
    "time": lambda f, **m: compute_figure(f, {}, by="relative_time", **m),
}
CASES = {
    "some": SOME,
    "one": SOME[:1],
    "one seed": [outcome(stability=(0.5,))],
    "two seeds": [outcome(stability=(0.5, 0.6)), outcome("er", memory=0, stability=(0.5, 0.6))],
    "all diverged": [outcome(stability=(None, None)), outcome("er", memory=10, stability=(None, None))],
    "live": [outcome(strength=s, after=2) for s in (1.0, 2.0)],
}


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("name", FIGURES)
def test_figures_are_valid(name, case):
    figure = FIGURES[name](framed(CASES[case]))
    json.dumps(figure, allow_nan=False)
    for base in ("light", "dark"):
        go.Figure(theme.resolved(figure, base))


def named(figure, name):
    return next(t for t in figure["data"] if t["name"] == name)


def test_points_are_the_numbers_of_the_table():
    points = named(plane_figure(framed()), "Experience replay")
    assert points["x"] == [50.0, 80.0] and points["y"] == [95.0, 95.0] and points["ids"] == ["er~m10", "er~m100"]
    half = 4.302653 * 0.01 / 3**0.5 * 100
    assert points["error_x"]["array"] == pytest.approx([half] * 2, abs=1e-3)
    assert points["marker"]["size"][0] < points["marker"]["size"][1]
    assert "stability 80.0 % ± 2.5, 3 seeds" in points["customdata"][1] and "retention" in points["customdata"][1]


def test_one_seed_has_no_error_bar():
    points = named(plane_figure(framed([outcome(stability=(0.5,))])), "EWC")
    assert not points["error_x"]["visible"] and "1 seed" in points["customdata"][0]


def test_the_step_line_never_claims_more_than_its_points():
    """From (50, 95) to (80, 90) it falls at 50 and runs on at 90: nothing above 90 was reached beyond 50."""
    two = [outcome("er", memory=10, stability=(0.5,), plasticity=0.95), outcome("si", strength=1.0, plasticity=0.9)]
    front = named(plane_figure(framed(two)), "non-dominated (means)")
    assert front["line"]["shape"] == "vh" and front["x"][1:-1] == [50.0, 80.0] and front["y"][1:-1] == [95.0, 90.0]


def test_points_lie_on_their_iso_accuracy_line():
    """ACC = plasticity − (T−1)/T · forgetting, as `outcome` has it: 0.8 − 0.8 · 0.25 = 0.6."""
    frame = framed([outcome(stability=(0.75,), plasticity=0.8), outcome("si", stability=(0.3,), plasticity=0.4)])
    line = plane_figure(frame)["data"][0]
    at = line["text"].index("60 %")
    x0, y0, x1, y1 = line["x"][at - 3], line["y"][at - 3], line["x"][at - 2], line["y"][at - 2]
    assert y0 + (75 - x0) * (y1 - y0) / (x1 - x0) == pytest.approx(80) and frame["acc"][0] == pytest.approx(0.6)


def test_iso_accuracy_lines_carry_their_label_where_they_end():
    frame = framed([outcome(stability=(0.75,), plasticity=0.8), outcome("si", stability=(0.3,), plasticity=0.4)])
    figure = plane_figure(frame)
    line, (low, high) = figure["data"][0], figure["layout"]["yaxis"]["range"]
    labelled = [i for i, text in enumerate(line["text"]) if text]
    assert len(labelled) > 3 and [line["text"][i] for i in labelled] == sorted((line["text"][i] for i in labelled), key=int_of)
    for at in labelled:
        (x0, x1), (y0, y1), x, y = line["x"][at - 3 : at - 1], line["y"][at - 3 : at - 1], line["x"][at], line["y"][at]
        assert low <= y <= high
        assert y == pytest.approx(y0 + (min(x, x1) - x0) * (y1 - y0) / (x1 - x0))  # on the line, or level with its end


def test_lines_of_a_single_task_are_level():
    line = plane_figure(framed([outcome(stability=(0.75,), plasticity=0.8)]).assign(tasks=1))["data"][0]
    assert line["y"] and line["y"][0::5] == line["y"][1::5] == line["y"][3::5]  # its beginning, its end and its label


def int_of(text):
    return int(text.split()[0])


def test_live_points_are_pale():
    frame = framed([SOME[0], outcome(strength=1.0, after=2)])
    assert named(plane_figure(frame), "EWC")["marker"]["opacity"] == [0.45]


def test_memory_is_logarithmic_and_counts_examples():
    frame = framed()
    figure = memory_figure(frame, [1], {"finetune": 0.4, "joint": 0.9}, per_example=70.0)
    assert figure["layout"]["xaxis"]["type"] == "log"
    assert named(figure, "Experience replay")["x"] == [700.0, 7000.0]
    line = named(figure, "EWC")
    assert line["y"] == [round(100 * frame["acc"][1], 2)] * 2
    assert any("ex." in text for text in figure["layout"]["xaxis"]["ticktext"])
    notes = [note["text"] for note in figure["layout"]["annotations"]]
    assert notes == ["fine-tuning 40.0 % · retention 0", "joint 90.0 % · retention 1", "retention 0.5"]


def test_a_chosen_strength_is_marked_with_its_interval():
    path = paths(SOME)[1]
    figure = sweep_figure(sweep(path), [0.0, 10.0, 100.0], best=Best(10.0, 10.0, 100.0, "best"), mark_highest=False)
    line, area = figure["layout"]["shapes"]
    assert line["x0"] == 1.0 and area["visible"] and area["x0"] < 1.0 and area["x1"] > 2.0
    plain = sweep_figure(sweep(path), [0.0, 10.0, 100.0], mark_highest=False)
    assert [shape["visible"] for shape in plain["layout"]["shapes"]] == [False, False]
    go.Figure(theme.resolved(figure, "light"))
