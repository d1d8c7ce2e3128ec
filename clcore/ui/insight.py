"""What a method knows, drawn: what it reports of itself, what it calls a few examples, and how it divides a plane."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import streamlit as st

from clcore.charts.answers import FORGOTTEN, Asked, answers_figure
from clcore.charts.arrays import Drawn
from clcore.charts.kinds import SATELLITES, Reading, kind_of, parted
from clcore.charts.regions import moment_words, regions_figure, regions_table, right_counts
from clcore.frames import Config, Series
from clcore.insights import Plane, extent, image_of, thinned_moments
from clcore.store import RunRow
from clcore.text import language
from clcore.ui.live_plot import live_plot
from clcore.ui.replay import replay_clock
from clcore.ui.text import _, n_

FILM_MOMENTS = 36
FILM_CLOCK = "film"
NEWEST = "newest"
NAMED_IN_WORDS = 3


# ---- decision regions -----------------------------------------------------------------------------------------------


def has_regions(series: Series) -> bool:
    return series.insights.bounds is not None


def regions_note() -> str:
    """What all maps of an experiment share."""
    return _(
        "Every point of the plane in the colour of the class that the network answers there, with a line where the answer "
        "changes. Watch the line turn for a new task and leave the old ones on the wrong side: **crosses** are training points "
        "of tasks met so far that the map gets wrong, faint points belong to tasks that are still to come."
    )


def regions_clock(rows: Sequence[RunRow], series: Sequence[Series]) -> None:
    """The controls of all films of an experiment; a place kept free while a run is live and shows its newest map."""
    with st.container(key="film"):
        if not all(row.live for row in rows):
            replay_clock(FILM_CLOCK, tasks=max(len(one.tasks) for one in series), key="film-clock", waits=True)


def regions_panel(row: RunRow, series: Series, config: Config, title: str, setting: str) -> None:
    """One run's map: the newest while it trains, afterwards a film of all."""
    st.markdown(f"**{title}**")
    figure, counts, moment = _regions(row.id, series.insights.version, config, not row.live, language(), series)
    if figure is None:
        st.caption(_("No map for this setting."))
        return
    said = [
        _("T{j} {right} of {n}").format(j=j, right=right, n=n)
        for j, (right, n) in ((j, c) for j, c in enumerate(counts, start=1) if c is not None)
    ]
    words = _("{moment}, points on the right side: {counts}").format(moment=moment, counts=", ".join(said) or "–")
    live_plot(
        figure, key=f"regions-{row.id}", clock=None if row.live else FILM_CLOCK,
        alt=_("Decision regions of {method}. {words}").format(method=title, words=words),
    )  # fmt: skip
    seed = series.seeds(config)[0]
    note = _("seed {seed}").format(seed=seed)
    st.caption(" · ".join(filter(None, [setting, note, words])))


@st.cache_data(show_spinner=False, max_entries=64)
def _regions(
    run_id: str, version: int, config: Config, film: bool, language: str, _series: Series
) -> tuple[dict[str, Any] | None, list[tuple[int, int] | None], str]:
    """The figure, the counts under it and its moment; built once for all who look, and anew when a picture comes."""
    planes = _planes(_series, config)
    if not planes:
        return None, [], ""
    insights, units = _series.insights, _series.started.units
    revision = f"{run_id}/regions/{film}"
    shown = thinned_moments(planes, FILM_MOMENTS) if film else planes[-1:]
    figure = regions_figure(shown, insights.points, insights.bounds, units, film=film, revision=revision)
    counts = right_counts(planes[-1], insights.points, insights.bounds)
    met = [c if j < planes[-1].task else None for j, c in enumerate(counts)]
    return figure, met, moment_words(planes[-1])


def _planes(series: Series, config: Config) -> list[Plane]:
    planes = series.insights.planes(series.members(config))
    panels = max((len(p.maps) for p in planes), default=1)
    return [p if len(p.maps) == panels else Plane(p.task, p.position, p.maps * panels) for p in planes]


def regions_tables(rows: Sequence[tuple[RunRow, Series, Config, str]]) -> None:
    """The numbers of the maps, run by run."""
    with st.expander(_("Show as table"), icon=":material/table:", key="regions-table", on_change="rerun") as box:
        if box.open:
            for _row, series, config, title in rows:
                st.markdown(f"**{title}**")
                planes = thinned_moments(_planes(series, config), FILM_MOMENTS)
                table = regions_table(planes, series.insights.points, series.insights.bounds)
                alt = _("{title}: points on the right side at each moment").format(title=title)
                st.dataframe(table, hide_index=True, alt=alt)


# ---- a run's inside -------------------------------------------------------------------------------------------------


def look_inside(row: RunRow, series: Series, config: Config, title: str, setting: str) -> None:
    """A drawer with the pictures of the run looked at; built only while it is open."""
    with st.expander(_("Look inside"), icon=":material/frame_inspect:", key="inside", on_change="rerun") as drawer:
        if not drawer.open:
            return
        st.markdown(f"**{title}**")
        names = [name for name in series.insights.names if parted(name)[1] not in SATELLITES]
        asked = _asked(series, config)
        if not names and not asked:
            _nothing_yet(row)
            return
        chosen, averaged = _choices(series, config, one=all(kind_of(name).single for name in names))
        if asked:
            _answers(row, series, config, asked, setting)
        for i in range(0, len(names), 2):
            for column, name in zip(st.columns(2, gap="medium"), names[i : i + 2], strict=False):
                with column, st.container(border=True, key=f"inside-{_css(name)}"):
                    _picture(row, series, config, name, chosen, averaged, setting)
        if not names:
            st.caption(_("This method reports nothing of itself but its answers: it keeps nothing beside the network."))


def _nothing_yet(row: RunRow) -> None:
    if row.live:
        st.caption(_("The first pictures come when the first task has been learned."))
    else:
        st.caption(
            _("This run has no pictures: it ended before its first task did, or an older version of the program made it.")
        )


def _choices(series: Series, config: Config, *, one: bool) -> tuple[int, bool]:
    """After which task, and whether over all seeds. The newest task goes along with a live run.

    `one`: all pictures are of one network, so there is nothing to choose.
    """
    T, members = len(series.tasks), series.members(config)
    with st.container(horizontal=True, vertical_alignment="bottom", key="inside-choices"):
        options: list[Any] = [*range(1, T + 1), NEWEST]
        after = st.select_slider(
            _("After task"), options, value=NEWEST, key="inside-after", width=320,
            format_func=lambda k: _("newest") if k == NEWEST else f"T{k}",
        )  # fmt: skip
        averaged = False
        if len(members) > 1 and not one:
            averaged = "mean" == st.segmented_control(
                _("Networks"), ["mean", "one"], default="mean", required=True, key="inside-networks",
                format_func={
                    "mean": n_("Mean of {n} seed", "Mean of {n} seeds", len(members)),
                    "one": _("Seed {seed}").format(seed=series.seeds(config)[0]),
                }.get,
            )  # fmt: skip
    return (T if after == NEWEST else int(after)), averaged


def _picture(
    row: RunRow, series: Series, config: Config, full: str, chosen: int, averaged: bool, setting: str
) -> None:  # fmt: skip
    kind, (part, _name, _number) = kind_of(full), parted(full)
    heading = kind.title()
    st.markdown(f"**{heading}**" + (f" :gray[{part}]" if part else ""))
    st.caption(kind.look())
    found = series.insights.tasks(full)
    replicas, notes = _networks(series, config, full, averaged and not kind.single)
    moments = [k for k in found if k <= chosen and series.insights.of(full, k, replicas)]
    if not moments:
        st.caption(_("Nothing was reported by the end of T{k}.").format(k=chosen))
        return
    task = moments[-1]
    drawn = _drawn(row.id, series.insights.version, full, task, tuple(replicas), language(), series)
    if len(replicas) > 1 and "error_y" in drawn.figure["data"][0]:
        notes.append(_("whiskers: their range") if len(replicas) == 2 else _("whiskers: 95 % t-interval"))
    live_plot(drawn.figure, key=f"inside-plot-{_css(full)}",
              alt=_("{title}, after T{k}, {networks}.").format(title=heading, k=task, networks=notes[0]))  # fmt: skip
    if task < min(chosen, series.finished_tasks or chosen):
        notes.append(_("reported last after T{k}").format(k=task))
    st.caption(" · ".join(filter(None, [_("after T{k}").format(k=task), setting, *notes])))
    with st.popover(_("Show as table"), icon=":material/table:", type="tertiary", key=f"inside-table-{_css(full)}"):
        st.dataframe(drawn.table, hide_index=True, alt=heading)
        st.download_button(
            _("Download as CSV"), lambda: drawn.table.to_csv(index=False), file_name=f"{row.id}-{full}-T{task}.csv",
            mime="text/csv", on_click="ignore", icon=":material/download:", key=f"inside-csv-{_css(full)}",
        )  # fmt: skip


def _networks(series: Series, config: Config, full: str, averaged: bool) -> tuple[list[int], list[str]]:
    """Which networks a picture shows, and the words for it."""
    reported = set(series.insights.replicas(full))
    members = [i for i in series.members(config) if i in reported]
    if not members:
        other = min(reported)
        info = series.started.replicas[other]
        where = f"{info.strength:g}" if info.strength is not None else f"{info.memory}"
        words = _("recorded for the first networks only: seed {seed}, setting {where}").format(seed=info.seed, where=where)
        return [other], [words]
    seed = _("seed {seed}").format(seed=series.started.replicas[members[0]].seed)
    if not averaged or len(series.members(config)) == 1:
        return members[:1], [seed]
    lost = series.diverged_in(config)
    if lost:
        n = len(series.members(config))
        return members[:1], [seed, _("no mean: {k} of {n} networks diverged").format(k=lost, n=n)]
    n = len(members)
    if n == 1:
        return members, [seed, _("recorded for the first networks only")]
    return members, [_("mean of {n} seeds").format(n=n)]


@st.cache_data(show_spinner=False, max_entries=256)
def _drawn(
    run_id: str, version: int, full: str, task: int, replicas: tuple[int, ...], language: str, _series: Series
) -> Drawn:
    """One picture: built once for all who look, and anew when a picture comes."""
    kind, insights = kind_of(full), _series.insights
    history = _history(_series, full, replicas)
    floor, peak = extent(history)
    prefix = full.rpartition(".")[0]
    beside = {
        parted(name)[1]: np.stack(list(rows.values()))
        for name in insights.names
        if name != full and name.rpartition(".")[0] == prefix and (rows := insights.of(name, task, replicas))
    }
    reading = Reading(
        name=full, task=task, history={k: v for k, v in history.items() if k <= task}, tasks=_series.tasks,
        units=_series.started.units, floor=floor, peak=peak, beside=beside, revision=f"{run_id}/{full}",
    )  # fmt: skip
    return kind.draw(reading)


def _history(series: Series, full: str, replicas: Sequence[int]) -> dict[int, np.ndarray]:
    found = {}
    for k in series.insights.tasks(full):
        rows = list(series.insights.of(full, k, replicas).values())
        if rows:
            found[k] = np.stack(rows)
    return found


# ---- examples -------------------------------------------------------------------------------------------------------


def _asked(series: Series, config: Config) -> list[Asked]:
    """The fixed examples with what this setting's first network called them."""
    answers = series.insights.answers(series.members(config))
    if not answers or not series.insights.examples:
        return []
    return [
        Asked(one.task, one.label, image_of(one), {named.task: named.called[i] for named in answers})
        for i, one in enumerate(series.insights.examples)
    ]


def _answers(row: RunRow, series: Series, config: Config, asked: Sequence[Asked], setting: str) -> None:
    k = series.finished_tasks
    with st.container(border=True, key="inside-answers"):
        st.markdown(f"**{_('What the network calls these test examples')}**")
        st.caption(
            _("A row a task, read downwards: ✓ right, ✗ forgotten (it was right once its task was learned), "
              "○ not learned, · its task has not been met.")
        )  # fmt: skip
        drawn = answers_figure(asked, len(series.tasks), revision=f"{row.id}/answers")
        words = answers_words(asked, k)
        live_plot(drawn.figure, key="inside-plot-answers", alt=words)
        seed = _("seed {seed}").format(seed=series.seeds(config)[0])
        st.caption(" · ".join(filter(None, [setting, seed, words])))
        with st.popover(_("Show as table"), icon=":material/table:", type="tertiary", key="inside-table-answers"):
            st.dataframe(drawn.table, hide_index=True, alt=_("What the network calls the examples after each task"))


def answers_words(asked: Sequence[Asked], after: int) -> str:
    """The forgotten examples in a sentence each."""
    if after < 1:
        return _("No task has been finished yet.")
    gone = [one for one in asked if one.mark(after) == FORGOTTEN]
    if not gone:
        return _("After T{k} none of the examples learned so far has been forgotten.").format(k=after)
    said = [
        _("This {label} of T{task} is now called {name}.").format(label=one.label, task=one.task, name=one.called[after])
        for one in gone[:NAMED_IN_WORDS]
    ]
    if len(gone) > NAMED_IN_WORDS:
        said.append(n_("{n} more is forgotten.", "{n} more are forgotten.", len(gone) - NAMED_IN_WORDS))
    return " ".join(said)


def _css(name: str) -> str:
    return name.replace(".", "-").replace("_", "-").replace("+", "-")
