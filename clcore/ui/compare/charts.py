"""The comparison itself: curves, metrics, matrices, differences, settings, costs, and all configurations."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd
import streamlit as st

from clcore.comparison import AXES, METRICS, Group, incomparable_in, names, paired_differences
from clcore.export import figures, tables
from clcore.export.words import comparability, table_caption
from clcore.statistics import Difference
from clcore.ui.compare.choice import ENDS, LIVE, SMOOTHINGS, Names
from clcore.ui.compare.reported import ends_of
from clcore.ui.frame import series_of
from clcore.ui.live_plot import live_plot
from clcore.ui.text import _, n_


def show(found: Sequence[Group], labels: Names) -> None:
    """Draws the chosen groups."""
    if len(found) > 1:
        comparable, text = comparability(incomparable_in(found))
        icon = ":green[:material/check:]" if comparable else ":orange[:material/warning:]"
        st.markdown(f"{icon} {text}")
    _accuracy(found, labels)
    _metrics(found, labels)
    _matrices(found, labels)
    _differences(found, labels)
    _configuration(found, labels)
    _costs(found, labels)


def _accuracy(found: Sequence[Group], labels: Names) -> None:
    with st.container(horizontal=True, vertical_alignment="bottom", key="compare-view"):
        points = st.segmented_control(
            _("Points"), [ENDS, LIVE], default=st.session_state["points"], key="points", required=True,
            format_func={ENDS: _("ends of tasks"), LIVE: _("while training")}.get,
        )  # fmt: skip
        over = st.segmented_control(
            _("Over"), AXES, default=st.session_state["over"], key="over", required=True,
            format_func={"tasks": _("tasks"), "examples": _("examples"), "seconds": _("time")}.get,
        )  # fmt: skip
        smoothing = st.session_state["smooth"] = st.session_state.get("smooth", SMOOTHINGS[0])  # also while it is not drawn
        if points == LIVE:
            smoothing = st.select_slider(
                _("Smoothing"), SMOOTHINGS, smoothing, key="smooth", width=170, format_func=lambda w: f"{w:g}",
                help=_("Weight of the past in an exponential moving average of each seed's curve."),
            )  # fmt: skip
        seeds = st.toggle(_("seeds"), st.session_state["lines"], key="lines")
        band = st.toggle(_("95 % bands"), st.session_state["bands"], key="bands")
    left, right = st.columns(2)
    with left, st.container(border=True, height="stretch", key="averages"):
        st.markdown(f"**{_('Average accuracy over the tasks seen')}**")
        ends = {} if over == AXES[0] else {group.newest.id: ends_of(group.newest) for group in found}
        figure, frame = figures.averages(
            found, labels, series=series_of if points == LIVE else None, smoothing=smoothing if points == LIVE else 0.0,
            axis=over, ends=ends, seeds=seeds, band=band, revision="averages",
        )  # fmt: skip
        live_plot(figure, "averages-figure", alt=_("Average accuracy over the tasks seen so far, a line per group."))
        st.caption(" ".join(_curve_notes(found, labels, frame, points, over, smoothing)))
        _as_table(frame, "averages")
    with right, st.container(border=True, height="stretch", key="finals"):
        st.markdown(f"**{_('Accuracy on each task at the end')}**")
        figure, frame = figures.finals(found, labels, seeds=seeds, revision="finals")
        live_plot(figure, "finals-figure", alt=_("Accuracy on each task at the end, a marker per group."))
        st.caption(figures.caption(found) + " " + _("Small dots are seeds."))
        _as_table(frame, "finals")


def _curve_notes(
    found: Sequence[Group], labels: Names, frame: pd.DataFrame, points: str, over: str, smoothing: float
) -> list[str]:
    notes = [figures.caption(found)]
    notes.append(_("Evaluated on a part of the test data.") if points == LIVE else _("All test data."))
    if points == LIVE and smoothing:
        notes.append(_("Smoothed with weight {w}: the table has the numbers as drawn.").format(w=f"{smoothing:g}"))
    if over == "examples":
        notes.append(_("Examples of the stream that one network has trained on, replayed ones not counted."))
    elif over == "seconds":
        notes.append(_("Training without evaluation, all networks of the group's newest run side by side; on another device, "
                       "or with more networks at once, the same training takes another time."))  # fmt: skip
    if missing := [label for label in labels if label not in set(frame["group"])]:
        notes.append(_("Not drawn, since the run does not tell: {names}.").format(names=", ".join(missing)))
    return notes


def show_configurations(found: Sequence[Group]) -> None:
    """All groups, also those switched off, as lines over what was chosen and what came of it."""
    drawn = figures.configurations(found, names(found), revision="configurations")
    if drawn is None:
        return
    figure, frame = drawn
    st.markdown(f"## {_('Configurations')}")
    with st.container(border=True, key="configurations"):
        live_plot(
            figure, "configurations-figure",
            alt=_("Parallel coordinates of {n} configurations: what was chosen, and what came of it.").format(n=len(frame)),
        )  # fmt: skip
        notes = [_("A line is a configuration, means over its seeds; the stronger, the higher its average accuracy. Markers "
                   "are those of the methods.")]  # fmt: skip
        if lost := len(found) - len(frame):
            notes.append(n_("{n} group is not drawn, because a seed diverged.",
                            "{n} groups are not drawn, because a seed diverged.", lost))  # fmt: skip
        if incomparable_in(found):
            notes.append(_("Only lines through the same letter of “Alike” may be ranked."))
        st.caption(" ".join(notes))
        _as_table(frame, "configurations")


def _metrics(found: Sequence[Group], labels: Names) -> None:
    st.markdown(f"## {_('Metrics')}")
    with st.container(key="metrics-table"):
        st.table(_written(tables.metrics_table(found, labels)), hide_index=True, border="horizontal",
                 alt=_("Metrics of every group with their intervals"))  # fmt: skip
    st.caption(table_caption(found))


def _written(table: tables.Table) -> pd.DataFrame:
    """A table in Markdown: the best in bold, or in words what is not separated from it."""

    def write(cell: tables.Cell) -> str:
        if cell.mark == "best":
            return f"**{cell.text}**"
        note = {"unseparated": _("not sep."), "untested": _("best mean, untested")}.get(cell.mark)
        return f"{cell.text} *{note}*" if note else cell.text

    return pd.DataFrame(table.map(write), columns=list(table.heads))


def _matrices(found: Sequence[Group], labels: Names) -> None:
    st.markdown(f"## {_('Accuracy matrices')}")
    abreast, frames = (len(found) if len(found) < 4 else 4 if len(found) in (4, 7, 8) else 3), []
    for i in range(0, len(found), abreast):
        for column, group, label in zip(
            st.columns(abreast), found[i : i + abreast], labels[i : i + abreast], strict=False
        ):
            with column, st.container(border=True, height="stretch", key=f"matrix-{group.key}"):
                st.markdown(f"**{label}**")
                figure, frame = figures.matrix(group)
                live_plot(
                    figure, f"matrix-figure-{group.key}", alt=_("Accuracy matrix of {group}.").format(group=label)
                )
                frames.append(frame.assign(group=label))
    st.caption(_("All on the same scale, 0 to 100 %; means over the seeds."))
    _as_table(pd.concat(frames, ignore_index=True), "matrices")


def _differences(found: Sequence[Group], labels: Names) -> None:
    """Cell by cell for two groups, and in one metric for every pair."""
    if len(found) < 2:
        return
    st.markdown(f"## {_('Differences')}")
    left, right = st.columns(2)
    with left, st.container(border=True, height="stretch", key="difference"):
        _difference_matrix(found, labels)
    with right, st.container(border=True, height="stretch", key="forest"):
        metric, corrected = _forest(found, labels)
    if corrected:
        table = tables.difference_table(corrected, labels, found)
        with st.container(key="differences-table"):
            st.table(
                _written(table), hide_index=True, border="horizontal",
                alt=_("Paired differences in {metric}, a row per pair").format(metric=tables.metric_title(metric)),
            )  # fmt: skip
        st.caption(_pair_words(corrected))


def _difference_matrix(found: Sequence[Group], labels: Names) -> None:
    written = dict(zip([group.key for group in found], labels, strict=True))
    by_key = {group.key: group for group in found}
    keys = list(written)
    usual = {"first": keys[1], "second": keys[0]}
    picked = {}
    for column, key in zip(st.columns(2), usual, strict=True):
        wanted = st.session_state.get(f"compare-{key}")
        picked[key] = column.selectbox(
            _("Cell by cell") if key == "first" else _("minus"), keys,
            index=keys.index(wanted if wanted in keys else usual[key]),
            key=f"pick-{key}", format_func=written.get, on_change=_keep, args=(key,),
        )  # fmt: skip
    ours, theirs = by_key[picked["first"]], by_key[picked["second"]]
    figure, frame = figures.difference_matrix(ours, theirs)
    if ours is theirs:
        st.caption(_("Choose two different groups."))
    elif ours.stream != theirs.stream:
        st.info(
            _("These groups learned different streams: their cells are not about the same data."),
            icon=":material/not_interested:",
        )
    elif frame.empty:
        st.info(_("These groups share no seed."), icon=":material/not_interested:")
    else:
        live_plot(figure, "difference-figure", alt=_("Difference of the two accuracy matrices in points."))
        st.caption(
            n_("{n} shared seed; blue: the first is higher, orange: the second, no colour: no difference.",
               "{n} shared seeds; blue: the first is higher, orange: the second, no colour: no difference.",
               int(frame["n"].max()))
        )  # fmt: skip
        _as_table(frame, "difference")


def _forest(found: Sequence[Group], labels: Names) -> tuple[str, list[Difference]]:
    metric = st.selectbox(_("Every pair, in one metric"), METRICS, METRICS.index(st.session_state["metric"]), key="metric",
                          format_func=tables.metric_title)
    corrected = paired_differences(found, metric)
    drawn = [d for d in corrected if d.mean is not None]
    if drawn:
        live_plot(
            figures.forest(drawn, labels, revision=metric), "forest-figure",
            alt=_("Paired differences in {metric} with their intervals.").format(metric=tables.metric_title(metric)),
        )  # fmt: skip
    else:
        st.caption(_("No two groups on the same stream share a seed with a number in this metric."))
    return metric, corrected


def _keep(key: str) -> None:
    st.session_state[f"compare-{key}"] = st.session_state[f"pick-{key}"]


def _pair_words(corrected: Sequence[Difference]) -> str:
    n = sum(d.p is not None for d in corrected)
    return (
        _("A seed gives both groups the same stream, initial weights and batch order, so differences are taken seed by seed.")
        + " "
        + n_("95 % t-interval of one pair; p after Holm's correction over {n} pair. Filled: clear after it.",
             "95 % t-interval of each pair; p after Holm's correction over {n} pairs. Filled: clear after it.", n)
    )  # fmt: skip


def _configuration(found: Sequence[Group], labels: Names) -> None:
    st.markdown(f"## {_('How they differ')}")
    differing = tables.card_cells(found, labels, differing=True)
    with st.container(key="config-diff"):
        if differing.rows:
            st.table(
                _written(differing), hide_index=True, border="horizontal", alt=_("Settings in which the groups differ")
            )
        else:
            st.caption(_("In nothing: one group, or the same settings."))
    with st.expander(_("Run card: everything that decides these numbers"), icon=":material/id_card:"):
        st.table(_written(tables.card_cells(found, labels)), hide_index=True, border="horizontal",
                 alt=_("All settings of every group"))  # fmt: skip


def _costs(found: Sequence[Group], labels: Names) -> None:
    seconds = {group.newest.id: ends_of(group.newest).seconds for group in found}
    memory = figures.memory_growth(found, labels, revision="memory")
    time = figures.time_growth(found, labels, seconds, revision="time")
    shown = [
        (memory, "memory", _("Memory of one network after each task"),
         _("Everything charged: parameters and all that the method keeps; of the seeds, the largest.")),
        (time, "time", _("Training time of the run"),
         _("Wall clock without evaluation, all networks of the run side by side; the newest run of each group.")),
    ]  # fmt: skip
    if not (memory or time):
        return
    st.markdown(f"## {_('Cost')}")
    for column, (drawn, key, heading, note) in zip(st.columns(2), [s for s in shown if s[0]], strict=False):
        with column, st.container(border=True, height="stretch", key=f"cost-{key}"):
            st.markdown(f"**{heading}**")
            figure, frame = drawn
            live_plot(figure, f"{key}-figure", alt=heading)
            st.caption(note)
            _as_table(frame, key)


def _as_table(frame: pd.DataFrame, key: str) -> None:
    """The numbers of the chart above, in percent where they are accuracies."""
    with st.expander(_("Show as table"), icon=":material/table:", key=f"table-{key}", type="compact"):
        st.dataframe(frame, hide_index=True, alt=_("The numbers of the chart"), key=f"numbers-{key}")
        st.download_button(
            _("Download as CSV"), lambda: frame.to_csv(index=False), file_name=f"{key}.csv", mime="text/csv",
            on_click="ignore", icon=":material/download:", key=f"csv-{key}",
        )  # fmt: skip
