"""Which stream and conditions the Trade-off page shows, and what has come out there."""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import streamlit as st

from clcore.catalogue import catalogue, scenario_word
from clcore.export.words import condition_name
from clcore.outcomes import Outcome, Reading, conditions_key, outcomes, read
from clcore.settings import settings
from clcore.spec import RunSpec
from clcore.store import LIVE, RunRow, Store
from clcore.ui.classroom import refusals
from clcore.ui.frame import series_of
from clcore.ui.lab import queue
from clcore.ui.sweep_builder import BUILDER_PARAMS, builder_values, first_sweep, plan_words
from clcore.ui.text import _, n_
from clcore.ui.url import Query, adopt, unknown, warn

SHOWN = frozenset({"finished", *LIVE})
MANY = 100  # results that are not read in a moment
COMPUTE = ("gradient_samples", "relative_time")
PARAMS = frozenset({"stream", "conditions", "point", "compute", "sweep"})


@dataclass(frozen=True)
class Shown:
    """One benchmark, one scenario and one set of conditions, and what has come out there.

    version  changes with every event that changes an outcome
    """

    benchmark: str
    scenario: str
    conditions: str
    outcomes: tuple[Outcome, ...]
    live: tuple[RunRow, ...]
    readings: tuple[Reading, ...]
    version: int

    @property
    def revision(self) -> str:
        """Of the charts: a viewer keeps the zoom while it stays the same."""
        return f"{self.benchmark}/{self.scenario}/{short_name(self.conditions)}"


@dataclass(frozen=True)
class Found:
    """All that has come out on a stream, whatever its conditions."""

    outcomes: list[Outcome]
    live: list[RunRow]
    readings: list[Reading]
    version: int


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
            _("Benchmark and scenario"), list(streams), list(streams).index(st.session_state["stream"]), key="stream",
            format_func=lambda s: _stream_words(*streams[s]),
            help=_("Scenarios ask for different things: results of two of them never share a chart."),
        )  # fmt: skip
    benchmark, scenario, _n = streams[name]
    found = read_outcomes(store, benchmark, scenario)
    groups = _groups(found.outcomes, found.live)
    if st.session_state.get("conditions") not in groups:
        if "conditions" in st.session_state and st.session_state["conditions"]:
            st.caption(_("The conditions of this link have no results here; those with the most are shown."))
        st.session_state["conditions"] = next(iter(groups))
    with right:
        if len(groups) > 1:
            words = _condition_words(groups)
            st.selectbox(
                _("Conditions"), list(groups), list(groups).index(st.session_state["conditions"]), key="conditions",
                format_func=words.get,
                help=_("Results under other conditions cannot be ranked together, so they are shown one at a time."),
            )  # fmt: skip
    return under(found, benchmark, scenario, groups[st.session_state["conditions"]])


def under(found: Found, benchmark: str, scenario: str, conditions: str) -> Shown:
    """What has come out under these conditions."""
    return Shown(
        benchmark, scenario, conditions,
        tuple(o for o in found.outcomes if o.conditions == conditions),
        tuple(row for row in found.live if _key_of(row) == conditions),
        tuple(r for r in found.readings if r.conditions == conditions), found.version,
    )  # fmt: skip


def conditions_of(shown: Shown) -> RunSpec:
    """A run under the conditions shown, for others to be like."""
    return shown.outcomes[0].spec if shown.outcomes else shown.live[0].spec


def read_outcomes(store: Store, benchmark: str, scenario: str) -> Found:
    """What the runs of a stream came to. A finished run's result leaves the database once, and outcomes are pooled anew only
    when a run has finished, has come or gone, or has finished a task."""
    here = {"benchmarks": {benchmark}, "scenario": scenario}
    rows = store.runs(states=SHOWN, results=False, **here)
    url = settings().database_url
    known = _readings(url)
    if new := sum(row.state == "finished" and row.id not in known for row in rows):
        with st.spinner(_("Reading {n} results …").format(n=new)) if new > MANY else nullcontext():
            for row in store.runs(states={"finished"}, **here):
                if row.id not in known:
                    known[row.id] = read(row)
    live = [row for row in rows if row.live]
    version = hash((*(row.id for row in rows), *map(_progress, live)))
    pooled = _pooled(url, benchmark, scenario, version, rows)
    return Found(pooled, live, [known[row.id] for row in rows if known.get(row.id) is not None], version)


def _progress(row: RunRow) -> tuple[int, int]:
    """What decides the outcome of a run that trains."""
    series = series_of(row.id)
    return series.finished_tasks, len(series.diverged)


@st.cache_resource(show_spinner=False, max_entries=16)
def _pooled(url: str, benchmark: str, scenario: str, version: int, _rows: Sequence[RunRow]) -> list[Outcome]:
    return outcomes(_rows, series_of, _readings(url))


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
    builder = builder_values(query, problems)
    problems += unknown(query, PARAMS | BUILDER_PARAMS)
    warn(problems)
    return {
        "stream": stream or streams[0], "conditions": given.get("conditions", ""), "compute": by,
        "point": given.get("point", ""), "sweep": given.get("sweep", ""), **builder,
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
