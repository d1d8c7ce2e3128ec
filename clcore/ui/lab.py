"""The Lab's actions: run what the controls ask for, and steer what is running."""

from __future__ import annotations

from collections.abc import Sequence
from urllib.parse import urlencode

import streamlit as st

from clcore.errors import LabError, RequestError
from clcore.spec import RunSpec
from clcore.store import RunRow, Store
from clcore.ui.classroom import may_steer, queue_runs
from clcore.ui.controls import link_params
from clcore.ui.earlier import estimated_seconds, finished_before, measured_seconds
from clcore.ui.frame import wake_runner
from clcore.ui.links import link_of
from clcore.ui.running import wishes
from clcore.ui.shortcut import from_pills_too
from clcore.ui.states import duration
from clcore.ui.text import _, n_
from clcore.ui.url import written


def action_row(store: Store, specs: Sequence[RunSpec], rows: Sequence[RunRow]) -> None:
    """Run, and what can be wished of the experiment shown. No `specs`: the controls ask for the impossible."""
    can = wishes(rows if may_steer(rows) else ())
    refused = ""
    with st.container(horizontal=True, vertical_alignment="center", key="actions"):
        if st.button(
            _("Run"), type="primary", icon=":material/play_arrow:", shortcut="Ctrl+Enter", key="run", disabled=not specs
        ):
            try:
                start(store, specs)
            except RequestError as error:
                refused = str(error)
        if rows:
            _wish_buttons(store, can)
            link = _settings_of(rows)
            st.button(
                _("Clone"), icon=":material/content_copy:", key="clone", on_click=_clone, args=(link,), disabled=not link,
                help=_("Sets the controls to what this experiment was asked for, to change something and run it again."),
            )  # fmt: skip
        _link()
        from_pills_too("run")
    with st.container(horizontal=True, vertical_alignment="center", key="plan"):  # a row of its own: its words come and go
        if specs:
            _plan(store, specs, rows)
    with st.container(key="refusal"):  # always there: what comes and goes above a chart would draw it anew
        if refused:
            st.warning(refused, title=_("These runs were not queued"), icon=":material/front_hand:")


def _wish_buttons(store: Store, can: dict[str, list[str]]) -> None:
    if can["resume"]:
        held = can["resume"]
        st.button(_("Resume"), icon=":material/play_circle:", key="resume", on_click=_wish, args=(store, held, None))
    else:
        st.button(_("Pause"), icon=":material/pause:", key="pause", shortcut="Shift+P", disabled=not can["pause"],
                  on_click=_wish, args=(store, can["pause"], "pause"))  # fmt: skip
    st.button(_("Step"), icon=":material/skip_next:", key="step", disabled=not can["step"], on_click=_wish,
              args=(store, can["step"], "step"), help=_("Trains to the end of the task and pauses there."))  # fmt: skip
    st.button(_("Cancel"), icon=":material/stop:", key="cancel", shortcut="Shift+X", disabled=not can["cancel"],
              on_click=_wish, args=(store, can["cancel"], "cancel"))  # fmt: skip


def _settings_of(rows: Sequence[RunRow]) -> dict[str, list[str]]:
    """The link to an experiment with its settings in the controls; empty where those no longer exist."""
    try:
        return {**link_of([row.spec for row in rows]), "x": [rows[0].experiment]}
    except LabError:
        return {}


def _clone(link: dict[str, list[str]]) -> None:
    st.query_params.from_dict(link)


def _link() -> None:
    """The address of the page as it stands, to copy."""
    with st.popover(_("Link"), icon=":material/link:", key="link", width="content"):
        st.caption(_("Opens these controls and, where one is shown, this experiment on this server."))
        query = {name: written(value) for name, value in link_params().items() if value is not None}
        address = (st.context.url or "").split("?")[0]
        st.code(f"{address}?{urlencode(query, doseq=True)}" if query else address, language=None, wrap_lines=True)


def start(store: Store, specs: Sequence[RunSpec]) -> None:
    """Queues the runs as one experiment, wakes the runner and shows it. Raises RequestError, StoreError, LabError."""
    st.query_params["x"] = queue(store, specs)
    st.rerun()


def queue(store: Store, specs: Sequence[RunSpec]) -> str:
    """Queues the runs as one experiment and wakes the runner; returns the experiment. Raises as `queue_runs`."""
    ids = queue_runs(store, specs)
    wake_runner()
    return store.run(ids[0]).experiment


def _show(experiment: str) -> None:
    st.query_params["x"] = experiment


def _wish(store: Store, run_ids: Sequence[str], want: str | None) -> None:
    for run_id in run_ids:
        store.want(run_id, want)


def _plan(store: Store, specs: Sequence[RunSpec], rows: Sequence[RunRow]) -> None:
    """What Run would start; the time that exactly these settings took before, and the way to that result."""
    networks = sum(len(spec.replicas) for spec in specs)
    plan = n_("{n} run", "{n} runs", len(specs)) + ", " + n_("{n} network", "{n} networks", networks)
    earlier = finished_before(store, specs)
    took = measured_seconds(earlier) if earlier else None
    if took is not None:
        plan += " · " + _("took {time} before").format(time=duration(took))
    elif (seconds := estimated_seconds(store, specs)) is not None:
        plan += " · " + _("estimated {time} or less").format(time=duration(seconds))
    st.caption(plan, width="content")
    experiments = {row.experiment for row in earlier}
    if len(experiments) == 1 and experiments.isdisjoint(row.experiment for row in rows):
        st.button(_("Show that result"), type="tertiary", key="show-earlier", on_click=_show, args=(experiments.pop(),))
