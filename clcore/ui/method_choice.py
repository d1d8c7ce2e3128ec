"""Which methods: a row of pills per family. The choice is one list of names, the link's `method`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import streamlit as st

from clcore.catalogue import MethodCard, catalogue, scenario_word
from clcore.errors import RequestError
from clcore.ui.links import regularizers
from clcore.ui.text import _, n_
from clcore.ui.url import held, held_index

MOST = 6


class Family(NamedTuple):
    title: str
    idea: str


def families() -> dict[str, Family]:
    """The families in the order in which a lesson would tell them."""
    return {
        "baseline": Family(_("Baseline"), _("No cure: what is lost when nothing is done.")),
        "reference": Family(_("Reference"), _("Not bound by the rules: they show what could be reached.")),
        "regularization": Family(
            _("Regularization"), _("Hold the weights that old tasks depend on; no old example is kept.")
        ),
        "distillation": Family(
            _("Distillation"), _("Hold the old network's answers, by asking it about the new examples.")
        ),
        "rehearsal": Family(_("Rehearsal"), _("Keep a few old examples, or make some up, and train on them again.")),
        "isolation": Family(_("Isolation"), _("Give every task weights of its own.")),
    }


def method_choice(
    default: Sequence[str], scenarios: Sequence[str], network: str = "mlp", options: Mapping[str, Any] = {}
) -> list[str]:
    """Draws the rows; returns the chosen methods, in the order in which they were chosen.

    Those that do not work in a scenario, or on the network with these options, are marked.
    """
    state = st.session_state
    state.setdefault("method", list(default))
    with st.container(key="method-rows", gap="xsmall"):
        st.markdown(f":small[{_('Methods')}] :small[:gray[{_count()}]]")
        for family, (title, idea) in families().items():
            cards = [card for card in catalogue().methods if card.family == family]
            if not cards:
                continue
            names, key = [card.name for card in cards], f"method-{family}"
            present = [name for name in state["method"] if name in names]
            if set(state.get(key, ())) != set(present) or key not in state:
                state[key] = present
            titles = {card.name: _marked(card, scenarios, card.works_on(network, options)) for card in cards}
            st.pills(title, names, selection_mode="multi", default=present, key=key, format_func=titles.get, help=idea,
                     on_change=_choose, args=(key, names))  # fmt: skip
            if unfit := [card for card in cards if missing_scenarios(card, scenarios)]:
                st.caption(_unfit_words(unfit, scenarios), help=_unfit(unfit, scenarios))
            if unfit := [card for card in cards if not card.works_on(network, options)]:
                st.caption(
                    f":material/block: {_('not on the network {network}').format(network=_network_title(network))}",
                    help=_unfit_for(unfit, network),
                )
    return list(state["method"])


def _choose(key: str, names: Sequence[str]) -> None:
    """A pill was pressed: the others stay where they are, a new one goes to the end."""
    state = st.session_state
    now = state[key]
    kept = [name for name in state["method"] if name not in names or name in now]
    state["method"] = kept + [name for name in now if name not in kept]


def _count() -> str:
    """How many runs are asked for; a combination beside its plain method is one more."""
    state = st.session_state
    n = sum(2 if state.get(f"{name}.with") and state.get(f"{name}.beside", True) else 1 for name in state["method"])
    return _("{n} of at most {most}").format(n=n, most=MOST)


def missing_scenarios(card: MethodCard, scenarios: Iterable[str]) -> list[str]:
    """The chosen scenarios in which a method does not work."""
    return [scenario for scenario in scenarios if scenario not in card.scenarios]


def _marked(card: MethodCard, scenarios: Sequence[str], fits_network: bool) -> str:
    unfit = missing_scenarios(card, scenarios) or not fits_network
    return f":gray[:material/block: {card.title}]" if unfit else card.title


def _network_title(network: str) -> str:
    return catalogue().network(network).title


def _unfit_for(cards: Sequence[MethodCard], network: str) -> str:
    """Why some do not work on a network, one line for those that share a reason."""
    reasons: dict[str, list[str]] = {}
    for card in cards:
        reasons.setdefault(card.network_reason, []).append(card.title)
    return "  \n".join(
        ":material/block: "
        + _("{titles}: not on the network {network}").format(titles=", ".join(titles), network=_network_title(network))
        + (f": {reason}." if reason else ".")
        for reason, titles in reasons.items()
    )


def _unfit_words(unfit: Sequence[MethodCard], scenarios: Sequence[str]) -> str:
    """One line for the marked ones of a family; the reasons, which differ, are behind its question mark."""
    lacking = {scenario for card in unfit for scenario in missing_scenarios(card, scenarios)}
    told = n_("not in the {scenarios} scenario", "not in the {scenarios} scenarios",
              len(lacking), scenarios=_(" and ").join(scenario_word(s) for s in scenarios if s in lacking))  # fmt: skip
    return f":material/block: {told}"


def _unfit(cards: Sequence[MethodCard], scenarios: Sequence[str]) -> str:
    """Why some are marked: one line for those that lack the same scenarios for the same reason."""
    reasons: dict[tuple[tuple[str, ...], str], list[str]] = {}
    for card in cards:
        own: dict[str, list[str]] = {}
        for scenario in missing_scenarios(card, scenarios):
            own.setdefault(card.why_not(scenario), []).append(scenario)
        for reason, lacking in own.items():
            reasons.setdefault((tuple(lacking), reason), []).append(card.title)
    lines = []
    for (lacking, reason), titles in reasons.items():
        told = n_(
            "{titles}: not in the {scenarios} scenario", "{titles}: not in the {scenarios} scenarios",
            len(lacking), titles=", ".join(titles), scenarios=_(" and ").join(map(scenario_word, lacking)),
        )  # fmt: skip
        lines.append(f":material/block: {told}" + (f": {reason}." if reason else "."))
    return "  \n".join(lines)


def compositions(chosen: Sequence[str], default: dict[str, Any], scenarios: Sequence[str]) -> list[str]:
    """Draws what can be added to the chosen rehearsal methods; returns what to run, such as er and er+ewc."""
    runs: list[str] = []
    for card in (catalogue().method(name) for name in chosen):
        added = _regularizer_control(card, default, scenarios) if regularizers(card) else None
        beside = added is not None and st.toggle(
            _("Also without it"), held(default, f"{card.name}.beside"), key=f"{card.name}.beside",
            help=_("Trains plain {method} beside the combination, so that you see what the regularizer adds; "
                   "otherwise the combination runs instead of it.").format(method=card.title),
        )  # fmt: skip
        runs += [card.name] if added is None or beside else []
        runs += [f"{card.name}+{added}"] if added else []
    return runs


def _regularizer_control(card: MethodCard, default: dict[str, Any], scenarios: Sequence[str]) -> str | None:
    names = [None, *regularizers(card)]
    cards = {name: catalogue().method(name) for name in names if name}
    title = _("{method} with a regularizer").format(method=card.title)

    def words(name: str | None) -> str:
        if name is None:
            return _("none")
        lacking = missing_scenarios(cards[name], scenarios)
        return f"+ {cards[name].title}" + (
            " – " + _("not in the {scenario} scenario").format(scenario=scenario_word(lacking[0])) if lacking else ""
        )

    return st.selectbox(
        title, names, index=held_index(default, f"{card.name}.with", names), key=f"{card.name}.with",
        format_func=words,
        placeholder=_("none"),
        help=_("Rehearses and holds weights at once: the regularizer's term is added to the loss, with the strength below. "
               "Regularizers that decide the same thing as {method} are not offered.").format(method=card.title),
    )  # fmt: skip


def check_number(chosen: Sequence[str]) -> None:
    """Raises RequestError when nothing is chosen, or more than can be followed side by side."""
    if not chosen:
        raise RequestError(_("Choose at least one method."))
    if len(chosen) > MOST:
        raise RequestError(
            _("{n} methods are chosen, and at most {most} can be followed side by side: take {more} out.").format(
                n=len(chosen), most=MOST, more=len(chosen) - MOST
            )
        )
