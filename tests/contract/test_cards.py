"""Every method has a card, no card lacks a method, and the bytes that cards state are those of trained runs."""

from __future__ import annotations

import pytest

from clcore.catalogue import catalogue
from clcore.spec import RunSpec, make
from clcore.ui.learn.cards import Sizes, example_sizes, sheets
from tests.training_cases import digits_run, learner_for, result_of

REGISTERED = {card.name for card in catalogue().methods}
COUNTED = [name for name, sheet in sheets().items() if sheet.count and name in REGISTERED]


def test_every_method_has_a_card():
    assert not REGISTERED - set(sheets())


def test_no_card_lacks_a_method():
    assert not set(sheets()) - REGISTERED


@pytest.mark.parametrize("name", list(sheets()))
def test_a_card_is_complete(name):
    sheet = sheets()[name]
    assert len(sheet.strengths) >= 2 and len(sheet.weaknesses) >= 2 and sheet.bytes
    assert all(text[0].isupper() and text[-1] == "." for text in (*sheet.strengths, *sheet.weaknesses))
    assert 3 <= len(sheet.steps.splitlines()) <= 6 and max(map(len, sheet.steps.splitlines())) <= 84


@pytest.mark.usefixtures("one_thread")
@pytest.mark.parametrize("name", COUNTED)
def test_the_bytes_of_a_card_are_those_of_a_trained_run(name):
    scenarios = catalogue().method(name).scenarios
    in_domain, in_class = "domain" in scenarios, "class" in scenarios
    memory = 120
    run = digits_run(
        name, memories=(memory,), hidden=(32, 16), benchmark="permuted-digits" if in_domain else "split-digits",
        scenario="domain" if in_domain else "class" if in_class else "task",
    )  # fmt: skip
    (replica,) = result_of(run)["replicas"]
    P = (64 + 1) * 32 + (32 + 1) * 16 + (16 + 1) * 10
    sizes = Sizes(
        P=P, head=170, units=48, features=16, outputs=10, classes=10, T=3 if in_domain else 5, M=memory, b=64,
        N=stored(run),
    )  # fmt: skip
    assert sheets()[name].count(sizes) == sum(replica["footprint"].values()) - 4 * P


def stored(run: RunSpec) -> int:
    return sum(int(task.train.lengths[0]) for task in learner_for(run).stream.tasks)


def test_the_example_is_the_experiment_that_the_lab_opens_with():
    card = catalogue().benchmark("permuted-digits")
    run = make(RunSpec, benchmark=card.name, scenario="domain", method={"name": "finetune"}, device="cpu")
    sizes, (a, b) = example_sizes(), card.training.hidden
    assert sizes.P == (64 + 1) * a + (a + 1) * b + (b + 1) * 10
    assert (sizes.head, sizes.units, sizes.features) == ((b + 1) * 10, a + b, b)
    assert sizes.T == run.benchmark_options["tasks"] and sizes.M == run.grid.memories[0]
    assert sizes.N == stored(run)
