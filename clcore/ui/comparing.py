"""Compare: settings side by side, seed by seed, with what keeps them from being compared."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any

import pandas as pd
import streamlit as st

from clcore import report as rows_report
from clcore.catalogue import scenario_word
from clcore.comparison import (
    AXES,
    METRICS,
    MOST,
    Ends,
    Group,
    groups,
    incomparable_in,
    names,
    paired_differences,
    task_ends,
)
from clcore.errors import LabError, UnknownName
from clcore.events import RunStarted
from clcore.export import figures, tables
from clcore.export.html import report
from clcore.export.words import comparability, table_caption
from clcore.settings import settings
from clcore.statistics import Difference
from clcore.store import RunRow, Store
from clcore.text import in_this_language
from clcore.ui.frame import series_of, the_store
from clcore.ui.live_plot import live_plot
from clcore.ui.running import headline, method_title
from clcore.ui.states import face
from clcore.ui.text import _, n_
from clcore.ui.url import Query, adopt, publish, read, unknown, warn

LAB, PAGE = "pages/lab/lab.py", "pages/results/compare.py"
NEWEST = 200  # runs offered in the list
POLL_SECONDS = 2.0
ENDS, LIVE = "ends", "training"
SMOOTHINGS = (0.0, 0.3, 0.5, 0.7, 0.8, 0.9)
DEFAULTS: dict[str, Any] = {
    "points": ENDS, "over": AXES[0], "smooth": SMOOTHINGS[0], "lines": True, "bands": True, "metric": "acc",
}  # fmt: skip
ALLOWED = {"points": (ENDS, LIVE), "over": AXES, "smooth": SMOOTHINGS, "metric": METRICS}
Names = Sequence[str]


# ---- which runs -----------------------------------------------------------------------------------------------------


def compare_page(store: Store) -> None:
    """The whole page."""
    adopt("compare", "runs", lambda query: _values_of(store, query))
    head = st.container(horizontal=True, vertical_alignment="center", key="compare-head")
    with head:
        st.title(_("Compare"), anchor=False)
        rows = _chosen_runs(store)
    warn(st.session_state.get("compare-problems", ()))
    if not rows:
        publish("compare", {"runs": None})
        _nothing_chosen(store)
        return
    _watch(rows)
    found = groups(rows, {row.id: plan for row in rows if (plan := _plan(row))})
    if not found:
        publish("compare", {"runs": ",".join(row.id for row in rows)})
        if not any(row.live for row in rows):
            st.info(_("None of these runs has a result. Choose finished ones."), icon=":material/hourglass_disabled:")
        return
    labels = names(found)
    shown, shown_names = _chips(found, labels)
    _publish(rows, found, shown)
    if not shown:
        st.info(_("Every group is switched off. Press one above."), icon=":material/visibility_off:")
        return
    with head, st.popover(_("Export"), icon=":material/download:", key="compare-export", width="content"):
        _exports(shown, shown_names)
    _show(shown, shown_names)
    _configurations(found)


def _values_of(store: Store, query: Query) -> dict[str, Any]:
    """The controls' values under a link; what cannot be used is told once."""
    problems: list[str] = []
    wanted = [name.strip() for text in query.get("runs", []) for name in text.split(",") if name.strip()]
    ids: list[str] = []
    for name in dict.fromkeys(wanted):
        try:
            ids.append(store.run(name).id)
        except UnknownName:
            problems.append(_("There is no run `{name}` here: it was deleted, or it lives in another database.").format(
                name=name.replace("`", "")))  # fmt: skip
        except LabError as error:
            problems.append(str(error))
    values = {"runs": list(dict.fromkeys(ids)), "compare-hide": query.get("hide", [""])[-1].split(",")}
    for key, default in DEFAULTS.items():
        try:
            values[key] = read(query[key], default, ALLOWED.get(key)) if key in query else default
        except LabError as error:
            problems.append(f"`{key}`: {error}")
            values[key] = default
    values |= {f"compare-{key}": query.get(key, [""])[-1] for key in ("first", "second")}
    problems += unknown(query, {"runs", "hide", "first", "second", *DEFAULTS})
    return values | {"compare-problems": problems, "compare-fresh": True}


def _chosen_runs(store: Store) -> list[RunRow]:
    """The list of runs, folded away; returns the chosen ones in the order in which they were chosen."""
    newest = {row.id: row for row in store.runs(states={"finished"}, limit=NEWEST)}
    for run_id in st.session_state.get("runs", ()):
        if run_id not in newest:
            try:
                newest[run_id] = store.run(run_id)
            except UnknownName:  # deleted meanwhile
                st.session_state["runs"] = [r for r in st.session_state["runs"] if r != run_id]
    with st.popover(_("Runs"), icon=":material/playlist_add:", key="compare-runs", width="content"):
        chosen = st.multiselect(
            _("Runs to compare"), list(newest), key="runs", format_func=lambda i: _run_words(newest[i]),
            placeholder=_("Choose finished runs"), help=_("Runs of one setting with other seeds become one group."),
        )  # fmt: skip
    return [newest[run_id] for run_id in chosen]


def _run_words(row: RunRow) -> str:
    when = row.created.astimezone().strftime("%d.%m. %H:%M")
    return f"{method_title(row.method)} · {row.benchmark} · {scenario_word(row.scenario)} · {when} · {row.id[:6]}"


def _nothing_chosen(store: Store) -> None:
    recent = store.runs(states={"finished"}, limit=30)
    with st.container(border=True, horizontal_alignment="center", key="no-comparison"):
        st.space("small")
        if not recent:
            st.markdown(f"## :material/compare_arrows: {_('Nothing to compare yet')}", text_alignment="center")
            st.caption(_("Run an experiment with several methods in the Lab first."), text_alignment="center")
            if st.button(_("Start in the Lab"), type="primary", key="to-lab"):
                st.switch_page(LAB)
        else:
            st.markdown(f"## :material/compare_arrows: {_('What should be compared?')}", text_alignment="center")
            st.caption(_("Take an experiment, or choose runs above or on the Runs page."), text_alignment="center")
            experiments: dict[str, list[RunRow]] = {}
            for row in recent:
                experiments.setdefault(row.experiment, []).insert(0, row)
            several = sorted(experiments.items(), key=lambda item: len(item[1]) < 2)  # stable: the newest stay first
            for name, members in several[:3]:
                methods = ", ".join(dict.fromkeys(method_title(row.method) for row in members))
                label = f"{methods} · {headline([row.spec for row in members])}"
                if st.button(label, key=f"suggest-{name}", icon=":material/arrow_forward:"):
                    st.switch_page(PAGE, query_params={"runs": ",".join(row.id for row in members)})
        st.space("small")


def _watch(rows: Sequence[RunRow]) -> None:
    """What is not over yet or has no result; looks again while something trains."""
    open_ids = [row.id for row in rows if row.live]
    failed = [row for row in rows if not row.live and row.state != "finished"]
    if failed:
        words = ", ".join(f"{method_title(row.method)} ({face(row.state).word})" for row in failed)
        st.caption(f":material/block: {_('Without a result, and left out: {runs}.').format(runs=words)}")
    if not open_ids:
        return

    @st.fragment(run_every=POLL_SECONDS, key="compare-live")
    def waiting() -> None:
        now = [the_store().run(run_id) for run_id in open_ids]
        if any(not row.live for row in now):
            st.rerun()
        done = sum(row.position / (row.tasks or 5) for row in now) / len(now)
        methods = ", ".join(method_title(row.method) for row in now)
        st.progress(
            min(done, 1.0), text=_("Still training, and added when finished: {methods}.").format(methods=methods)
        )

    waiting()


# ---- which groups ---------------------------------------------------------------------------------------------------


def _chips(found: Sequence[Group], labels: Names) -> tuple[list[Group], list[str]]:
    """A chip per group, to switch it on and off; returns the shown groups with their names."""
    keys, written = [group.key for group in found], dict(zip([g.key for g in found], labels, strict=True))
    known, on = st.session_state.get("compare-known", ()), st.session_state.get("shown") or []
    if st.session_state.pop("compare-fresh", False) or "shown" not in st.session_state:
        hidden = st.session_state.get("compare-hide", ())
        on = [key for key in keys if key not in hidden][:MOST]
    else:  # a run that was added brings its groups along
        on = [key for key in keys if key in on or key not in known]
    st.session_state["shown"], st.session_state["compare-known"] = on, keys
    by_key = {group.key: group for group in found}
    chosen = st.pills(
        _("Groups"), keys, selection_mode="multi", key="shown", label_visibility="collapsed",
        format_func=lambda key: f"{written[key]}  ({_seed_words(by_key[key])})",
    )  # fmt: skip
    shown = [group for group in found if group.key in chosen]
    if len(shown) > MOST or (len(found) > MOST and len(shown) == MOST):
        st.caption(
            _("{n} groups; at most {most} are shown at once. Switch some off to see others.").format(
                n=len(found), most=MOST
            )
        )
        shown = shown[:MOST]
    return shown, [written[group.key] for group in shown]


def _seed_words(group: Group) -> str:
    """seeds 0–4, or seeds 0, 2, 7."""
    seeds = sorted(group.seeds)
    if len(seeds) == 1:
        return _("seed {n}").format(n=seeds[0])
    run = seeds == list(range(seeds[0], seeds[-1] + 1)) and len(seeds) > 2
    return _("seeds {which}").format(which=f"{seeds[0]}–{seeds[-1]}" if run else ", ".join(map(str, seeds)))


def _publish(rows: Sequence[RunRow], found: Sequence[Group], shown: Sequence[Group]) -> None:
    on = {group.key for group in shown}
    hidden = [group.key for group in found if group.key not in on]
    default = [group.key for group in found[MOST:]]
    params = {
        "runs": ",".join(row.id for row in rows),
        "hide": ",".join(hidden) if hidden and hidden != default else None,
    }
    for key, usual in DEFAULTS.items():
        value = st.session_state.get(key, usual)
        params[key] = None if value is None or value == usual else value
    for key in ("first", "second"):
        params[key] = st.session_state.get(f"compare-{key}") or None
    publish("compare", params)


# ---- the comparison -------------------------------------------------------------------------------------------------


def _show(found: Sequence[Group], labels: Names) -> None:
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
            _("Points"), [ENDS, LIVE], key="points", required=True,
            format_func={ENDS: _("ends of tasks"), LIVE: _("while training")}.get,
        )  # fmt: skip
        over = st.segmented_control(
            _("Over"), AXES, key="over", required=True,
            format_func={"tasks": _("tasks"), "examples": _("examples"), "seconds": _("time")}.get,
        )  # fmt: skip
        smoothing = st.select_slider(
            _("Smoothing"), SMOOTHINGS, key="smooth", width=170, disabled=points == ENDS, format_func=lambda w: f"{w:g}",
            help=_("Weight of the past in an exponential moving average of each seed's curve. Ends of tasks are not smoothed."),
        )  # fmt: skip
        seeds = st.toggle(_("seeds"), key="lines")
        band = st.toggle(_("95 % bands"), key="bands")
    left, right = st.columns(2)
    with left, st.container(border=True, height="stretch", key="averages"):
        st.markdown(f"**{_('Average accuracy over the tasks seen')}**")
        ends = {} if over == AXES[0] else {group.newest.id: _ends(group.newest) for group in found}
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


def _configurations(found: Sequence[Group]) -> None:
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
            notes.append(_("Only lines through the same rank letter may be ranked."))
        st.caption(" ".join(notes))
        _as_table(frame, "configurations")


def _metrics(found: Sequence[Group], labels: Names) -> None:
    st.markdown(f"## {_('Metrics')}")
    with st.container(key="metrics-table"):
        st.table(_written(tables.metrics_table(found, labels)), hide_index=True, border="horizontal",
                 alt=_("Metrics of every group with their intervals"))  # fmt: skip
    st.caption(table_caption(found))


def _written(table: tables.Table) -> pd.DataFrame:
    """A table in Markdown: the best in bold, a tie in words."""

    def write(cell: tables.Cell) -> str:
        if cell.mark == "best":
            return f"**{cell.text}**"
        note = {"tie": _("tie"), "untested": _("best mean, untested")}.get(cell.mark)
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
    metric = st.selectbox(_("Every pair, in one metric"), METRICS, key="metric", format_func=tables.metric_title)
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
    seconds = {group.newest.id: _ends(group.newest).seconds for group in found}
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


# ---- exports --------------------------------------------------------------------------------------------------------


def _exports(found: Sequence[Group], labels: Names) -> None:
    files: tuple[tuple[str, str, str, Callable[[], str], str], ...] = (
        ("html", _("Report (HTML)"), "text/html", lambda: _report(found, labels),
         _("One file with charts, tables, the run card and the commands; opens without a network and prints.")),
        ("csv", _("CSV"), "text/csv", lambda: tables.as_csv(found, labels), _("The table of metrics, unrounded.")),
        ("json", _("JSON"), "application/json", lambda: json.dumps(document(found, labels), indent=1),
         _("Every seed's numbers, the differences, and the runs themselves: it can be imported again.")),
        ("tex", "LaTeX", "text/x-tex", lambda: tables.as_latex(found, labels), _("The table of metrics for a paper.")),
    )  # fmt: skip
    with st.container(key="compare-exports"):
        for ending, label, kind, content, help in files:
            st.download_button(
                label, in_this_language(content), file_name=f"comparison.{ending}", mime=kind, on_click="ignore",
                icon=":material/download:", key=f"compare-{ending}", help=help, width="stretch",
            )  # fmt: skip


def document(found: Sequence[Group], labels: Names) -> dict[str, Any]:
    """The comparison as data. Its `runs` are those of the command line's JSON."""
    rows = {row.id: row for group in found for row in group.rows}
    spec = found[0].spec
    plain = rows_report.document(spec.benchmark, spec.scenario, [rows_report.measured(row) for row in rows.values()])
    return {
        **plain,
        "groups": tables.as_data(found, labels),
        "differences": tables.differences_data(found, labels),
    }


def _report(found: Sequence[Group], labels: Names) -> str:
    seconds = {group.newest.id: _ends(group.newest).seconds for group in found}
    return report(found, labels, seconds=seconds, written=datetime.now(UTC))


# ---- what a finished run reported, read once ------------------------------------------------------------------------


def _plan(row: RunRow) -> RunStarted | None:
    return _plan_of(settings().database_url, row.id) if row.state == "finished" else None


@st.cache_resource(show_spinner=False, max_entries=256)
def _plan_of(url: str, run_id: str) -> RunStarted | None:
    found = the_store().events_after(run_id, types={"run_started"}, limit=1)
    return found[0][1] if found else None


def _ends(row: RunRow) -> Ends:
    return _ends_of(settings().database_url, row.id, row.result)


@st.cache_data(show_spinner=False, max_entries=256)
def _ends_of(url: str, run_id: str, _result: dict[str, Any]) -> Ends:
    reported = the_store().events_after(run_id, types={"progress"})
    return task_ends((event for _seq, event in reported), _result)
