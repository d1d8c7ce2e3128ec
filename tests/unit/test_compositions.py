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


@pytest.mark.parametrize("added", ["l2", "ewc", "online-ewc", "si", "mas", "mas-local", "rwalk"])
def test_no_regularizer_pulls_free_weights_to_0(added):
    for name in (f"packnet+{added}", f"{added}+er+packnet"):
        assert refusal(name) == (
            f"{name} cannot be combined, because packnet does not go with {added}: it locks every weight that old tasks use, "
            "so a regularizer could only hold back the others. Leave one of them out."
        )


@pytest.mark.parametrize("name", ["ags-cl+ewc", "l2+ags-cl"])
def test_no_regularizer_holds_what_ags_cl_starts_afresh(name):
    """Beside it would depend on the order of the names what is held."""
    assert "ags-cl does not go with" in refusal(name) and "pull them back" in refusal(name)
    check_method(MethodChoice(name="er+ags-cl"), "task")


@pytest.mark.parametrize("name", ["packnet+er", "derpp+packnet", "gem+packnet", "lwf-mc+packnet"])
def test_what_does_not_hold_weights_goes_with_packnet(name):
    check_method(MethodChoice(name=name), "task")


def test_the_reasons_are_told_in_the_readers_language():
    with speaking("ko"):
        assert "단독으로만" in refusal("single+er") and "기준" in refusal("single+er")
        assert "함께 쓸 수 없습니다" in refusal("packnet+ewc") and "잠그므로" in refusal("packnet+ewc")


def test_whoever_works_alone_says_why():
    alone = [card for card in catalogue().methods if not card.composable]
    assert {"single", "pnn", "hat", "lucir"} <= {card.name for card in alone}
    for card in alone:
        assert card.composition_reason in refusal(f"{card.name}+ewc", card.scenarios[0])


def test_what_the_form_offers_to_add_is_not_refused():
    offered = [(card, added) for card in catalogue().methods for added in regularizers(card)]
    assert len(offered) > 50
    for card, added in offered:
        for scenario in set(card.scenarios) & set(catalogue().method(added).scenarios) - {"task-free"}:
            check_method(MethodChoice(name=f"{card.name}+{added}"), scenario)
