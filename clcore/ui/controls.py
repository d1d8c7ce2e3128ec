"""The controls of the Lab. Their values are the URL (see links.py), so that a link is the experiment."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import streamlit as st

from clcore.accounting import readable_bytes
from clcore.catalogue import BenchmarkCard, MethodCard, catalogue
from clcore.errors import DataError, RequestError
from clcore.knobs import Knob
from clcore.picture_folders import Pictures, look
from clcore.spec import ExperimentSpec, Grid, MethodChoice, NetworkChoice, OptimizerChoice, RunSpec, make
from clcore.ui.links import CHOICES, MEMORIES, RANGES, defaults, params_of, strength_grid, values_of
from clcore.ui.method_choice import check_number, compositions, method_choice
from clcore.ui.presets import presets
from clcore.ui.text import _, n_
from clcore.ui.url import adopt, held, held_index, publish

_WORTH_SAYING = 50_000_000  # bytes of a data set in memory

# ---- when a question, benchmark or scenario is chosen, what depends on it starts over ------------------------------


def _restart_from_question() -> None:
    _set(defaults(st.session_state["question"]))


def _restart_from_benchmark() -> None:
    values = defaults(st.session_state["question"], st.session_state["benchmark"])
    keep = ("benchmark", "method", "seeds", "memory")
    _set({k: v for k, v in values.items() if k not in keep})


def _follow_scenario() -> None:
    state = st.session_state
    values = defaults(state["question"], state["benchmark"], state["scenario"])
    _set({k: v for k, v in values.items() if k.endswith(".strength")})


def _follow_network() -> None:
    state = st.session_state
    values = defaults(state["question"], state["benchmark"], state["scenario"], state["network"])
    _set({"hidden": values["hidden"]})


def _set(values: dict[str, Any]) -> None:
    for key, value in values.items():
        st.session_state[key] = value


# ---- the form -------------------------------------------------------------------------------------------------------


def experiment_form() -> tuple[RunSpec, ...]:
    """Draws the controls; returns the runs they ask for. Raises RequestError with one sentence."""
    adopt("lab", "question", values_of)
    questions = presets()
    question = st.selectbox(
        _("Question"), list(questions), index=held_index({"question": next(iter(questions))}, "question", questions),
        format_func=lambda q: questions[q].question, key="question",
        on_change=_restart_from_question,
    )  # fmt: skip
    st.caption(questions[question].watch)
    cards = {card.name: card for card in catalogue().benchmarks}
    default = defaults(question)
    benchmark = st.selectbox(
        _("Benchmark"), list(cards), index=held_index(default, "benchmark", cards), key="benchmark",
        format_func=lambda b: cards[b].title, on_change=_restart_from_benchmark,
        help=_("A stream of tasks. Those marked with a cloud are downloaded on first use; the others run offline."),
    )  # fmt: skip
    card = cards[benchmark]
    st.caption(" ".join(filter(None, [card.summary, _download_words(card), _size_words(card)])))
    default = defaults(question, benchmark)
    own = _own_pictures(card, default) if card.own_data else {}
    found_there = st.empty()  # what lies in that folder depends on the settings below
    scenarios = st.pills(
        _("Scenario (one or more)"), card.scenarios, selection_mode="multi", key="scenario",
        default=held(default, "scenario", card.scenarios), format_func=_scenario_word,
        on_change=_follow_scenario,
        help=_("task: told which task it is at test. domain: not told, same outputs in every task. "
               "class: not told, must choose among all classes. task-free: not even told in training when a task ends; tasks "
               "blend into one another. Several are trained side by side, never mixed."),
    )  # fmt: skip
    network = held(default, "network")
    default = defaults(question, benchmark, scenarios, network)
    knobs = [f"{network}.{knob.name}" for knob in catalogue().network(network).knobs]
    options = {key.split(".")[1]: held(default, key) for key in knobs}
    names = compositions(method_choice(default["method"], scenarios, network, options), default, scenarios)
    chosen = [catalogue().method(part) for part in dict.fromkeys(part for name in names for part in name.split("+"))]
    memories = _memory_control(default, chosen)
    sweeps = {card.name: _strength_control(card, default) for card in chosen if card.strength}
    if not sweeps:
        st.select_slider(
            _("Strength"), ["–", " "], key="no-strength", disabled=True,
            help=_("None of the chosen methods has a strength. EWC has one."),
        )  # fmt: skip
    seeds = st.slider(
        _("Seeds"), *RANGES["seeds"], held(default, "seeds"), key="seeds",
        help=_("Every seed is a network of its own: other weights, order of examples and stream. Bands and ± are "
               "95 % t-intervals over seeds; they need at least three."),
    )  # fmt: skip
    with st.expander(_("Training"), icon=":material/tune:", key="training-settings"):
        training = _training_controls(
            default, sgd=held(default, "optimizer") == "sgd", scenarios=scenarios
        )
    with st.expander(_("Equal budgets"), icon=":material/balance:", key="budget-settings"):
        training |= _budget_controls(default)
    with st.expander(_("Benchmark and method settings"), icon=":material/build:", key="more-settings"):
        rest = [
            knob for knob in card.knobs
            if knob.scenario in ("", *scenarios) and not (card.own_data and knob.name == "path")
        ]  # fmt: skip
        options = own | _knob_controls(card.title, "option", rest, default)
        settings = {m.name: _knob_controls(m.title, m.name, m.knobs, default) for m in chosen}
    if card.own_data:
        found_there.caption(_own_words({knob.name: knob.default for knob in card.knobs} | options))
    return _runs(benchmark, options, scenarios, names, settings, sweeps, memories, seeds, training)


def _download_words(card: BenchmarkCard) -> str:
    return "" if card.offline else ":material/cloud_download: " + card.downloads


def _size_words(card: BenchmarkCard) -> str:
    """How large the data set is in memory, where that is worth knowing."""
    if card.data_bytes is None or card.data_bytes < _WORTH_SAYING:
        return ""
    return ":material/memory: " + _("{bytes} in memory").format(bytes=readable_bytes(card.data_bytes))


def _own_pictures(card: BenchmarkCard, default: dict[str, Any]) -> dict[str, Any]:
    """The path of a person's own pictures, right below the benchmark that they are; nothing works without it."""
    knob = next(knob for knob in card.knobs if knob.name == "path")
    path = st.text_input(
        _("Folder of your pictures"), held(default, "option.path"), key="option.path", placeholder="~/pictures",
        help=knob.help[:1].upper() + knob.help[1:] + ".",
    )  # fmt: skip
    return {"path": path} if path else {}


def _own_words(options: dict[str, Any]) -> str:
    """What is there. Raises RequestError with what is wrong, before anything starts."""
    try:
        found = _looked(options["path"], options["test_share"])
        found.check_tasks(options["tasks"])
    except DataError as error:
        raise RequestError(str(error)) from error
    largest = sorted(zip(found.classes, found.counts, strict=True), key=lambda one: -one[1])
    return ":material/photo_library: " + " · ".join(filter(None, [
        n_("{n} class", "{n} classes", len(found.classes)), n_("{n} picture", "{n} pictures", len(found.files)),
        ", ".join(f"{name} {n}" for name, n in largest[:5]) + (" …" if len(largest) > 5 else ""),
        n_("{n} copy left out", "{n} copies left out", found.copies) if found.copies else "",
    ]))  # fmt: skip


@st.cache_data(ttl=20, max_entries=8, show_spinner=False)
def _looked(path: str | None, test_share: float) -> Pictures:
    """What lies at a path, not asked of the disk at every rerun."""
    return look(path, test_share)


def _memory_control(default: dict[str, Any], chosen: Sequence[MethodCard]) -> list[int | str]:
    in_bytes = st.session_state.get("bytes") is not None
    used = any(card.uses_memory for card in chosen) and not in_bytes
    if used:
        told = _("How many old examples a rehearsal method may keep, for the whole stream. "
                 "Several budgets are trained at once.")  # fmt: skip
    elif in_bytes:
        told = _("The memory is given in bytes, under Equal budgets.")
    else:
        told = _("None of the chosen methods keeps examples. Experience replay does.")
    offered = _budgets()
    given = st.multiselect(
        _("Memory, in examples"), offered, default=held(default, "memory", offered), key="memory",
        accept_new_options=True, disabled=not used, format_func=str, help=told,
    )  # fmt: skip
    return given if used else list(default["memory"])


def _strength_control(card: MethodCard, default: dict[str, Any]) -> tuple[float, list[float] | None]:
    """The strength, and the strengths to sweep (None: no sweep)."""
    knob, name = card.strength, card.name
    label = f"{card.title}: {_('strength')} {knob.symbol}"
    swept = held(default, f"{name}.sweep")
    key = f"{name}.strengths" if swept else f"{name}.strength"
    present = held(default, key)
    grid = strength_grid(card, *(present if swept else [present]))
    if swept:
        values = st.multiselect(
            label, grid, default=held(default, f"{name}.strengths", grid), key=f"{name}.strengths",
            format_func=_short, help=knob.help,
        )  # fmt: skip
        strength = default[f"{name}.strength"]
    else:
        strength, values = st.select_slider(
            label, grid, value=held(default, f"{name}.strength", grid), key=f"{name}.strength",
            format_func=_short, help=knob.help,
        ), None  # fmt: skip
    st.toggle(
        _("Sweep it"), swept, key=f"{name}.sweep",
        help=_("Trains one network per strength and seed, all at once, and draws what the strength does."),
    )  # fmt: skip
    return float(strength), sorted(float(v) for v in values) if swept else None


def _training_controls(default: dict[str, Any], sgd: bool, scenarios: Sequence[str]) -> dict[str, Any]:
    left, right = st.columns(2, gap="xsmall")
    with left:
        epochs = st.number_input(
            _("Epochs per task"), key="epochs", **_range("epochs"), value=held(default, "epochs"),
            help=_("How often every example comes by. A stream without boundaries is gone through once all the same.")
            if "task-free" in scenarios else None,
        )  # fmt: skip
        optimizer = st.selectbox(
            _("Optimizer"),
            key="optimizer",
            options=CHOICES["optimizer"],
            index=held_index(default, "optimizer", CHOICES["optimizer"]),
            format_func=str.upper,
        )
        momentum = st.number_input(
            _("Momentum"),
            key="momentum",
            **_range("momentum"),
            step=0.1,
            value=held(default, "momentum"),
            format="%g",
            disabled=not sgd,
            help=None if sgd else _("Momentum belongs to SGD; Adam has its own."),
        )
    with right:
        batch = st.number_input(_("Batch size"), key="batch", **_range("batch"), value=held(default, "batch"))
        lr = st.number_input(_("Learning rate"), key="lr", **_range("lr"), step=0.01, value=held(default, "lr"), format="%g")
        decay = st.number_input(
            _("Weight decay"), key="decay", **_range("decay"), step=0.0001, value=held(default, "decay"), format="%g"
        )
    network = _network_controls(default)
    classes = "class" in scenarios
    active = st.selectbox(
        _("Active classes"),
        key="active",
        options=CHOICES["active"],
        index=held_index(default, "active", CHOICES["active"]),
        disabled=not classes,
        help=_("Over which classes the softmax runs while training: seen so far, all, or the current task's.")
        if classes
        else _("Only the class scenario has a choice here."),
    )
    state = st.selectbox(
        _("Optimizer state at a new task"),
        key="optimizer-state",
        options=CHOICES["optimizer-state"],
        index=held_index(default, "optimizer-state", CHOICES["optimizer-state"]),
    )
    switches = st.number_input(
        _("Steps to watch after a task switch"), key="watch-switches", **_range("watch-switches"),
        value=held(default, "watch-switches"), step=25,
        help=_("Evaluates after each of the first steps of every task, on a part of the test data. It shows the stability "
               "gap: what old tasks lose in these steps and win back. It takes time and changes no result."),
    )  # fmt: skip
    return {
        "watch_switches": switches, "epochs": epochs, "batch_size": batch,
        "active_classes": active if classes else default["active"],
        "optimizer_state": state, "network": network,
        "optimizer": {"name": optimizer, "lr": lr, "momentum": momentum if sgd else 0.0, "weight_decay": decay},
    }  # fmt: skip


def _network_controls(default: dict[str, Any]) -> dict[str, Any]:
    """The network, the widths of its hidden layers, and its own settings."""
    cards = {card.name: card for card in catalogue().networks}
    name = st.selectbox(
        _("Network"), list(cards), index=held_index(default, "network", cards), key="network",
        format_func=lambda n: cards[n].title, on_change=_follow_network,
        help="  \n".join(f"**{card.title}**: {card.summary}" for card in cards.values()),
    )  # fmt: skip
    card = cards[name]
    hidden = st.text_input(
        _("Hidden layers"), key="hidden", value=held(default, "hidden"), disabled=not card.takes_hidden,
        help=_("Units of each fully connected hidden layer, separated by commas, or none.")
        if card.takes_hidden
        else _("This network has none to choose."),
    )  # fmt: skip
    settings = {knob.name: _knob_control(f"{name}.{knob.name}", knob, default) for knob in card.knobs}
    return {"name": name, "hidden": hidden if card.takes_hidden else "none", "settings": settings}


def _budget_controls(default: dict[str, Any]) -> dict[str, Any]:
    equal = st.toggle(
        _("Equal compute"), held(default, "equal"), key="equal",
        help=_("Every method gets about as many gradient samples as fine-tuning takes in the epochs given: one that "
               "replays, or looks at its data again, trains fewer epochs, or a part of one (DEN, PackNet, CPG and HAT need "
               "whole ones). What an epoch of a method costs is measured before it trains. The result states "
               "the number that was reached."),
    )  # fmt: skip
    bytes_ = st.number_input(  # with a default other than none it could not be emptied
        _("Equal memory, in bytes"), key="bytes", **_range("bytes"), value=None, step=1000,
        placeholder=_("none"),
        help=_("What a method may keep beside the network: a rehearsal method fills what its other state leaves with "
               "examples. A method whose state is larger is refused."),
    )  # fmt: skip
    return {"gradient_samples": "fine-tuning" if equal else None, "memory_bytes": bytes_}


def _knob_controls(title: str, prefix: str, knobs: Sequence[Knob], default: dict[str, Any]) -> dict[str, Any]:
    """One control a knob; returns the values that differ from the knob's own default."""
    shown = [knob for knob in knobs if not knob.axis]
    if shown:
        st.markdown(f"**{title}**")
    values = {knob.name: _knob_control(f"{prefix}.{knob.name}", knob, default) for knob in shown}
    return {knob.name: values[knob.name] for knob in shown if values[knob.name] != knob.default}


def _knob_control(key: str, knob: Knob, default: dict[str, Any]) -> Any:
    label = knob.label + (f", {knob.unit}" if knob.unit else "")
    common = {"key": key, "help": knob.help[:1].upper() + knob.help[1:] + "."}
    value = held(default, key)
    if knob.kind == "flag":
        return st.toggle(label, value, **common)
    if knob.kind == "choice":
        return st.selectbox(label, knob.choices, index=held_index(default, key, knob.choices), **common)
    if knob.kind == "text" and knob.choices:
        offered = [*knob.choices, *({value} - {None, *knob.choices})]
        index = offered.index(value) if value in offered else None
        return st.selectbox(label, offered, index=index, accept_new_options=True, **common) or knob.default
    if knob.kind == "text":
        return st.text_input(label, value, placeholder=_("none") if knob.optional else None, **common) or knob.default
    if knob.divides is not None:
        divisors = [d for d in range(1, knob.divides + 1) if knob.divides % d == 0 and d >= (knob.minimum or 1)]
        return st.select_slider(label, divisors, value=held(default, key, divisors), **common)
    if default[key] is None:
        value = None  # any other would keep the number from being emptied
    cast = int if knob.kind == "integer" else float
    low = None if knob.minimum is None else cast(knob.minimum)
    high = None if knob.maximum is None else cast(knob.maximum)
    return st.number_input(
        label, min_value=low, max_value=high, value=None if value is None else cast(value),
        step=1 if cast is int else None, format=None if cast is int else "%g",
        placeholder=_("none") if knob.optional else None, **common,
    )  # fmt: skip


# ---- what the controls ask for --------------------------------------------------------------------------------------


def _runs(benchmark, options, scenarios, names, settings, sweeps, memories, seeds, training) -> tuple[RunSpec, ...]:
    if not scenarios:
        raise RequestError(_("Choose at least one scenario."))
    check_number(names)
    methods = [_method(name, settings, sweeps) for name in names]
    grid = make(Grid, seeds=tuple(range(seeds)), memories=tuple(_whole_numbers(memories, _("memory budget"))))
    training = training | {
        "network": make(NetworkChoice, **training["network"] | {"hidden": _layers(training["network"]["hidden"])}),
        "optimizer": make(OptimizerChoice, **training["optimizer"]),
    }
    runs: list[RunSpec] = []
    only_in = {knob.name: knob.scenario for knob in catalogue().benchmark(benchmark).knobs}
    for scenario in scenarios:
        experiment = make(
            ExperimentSpec,
            benchmark=benchmark,
            options={name: v for name, v in options.items() if only_in[name] in ("", scenario)},
            scenario=scenario,
            methods=tuple(methods),
            grid=grid,
            **training,
        )
        runs += experiment.runs()
    return tuple(runs)


def _method(name: str, settings, sweeps) -> MethodChoice:
    """A method or a composition: a sweep belongs to its first part with a strength, the other parts keep theirs."""
    choice = make(MethodChoice, name=name)
    qualified: dict[str, Any] = {}
    strengths: tuple[float, ...] = ()
    for card in choice.cards:
        qualified |= {f"{card.name}.{k}": v for k, v in settings[card.name].items()}
        if not card.strength:
            continue
        strength, swept = sweeps[card.name]
        if swept == []:
            raise RequestError(
                _("Choose strengths of {method} to sweep, or switch its sweep off.").format(method=card.title)
            )
        if swept is not None and card is choice.swept_part:
            strengths = tuple(swept)
        else:
            qualified[f"{card.name}.{card.strength.name}"] = strength
    return make(MethodChoice, name=name, settings=qualified, strengths=strengths)


def _range(key: str) -> dict[str, float]:
    low, high = RANGES[key]
    return {"min_value": low, "max_value": high}


def publish_link() -> None:
    """Writes the controls, the view and the experiment shown into the URL."""
    publish("lab", link_params())


def link_params() -> dict[str, Any]:
    """The URL parameters of what is on the page now; None for those that stay out."""
    return params_of(st.session_state) | {"x": st.query_params.get("x")}


def _budgets() -> list[int]:
    """The usual memory budgets and those that are chosen already."""
    given = [int(m) for m in st.session_state.get("memory", []) if str(m).isdigit()]
    return sorted({*MEMORIES, *given})


def _whole_numbers(values: Sequence[Any], noun: str) -> list[int]:
    found = []
    for value in values:
        try:
            found.append(int(value))
        except ValueError:
            raise RequestError(
                _("A {noun} is a whole number; '{value}' is not.").format(noun=noun, value=value)
            ) from None
    if not found:
        raise RequestError(_("Choose at least one {noun}.").format(noun=noun))
    return sorted(set(found))


def _layers(text: str) -> tuple[int, ...]:
    parts = [part.strip() for part in text.split(",") if part.strip()]
    if [part.lower() for part in parts] == ["none"]:
        return ()
    if not parts:
        raise RequestError(_("Give the units of the hidden layers, such as 100,100, or none."))
    return tuple(_whole_numbers([part], _("number of units"))[0] for part in parts)


def _short(value: float) -> str:
    return f"{float(value):g}"


def _scenario_word(scenario: str) -> str:
    return {"task": _("Task"), "domain": _("Domain"), "class": _("Class"), "task-free": _("Task-free")}[scenario]
