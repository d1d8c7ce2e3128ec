"""Before anything has run: the Lab's first experiment as it was recorded, replayed."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd
import streamlit as st

from clcore.demonstrations.recorded import Recorded, recorded
from clcore.frames import Series
from clcore.spec import RunSpec
from clcore.text import language
from clcore.ui.live_plot import live_plot
from clcore.ui.replay import replay_clock
from clcore.ui.run_details import percent_table
from clcore.ui.run_panel import curves, panel_grid, result_line
from clcore.ui.run_words import config_words, headline, method_title
from clcore.ui.text import _

CLOCK = "recorded"


def recorded_view(specs: Sequence[RunSpec]) -> bool:
    """Replays the recording if it is of exactly the runs that the controls ask for; returns whether it is."""
    shown = recorded()
    if not shown.answers(specs):
        return False
    tasks = len(shown.runs[0][1].tasks)
    with st.container(horizontal=True, vertical_alignment="center", key="status"):
        st.badge(_("recorded"), icon=":material/history:", color="violet")
        st.markdown(f"**{headline([spec for spec, _series in shown.runs])}**", width="content")
        st.caption(_("This is a recording. Press **Run** to train these networks yourself."), width="content")
    replay_clock(CLOCK, tasks=tasks, key="clock")
    with st.container(key="panels"):
        for column, i in panel_grid(range(len(shown.runs))):
            with column, st.container(border=True, height="stretch", key=f"recorded-{i}"):
                _panel(*shown.runs[i], key=f"recording-{i}")
    with st.expander(_("Show as table"), icon=":material/table:", key="recorded-table"):
        percent_table(_matrices(shown), "recorded", _("Accuracy after each task on each task, in percent"))
    with st.expander(_("Where this recording comes from"), icon=":material/info:", key="recorded-origin"):
        versions = ", ".join(f"{name} {version}" for name, version in shown.versions.items())
        st.caption(_("Trained by this program ({versions}). This command trains it again:").format(
            versions=versions))  # fmt: skip
        st.code(shown.command, language=None, wrap_lines=True)
    return True


def _panel(spec: RunSpec, series: Series, *, key: str) -> None:
    config = series.configs[0]
    st.markdown(f"**{method_title(spec.method.name)}**", help=" ".join(card.summary for card in spec.method.cards))
    result = result_line(series, config)
    live_plot(
        curves(
            series.run_id, series.seq, config, tuple(series.tasks), 0.0, "tasks", series.started.epochs, language(),
            None, series,
        ),
        key=key, clock=CLOCK,
        alt=_("Recorded accuracy of {method} on each task while it learns one after the other. {result}").format(
            method=method_title(spec.method.name), result=result
        ),
    )  # fmt: skip
    part = spec.method.swept_part
    words = config_words(config, part.strength.symbol if part else "")
    st.caption(" · ".join(filter(None, [words, _("at the end: {result}").format(result=result)])))


def _matrices(shown: Recorded) -> pd.DataFrame:
    frames = []
    for spec, series in shown.runs:
        frames.append(series.matrix(series.configs[0]).assign(method=method_title(spec.method.name)))
    return pd.concat(frames, ignore_index=True)[["method", *frames[0].columns.drop("method")]]
