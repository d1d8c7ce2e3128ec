"""One configuration of the Trade-off page looked at more closely: its matrix, its numbers, its runs."""

from __future__ import annotations

from typing import Any

import streamlit as st

from clcore.accounting import readable_bytes, readable_count
from clcore.charts.matrix import matrix_figure
from clcore.charts.tradeoff import ratio_words
from clcore.frames import Config
from clcore.outcomes import Outcome, matrix
from clcore.ui import states
from clcore.ui.frame import series_of, the_store
from clcore.ui.history import open_in_lab
from clcore.ui.live_plot import live_plot
from clcore.ui.text import _, n_
from clcore.ui.tradeoff.choice import Shown
from clcore.ui.tradeoff.fold import Folded
from clcore.ui.tradeoff.tables import percent_words, spread_of

RUNS = "pages/results/runs.py"
MOST_RUNS = 6


def closer(shown: Shown, fold: Folded) -> None:
    """The configuration that was clicked, or chosen by name."""
    rows = fold.rows
    wanted = st.session_state.get("point") or ""
    if wanted and wanted not in rows:
        st.caption(_("There is no configuration '{name}' among these results.").format(name=wanted))
        st.session_state["point"] = wanted = ""
    st.session_state.setdefault("point", "")
    names = ["", *rows]
    st.selectbox(
        _("Look closer at a configuration: click a point, or choose it here"), names, names.index(wanted), key="point",
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
        value = spread_of(row, name)
        shown = _("{k} of {n} diverged").format(k=row.diverged, n=row.total) if row.diverged else percent_words(value)
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
