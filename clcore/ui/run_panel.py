"""One run of an experiment: its curves, its state and its result; and its empty axes before anything has run."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import pandas as pd
import streamlit as st

from clcore.charts.per_task import per_task_figure
from clcore.frames import COLUMNS, Config, Series
from clcore.spec import RunSpec
from clcore.store import RunRow
from clcore.text import language
from clcore.ui import states
from clcore.ui.explanation import spoken
from clcore.ui.live_plot import Written, live_plot, written
from clcore.ui.proof import proof_badge
from clcore.ui.run_words import config_words, headline, method_title, planned_tasks, signed
from clcore.ui.text import _

PANEL_HEIGHT = 300


def panel_grid(things: Sequence[Any]) -> Iterator[tuple[Any, Any]]:
    """(where to draw, what): three abreast where that fills the row, else two; one alone takes the width."""
    abreast = 3 if len(things) in (3, 5, 6) else min(len(things), 2)
    for i in range(0, len(things), abreast):
        yield from zip(st.columns(abreast), things[i : i + abreast], strict=False)


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


def setting_words(row: RunRow, series: Series) -> str:
    """The setting that a run shows, where it has one."""
    part = row.spec.method.swept_part
    return config_words(shown_config(row, series), part.strength.symbol if part else "")


def run_panel(row: RunRow, series: Series, place: int | None) -> None:
    """Its title, state, curves and result. `place`: in the queue."""
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
        curves(
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
    st.caption(" · ".join(filter(None, [note, result_line(series, config), _lost(series, config)])))
    proof_badge(series.verdicts(config))
    if series.started is not None and series.started.note:
        st.caption(series.started.note)


@st.cache_data(show_spinner=False, max_entries=256)
def curves(
    run_id: str,
    seq: int,
    config: Config,
    tasks: tuple[str, ...],
    position: float | None,
    x: str,
    epochs: float,
    language: str,
    blur: float | None,
    _series: Series,
) -> Written:
    """The figure of a run's curves: built once per event, whoever looks."""
    live, ends = _series.curves(config), _series.task_ends(config)
    return written(per_task_figure(
        live, ends, tasks, chance=_series.chance(), position=position, epochs=epochs, x=x, revision=run_id,
        height=PANEL_HEIGHT, blur=blur,
    ))  # fmt: skip


def stream_blur(spec: RunSpec) -> float | None:
    """How far the tasks of a stream without boundaries blend into their neighbours; None where tasks have boundaries."""
    if spec.scenario != "task-free":
        return None
    options = spec.benchmark_options
    return 0.0 if options.get("gradual") else options["blur"]


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


def _lost(series: Series, config: Config) -> str:
    """In which tasks networks diverged, where the curves end."""
    tasks = sorted({series.diverged[i][1].task for i in series.members(config) if i in series.diverged})
    return _("lost in {tasks}").format(tasks=", ".join(f"T{k}" for k in tasks)) if tasks else ""


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
