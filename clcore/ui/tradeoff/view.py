"""The view of the Trade-off page: draws the charts, and looks again while something trains."""

from __future__ import annotations

import streamlit as st

from clcore.ui import states
from clcore.ui.frame import the_store, wake_runner
from clcore.ui.running import POLL_SECONDS, method_title
from clcore.ui.sweep_builder import builder_controls, builder_params
from clcore.ui.text import n_
from clcore.ui.tradeoff import charts
from clcore.ui.tradeoff.choice import COMPUTE, Shown, read_outcomes, under
from clcore.ui.tradeoff.closer import closer
from clcore.ui.tradeoff.fold import folded
from clcore.ui.url import publish


def tradeoff_view(shown: Shown) -> None:
    """Draws the charts; polls while a run of the selection is live, then one full run ends that."""
    seen = _signature(shown)
    if shown.live:
        wake_runner()

    @st.fragment(run_every=POLL_SECONDS if shown.live else None, key="tradeoff-live")
    def live() -> None:
        now = shown
        if shown.live:
            found = read_outcomes(the_store(), shown.benchmark, shown.scenario)
            now = under(found, shown.benchmark, shown.scenario, shown.conditions)
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
            **builder_params(),
        },
        controls=builder_controls(),
    )


def _draw(shown: Shown) -> None:
    with st.container(key="tradeoff-status"):
        _status(shown)
    fold = folded(shown)
    if fold.frame.empty:
        st.skeleton(height=520)
        return
    with st.container(border=True, key="plane"):
        charts.plane(shown, fold)
    with st.container(key="closer"):
        closer(shown, fold)
    left, right = st.columns(2, gap="small")
    with left, st.container(border=True, height="stretch", key="memory-chart"):
        charts.memory(shown, fold)
    with right, st.container(border=True, height="stretch", key="compute-chart"):
        charts.compute(shown, fold)
    if fold.swept:
        with st.container(border=True, key="strength-chart"):
            charts.strength(shown, fold)
    charts.configurations(shown, fold)


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
