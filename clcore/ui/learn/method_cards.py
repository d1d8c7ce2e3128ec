"""A card for every method: a gallery by family, and one card in full."""

from __future__ import annotations

from collections.abc import Sequence

import streamlit as st

from clcore.accounting import readable_bytes
from clcore.catalogue import SCENARIOS, MethodCard, catalogue, scenario_word
from clcore.knobs import Knob
from clcore.ui.learn.cards import Sheet, example_sizes, sheets
from clcore.ui.learn.link import key, value
from clcore.ui.links import defaults, params_of
from clcore.ui.method_choice import families
from clcore.ui.presets import presets
from clcore.ui.scroll import from_the_top
from clcore.ui.text import _, n_
from clcore.ui.url import written

LAB = "pages/lab/lab.py"
COLUMNS = 3
BASELINE = "finetune"


def method_cards() -> None:
    """The chosen method's card, or the gallery."""
    if chosen := value("method"):
        _card(catalogue().method(chosen), sheets().get(chosen))
    else:
        _gallery()


def found(search: str) -> list[MethodCard]:
    """The methods in which every word of the search occurs: in name, title, family, idea or paper."""
    words = search.lower().split()
    titles = {name: family.title for name, family in families().items()}

    def text(card: MethodCard) -> str:
        return " ".join(
            (card.name, card.title, titles[card.family], card.summary, card.paper, card.stores)
        ).lower()

    return [card for card in catalogue().methods if all(word in text(card) for word in words)]


def try_it(card: MethodCard) -> dict[str, list[str]]:
    """The link to the Lab with this method after fine-tuning, its baseline, in a scenario that it works in."""
    question = next(iter(presets()))
    state = defaults(question)
    if "domain" not in card.scenarios:
        scenario = "class" if "class" in card.scenarios else "task"
        state = defaults(question, "split-digits", [scenario]) | {"scenario": [scenario]}
    state["method"] = list(dict.fromkeys((BASELINE, card.name)))
    params = params_of(state | {"question": question})
    return {name: written(v) for name, v in params.items() if v is not None}


# ---- gallery --------------------------------------------------------------------------------------------------------


def _gallery() -> None:
    search = st.text_input(
        _("Search the methods"), value("search"), key=key("search"), icon=":material/search:", width=420,
        placeholder=_("a name, an idea, an author …"),
    )  # fmt: skip
    cards = found(search)
    if not cards:
        st.info(_("No method matches '{search}'. Clear the search to see all.").format(search=search),
                icon=":material/search_off:")  # fmt: skip
        return
    for name, (title, idea) in families().items():
        members = [card for card in cards if card.family == name]
        if members:
            st.markdown(f"## {title}")
            st.caption(idea)
            with st.container(key=f"family-{name}"):
                _grid(members)


def _grid(cards: Sequence[MethodCard]) -> None:
    for i in range(0, len(cards), COLUMNS):
        for column, card in zip(st.columns(COLUMNS), cards[i : i + COLUMNS], strict=False):
            with column, st.container(border=True, gap="xsmall", height="stretch"):
                st.button(f"**{card.title}**", key=f"open-{card.name}", type="tertiary", icon=":material/menu_book:",
                          on_click=_choose, args=(card.name,))  # fmt: skip
                st.caption(card.summary)


def _choose(name: str) -> None:
    st.session_state[key("method")] = name


# ---- one card -------------------------------------------------------------------------------------------------------


def _card(card: MethodCard, sheet: Sheet | None) -> None:
    with st.container(horizontal=True, vertical_alignment="center", key="card-head"):
        st.button(_("All methods"), icon=":material/arrow_back:", key="all-methods", on_click=_choose, args=("",))
        st.header(card.title, anchor=False, width="content")
        st.badge(families()[card.family].title, color="blue")
        st.page_link(LAB, label=_("Try it in the Lab"), icon=":material/science:", query_params=try_it(card))
    from_the_top(card.name)
    left, right = st.columns([3, 2], gap="large")
    with left:
        st.markdown(card.summary)
        st.latex(card.formula)
        if card.paper:
            st.caption(f":material/article: {card.paper}")
        if sheet:
            st.markdown(f"**{_('How it goes')}**")
            st.code(sheet.steps, language=None)
        _storage(card, sheet)
    with right:
        _facts(card, sheet)
    _knobs(card)
    _recommended(card)


def _facts(card: MethodCard, sheet: Sheet | None) -> None:
    st.markdown(f"**{_('Scenarios')}**")
    with st.container(horizontal=True):
        for scenario in SCENARIOS:
            works = scenario in card.scenarios
            st.badge(scenario_word(scenario), icon=":material/check:" if works else ":material/block:",
                     color="green" if works else "gray")  # fmt: skip
    boundaries = _("It must be told when a new task begins.") if card.needs_boundaries else _(
        "It need not be told when a new task begins.")  # fmt: skip
    if card.needs_boundaries and "task-free" in card.scenarios:
        boundaries += " " + _("On a stream without boundaries a clock takes their place.")
    st.caption(boundaries)
    if sheet is None:
        return
    st.markdown(f"**{_('Strengths')}**")
    st.markdown("\n".join(f"- :green[:material/add_circle:] {text}" for text in sheet.strengths))
    st.markdown(f"**{_('Weaknesses')}**")
    st.markdown("\n".join(f"- :orange[:material/do_not_disturb_on:] {text}" for text in sheet.weaknesses))


def _storage(card: MethodCard, sheet: Sheet | None) -> None:
    st.markdown(f"**{_('What it stores')}**  \n{card.stores}")
    if sheet is None:
        return
    st.latex(sheet.bytes)
    if sheet.count is not None:
        _example(sheet)


def _example(sheet: Sheet) -> None:
    sizes = example_sizes()
    st.caption(
        _("In bytes, beside the network's own $4P$. For the network and stream that the Lab opens with ($P={P}$ numbers, "
          "$T={T}$ tasks, $M={M}$ examples of $b={b}$ bytes): **{kept}**, the network itself {network}.").format(
            P=f"{sizes.P:,}".replace(",", r"\,"), T=sizes.T, M=sizes.M, b=sizes.b,
            kept=readable_bytes(sheet.count(sizes)), network=readable_bytes(4 * sizes.P),
        )
    )  # fmt: skip


def _knobs(card: MethodCard) -> None:
    if not card.knobs:
        return
    head = (_("Setting"), _("Default"), _("Allowed"), _("What it does"))
    lines = [f"| {' | '.join(head)} |", "|---|---|---|---|"]
    lines += [f"| {_knob_name(k)} | {_default(k)} | {_range(k)} | {_cell(k.help)} |" for k in card.knobs]
    with st.container(border=True, key="knobs"):
        st.markdown(f"**{n_('{n} setting', '{n} settings', len(card.knobs))}**")
        st.markdown("\n".join(lines))


def _knob_name(knob: Knob) -> str:
    return f"`{knob.name}`" + (f" {knob.symbol}" if knob.symbol else "")


def _default(knob: Knob) -> str:
    return _cell(written(knob.default)[0] + (f" {knob.unit}" if knob.unit and knob.default is not None else ""))


def _range(knob: Knob) -> str:
    if knob.kind == "choice":
        return _cell(", ".join(knob.choices))
    if knob.kind == "flag":
        return "true, false"
    low, high = knob.minimum, knob.maximum
    ends = ["" if end is None else f"{end:g}" for end in (low, high)]
    return _cell((" … ".join(ends) if any(ends) else "") + (f" ({_('or none')})" if knob.optional else ""))


def _cell(text: str) -> str:
    """A text for a table in Markdown, where a bar or a star would mean something else."""
    return text.replace("|", r"\|").replace("*", r"\*").replace("_", r"\_")


def _recommended(card: MethodCard) -> None:
    if not card.recommended:
        return
    head = (_("Benchmark"), _("Scenario"), card.strength.symbol or _("Strength"), _("How it was chosen"))
    lines = [f"| {' | '.join(head)} |", "|---|---|---|---|"]
    lines += [
        f"| {r.benchmark} | {scenario_word(r.scenario)} | {r.strength:g} | {_cell(r.provenance_words)} |"
        for r in card.recommended
    ]
    with st.expander(_("Recommended strengths, chosen on validation data"), icon=":material/tune:"):
        st.markdown("\n".join(lines))
