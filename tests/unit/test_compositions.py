"""Which methods can be combined, and what a person is told where they cannot."""

import pytest

from clcore.catalogue import catalogue
from clcore.errors import RequestError
from clcore.spec import MethodChoice, check_method
from clcore.text import speaking
from clcore.ui.links import regularizers


def refusal(name: str, scenario: str = "task") -> str:
    with pytest.raises(RequestError) as refused:
        check_method(MethodChoice(name=name), scenario)
    return str(refused.value)


@pytest.mark.parametrize("name", ["single+er", "ewc+single", "single+der", "gem+single", "single+lwf-mc"])
def test_the_reference_for_transfer_works_alone(name):
    """Its network begins anew with every task, so that others have nothing to keep."""
    assert refusal(name) == (
        f"{name} cannot be combined, because single works alone: it learns every task with a network of its own, as the "
        "reference for transfer. Leave it out."
    )


def test_whoever_works_alone_says_why():
    alone = [card for card in catalogue().methods if not card.composable]
    assert {"single", "pnn", "hat", "lucir"} <= {card.name for card in alone}
    for card in alone:
        assert card.composition_reason in refusal(f"{card.name}+ewc", card.scenarios[0])
    with speaking("ko"):
        assert "단독으로만" in refusal("single+er") and "기준" in refusal("single+er")


def test_what_the_form_offers_to_add_is_not_refused():
    offered = [(card, added) for card in catalogue().methods for added in regularizers(card)]
    assert len(offered) > 50
    for card, added in offered:
        for scenario in set(card.scenarios) & set(catalogue().method(added).scenarios) - {"task-free"}:
            check_method(MethodChoice(name=f"{card.name}+{added}"), scenario)
