"""Metrics of an accuracy matrix that the reader edits, with the numbers filled into the formulas."""

from __future__ import annotations

import math

import pandas as pd
import streamlit as st

from clcore.charts.worked import marked_matrix
from clcore.ui.learn.link import TASKS, key, parsed, value, written
from clcore.ui.live_plot import live_plot
from clcore.ui.run_words import signed
from clcore.ui.text import _
from clcore.worked import Worked, worked

STRUT = r"\vphantom{\Bigg(}"  # room above a fraction, whose top is cut off otherwise
Percents = list[list[float | None]]


def titles() -> dict[str, tuple[str, str]]:
    """(title, what it says) of every metric, by name."""
    return {
        "acc": (_("Average accuracy"), _("How good the network is at the end, over all tasks: the last row's mean.")),
        "forgetting": (
            _("Forgetting"),
            _("How far each earlier task fell from its best; 0 is nothing forgotten. It starts at the task's own row, so it is "
              "at least −BWT."),
        ),
        "bwt": (
            _("Backward transfer"),
            _("What later tasks did to earlier ones since these were learned: below 0 they forgot, above 0 they gained."),
        ),
        "learning_accuracy": (
            _("Learning accuracy (plasticity)"),
            _("How well each task was learned when it was its turn: the diagonal. A method that holds the past too firmly is "
              "low here."),
        ),
        "average_incremental_accuracy": (
            _("Average incremental accuracy"),
            _("The mean over time of the average over the tasks seen so far. It is higher than ACC when the end is the worst."),
        ),
        "fwt": (
            _("Forward transfer"),
            _("How good a task is just before it is learned, above the untrained network: what earlier tasks taught about it."),
        ),
    }  # fmt: skip


def metrics_by_hand() -> None:
    """Editor, matrix and formulas."""
    st.markdown(
        _("$R_{k,j}$ is the accuracy on task $j$ after training task $k$, in percent. Change a number and see which metrics "
          "move, and why.")
    )  # fmt: skip
    names = titles()
    left, right = st.columns([5, 6], gap="large")
    with left:
        R = _editor()
        fractions = [[None if v is None else v / 100 for v in row] for row in R]
        every = worked(fractions)
        chosen = st.selectbox(_("Mark the cells that enter"), list(names), list(names).index(value("metric")),
                              key=key("metric"), format_func=lambda name: names[name][0])  # fmt: skip
        live_plot(
            marked_matrix(fractions, every[chosen].cells, row0=value("untrained") or chosen == "fwt"), key="worked-matrix",
            alt=_("The matrix above as colours; framed: the cells that {metric} is computed from.").format(
                metric=names[chosen][0]
            ),
        )  # fmt: skip
        st.caption(_("The table above holds the chart's numbers. One network, so there is no interval. Grey: tasks that are "
                     "still to come."))  # fmt: skip
    with right:
        for name, one in every.items():
            with st.container(border=True, gap="xsmall", key=f"metric-{name}"):
                _worked(one, *names[name], marked=name == chosen)


def _worked(one: Worked, title: str, idea: str, *, marked: bool) -> None:
    unit = "%" if one.name in ("acc", "learning_accuracy", "average_incremental_accuracy") else _("points")
    shown = "–" if one.value is None else f"{signed(one.value)} {unit}"
    sign = ":orange[:material/select_all:] " if marked else ""
    st.markdown(f"{sign}**{title}: {shown}**")
    formula = one.formula
    if one.numbers is not None:
        formula += f"={one.numbers}={100 * one.value:.1f}"
    st.latex(STRUT + formula)
    if one.numbers is None:
        st.caption(_("It needs cells that are empty or no percentage; they are framed when you mark this metric."))
    st.caption(idea)


def _editor() -> Percents:
    """The table; returns R with row 0, in percent, None where there is no usable number."""
    st.toggle(_("Untrained network (row 0), for forward transfer"), value("untrained"), key=key("untrained"))
    first = 0 if value("untrained") else 1
    link, state = value("R"), st.session_state
    editor = f"worked-editor-{state.setdefault('worked-edition', 0)}-{first}"
    if (
        state.get("worked-written") != link or editor not in state
    ):  # a new link, or the editor was not drawn: start from R
        state["worked-start"] = link
        if editor in state:
            state["worked-edition"] += 1
            editor = f"worked-editor-{state['worked-edition']}-{first}"
    start = parsed(state["worked-start"])
    labels = [_("untrained"), *(_("after T{k}").format(k=k) for k in range(1, TASKS + 1))]
    columns = [f"T{j}" for j in range(1, TASKS + 1)]
    frame = pd.DataFrame(start, index=labels, columns=columns, dtype=float).iloc[first:]
    edited = st.data_editor(
        frame, key=editor, num_rows="fixed",
        alt=_("Accuracy after each task on each task, in percent; can be edited"),
        column_config={c: st.column_config.NumberColumn(_("on {task}").format(task=c), format="%.1f") for c in columns},
    )  # fmt: skip
    given: Percents = [[None if math.isnan(v) else float(v) for v in row] for row in edited.to_numpy(dtype=float)]
    full = start[:first] + given
    st.session_state["worked-written"] = st.session_state[key("R")] = written(full)
    return [[_usable(v, k, j) for j, v in enumerate(row, start=1)] for k, row in enumerate(full)]


def _usable(number: float | None, row: int, task: int) -> float | None:
    if number is None or 0 <= number <= 100:
        return number
    st.warning(
        _("R for task {task} in row {row} is {value:g}, which is no percentage: give a number from 0 to 100. Until then the "
          "cell counts as empty.").format(task=task, row=row, value=number),
        icon=":material/edit_off:",
    )  # fmt: skip
    return None
