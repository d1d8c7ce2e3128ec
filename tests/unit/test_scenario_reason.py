"""A method that does not work in a scenario says why: in the refusal and in the form."""

import pytest

from clcore import catalogue, registry
from clcore.errors import RequestError
from clcore.methods.single import Single
from clcore.spec import MethodChoice, check_method
from clcore.ui import method_choice

REASON = "only the task's identity says which network to ask"


@pytest.fixture
def with_reason(monkeypatch):
    """The catalogue as it is written when `single` gives a reason."""
    monkeypatch.setattr(Single, "scenario_reason", REASON)
    described = registry.describe()
    monkeypatch.setattr("clcore.spec.catalogue", lambda: described)
    return described


def test_a_reason_goes_from_the_class_into_the_card(with_reason):
    assert with_reason.method("single").scenario_reason == REASON
    again = catalogue.Catalogue.model_validate_json(with_reason.model_dump_json())
    assert again.method("single").scenario_reason == REASON and not again.method("bic").scenario_reason


def test_the_refusal_gives_the_reason(with_reason):
    with pytest.raises(RequestError) as refused:
        check_method(MethodChoice(name="single"), "class")
    assert str(refused.value) == (
        f"single does not work in the class scenario: {REASON}; it works in: task, domain."
    )
    with pytest.raises(RequestError, match="bic does not work in the task scenario; it works in: class."):
        check_method(MethodChoice(name="bic"), "task")


def test_the_form_gives_it_too_and_one_line_to_those_who_share_it(with_reason):
    card = with_reason.method("single")
    twin = card.model_copy(update={"name": "twin", "title": "Twin"})
    other = with_reason.method("bic").model_copy(update={"scenarios": ("task",)})
    lines = method_choice._unfit([card, twin, other], ["class"]).split("  \n")
    assert lines == [
        f":material/block: {card.title}, Twin: not in the class scenario: {REASON}.",
        ":material/block: BiC: not in the class scenario.",
    ]
