"""The running view of the Lab: what an experiment's runs do, drawn while they do it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import Any

import pandas as pd
import streamlit as st

from clcore.catalogue import catalogue, scenario_word
from clcore.charts.matrix import matrix_figure
from clcore.charts.per_task import per_task_figure
from clcore.charts.sweep import sweep_figure
from clcore.errors import UnknownName
from clcore.frames import COLUMNS, Config, Series, Spread
from clcore.spec import RunSpec
from clcore.store import RunRow, Store
from clcore.text import language
from clcore.ui import insight, states
from clcore.ui.controls import publish_link
from clcore.ui.explanation import Story, explain, spoken
from clcore.ui.frame import series_of, the_store
from clcore.ui.live_plot import live_plot
from clcore.ui.proof import proof_badge
from clcore.ui.switches import around_the_switch
from clcore.ui.text import _, n_

POLL_SECONDS = 1.0
EAGER_SECONDS, EAGER_FOR_SECONDS = 0.25, 8.0
PANEL_HEIGHT = 300
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
                    _sweep(row, series[row.id])
    with st.container(key="panels"):
        for scenario in dict.fromkeys(row.scenario for row in rows):
            group = [row for row in rows if row.scenario == scenario]
            if len(group) < len(rows):
                st.markdown(f"**{scenario_words(scenario)}**")
            for column, row in panel_grid(group):
                with column, st.container(border=True, height="stretch", key=f"panel-{row.id}"):
                    _panel(row, series[row.id], places.get(row.id))
    with st.container(key="regions"):
        _regions(rows, series)
    _details(rows, series)


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


def setting_words(row: RunRow, series: Series) -> str:
    """The setting that a run shows, where it has one."""
    part = row.spec.method.swept_part
    return config_words(shown_config(row, series), part.strength.symbol if part else "")


def panel_grid(things: Sequence[Any]) -> Iterator[tuple[Any, Any]]:
    """(where to draw, what): three abreast where that fills the row, else two; one alone takes the width."""
    abreast = 3 if len(things) in (3, 5, 6) else min(len(things), 2)
    for i in range(0, len(things), abreast):
        yield from zip(st.columns(abreast), things[i : i + abreast], strict=False)


def scenario_words(scenario: str) -> str:
    return {
        "task": _("Task scenario: told at test which task it is"),
        "domain": _("Domain scenario: not told the task, the same outputs in every task"),
        "class": _("Class scenario: not told the task, must choose among all classes"),
        "task-free": _("Task-free scenario: one stream, nobody says where a task ends, neither in training nor at test"),
    }[scenario]


def stream_blur(spec: RunSpec) -> float | None:
    """How far the tasks of a stream without boundaries blend into their neighbours; None where tasks have boundaries."""
    if spec.scenario != "task-free":
        return None
    options = spec.benchmark_options
    return 0.0 if options.get("gradual") else options["blur"]


def _status(rows: Sequence[RunRow]) -> None:
    state = states.overall(rows)
    with st.container(horizontal=True, vertical_alignment="center", key="status"):
        states.badge(state)
        st.markdown(f"**{headline([row.spec for row in rows])}**", width="content")
        st.caption(_clock(rows, state), width="content")
    with st.container(key="progress"):  # always there: what comes and goes above a chart would draw it anew
        if states.is_live(rows):
            done = sum(row.position for row in rows)
            planned = sum(row.tasks or planned_tasks(row.spec) or 1 for row in rows)
            st.progress(min(done / planned, 1.0))


def headline(specs: Sequence[RunSpec]) -> str:
    """Benchmark, scenarios, tasks, seeds: what all runs of an experiment share."""
    spec = specs[0]
    scenarios = ", ".join(map(scenario_word, dict.fromkeys(s.scenario for s in specs)))
    parts = [catalogue().benchmark(spec.benchmark).title, scenarios]
    if tasks := planned_tasks(spec):
        parts.append(n_("{n} task", "{n} tasks", tasks))
    parts.append(n_("{n} seed", "{n} seeds", len(spec.grid.seeds)))
    return " · ".join(parts)


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


def planned_tasks(spec: RunSpec) -> int | None:
    """How many tasks the stream will have, where the benchmark has an option for it."""
    return spec.benchmark_options.get("tasks")


def _explanation(stories: Sequence[Story]) -> None:
    told = explain(stories)
    if not told:
        return
    shown, rest = told[:SENTENCES], told[SENTENCES:]
    with st.container(border=True, gap="small"):
        st.markdown(f":material/lightbulb: **{_('What am I seeing?')}**")
        st.markdown("\n".join(f"- {sentence}" for sentence in shown))
        if rest:
            with st.expander(n_("{n} more sentence", "{n} more sentences", len(rest)), type="compact"):
                st.markdown("\n".join(f"- {sentence}" for sentence in rest))


def _story(row: RunRow, series: Series, rows: Sequence[RunRow]) -> Story:
    spec = row.spec
    part = spec.method.swept_part
    return Story(
        method=row.method, title=method_title(row.method), scenario=row.scenario,
        state=row.state, series=series, config=shown_config(row, series),
        symbol=part.strength.symbol if part else "", name_scenario=len({r.scenario for r in rows}) > 1,
    )  # fmt: skip


def method_title(name: str) -> str:
    return " + ".join(catalogue().method(part).title for part in name.split("+"))


# ---- one run --------------------------------------------------------------------------------------------------------


def shown_config(row: RunRow, series: Series) -> Config:
    """Which setting of a run its curves show: the chosen one, at first the method's strength and the largest memory."""
    configs = series.configs
    if not configs:
        return Config()
    chosen = st.session_state.get(f"setting-{row.id}")
    if chosen in configs:
        return chosen
    part = row.spec.method.swept_part
    if part is not None and len({c.strength for c in configs}) > 1:
        wanted = row.spec.method.part_settings(part.name)[part.strength.name]
        configs = [c for c in configs if c.strength == wanted] or configs
    return configs[-1]


def config_words(config: Config, symbol: str = "") -> str:
    words = []
    if config.strength is not None:
        words.append(f"{symbol or _('strength')} = {config.strength:g}")
    if config.memory is not None:
        words.append(_("memory {n}").format(n=config.memory))
    return ", ".join(words)


def _panel(row: RunRow, series: Series, place: int | None) -> None:
    config = shown_config(row, series)
    symbol = row.spec.method.swept_part.strength.symbol if row.spec.method.swept_part else ""
    with st.container(horizontal=True, vertical_alignment="center", horizontal_alignment="distribute"):
        st.markdown(f"**{method_title(row.method)}**", width="content")
        states.badge(row.state, _("place {n} in the queue").format(n=place) if place else _state_note(row))
    with st.container(key=f"before-{row.id}"):
        if row.state == "failed":
            _failure(row)
            if series.started is None:
                return
        if len(series.configs) > 1:
            st.selectbox(
                _("Setting shown"), series.configs, index=series.configs.index(config), key=f"setting-{row.id}",
                format_func=lambda c: config_words(c, symbol), label_visibility="collapsed",
            )  # fmt: skip
    tasks = series.tasks or [""] * (planned_tasks(row.spec) or 0)
    if not tasks:
        st.skeleton(height=PANEL_HEIGHT)
        return
    live_plot(
        _curves(
            row.id, series.seq, config, tuple(tasks), series.position if row.live and series.started else None,
            st.session_state.get("axis") or "tasks", series.started.epochs if series.started else row.spec.epochs,
            language(), stream_blur(row.spec), series,
        ),
        key=f"curves-{row.id}",
        alt=_("Accuracy of {method} on each task while it learns one after the other. {result}").format(
            method=method_title(row.method), result=result_line(series, config)
        ),
    )  # fmt: skip
    # Below the chart, so that words of different length leave the charts of neighbouring panels side by side.
    note = config_words(config, symbol) if len(series.configs) == 1 else ""
    st.caption(" · ".join(filter(None, [note, result_line(series, config)])))
    proof_badge(series.verdicts(config))
    if series.started is not None and series.started.note:
        st.caption(series.started.note)


@st.cache_data(show_spinner=False, max_entries=256)
def _curves(
    run_id: str,
    seq: int,
    config: Config,
    tasks: tuple[str, ...],
    position: float | None,
    x: str,
    epochs: int,
    language: str,
    blur: float | None,
    _series: Series,
) -> dict[str, Any]:
    """The figure of a run's curves: built once per event, whoever looks."""
    live, ends = _series.curves(config), _series.task_ends(config)
    return per_task_figure(
        live, ends, tasks, chance=_series.chance(), position=position, epochs=epochs, x=x, revision=run_id,
        height=PANEL_HEIGHT, blur=blur,
    )  # fmt: skip


def _state_note(row: RunRow) -> str:
    if row.want == "cancel" and row.live:
        return _("stopping")
    gone = states.silence(row)
    if gone is not None:
        return _("last sign of life {n} s ago").format(n=round(gone))
    if row.state == "lost":
        return _("its process is gone")
    return ""


def _failure(row: RunRow) -> None:
    st.error(row.error or _("The run ended without saying why; look into its log."), icon=":material/error:")
    if row.traceback:
        with st.expander(_("Details for a bug report"), icon=":material/terminal:"):
            st.code(row.traceback, language=None)


def result_line(series: Series, config: Config) -> str:
    """Average and forgetting over the tasks trained so far, with what stands behind them."""
    k, T = series.finished_tasks, len(series.tasks)
    if k < 1:
        if series.preparing is not None:  # a download, say
            share = series.preparing.share
            return series.preparing.message + ("" if share is None else f" · {100 * share:.0f} %")
        return _("no task has been finished yet")
    average, forgotten = series.metric(config, "acc"), series.metric(config, "forgetting")
    parts = [] if k == T else [_("after {k} of {T} tasks").format(k=k, T=T)]
    said = spoken(average, seeds=False)
    parts.append(said if average.diverged else _("average {value}").format(value=said))
    if forgotten.mean is not None and k > 1:
        points = signed(forgotten.mean) + ("" if forgotten.half is None else f" ± {100 * forgotten.half:.1f}")
        parts.append(_("forgetting {points}").format(points=points))
    return " · ".join(parts)


# ---- matrix, metrics, sweep, tables ---------------------------------------------------------------------------------


def _details(rows: Sequence[RunRow], series: dict[str, Series]) -> None:
    labels = {row.id: run_label(row, rows) for row in rows}
    with st.container(border=True, key="details"):
        with st.container(horizontal=True, vertical_alignment="bottom"):
            if st.session_state.get("closer") not in labels:
                told = [row.id for row in rows if series[row.id].finished_tasks]
                st.session_state["closer"] = told[0] if told else rows[0].id
            chosen = _choice_of(labels)
            kind = st.segmented_control(
                _("Matrix"), ["accuracy", "forgetting"], default="accuracy", required=True, key="matrix",
                format_func={"accuracy": _("A · accuracy"), "forgetting": _("F · forgetting")}.get,
            )  # fmt: skip
            with st.popover(_("View"), icon=":material/visibility:"):
                row0 = st.toggle(_("Untrained network (row 0)"), key="row0")
                future = st.toggle(_("Future tasks (forward transfer)"), key="future")
                st.segmented_control(_("Horizontal axis"), ["tasks", "epochs"], default="tasks", required=True,
                                     key="axis",
                                     format_func={"tasks": _("tasks"), "epochs": _("epochs")}.get)  # fmt: skip
        row = next((r for r in rows if r.id == chosen), rows[0])
        one, config = series[row.id], shown_config(row, series[row.id])
        left, right = st.columns([6, 5], gap="medium")
        with left:
            _matrix(row, one, config, kind, row0, future)
        with right:
            _tiles(one, config)
        around_the_switch(row, one, config)
    with st.expander(_("Show as table"), icon=":material/table:", key="table"):
        _tables(row, one, config)
    insight.look_inside(row, one, config, labels[row.id], setting_words(row, one))


def _choice_of(labels: dict[str, str]) -> str:
    """Which run to look at: side by side while they fit, else a list."""
    if len(labels) <= 4:
        return st.segmented_control(
            _("Look closer at"), list(labels), required=True, key="closer", format_func=labels.get
        )  # fmt: skip
    return st.selectbox(_("Look closer at"), list(labels), key="closer", format_func=labels.get, width=280)


def run_label(row: RunRow, rows: Sequence[RunRow]) -> str:
    several = len({r.scenario for r in rows}) > 1
    return method_title(row.method) + (f" · {scenario_word(row.scenario)}" if several else "")


def _matrix(row: RunRow, series: Series, config: Config, kind: str, row0: bool, future: bool) -> None:
    tasks = series.tasks or [""] * (planned_tasks(row.spec) or 0)
    if not tasks:
        st.skeleton(height=300)
        return
    running = series.finished_tasks + 1 if row.live and series.started else None
    live_plot(
        matrix_figure(
            series.matrix(config, kind), tasks, kind=kind, row0=row0, future=future, running=running, revision=row.id
        ),
        key="matrix-figure",
        alt=_("Matrix of {method}: rows are the moments after each task, columns the tasks. {result}").format(
            method=method_title(row.method), result=result_line(series, config)
        ),
    )
    if series.started is not None:
        seeds = n_("{n} seed", "{n} seeds", len(series.members(config)))
        tested = series.started.test_examples
        if tested:
            said = _(
                "In percent; mean of {seeds}, {n} test examples a task or more. Blank: no meaning or no value yet."
            )
        else:  # imported
            said = _("In percent; mean of {seeds}. Blank: no meaning or no value yet.")
        st.caption(said.format(seeds=seeds, n=min(tested, default=0)))


_TILES = {
    "acc": (lambda: _("Average accuracy"), r"$\mathrm{ACC}=\frac1T\sum_j R_{T,j}$", lambda: "%"),
    "forgetting": (lambda: _("Forgetting"), r"$F=\frac1{T-1}\sum_{j<T}(\max_{j\le l<T}R_{l,j}-R_{T,j})$", lambda: _("pts")),
    "bwt": (lambda: _("Backward transfer"), r"$\mathrm{BWT}=\frac1{T-1}\sum_{j<T}(R_{T,j}-R_{j,j})$", lambda: _("pts")),
    "learning_accuracy": (lambda: _("Learning accuracy"), r"$\mathrm{LA}=\frac1T\sum_j R_{j,j}$", lambda: "%"),
}


def _tiles(series: Series, config: Config) -> None:
    k = series.finished_tasks
    columns = [*st.columns(2, wrap=False), *st.columns(2, wrap=False)]
    for column, (name, (label, formula, unit)) in zip(columns, _TILES.items(), strict=True):
        value = series.metric(config, name)
        with column, st.container(key=f"tile-{name}"):
            number = "–" if value.mean is None else f"{signed(value.mean)} {unit()}"
            st.metric(label(), number, delta=_behind(value), delta_color="off", delta_arrow="off",
                      help=_("Over the tasks trained so far.") + " " + formula, border=True)  # fmt: skip
    if series.started is not None and series.started.scenario == "task-free":
        st.caption(_("Learning accuracy is left out: nobody says when a task has been learned. T1, T2, … are measured at the "
                     "ends of equally long parts of the stream."))  # fmt: skip
    elif series.started is not None and series.started.scenario == "class":
        st.caption(_("Learning accuracy is left out in the class scenario: forgetting everything else would raise it."))
    elif k:
        st.caption(_("± is the 95 % t-interval over seeds."))


def signed(fraction: float) -> str:
    """A fraction in percent points, with a real minus sign."""
    return f"{100 * fraction:.1f}".replace("-", "−")


def _behind(value: Spread) -> str:
    if value.diverged:
        return _("{k} of {n} diverged").format(k=value.diverged, n=value.total)
    if value.mean is None:
        return _("not yet known")
    seeds = n_("{n} seed", "{n} seeds", value.n)
    if value.half is not None:
        return f"± {100 * value.half:.1f} · {seeds}"
    if value.n == 2:
        return f"{signed(value.low)} … {signed(value.high)} · {seeds}"
    return seeds


def _sweep(row: RunRow, series: Series) -> None:
    memory = shown_config(row, series).memory
    strengths = [c.strength for c in series.configs if c.memory == memory]
    symbol = row.spec.method.swept_part.strength.symbol
    k, T = series.finished_tasks, len(series.tasks)
    n = len(series.members(series.configs[0]))
    title = _("{method}: what its strength does").format(method=method_title(row.method))
    scope = _("after all {T} tasks").format(T=T) if k == T else _("after {k} of {T} tasks").format(k=k, T=T)
    notes = " · ".join([scenario_word(row.scenario), scope, n_("{n} seed", "{n} seeds", n)])
    st.markdown(f"**{title}** :gray[{notes}]")
    live_plot(
        sweep_figure(series.sweep(memory), strengths, symbol=symbol, revision=f"{row.id}/sweep"),
        key=f"sweep-figure-{row.id}",
        alt=_("Accuracy on old tasks, on the last task and on average against the strength of {method}.").format(
            method=method_title(row.method)
        ),
    )
    with st.expander(_("Show as table"), icon=":material/table:", type="compact", key=f"sweep-table-{row.id}"):
        percent_table(series.sweep(memory), f"{row.id}-sweep", _("Accuracy against strength, in percent"))


def _tables(row: RunRow, series: Series, config: Config) -> None:
    left, right = st.columns(2, gap="medium")
    with left:
        st.markdown(f"**{_('Matrix: after each task, all test data')}**")
        percent_table(series.matrix(config), f"{row.id}-matrix", _("Accuracy after each task on each task, in percent"))
    with right:
        st.markdown(f"**{_('Curves: while training, a part of the test data')}**")
        percent_table(series.curves(config), f"{row.id}-curves", _("Accuracy on each task while training, in percent"))


def percent_table(frame: pd.DataFrame, name: str, alt: str) -> None:
    """A frame of COLUMNS in percent, and the same as a CSV file."""
    percent = frame.assign(**{c: (frame[c].astype(float) * 100).round(2) for c in ("mean", "low", "high")})
    st.dataframe(percent, hide_index=True, alt=alt)
    st.download_button(
        _("Download as CSV"), lambda: percent.to_csv(index=False), file_name=f"{name}.csv", mime="text/csv",
        on_click="ignore", icon=":material/download:", key=f"download-{name}",
    )  # fmt: skip


# ---- before anything ran --------------------------------------------------------------------------------------------


def preview(specs: Sequence[RunSpec]) -> None:
    """The empty axes of the runs that the controls ask for."""
    st.info(
        _("Press **Run** to train these methods. They start within seconds and learn in front of your eyes."),
        icon=":material/play_circle:",
    )
    with st.container(key="status"):
        st.markdown(f":gray-badge[:material/radio_button_unchecked: {_('nothing has run yet')}] **{headline(specs)}**")
    empty = pd.DataFrame([], columns=["position", "task", *COLUMNS])
    with st.container(key="panels"):
        for column, spec in panel_grid([s for s in specs if s.scenario == specs[0].scenario]):
            with column, st.container(border=True, height="stretch"):
                st.markdown(f"**{method_title(spec.method.name)}**")
                live_plot(
                    per_task_figure(
                        empty, empty, [""] * (planned_tasks(spec) or 5), epochs=spec.epochs, height=PANEL_HEIGHT,
                        blur=stream_blur(spec),
                    ),
                    key=f"preview-{spec.method.name}",
                    alt=_("Empty axes: accuracy per task will be drawn here."),
                )
                st.caption(" ".join(card.summary for card in spec.method.cards))
