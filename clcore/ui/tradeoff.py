"""The Trade-off page: which stream it shows, its charts, and the configuration that was looked at more closely."""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import pandas as pd
import streamlit as st

from clcore.accounting import readable_bytes, readable_count
from clcore.catalogue import catalogue, scenario_word
from clcore.charts.matrix import matrix_figure
from clcore.charts.sweep import Best, sweep_figure
from clcore.charts.tradeoff import compute_figure, memory_figure, plane_figure, ratio_words
from clcore.charts.words import spread_words
from clcore.export.words import condition_name
from clcore.frames import Config, Spread
from clcore.outcomes import Outcome, Reading, conditions_key, differences, matrix, outcomes, read, references
from clcore.settings import settings
from clcore.spec import RunSpec
from clcore.store import LIVE, RunRow, Store
from clcore.tradeoff import (
    Chosen,
    Path,
    bytes_per_example,
    chosen,
    name_of,
    paths,
    representative,
    sweep,
    table,
)
from clcore.ui import states
from clcore.ui.classroom import refusals
from clcore.ui.frame import series_of, the_store, wake_runner
from clcore.ui.history import open_in_lab
from clcore.ui.lab import queue
from clcore.ui.live_plot import live_plot
from clcore.ui.running import POLL_SECONDS, config_words, method_title
from clcore.ui.sweep_builder import first_sweep, plan_words
from clcore.ui.text import _, n_
from clcore.ui.url import Query, adopt, publish

RUNS = "pages/results/runs.py"
SHOWN = frozenset({"finished", *LIVE})
MOST_RUNS = 6
MANY = 100  # results that are not read in a moment
COMPUTE = ("gradient_samples", "relative_time")


# ---- what is shown --------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Shown:
    """One benchmark, one scenario and one set of conditions, and what has come out there."""

    benchmark: str
    scenario: str
    conditions: str
    outcomes: tuple[Outcome, ...]
    live: tuple[RunRow, ...]
    readings: tuple[Reading, ...]


def stream_name(benchmark: str, scenario: str) -> str:
    return f"{benchmark}.{scenario}"


def choose(store: Store) -> Shown | None:
    """Draws the choice of stream and conditions; None, with an invitation, where nothing has run."""
    streams = {stream_name(b, s): (b, s, n) for b, s, n in store.streams(SHOWN)}
    if not streams:
        _nothing(store)
        return None
    adopt("tradeoff", "stream", lambda query: _values_of(query, list(streams)))
    if st.session_state.get("stream") not in streams:
        st.session_state["stream"] = next(iter(streams))
    st.caption(
        _("Every configuration is a point: what it keeps of old tasks against how well it still learns new ones, and what "
          "that costs. Only results under the same conditions stand beside each other.")
    )  # fmt: skip
    left, right = st.columns([1, 1], vertical_alignment="bottom")
    with left:
        name = st.selectbox(
            _("Benchmark and scenario"), list(streams), key="stream", format_func=lambda s: _stream_words(*streams[s]),
            help=_("Scenarios ask for different things: results of two of them never share a chart."),
        )  # fmt: skip
    benchmark, scenario, _n = streams[name]
    found, live, readings = read_outcomes(store, benchmark, scenario)
    groups = _groups(found, live)
    if st.session_state.get("conditions") not in groups:
        if "conditions" in st.session_state and st.session_state["conditions"]:
            st.caption(_("The conditions of this link have no results here; those with the most are shown."))
        st.session_state["conditions"] = next(iter(groups))
    with right:
        if len(groups) > 1:
            words = _condition_words(groups)
            st.selectbox(
                _("Conditions"), list(groups), key="conditions", format_func=words.get,
                help=_("Results under other conditions cannot be ranked together, so they are shown one at a time."),
            )  # fmt: skip
    key = groups[st.session_state["conditions"]]
    return _shown(benchmark, scenario, key, found, live, readings)


def _shown(benchmark, scenario, key, found, live, readings) -> Shown:
    return Shown(
        benchmark, scenario, key,
        tuple(o for o in found if o.conditions == key), tuple(row for row in live if _key_of(row) == key),
        tuple(r for r in readings if r.conditions == key),
    )  # fmt: skip


def conditions_of(shown: Shown) -> RunSpec:
    """A run under the conditions shown, for others to be like."""
    return shown.outcomes[0].spec if shown.outcomes else shown.live[0].spec


def read_outcomes(store: Store, benchmark: str, scenario: str) -> tuple[list[Outcome], list[RunRow], list[Reading]]:
    """(outcomes, live runs, readings of finished runs). A finished run's result leaves the database once."""
    here = {"benchmarks": {benchmark}, "scenario": scenario}
    rows = store.runs(states=SHOWN, results=False, **here)
    known = _readings(settings().database_url)
    if new := sum(row.state == "finished" and row.id not in known for row in rows):
        with st.spinner(_("Reading {n} results …").format(n=new)) if new > MANY else nullcontext():
            for row in store.runs(states={"finished"}, **here):
                if row.id not in known:
                    known[row.id] = read(row)
    readings = [known[row.id] for row in rows if known.get(row.id) is not None]
    return outcomes(rows, series_of, known), [row for row in rows if row.live], readings


@st.cache_resource(show_spinner=False, max_entries=4)
def _readings(url: str) -> dict[str, Reading]:
    return {}


def _groups(found: Iterable[Outcome], live: Iterable[RunRow]) -> dict[str, str]:
    """Short name in the link → key of conditions: those with the most outcomes first."""
    sizes: dict[str, int] = {}
    for outcome in found:
        sizes[outcome.conditions] = sizes.get(outcome.conditions, 0) + 1
    for row in live:
        sizes.setdefault(_key_of(row), 0)
    return {short_name(key): key for key in sorted(sizes, key=lambda key: -sizes[key])}


def short_name(key: str) -> str:
    """A key of conditions as it stands in a link."""
    return f"{zlib.crc32(key.encode()):08x}"


@st.cache_data(show_spinner=False, max_entries=512)
def _key_of_spec(spec_json: bytes | str, _row: RunRow) -> str:
    return conditions_key(_row.spec)


def _key_of(row: RunRow) -> str:
    return _key_of_spec(row.spec_json, row)


def _condition_words(groups: dict[str, str]) -> dict[str, str]:
    """What sets each group of conditions apart from the others."""
    each = {name: json.loads(key) for name, key in groups.items()}
    first = next(iter(each.values()))
    differing = [what for what in first if any(values[what] != first[what] for values in each.values())]
    return {
        name: ", ".join(f"{condition_name(what)} {_value_words(values[what])}" for what in differing)
        for name, values in each.items()
    }


def _value_words(value: Any) -> str:
    if value is None:
        return "–"
    if isinstance(value, dict):
        names = [item.upper() for item in value.values() if isinstance(item, str)]  # SGD, MLP
        numbers = [f"{name.replace('_', ' ')} {_value_words(item)}" for name, item in value.items()
                   if item and not isinstance(item, str)]  # fmt: skip
        return " ".join(names + numbers)
    if isinstance(value, list):
        return "-".join(str(item) for item in value)
    return str(value)


def _values_of(query: Query, streams: Sequence[str]) -> dict[str, Any]:
    given = {key: values[-1] for key, values in query.items()}
    problems = []
    if (stream := given.get("stream")) is not None and stream not in streams:
        problems.append(_("there are no results for '{stream}' here").format(stream=stream))
        stream = None
    if (by := given.get("compute", COMPUTE[0])) not in COMPUTE:
        problems.append(_("'{value}' is no measure of compute").format(value=by))
        by = COMPUTE[0]
    known = {"stream", "conditions", "point", "compute", "sweep"}
    problems += [
        _("`{key}` is unknown").format(key=key) for key in given if key not in known and not key.startswith("embed")
    ]
    if problems:
        st.warning(
            _("Some of this link could not be used; the defaults stand in:") + " " + "; ".join(problems) + ".",
            icon=":material/link_off:",
        )
    return {
        "stream": stream or streams[0], "conditions": given.get("conditions", ""), "compute": by,
        "point": given.get("point", ""), "sweep": given.get("sweep", ""),
    }  # fmt: skip


def _stream_words(benchmark: str, scenario: str, n: int) -> str:
    title = catalogue().benchmark(benchmark).title
    return n_("{title} · {scenario} scenario ({n} run)", "{title} · {scenario} scenario ({n} runs)", n,
              title=title, scenario=scenario_word(scenario))  # fmt: skip


def _nothing(store: Store) -> None:
    specs = first_sweep()
    with st.container(border=True, horizontal_alignment="center", key="no-outcomes"):
        st.space("small")
        st.markdown(f"## :material/balance: {_('Nothing has been trained yet')}", text_alignment="center")
        st.caption(
            _("Here every configuration will be a point: how much it keeps of old tasks against how well it still learns "
              "new ones. One sweep fills the page: EWC with {strengths} strengths and rehearsal with {budgets} memory budgets "
              "on permuted digits, between fine-tuning and joint training. It runs offline; points appear while it "
              "trains.").format(strengths=len(specs[1].method.strengths), budgets=len(specs[2].grid.memories)),
            text_alignment="center",
        )  # fmt: skip
        if st.button(_("Run the first sweep"), type="primary", icon=":material/play_arrow:", key="first-sweep"):
            with refusals():
                queue(store, specs)
                st.rerun()
        st.caption(plan_words(specs, ()).split(" · ")[0], text_alignment="center")
        st.space("small")


# ---- the view -------------------------------------------------------------------------------------------------------


def tradeoff_view(shown: Shown) -> None:
    """Draws the charts; polls while a run of the selection is live, then one full run ends that."""
    seen = _signature(shown)
    if shown.live:
        wake_runner()

    @st.fragment(run_every=POLL_SECONDS if shown.live else None, key="tradeoff-live")
    def live() -> None:
        now = shown
        if shown.live:
            store = the_store()
            now = _shown(
                shown.benchmark,
                shown.scenario,
                shown.conditions,
                *read_outcomes(store, shown.benchmark, shown.scenario),
            )
        if _signature(now) != seen:
            st.rerun()
        _draw(now)
        _publish()

    live()


def _signature(shown: Shown) -> tuple:
    return (bool(shown.live), tuple(row.id for row in shown.live))


def _publish() -> None:
    state = st.session_state
    publish(
        "tradeoff",
        {
            "stream": state.get("stream"),
            "conditions": state.get("conditions") or None,
            "point": state.get("point") or None,
            "compute": state.get("compute") if state.get("compute") != COMPUTE[0] else None,
            "sweep": state.get("sweep") or None,
        },
    )


def _draw(shown: Shown) -> None:
    with st.container(key="tradeoff-status"):
        _status(shown)
    found = references(shown.outcomes, shown.conditions)
    frame = worded(table(shown.outcomes, found))
    if frame.empty:
        st.skeleton(height=520)
        return
    levels = {name: s.mean for name in ("finetune", "joint") if name in found and (s := found[name].spread("acc")).n}
    lines = paths(shown.outcomes)
    revision = f"{shown.benchmark}/{shown.scenario}/{short_name(shown.conditions)}"
    with st.container(border=True, key="plane"):
        _plane(shown, frame, revision)
    with st.container(key="closer"):
        _closer(shown, frame, found)
    left, right = st.columns(2, gap="small")
    with left, st.container(border=True, height="stretch", key="memory-chart"):
        _memory(shown, frame, lines, levels, revision)
    with right, st.container(border=True, height="stretch", key="compute-chart"):
        _compute(frame, levels, revision)
    swept = {_path_name(path): path for path in lines if path.axis == "strength"}
    if swept:
        with st.container(border=True, key="strength-chart"):
            _strength(swept, revision)


def _status(shown: Shown) -> None:
    if not shown.live:
        return
    done = sum(row.position for row in shown.live)
    planned = sum(row.tasks or row.spec.benchmark_options.get("tasks") or 1 for row in shown.live)
    with st.container(horizontal=True, vertical_alignment="center"):
        states.badge(states.overall(shown.live))
        st.caption(
            n_("{n} run is on its way: {names}", "{n} runs are on their way: {names}", len(shown.live),
               names=", ".join(method_title(row.method) for row in shown.live[::-1])),
            width="content",
        )  # fmt: skip
    st.progress(min(done / planned, 1.0))


def worded(frame: pd.DataFrame) -> pd.DataFrame:
    """With the words of the page: `id` (as in a link), `title`, `label`, and `fixed` (what a path holds still)."""
    if frame.empty:
        return frame
    several = frame.groupby(["method", "settings"])["path"].nunique()
    frame = frame.assign(
        id=[name_of(key) for key in frame["configuration"]],
        title=[
            method_title(m) + (f" ({s})" if s else "") for m, s in zip(frame["method"], frame["settings"], strict=True)
        ],
        label=[_config_words(key) for key in frame["configuration"]],
    )
    frame["fixed"] = [
        _fixed_words(row) if several[(row.method, row.settings)] > 1 else "" for row in frame.itertuples()
    ]
    return frame


def _config_words(key: Any) -> str:
    part = next((card for card in _cards(key.method) if card.strength), None)
    return config_words(Config(key.strength, key.memory), part.strength.symbol if part else "")


def _cards(method: str) -> list:
    return [catalogue().method(part) for part in method.split("+")]


def _fixed_words(row: Any) -> str:
    key = row.configuration
    fixed = key._replace(strength=None) if row.axis != "memory" else key._replace(memory=None)
    return _config_words(fixed)


def _plane(shown: Shown, frame: pd.DataFrame, revision: str) -> None:
    st.markdown(f"**{_('Stability against plasticity')}**")
    live_plot(
        plane_figure(frame, revision=revision), key="plane-figure", on_click=_look_at,
        alt=_("Stability against plasticity of {n} configurations. On the front: {front}.").format(
            n=len(frame), front=", ".join(f"{r.title} {r.label}".strip() for r in frame[frame["front"]].itertuples()) or "–"
        ),
    )  # fmt: skip
    st.caption(" ".join(_plane_notes(shown, frame)))
    _as_table(
        frame, ("stability", "plasticity", "acc", "retention"), "plane",
        _("Stability, plasticity and average accuracy of every configuration, in percent"), front=True,
    )  # fmt: skip


def _plane_notes(shown: Shown, frame: pd.DataFrame) -> list[str]:
    """What the picture does not say by itself."""
    notes = [_("Arrows and larger markers: growing strength or budget.") + " " + _seeds_words(frame)]
    notes.append(_("Grey lines join equal average accuracy, as far as no task gained after it was learned."))
    lost = frame[frame["diverged"] > 0]
    if len(lost):
        names = "; ".join(
            f"{r.title} {r.label}: " + _("{k} of {n} diverged").format(k=r.diverged, n=r.total)
            for r in lost.itertuples()
        )
        notes.append(_("Not drawn, because a mean over the survivors would be too good: {names}.").format(names=names))
    if shown.scenario == "class":
        notes.append(_("In the class scenario plasticity is measured among the classes seen so far: fine-tuning is high "
                       "there by forgetting all others."))  # fmt: skip
    finished = [outcome for outcome in shown.outcomes if outcome.finished]
    if len(finished) > 1 and (named := differences(finished)):
        words = ", ".join(condition_name(name) for name in named)
        notes.append(":orange[:material/warning:] " + _("The points are not under one budget: they differ in {what}. "
                     "The front says what is reached, not what it costs.").format(what=words))  # fmt: skip
    if frame["after"].nunique() > 1 or not frame["finished"].all():
        notes.append(_("Pale points are still training: over the tasks so far, and not on the front."))
    return notes


def _seeds_words(frame: pd.DataFrame) -> str:
    seeds = sorted({int(n) for n in frame["n"] if n})
    if not seeds:
        return ""
    if seeds == [1]:
        return _("1 seed each: no interval.")
    span = str(seeds[0]) if len(seeds) == 1 else f"{seeds[0]}–{seeds[-1]}"
    return _("Error bars: 95 % t-interval over {n} seeds (two seeds: their range, one: none).").format(n=span)


def _look_at(point: str) -> None:
    st.session_state["point"] = point


# ---- one configuration ----------------------------------------------------------------------------------------------


def _closer(shown: Shown, frame: pd.DataFrame, found: dict[str, Outcome]) -> None:
    """The configuration that was clicked, or chosen by name."""
    rows = {row.id: row for row in frame.itertuples()}
    wanted = st.session_state.get("point") or ""
    if wanted and wanted not in rows:
        st.caption(_("There is no configuration '{name}' among these results.").format(name=wanted))
        st.session_state["point"] = wanted = ""
    st.session_state.setdefault("point", "")
    st.selectbox(
        _("Look closer at a configuration: click a point, or choose it here"), ["", *rows], key="point",
        format_func=lambda name: f"{rows[name].title} {rows[name].label}".strip() if name else _("none"),
    )  # fmt: skip
    name = st.session_state["point"]
    if not name:
        return
    row = rows[name]
    outcome = next(o for o in shown.outcomes if o.configuration == row.configuration)
    with st.container(border=True, key="configuration"):
        left, right = st.columns([5, 6], gap="medium")
        with left:
            _configuration_matrix(outcome, row)
        with right:
            _configuration_numbers(row)
            _configuration_runs(outcome)


def _configuration_matrix(outcome: Outcome, row: Any) -> None:
    store = the_store()
    newest = series_of(outcome.runs[0])
    tasks = newest.tasks or [""] * row.tasks
    if outcome.finished:
        cells = matrix(outcome, {run_id: store.run(run_id).result for run_id in outcome.runs})
    else:
        cells = newest.matrix(Config(outcome.configuration.strength, outcome.configuration.memory))
    live_plot(
        matrix_figure(cells, tasks, revision=row.id), key="configuration-matrix",
        alt=_("Accuracy after each task on each task: {method}").format(method=f"{row.title} {row.label}"),
    )  # fmt: skip
    st.caption(_("In percent; mean of {seeds}.").format(seeds=n_("{n} seed", "{n} seeds", row.total)))


def _configuration_numbers(row: Any) -> None:
    st.markdown(f"**{row.title}** {row.label}")
    numbers = []
    words = {"acc": _("average accuracy"), "stability": _("stability"), "plasticity": _("plasticity")}
    for name, word in words.items():
        value = _spread(row, name)
        shown = _("{k} of {n} diverged").format(k=row.diverged, n=row.total) if row.diverged else _percent_words(value)
        numbers.append(f"{word} **{shown}**")
    if row.retention == row.retention:
        how = _("seed by seed") if row.paired else _("seeds not shared: independent means")
        kept = ratio_words(row.retention, row.retention_low, row.retention_high)
        numbers.append(_("retention {value}").format(value=f"**{kept}**") + f" ({how})")
    numbers.append(_("keeps {bytes} beside the network").format(bytes=readable_bytes(row.kept_bytes)))
    if row.gradient_samples == row.gradient_samples:
        numbers.append(_("{n} gradient samples").format(n=readable_count(row.gradient_samples)))
    if row.relative_time == row.relative_time:
        numbers.append(_("{ratio} × the training time of fine-tuning").format(ratio=f"{row.relative_time:.2f}"))
    st.markdown("\n".join(f"- {line}" for line in numbers))
    if row.front:
        st.badge(_("non-dominated (means)"), icon=":material/flare:", color="blue")


def _configuration_runs(outcome: Outcome) -> None:
    store = the_store()
    st.markdown(f":small[**{n_('{n} run', '{n} runs', len(outcome.runs))}**]")
    for run_id in outcome.runs[:MOST_RUNS]:
        row = store.run(run_id)
        seeds = [t.seed for t in outcome.trials if t.run_id == run_id]
        with st.container(horizontal=True, vertical_alignment="center"):
            told = _("seeds {seeds}").format(seeds=", ".join(map(str, seeds)))
            st.caption(f"`{run_id}` · {states.plain_mark(row.state)} · {told}", width="content")
            if st.button(_("Open in the Lab"), icon=":material/science:", key=f"lab-{run_id}", type="tertiary"):
                open_in_lab(store, row)
            st.page_link(RUNS, label=_("Open in Runs"), icon=":material/list_alt:", query_params={"find": run_id})
    if len(outcome.runs) > MOST_RUNS:
        more = len(outcome.runs) - MOST_RUNS
        st.caption(n_("and {n} more run", "and {n} more runs", more))


# ---- cost -----------------------------------------------------------------------------------------------------------


def _memory(shown: Shown, frame: pd.DataFrame, lines: Sequence[Path], levels: dict[str, float], revision: str) -> None:
    st.markdown(f"**{_('Accuracy against memory')}**")
    standing = [path for path in lines if path.outcomes[0].configuration.memory is None and path.method not in levels]
    stand = [o.configuration for path in standing if (o := representative(path)) is not None]
    index = frame.index[[key in stand for key in frame["configuration"]]]
    per_example = bytes_per_example(shown.outcomes)
    live_plot(
        memory_figure(frame, list(index), levels, per_example=per_example, revision=revision), key="memory-figure",
        on_click=_look_at,
        alt=_("Average accuracy against bytes kept beside the network: memory methods as paths, others as lines."),
    )  # fmt: skip
    notes = [_seeds_words(frame)]
    if len(index):
        notes.append(_("Lines: methods without a replay memory, at the strength that validation chose; the marker is at "
                       "what they keep themselves."))  # fmt: skip
    if left_out := [path for path in standing if representative(path) is None]:
        names = ", ".join(dict.fromkeys(method_title(path.method) for path in left_out))
        notes.append(_("Without a line: {names}; its strength has not been chosen (still training, or no validation "
                       "data).").format(names=names))  # fmt: skip
    if per_example:
        notes.append(_("One example takes {bytes}.").format(bytes=readable_bytes(per_example)))
    st.caption(" ".join(notes))
    rows = frame[frame["memory"].notna() | frame.index.isin(index) | frame["method"].isin(levels)]
    _as_table(rows, ("acc", "kept_bytes", "retention"), "memory", _("Average accuracy and bytes kept"))


def _compute(frame: pd.DataFrame, levels: dict[str, float], revision: str) -> None:
    with st.container(horizontal=True, vertical_alignment="center", horizontal_alignment="distribute"):
        st.markdown(f"**{_('Accuracy against compute')}**", width="content")
        st.session_state.setdefault("compute", COMPUTE[0])
        by = st.segmented_control(
            _("Compute"), COMPUTE, required=True, key="compute", label_visibility="collapsed",
            format_func={"gradient_samples": _("gradient samples"), "relative_time": _("time")}.get,
        )  # fmt: skip
    live_plot(
        compute_figure(frame, levels, by=by, revision=revision), key="compute-figure", on_click=_look_at,
        alt=_("Average accuracy against compute."),
    )  # fmt: skip
    notes = [_seeds_words(frame)]
    unknown = frame[frame["finished"] & frame[by].isna() & (frame["diverged"] == 0)]
    if by == "relative_time" and len(unknown):
        notes.append(
            n_("{n} configuration has no time: ", "{n} configurations have no time: ", len(unknown))
            + _("time is compared with fine-tuning of as many networks side by side, under the same conditions on the same "
                "device. Many networks at once take less each.")
        )  # fmt: skip
    elif by == "gradient_samples":
        notes.append(_("A gradient sample is one example in one backward pass: replayed ones and a method's own passes "
                       "count."))  # fmt: skip
    st.caption(" ".join(notes))
    _as_table(frame, ("acc", by, "retention"), "compute", _("Average accuracy and compute"))


# ---- strength -------------------------------------------------------------------------------------------------------


def _path_name(path: Path) -> str:
    key = path.outcomes[0].configuration
    return name_of(key._replace(strength=None))


def _strength(swept: dict[str, Path], revision: str) -> None:
    if st.session_state.get("sweep") not in swept:
        st.session_state["sweep"] = max(swept, key=lambda name: len(swept[name].outcomes))
    with st.container(horizontal=True, vertical_alignment="bottom", horizontal_alignment="distribute"):
        st.markdown(f"**{_('What the strength does')}**", width="content")
        words = {name: _path_words(path) for name, path in swept.items()}
        name = st.selectbox(_("Method"), list(swept), key="sweep", format_func=words.get, width=260,
                            label_visibility="collapsed")  # fmt: skip
    path = swept[name]
    curve, picked = sweep(path), chosen(path)
    symbol = next(card for card in _cards(path.method) if card.strength).strength.symbol
    strengths = [outcome.configuration.strength for outcome in path.outcomes]
    live_plot(
        sweep_figure(curve, strengths, symbol=symbol, revision=f"{revision}/{name}", best=_best(picked, symbol),
                     mark_highest=False),
        key="strength-figure",
        alt=_("Accuracy on old tasks, on the last task and on average against the strength of {method}.").format(
            method=words[name]
        ),
    )  # fmt: skip
    st.caption(_chosen_words(path, picked, symbol))
    columns = {"mean": _("mean, %"), "low": _("low, %"), "high": _("high, %")}
    percent = curve.assign(**{c: (curve[c].astype(float) * 100).round(2) for c in columns})
    _table(percent.rename(columns=columns), "strength", _("Accuracy at the end against strength, in percent"))


def _path_words(path: Path) -> str:
    key = path.outcomes[0].configuration
    return " ".join(filter(None, [method_title(path.method), _config_words(key._replace(strength=None))]))


def _best(picked: Chosen | None, symbol: str) -> Best | None:
    if picked is None:
        return None
    words = _("best on validation: {symbol} = {s}").format(symbol=symbol or _("strength"), s=f"{picked.strength:g}")
    return Best(picked.strength, picked.low, picked.high, words)


def _chosen_words(path: Path, picked: Chosen | None, symbol: str) -> str:
    tried = len(path.outcomes)
    if picked is None:
        why = (
            _("its runs are not finished")
            if not all(o.finished for o in path.outcomes)
            else _("its seeds share no validation data")
        )
        return n_(
            "{n} strength tried; none is chosen: {why}.", "{n} strengths tried; none is chosen: {why}.", tried, why=why
        )
    name = symbol or _("strength")
    words = _("{name} = {s} has the best validation accuracy of {tried} strengths tried, over {n} seeds").format(
        name=name, s=f"{picked.strength:g}", tried=picked.tried, n=picked.n
    )
    if picked.low is None:
        words += " " + _("(too few seeds for an interval).")
    else:
        words += "; " + _("shaded, {low} to {high}: not to be told from it (95 %, seed by seed).").format(
            low=f"{picked.low:g}", high=f"{picked.high:g}"
        )
    return (
        words
        + " "
        + _("Its average accuracy on test data is {value}. Bands: 95 % t-intervals.").format(
            value=_percent_words(picked.outcome.spread("acc"))
        )
    )


# ---- tables ---------------------------------------------------------------------------------------------------------


def _as_table(frame: pd.DataFrame, measures: Sequence[str], name: str, alt: str, front: bool = False) -> None:
    """The numbers of a chart, rounded as it draws them."""
    shares = ("stability", "plasticity", "acc")
    titles = {
        "stability": _("stability, %"), "plasticity": _("plasticity, %"), "acc": _("average accuracy, %"),
        "retention": _("retention"), "kept_bytes": _("bytes kept"), "gradient_samples": _("gradient samples"),
        "relative_time": _("time, fine-tuning = 1"),
    }  # fmt: skip
    columns: dict[str, Any] = {
        _("method"): frame["title"], _("setting"): frame["label"], _("seeds"): frame["total"],
        _("diverged"): frame["diverged"], _("tasks trained"): frame["after"],
    }  # fmt: skip
    for measure in measures:
        scale, digits = (100, 2) if measure in shares else (1, 3)
        columns[titles[measure]] = (frame[measure] * scale).round(digits)
        if measure != "kept_bytes":
            columns[f"{titles[measure]} ({_('low')})"] = (frame[f"{measure}_low"] * scale).round(digits)
            columns[f"{titles[measure]} ({_('high')})"] = (frame[f"{measure}_high"] * scale).round(digits)
    if front:
        columns[_("non-dominated (means)")] = frame["front"]
    _table(pd.DataFrame(columns), name, alt)


def _table(frame: pd.DataFrame, name: str, alt: str) -> None:
    with st.expander(_("Show as table"), icon=":material/table:", key=f"table-{name}"):
        st.dataframe(frame, hide_index=True, alt=alt, key=f"frame-{name}")
        st.download_button(
            _("Download as CSV"), lambda: frame.to_csv(index=False), file_name=f"tradeoff-{name}.csv", mime="text/csv",
            on_click="ignore", icon=":material/download:", key=f"csv-{name}",
        )  # fmt: skip


def _spread(row: Any, name: str) -> Spread:
    return Spread(
        getattr(row, name), getattr(row, f"{name}_low"), getattr(row, f"{name}_high"), row.n, row.diverged, row.total
    )


def _percent_words(value: Spread) -> str:
    if value.mean is None or value.mean != value.mean:
        return "–"
    return f"{100 * value.mean:.1f} % {spread_words(value.low, value.high, value.n)}"
