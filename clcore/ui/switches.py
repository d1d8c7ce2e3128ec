"""Around a task switch, in the Lab's details: the first steps one by one, and what is left at worst."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pandas as pd
import streamlit as st

from clcore.charts.switch import switch_figure
from clcore.frames import Config, Series
from clcore.store import RunRow
from clcore.text import language
from clcore.ui.explanation import spoken
from clcore.ui.live_plot import live_plot
from clcore.ui.text import _, n_

HEIGHT = 300
_METRICS: dict[str, tuple[Callable[[], str], str]] = {
    "min_acc": (
        lambda: _("min-ACC"),
        r"$\min\text{-}\mathrm{ACC}=\frac{1}{T-1}\sum_{j<T}\ \min_{t_j<n\le t_T}A_j(n)$",
    ),
    "worst_case_acc": (
        lambda: _("Worst-case accuracy (WC-ACC)"),
        r"$\mathrm{WC\text{-}ACC}=\frac1T A_T(t_T)+\left(1-\frac1T\right)\min\text{-}\mathrm{ACC}$",
    ),
}


def around_the_switch(row: RunRow, series: Series, config: Config) -> None:
    """Draws nothing for a run that did not watch its task switches."""
    if not row.spec.watch_switches:
        return
    st.markdown("**" + _("Around a task switch, step by step") + "**")
    watched = series.switches()
    if not watched:
        st.caption(_("Drawn here as soon as task 2 begins."))
        return
    if st.session_state.get("switch") not in watched:
        st.session_state["switch"] = watched[0]
    task = st.segmented_control(
        _("The switch to"), watched, default=st.session_state["switch"], key="switch", required=True,
        format_func=lambda k: f"T{k}",
    )  # fmt: skip
    steps = series.switch(config, task)
    live_plot(
        _figure(row.id, series.seq, config, task, len(series.tasks), language(), series), key="switch-figure",
        alt=_("Accuracy on every task seen, after each of the first {n} steps of task {k}. {dip}").format(
            n=row.spec.watch_switches, k=task, dip=_dip(steps, task)),
    )  # fmt: skip
    st.markdown(_dip(steps, task))
    for column, (name, (label, formula)) in zip(st.columns(2), _METRICS.items(), strict=True):
        value = series.way_metric(config, name)
        with column, st.container(key=f"tile-{name}"):
            st.metric(label(), spoken(value), border=True, help=_("Over the tasks trained so far.") + " " + formula)
    st.caption(
        n_("Each of the first {n} step of a task is evaluated, later ones about {points} times a task, on up to {examples} "
           "test examples of a task. Between evaluations accuracy may have been lower: both numbers are upper bounds.",
           "Each of the first {n} steps of a task is evaluated, later ones about {points} times a task, on up to {examples} "
           "test examples of a task. Between evaluations accuracy may have been lower: both numbers are upper bounds.",
           row.spec.watch_switches, points=row.spec.live_points, examples=row.spec.live_examples)
    )  # fmt: skip
    with st.expander(_("Show as table"), icon=":material/table:", key="switch-table"):
        st.dataframe(switch_table(steps), hide_index=True, alt=_("Accuracy in percent after each of the first steps"))


@st.cache_data(show_spinner=False, max_entries=64)
def _figure(
    run_id: str, seq: int, config: Config, task: int, tasks: int, language: str, _series: Series
) -> dict[str, Any]:
    """Built once per event, whoever looks."""
    return switch_figure(_series.switch(config, task), task, tasks, revision=run_id, height=HEIGHT)


def switch_table(steps: pd.DataFrame) -> pd.DataFrame:
    """The chart's numbers, in percent."""
    return steps.assign(**{c: (100 * steps[c].astype(float)).round(2) for c in ("mean", "low", "high")})


def _dip(steps: pd.DataFrame, task: int) -> str:
    """How far the old tasks fell together within the steps watched, and where they stood at their end."""
    old = steps[steps["task"] < task]
    means = old.groupby("step")["mean"].mean() if old["mean"].notna().all() else pd.Series(dtype=float)
    if len(means) < 2 or 0 not in means.index:
        return _("No sentence yet: the old tasks have no complete numbers here.")
    before, lowest, last = means.loc[0], means.min(), means.iloc[-1]
    return _(
        "On average over the old tasks: {before:.1f} % before the switch, {lowest:.1f} % at the lowest, after step {at}, and "
        "{last:.1f} % after step {end}."
    ).format(before=100 * before, lowest=100 * lowest, at=int(means.idxmin()), last=100 * last, end=int(means.index[-1]))

