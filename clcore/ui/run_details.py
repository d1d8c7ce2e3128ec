"""The run looked at more closely: its matrix, its metrics, its tables; and what a sweep's strength does."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd
import streamlit as st

from clcore.catalogue import scenario_word
from clcore.charts.matrix import matrix_figure
from clcore.charts.sweep import sweep_figure
from clcore.frames import Config, Series, Spread
from clcore.store import RunRow
from clcore.ui import insight
from clcore.ui.live_plot import live_plot
from clcore.ui.run_panel import result_line, setting_words, shown_config
from clcore.ui.run_words import method_title, planned_tasks, run_label, signed
from clcore.ui.switches import around_the_switch
from clcore.ui.text import _, n_


def run_details(rows: Sequence[RunRow], series: dict[str, Series]) -> None:
    """The matrix, the metrics, the switch, the tables and the inside of the run that is looked at."""
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
        with st.container(key="closer-look"):
            left, right = st.columns([6, 5], gap="medium")
        with left:
            _matrix(row, one, config, kind, row0, future)
        with right:
            _tiles(one, config)
        around_the_switch(row, one, config)
    with st.expander(_("Show as table"), icon=":material/table:", key="table", on_change="rerun") as box:
        if box.open:  # every viewer would pay for them at every look
            _tables(row, one, config, kind)
    insight.look_inside(row, one, config, labels[row.id], setting_words(row, one))


def _choice_of(labels: dict[str, str]) -> str:
    """Which run to look at: side by side while they fit, else a list."""
    if len(labels) <= 4:
        return st.segmented_control(
            _("Look closer at"), list(labels), default=st.session_state["closer"], required=True, key="closer",
            format_func=labels.get,
        )  # fmt: skip
    return st.selectbox(_("Look closer at"), list(labels), key="closer", format_func=labels.get, width=280)


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
        st.caption(_matrix_words(kind, seeds, series.started.test_examples))


def _matrix_words(kind: str, seeds: str, tested: Sequence[int]) -> str:
    """How to read the cells: accuracies are percentages, what was forgotten of them are points. Imported runs do not tell
    how many examples they were tested on."""
    if kind == "forgetting":
        said = (
            _("In points; mean of {seeds}, {n} test examples a task or more. Blank: no meaning or no value yet.")
            if tested else _("In points; mean of {seeds}. Blank: no meaning or no value yet.")
        )  # fmt: skip
    else:
        said = (
            _("In percent; mean of {seeds}, {n} test examples a task or more. Blank: no meaning or no value yet.")
            if tested else _("In percent; mean of {seeds}. Blank: no meaning or no value yet.")
        )  # fmt: skip
    return said.format(seeds=seeds, n=min(tested, default=0))


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
            st.metric(label(), number, delta=_behind(value, defined=series.defines(name)), delta_color="off", delta_arrow="off",
                      help=_("Over the tasks trained so far.") + " " + formula, border=True)  # fmt: skip
    if series.started is not None and series.started.scenario == "task-free":
        st.caption(_("Learning accuracy is left out: nobody says when a task has been learned. T1, T2, … are measured at the "
                     "ends of equally long parts of the stream."))  # fmt: skip
    elif series.started is not None and series.started.scenario == "class":
        st.caption(_("Learning accuracy is left out in the class scenario: forgetting everything else would raise it."))
    elif k:
        st.caption(_("± is the 95 % t-interval over seeds."))


def _behind(value: Spread, *, defined: bool) -> str:
    if value.diverged:
        return _("{k} of {n} diverged").format(k=value.diverged, n=value.total)
    if value.mean is None:
        return _("not yet known") if defined else _("not defined here")
    seeds = n_("{n} seed", "{n} seeds", value.n)
    if value.half is not None:
        return f"± {100 * value.half:.1f} · {seeds}"
    if value.n == 2:
        return f"{signed(value.low)} … {signed(value.high)} · {seeds}"
    return seeds


def run_sweep(row: RunRow, series: Series) -> None:
    """Accuracy against the strengths of a run that has several."""
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


def _tables(row: RunRow, series: Series, config: Config, kind: str) -> None:
    left, right = st.columns(2, gap="medium")
    with left:
        st.markdown(f"**{_('Matrix: after each task, all test data')}**")
        if kind == "forgetting":
            words = _("Points lost after each task on each task")
            percent_table(series.matrix(config, kind), f"{row.id}-forgetting", words)
        else:
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
