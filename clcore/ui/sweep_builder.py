"""A sweep from three choices: a method, what varies, and its values; everything else as in the selection on the page."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

import streamlit as st

from clcore.catalogue import MethodCard, catalogue
from clcore.errors import RequestError
from clcore.outcomes import Outcome, Reading, conditions_key, references
from clcore.spec import Grid, MethodChoice, NetworkChoice, OptimizerChoice, RunSpec, make
from clcore.store import Store
from clcore.ui.classroom import refusals
from clcore.ui.lab import queue
from clcore.ui.links import MEMORIES, link_of, strength_grid
from clcore.ui.states import duration
from clcore.ui.text import _, n_
from clcore.ui.url import Query, read

LAB = "pages/lab/lab.py"
BUILDER_PARAMS = frozenset({"new", "vary", "strengths", "budgets", "seeds", "references"})
BUDGETS = [10, 20, 50, 100, 200, 500]
FIXED_BUDGET = 200
SEEDS = 3
MOST_SEEDS = 20
NEEDED = ("finetune", "joint")


def usual_conditions(benchmark: str, scenario: str) -> RunSpec:
    """A run of fine-tuning with the training that suits the benchmark."""
    training = catalogue().benchmark(benchmark).training
    return make(
        RunSpec, benchmark=benchmark, scenario=scenario, method=MethodChoice(name="finetune"),
        network=NetworkChoice(hidden=training.hidden), optimizer=OptimizerChoice(name=training.optimizer, lr=training.lr),
        epochs=training.epochs, batch_size=training.batch_size, grid=Grid(seeds=tuple(range(SEEDS))),
    )  # fmt: skip


def first_sweep() -> tuple[RunSpec, ...]:
    """What an empty page offers: springs and rehearsal on permuted digits, between the two references."""
    like = usual_conditions("permuted-digits", "domain")
    ewc = catalogue().method("ewc")
    grid = {"seeds": like.grid.seeds}
    return (
        with_method(like, MethodChoice(name="finetune"), **grid),
        with_method(like, MethodChoice(name="ewc", strengths=ewc.sweep), **grid),
        with_method(like, MethodChoice(name="er"), memories=tuple(BUDGETS), **grid),
        with_method(like, MethodChoice(name="joint"), **grid),
    )


def with_method(like: RunSpec, method: MethodChoice, *, seeds: Sequence[int], memories: Sequence[int] = ()) -> RunSpec:
    """Another method under the conditions of a run. Raises RequestError."""
    fields: dict[str, Any] = {name: getattr(like, name) for name in RunSpec.model_fields}
    grid = make(Grid, seeds=tuple(seeds), memories=tuple(memories) or (FIXED_BUDGET,))
    return make(RunSpec, **(fields | {"method": method, "grid": grid}))


def sweep_builder(store: Store, like: RunSpec, found: Sequence[Outcome], timed: Sequence[Reading]) -> None:
    """The form, what it would train and how long that may take, and the button that queues it."""
    chosen = any(value is not None for value in builder_params().values())
    with st.expander(_("New sweep"), icon=":material/add_chart:", expanded=len(found) < 4 or chosen, key="builder"):
        try:
            specs = _form(like, found)
        except RequestError as error:
            st.warning(str(error), icon=":material/rule:")
            specs = ()
        with st.container(horizontal=True, vertical_alignment="center"):
            if st.button(_("Queue sweep"), type="primary", icon=":material/playlist_add:", key="queue-sweep",
                         disabled=not specs):  # fmt: skip
                with refusals():
                    queue(store, specs)
                    st.rerun()
            if specs:
                st.caption(plan_words(specs, timed), width="content")
                st.page_link(
                    LAB, label=_("Open in the Lab"), icon=":material/science:", query_params=link_of(specs[:1])
                )


def _form(like: RunSpec, found: Sequence[Outcome]) -> tuple[RunSpec, ...]:
    cards = {card.name: card for card in catalogue().methods if like.scenario in card.scenarios and _axes(card)}
    method, axis, values, seeds = st.columns([3, 2, 5, 2], vertical_alignment="bottom")
    with method:
        names = list(cards)
        if st.session_state.get("sweep-method") not in (None, *names):  # a link from another scenario
            del st.session_state["sweep-method"]
        start = names.index(_usual(names))
        card = cards[st.selectbox(_("Method"), names, start, key="sweep-method", format_func=lambda m: cards[m].title)]
    with axis:
        axes = _axes(card)
        words = {"strength": _("strength {symbol}").format(symbol=card.strength.symbol) if card.strength else "",
                 "memory": _("budget")}  # fmt: skip
        varied = st.pills(_("Vary"), axes, selection_mode="multi", default=axes[:1], key=f"sweep-axes-{card.name}",
                          format_func=words.get)  # fmt: skip
    with values:
        strengths = _strengths(card) if "strength" in varied else []
        memories = _memories(card) if "memory" in varied else []
    with seeds:
        n = st.number_input(_("Seeds"), 1, MOST_SEEDS, SEEDS, key="sweep-seeds")
    known = references(found, conditions_key(like))
    missing = [name for name in NEEDED if not set(range(n)) <= set(known[name].seeds if name in known else ())]
    with_references = bool(missing) and st.toggle(
        _("Also fine-tuning and joint training"), True, key="sweep-references",
        help=_("The two references between which retention is measured; they have not run with these seeds yet."),
    )  # fmt: skip
    if not varied or ("strength" in varied and not strengths) or ("memory" in varied and not memories):
        raise RequestError(_("Choose what to vary, and at least one value of it."))
    choice = make(MethodChoice, name=card.name, strengths=tuple(strengths), settings=_fixed(card, like, varied))
    specs = [with_method(like, choice, seeds=range(n), memories=memories)]
    if with_references:
        specs += [with_method(like, MethodChoice(name=name), seeds=range(n)) for name in missing]
    return tuple(specs)


# ---- the form as a link ---------------------------------------------------------------------------------------------


def builder_values(query: Query, problems: list[str]) -> dict[str, Any]:
    """The form's controls under a link: its defaults where the link says nothing, or nothing usable, which is then told."""
    able = {card.name: card for card in catalogue().methods if _axes(card)}

    def take(name: str, usual: Any, fits: Callable[[Any], bool], allowed: list[Any] | None = None) -> Any:
        if name not in query:
            return usual
        try:
            found = read(query[name], usual, allowed)
            if not fits(found):
                raise RequestError(_("'{value}' cannot be used here").format(value=", ".join(query[name])))
            return found
        except RequestError as error:
            problems.append(f"`{name}`: {error}")
            return usual

    method = take("new", _usual(able), lambda found: True, list(able))
    card = able[method]
    usual, top = _defaults(card), (card.strength.maximum if card.strength else None) or math.inf
    found = {
        "new": method,
        "vary": take("vary", usual["vary"], lambda found: True, _axes(card)),
        "strengths": take("strengths", usual["strengths"] or [0.0], lambda found: all(0 <= s <= top for s in found)),
        "budgets": take("budgets", usual["budgets"], lambda found: all(m >= 0 for m in found)),
        "seeds": take("seeds", usual["seeds"], lambda n: 1 <= n <= MOST_SEEDS),
        "references": take("references", usual["references"], lambda found: True),
    }
    return {key: found[name] for name, key in _controls(method).items()}


def builder_params() -> dict[str, Any]:
    """The URL parameters of the form: those that differ from their defaults (None for the others)."""
    state = st.session_state
    able = {card.name: card for card in catalogue().methods if _axes(card)}
    method = state.get("sweep-method")
    method = method if method in able else _usual(able)
    usual, keys = {"new": _usual(able)} | _defaults(able[method]), _controls(method)
    values = {name: state.get(keys[name], value) for name, value in usual.items()}
    return {name: None if value == usual[name] else value for name, value in values.items()}


def _defaults(card: MethodCard) -> dict[str, Any]:
    return {
        "vary": _axes(card)[:1], "strengths": [float(s) for s in card.sweep], "budgets": list(BUDGETS), "seeds": SEEDS,
        "references": True,
    }  # fmt: skip


def builder_controls() -> dict[str, str]:
    """URL parameter → key of its control."""
    return _controls(st.session_state.get("sweep-method") or "")


def _controls(name: str) -> dict[str, str]:
    return {
        "new": "sweep-method", "vary": f"sweep-axes-{name}", "strengths": f"sweep-strengths-{name}",
        "budgets": f"sweep-memories-{name}", "seeds": "sweep-seeds", "references": "sweep-references",
    }  # fmt: skip


def _usual(names: Collection[str]) -> str:
    return "ewc" if "ewc" in names else next(iter(names))


def _axes(card: MethodCard) -> list[str]:
    return [name for name, there in (("strength", card.strength and card.sweep), ("memory", card.uses_memory)) if there]


def _strengths(card: MethodCard) -> list[float]:
    key = f"sweep-strengths-{card.name}"
    grid = strength_grid(card, *st.session_state.get(key, card.sweep))
    return sorted(st.multiselect(_("Strengths to sweep"), grid, [float(s) for s in card.sweep], key=key,
                                 format_func=lambda s: f"{s:g}", help=card.strength.help))  # fmt: skip


def _memories(card: MethodCard) -> list[int]:
    key = f"sweep-memories-{card.name}"
    offered = sorted({*MEMORIES, *(int(m) for m in st.session_state.get(key, BUDGETS) if str(m).isdigit())})
    given = st.multiselect(
        _("Budgets, in examples"), offered, BUDGETS, key=key, accept_new_options=True, format_func=str
    )
    if wrong := [m for m in given if not str(m).isdigit()]:
        raise RequestError(_("A budget is a whole number of examples; '{value}' is not.").format(value=wrong[0]))
    return sorted({int(m) for m in given})


def _fixed(card: MethodCard, like: RunSpec, varied: Sequence[str]) -> dict[str, float]:
    """The strength of a method whose budget alone varies: the recommended one, where there is one."""
    found = card.recommended_strength(like.benchmark, like.scenario)
    if "strength" in varied or card.strength is None or found is None:
        return {}
    return {f"{card.name}.{card.strength.name}": found.strength}


# ---- how much is that -----------------------------------------------------------------------------------------------


def plan_words(specs: Sequence[RunSpec], timed: Sequence[Reading]) -> str:
    networks = sum(len(spec.replicas) for spec in specs)
    words = n_("{n} run", "{n} runs", len(specs)) + ", " + n_("{n} network", "{n} networks", networks)
    seconds = estimate(specs, timed)
    if seconds is None:
        return words + " · " + _("nothing like it has been timed here yet")
    return words + " · " + _("estimated {time} of training or less").format(time=duration(seconds))


def estimate(specs: Sequence[RunSpec], timed: Sequence[Reading]) -> float | None:
    """Seconds of training, from what a network took before: of the same method under the same conditions, else of any
    method under them. More networks side by side take less each. None where nothing under these conditions has run."""
    rates: dict[str, dict[str, list[float]]] = {}
    for reading in timed:
        seconds, networks = reading.timed.result["train_seconds"], len(reading.timed.result["replicas"])
        rates.setdefault(reading.conditions, {}).setdefault(reading.spec.method.name, []).append(seconds / networks)
    total = 0.0
    for spec in specs:
        under: Mapping[str, list[float]] = rates.get(conditions_key(spec), {})
        known = under.get(spec.method.name) or [rate for each in under.values() for rate in each]
        if not known:
            return None
        total += sorted(known)[len(known) // 2] * len(spec.replicas)
    return total
