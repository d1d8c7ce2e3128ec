"""The running view of the Lab: what an experiment's runs do, drawn while they do it."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

import streamlit as st

from clcore.errors import UnknownName
from clcore.frames import Series
from clcore.store import RunRow, Store
from clcore.text import language
from clcore.ui import insight, states
from clcore.ui.controls import publish_link
from clcore.ui.explanation import Story, explain
from clcore.ui.frame import series_of, the_store
from clcore.ui.run_details import run_details, run_sweep
from clcore.ui.run_panel import panel_grid, run_panel, setting_words, shown_config
from clcore.ui.run_words import headline, method_title, planned_tasks, run_label, scenario_words
from clcore.ui.text import _, n_

POLL_SECONDS = 1.0
EAGER_SECONDS, EAGER_FOR_SECONDS = 0.25, 8.0
SENTENCES = 4


# ---- which experiment -----------------------------------------------------------------------------------------------


def experiment_runs(store: Store, name: str) -> list[RunRow]:
    """The runs of an experiment, in the order chosen. `name`: its id, or a run's. Raises UnknownName, StoreError."""
    rows = store.runs(experiment=name)
    if not rows:
        rows = store.runs(experiment=store.run(name).experiment)
    return rows[::-1]


def shown_experiment(store: Store) -> list[RunRow]:
    """The runs that the URL names; none, with a sentence, when it names none that exists."""
    name = st.query_params.get("x")
    if not name:
        return []
    try:
        return experiment_runs(store, name)
    except UnknownName:
        st.warning(
            _("There is no experiment or run '{name}' here: it was deleted, or it lives in another database. "
              "Choose one on the Runs page, or press Run for a new one.").format(name=name),
            title=_("Unknown experiment"), icon=":material/search_off:",
        )  # fmt: skip
        return []


# ---- the view -------------------------------------------------------------------------------------------------------


def running_view(rows: Sequence[RunRow]) -> None:
    """Draws the experiment; polls while one of its runs is live, and reruns the page when the buttons must change."""
    ids = [row.id for row in rows]
    seen = _signature(rows)

    interval = (EAGER_SECONDS if _awaited(rows) else POLL_SECONDS) if states.is_live(rows) else None

    @st.fragment(run_every=interval, key="live")
    def live() -> None:
        store = the_store()
        now = experiment_runs(store, rows[0].experiment) if states.is_live(rows) else list(rows)
        if [row.id for row in now] != ids or _signature(now) != seen:
            st.rerun()
        _draw(store, now)
        publish_link()

    live()


def _signature(rows: Sequence[RunRow]) -> tuple:
    """What the buttons and the polling depend on: a full rerun is due when it changes."""
    return states.is_live(rows), wishes(rows), _awaited(rows)


def _awaited(rows: Sequence[RunRow]) -> bool:
    """Whether somebody has just pressed Run and no point is there yet: then the page asks more often, for a moment."""
    age = (datetime.now(UTC) - max(row.created for row in rows)).total_seconds()
    return states.is_live(rows) and age < EAGER_FOR_SECONDS and not any(row.position > 0 for row in rows)


def wishes(rows: Sequence[RunRow]) -> dict[str, list[str]]:
    """Which runs may be paused, resumed, stepped and cancelled now."""
    active = [row.id for row in rows if row.state in ("starting", "running", "lost") and row.want != "cancel"]
    held = [row.id for row in rows if row.state == "paused" and row.want != "cancel"]
    live = [row.id for row in rows if row.live and row.want != "cancel"]
    return {"pause": active, "resume": held, "step": active + held, "cancel": live}


def _draw(store: Store, rows: Sequence[RunRow]) -> None:
    places = {row.id: row.place for row in store.queue_places()} if any(r.state == "queued" for r in rows) else {}
    series = {row.id: series_of(row.id) for row in rows}
    _status(rows)
    stories = [_story(row, series[row.id], rows) for row in rows]
    with st.container(key="explanation"):
        _explanation(stories)
    with st.container(key="sweeps"):
        for row in rows:
            if len({c.strength for c in series[row.id].configs}) > 1:
                with st.container(border=True, key=f"sweep-{row.id}"):
                    run_sweep(row, series[row.id])
    with st.container(key="panels"):
        for scenario in dict.fromkeys(row.scenario for row in rows):
            group = [row for row in rows if row.scenario == scenario]
            if len(group) < len(rows):
                st.markdown(f"**{scenario_words(scenario)}**")
            for column, row in panel_grid(group):
                with column, st.container(border=True, height="stretch", key=f"panel-{row.id}"):
                    run_panel(row, series[row.id], places.get(row.id))
    with st.container(key="regions"):
        _regions(rows, series)
    run_details(rows, series)


def _regions(rows: Sequence[RunRow], series: dict[str, Series]) -> None:
    """The maps of a two-dimensional stream, run beside run."""
    drawn = [row for row in rows if insight.has_regions(series[row.id])]
    if not drawn:
        return
    configs = {row.id: shown_config(row, series[row.id]) for row in drawn}
    titles = {row.id: run_label(row, rows) for row in drawn}
    st.markdown(f"**{_('Decision regions')}**")
    st.caption(insight.regions_note())
    insight.regions_clock(drawn, [series[row.id] for row in drawn])
    for column, row in panel_grid(drawn):
        with column, st.container(border=True, height="stretch", key=f"map-{row.id}"):
            insight.regions_panel(row, series[row.id], configs[row.id], titles[row.id], setting_words(row, series[row.id]))
    insight.regions_tables([(row, series[row.id], configs[row.id], titles[row.id]) for row in drawn])


def _status(rows: Sequence[RunRow]) -> None:
    state = states.overall(rows)
    with st.container(horizontal=True, vertical_alignment="center", key="status"):
        states.experiment_badges(rows)
        st.markdown(f"**{headline([row.spec for row in rows])}**", width="content")
        st.caption(_clock(rows, state), width="content")
    with st.container(key="progress"):  # always there: what comes and goes above a chart would draw it anew
        if states.is_live(rows):
            done = sum(row.position for row in rows)
            planned = sum(row.tasks or planned_tasks(row.spec) or 1 for row in rows)
            st.progress(min(done / planned, 1.0))


def _clock(rows: Sequence[RunRow], state: str) -> str:
    begun = [row.started for row in rows if row.started]
    if not begun:
        return ""
    over = not states.is_live(rows)
    ended = [row.finished for row in rows if row.finished]
    seconds = ((max(ended) if over and ended else datetime.now(UTC)) - min(begun)).total_seconds()
    if over:
        return _("took {time}").format(time=states.duration(seconds))
    planned = sum(row.tasks or planned_tasks(row.spec) or 1 for row in rows)
    share = sum(row.position for row in rows) / planned
    words = [f"{100 * share:.0f} %", _("{time} so far").format(time=states.duration(seconds))]
    if share > 0.05 and state == "running":
        words.append(_("about {time} left").format(time=states.duration(seconds / share * (1 - share))))
    return " · ".join(words)


def _explanation(stories: Sequence[Story]) -> None:
    looks = tuple((s.series.run_id, s.series.seq, *s._replace(series=None)) for s in stories)
    told = _sentences(looks, language(), stories)
    if not told:
        return
    shown, rest = told[:SENTENCES], told[SENTENCES:]
    with st.container(border=True, gap="small"):
        st.markdown(f":material/lightbulb: **{_('What am I seeing?')}**")
        st.markdown("\n".join(f"- {sentence}" for sentence in shown))
        if rest:
            with st.expander(n_("{n} more sentence", "{n} more sentences", len(rest)), type="compact"):
                st.markdown("\n".join(f"- {sentence}" for sentence in rest))


@st.cache_data(show_spinner=False, max_entries=256)
def _sentences(looks: tuple, language: str, _stories: Sequence[Story]) -> list[str]:
    """Told once per event, whoever looks."""
    return explain(_stories)


def _story(row: RunRow, series: Series, rows: Sequence[RunRow]) -> Story:
    spec = row.spec
    part = spec.method.swept_part
    return Story(
        method=row.method, title=method_title(row.method), scenario=row.scenario,
        state=row.state, series=series, config=shown_config(row, series),
        symbol=part.strength.symbol if part else "", name_scenario=len({r.scenario for r in rows}) > 1,
    )  # fmt: skip
