"""The history of runs: a table, its filters, and what can be done with the selected ones."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any

import pandas as pd
import streamlit as st

from clcore.accounting import (
    Entry,
    FineTuning,
    Measured,
    differences,
    rank_marks,
    readable_bytes,
    readable_count,
    selection,
)
from clcore.catalogue import catalogue, scenario_word
from clcore.errors import RequestError
from clcore.export.importing import LARGEST, import_results
from clcore.export.words import comparability
from clcore.frames import Spread, replica_table, result_spreads
from clcore.report import grouped
from clcore.spec import RunSpec
from clcore.store import LIVE, STATES, RunRow, Store
from clcore.ui.classroom import may_steer, me, owner_words
from clcore.ui.links import link_of
from clcore.ui.run_words import method_title
from clcore.ui.states import duration, face, plain_mark
from clcore.ui.text import _, n_
from clcore.ui.training_words import unusual_training
from clcore.ui.url import Query, adopt, held, publish

LAB, COMPARE = "pages/lab/lab.py", "pages/results/compare.py"
MOST_ERRORS = 3  # sentences under the table
PAGE_SIZE = 200


def filters(store: Store) -> dict[str, Any]:
    """Draws the filters; returns them as arguments of `store.runs`."""
    benchmarks = {card.name: card.title for card in catalogue().benchmarks}
    methods = {card.name: card.title for card in catalogue().methods}
    allowed = {"states": list(STATES), "methods": list(methods), "benchmarks": list(benchmarks)}
    adopt("runs", "find", lambda query: _filters_of(query, allowed))
    nothing = {"find": "", "states": [], "methods": [], "benchmarks": []}
    columns = st.columns(4)
    search = columns[0].text_input(_("Search"), held(nothing, "find"), key="find", placeholder=_("id, method, name, tag …"),
                                   icon=":material/search:")  # fmt: skip
    states = columns[1].multiselect(_("State"), STATES, held(nothing, "states", STATES), key="states", placeholder=_("all"),
                                    format_func=lambda s: face(s).word)  # fmt: skip
    chosen = columns[2].multiselect(_("Method"), list(methods), held(nothing, "methods", methods), key="methods",
                                    placeholder=_("all"), format_func=methods.get)  # fmt: skip
    streams = columns[3].multiselect(_("Benchmark"), list(benchmarks), held(nothing, "benchmarks", benchmarks),
                                     key="benchmarks", placeholder=_("all"), format_func=benchmarks.get)  # fmt: skip
    whose = _whose()
    publish(
        "runs",
        {"find": search or None, "states": states or None, "methods": chosen or None, "benchmarks": streams or None,
         "whose": whose if whose == "mine" else None},
    )  # fmt: skip
    given = {"search": search, "states": states, "methods": chosen, "benchmarks": streams}
    if whose == "mine" and me():
        given["owners"] = [me()]
    return {name: value for name, value in given.items() if value}


def _whose() -> str:
    """Mine or all. Asked only of somebody with a nickname; a link that asks for mine without one is answered."""
    if not me():
        if st.session_state.get("whose") == "mine":
            st.info(_("These are the runs of all: without a nickname nobody can tell which are yours. Give one on the System "
                      "page."), icon=":material/person_off:")  # fmt: skip
        return st.session_state.get("whose", "all")
    return st.segmented_control(
        _("Whose runs"), ["all", "mine"], key="whose", required=True, default=held({"whose": "all"}, "whose"),
        label_visibility="collapsed",
        format_func={"all": _("All runs"), "mine": _("Runs of {name}").format(name=me())}.get,
    )  # fmt: skip


def _filters_of(query: Query, allowed: dict[str, list[str]]) -> dict[str, Any]:
    chosen = {key: [v for v in query.get(key, []) if v in names] for key, names in allowed.items()}
    whose = query.get("whose", ["all"])[-1]
    if whose not in ("all", "mine"):
        st.warning(_("`whose` can be mine or all, not '{value}': all runs are shown.").format(value=whose),
                   icon=":material/link_off:")  # fmt: skip
    return {"find": query.get("find", [""])[-1], "whose": "mine" if whose == "mine" else "all", **chosen}


def history_table(store: Store, chosen: dict[str, Any]) -> list[RunRow]:
    """The table; returns the selected runs."""
    total = store.count_runs(**chosen)
    if not total:
        _nothing(filtered=bool(chosen))
        return []
    rows = store.runs(**chosen, limit=PAGE_SIZE)
    fine_tuning = store.runs(methods={"finetune"}, states={"finished"}, limit=PAGE_SIZE)
    frame = history_frame(rows, fine_tuning)
    unused = [column for column in ("name", "tags", "owner") if not frame[column].map(bool).any()]
    event = st.dataframe(
        frame.drop(columns=unused), hide_index=True, key="history", on_select="rerun", selection_mode="multi-row",
        height=min(38 + 35 * len(rows), 560), column_config=_columns(), alt=_("All runs, newest first"),
    )  # fmt: skip
    shown = n_("{n} run", "{n} runs", total)
    if total > len(rows):
        shown += " · " + _("the newest {n} are shown; filter to see others").format(n=len(rows))
    st.caption(shown + " · " + _("± is the 95 % t-interval over seeds; two seeds give their range"))
    selected = [rows[i] for i in event.selection.rows if i < len(rows)]
    if said := comparison(selected):
        icon, text = said
        st.markdown(f"{icon} {text}")
    return selected


def _nothing(filtered: bool) -> None:
    if filtered:
        st.info(_("No run matches these filters. Clear one of them."), icon=":material/filter_alt_off:")
        return
    with st.container(border=True, horizontal_alignment="center", key="no-runs"):
        st.space("small")
        st.markdown(f"## :material/science: {_('No runs yet')}", text_alignment="center")
        st.caption(_("The Lab opens with an experiment that runs offline in seconds."), text_alignment="center")
        if st.button(_("Start in the Lab"), type="primary", key="to-lab"):
            st.switch_page(LAB)
        st.space("small")


def history_frame(rows: Sequence[RunRow], fine_tuning: Sequence[RunRow] = ()) -> pd.DataFrame:
    """One row a run, ready to read: words for states, mean ± interval for results, what it cost and under which protocol.

    `fine_tuning`: runs, also others than those shown, that may be the measure of a run's training time.
    """
    plain = FineTuning(_measured(row) for row in fine_tuning)
    marks = iter(rank_marks([_entry(row) for row in rows if row.result]))
    return pd.DataFrame([_history_row(row, next(marks) if row.result else "", plain) for row in rows])


def _entry(row: RunRow) -> Entry:
    groups = grouped((row.result or {}).get("replicas", [])).values()
    reached = (max(r.get("gradient_samples", 0) for r in group) for group in groups)
    return Entry(row.spec, tuple(group[0]["footprint"] for group in groups), tuple(reached))


def _measured(row: RunRow) -> Measured:
    return Measured(row.spec, row.result, row.experiment)


def comparison(rows: Sequence[RunRow]) -> tuple[str, str] | None:
    """(icon, sentence) on whether the runs may be ranked together; None for fewer than two with results."""
    entries = [_entry(row) for row in rows if row.result]
    if len(entries) < 2:
        return None
    comparable, text = comparability(differences(entries))
    return ":green[:material/check:]" if comparable else ":orange[:material/warning:]", text


def _history_row(row: RunRow, mark: str, plain: FineTuning) -> dict[str, Any]:
    spreads = list(result_spreads(row.result).values())
    spec = row.spec
    over = row.finished or row.heartbeat
    replicas = (row.result or {}).get("replicas", [])
    relative = plain.relative_cost(_measured(row))
    return {
        "state": plain_mark(row.state),
        "name": row.name,
        "tags": list(row.tags),
        "method": method_title(spec.method.name),
        "owner": owner_words(row.owner) if row.owner else "",
        "benchmark": catalogue().benchmark(row.benchmark).title,
        "scenario": scenario_word(row.scenario),
        "settings": _settings(row),
        "seeds": len(spec.grid.seeds),
        "rank": mark,
        "acc": _words([s["acc"] for s in spreads]),
        "forgetting": _words([s["forgetting"] for s in spreads]),
        "bytes": _range([r["footprint"] for r in replicas], lambda f: sum(f.values()), readable_bytes),
        "samples": _range([r for r in replicas if "gradient_samples" in r], _gradient_samples, readable_count),
        "cost": "" if relative is None else f"{relative.wall:.1f} ×",
        "selection": _selection(spec),
        "time": duration((over - row.started).total_seconds()) if row.started and over else "",
        "when": row.created,
        "id": row.id,
    }


def _gradient_samples(replica: dict[str, Any]) -> int:
    return replica["gradient_samples"]


def _range(things: Sequence[Any], number: Callable[[Any], float], words: Callable[[float], str]) -> str:
    """One number, or the lowest and the highest where the networks of a run differ."""
    numbers = [number(thing) for thing in things]
    if not any(numbers):
        return ""
    low, high = words(min(numbers)), words(max(numbers))
    if low == high:
        return high
    same_unit = low.split()[1:] == high.split()[1:]
    return f"{low.split()[0] if same_unit else low} … {high}"


def _selection(spec: RunSpec) -> str:
    chosen = selection(spec)
    return {
        "none": "–", "recommended": _("by validation"), "given": _("given"), "default": _("default"),
        "swept": _("swept, {n} values").format(n=chosen.configurations),
    }[chosen.kind]  # fmt: skip


def _settings(row: RunRow) -> str:
    method, words = row.spec.method, []
    if part := method.swept_part:
        values = method.strengths or (method.part_settings(part.name)[part.strength.name],)
        words.append(f"{part.strength.symbol or part.strength.name} " + ", ".join(f"{v:g}" for v in values))
    if row.spec.memory_bytes is not None:
        words.append(_("memory {bytes}").format(bytes=readable_bytes(row.spec.memory_bytes)))
    elif method.uses_memory:
        words.append(_("memory {n}").format(n=", ".join(str(m) for m in row.spec.grid.memories)))
    if row.spec.gradient_samples is not None:
        words.append(_("equal compute"))
    return " · ".join([*words, *unusual_training(row.spec)])


def _words(values: Sequence[Spread]) -> str:
    """One setting: 71.7 ± 5.6. Several: their means from lowest to highest. Diverged ones are counted."""
    if len(values) == 1:
        only = values[0]
        if only.diverged:
            return _("{k} of {n} diverged").format(k=only.diverged, n=only.total)
        if only.mean is None:
            return ""
        mean = f"{100 * only.mean:.1f}"
        if only.half is not None:
            return f"{mean} ± {100 * only.half:.1f}"
        return f"{mean} ({100 * only.low:.1f} … {100 * only.high:.1f})" if only.n == 2 else mean
    means = [100 * v.mean for v in values if v.mean is not None]
    lost = sum(bool(v.diverged) for v in values)
    text = f"{min(means):.1f} … {max(means):.1f}" if len(means) > 1 else "".join(f"{mean:.1f}" for mean in means)
    if not lost:
        return text
    return _("{numbers} ({n} diverged)").format(numbers=text, n=lost) if text else _("all diverged")


def _columns() -> dict[str, Any]:
    c = st.column_config
    return {
        "state": c.TextColumn(_("State"), width=95),
        "name": c.TextColumn(_("Name"), width=110),
        "tags": c.ListColumn(_("Tags"), width=110),
        "method": c.TextColumn(_("Method"), width=160),
        "benchmark": c.TextColumn(_("Benchmark"), width=130),
        "scenario": c.TextColumn(_("Scenario"), width=75),
        "settings": c.TextColumn(_("Settings"), width=165),
        "seeds": c.NumberColumn(_("Seeds"), width=55),
        "rank": c.TextColumn(
            _("Alike"), width=55,
            help=_("Only runs with the same letter may be ranked: the same benchmark, options, scenario, network, optimizer, "
                   "epochs, batch size and seeds, memory bytes within 5 %, strengths chosen in the same way."),
        ),
        "acc": c.TextColumn(_("Average accuracy, %"), help=_("ACC: mean over all tasks at the end"), width=135),
        "forgetting": c.TextColumn(_("Forgetting, points"), width=130),
        "bytes": c.TextColumn(
            _("Memory"), width=110,
            help=_("Bytes that one network needs at the end: its parameters and all that its method keeps."),
        ),
        "samples": c.TextColumn(
            _("Gradient samples"), width=120,
            help=_("Examples of one network that went through a backward pass: new ones, replayed ones, and those of the "
                   "method's own passes."),
        ),
        "cost": c.TextColumn(
            _("Time ×"), width=75,
            help=_("Training time against fine-tuning's, where as many networks ran under the same conditions on the same "
                   "device."),
        ),
        "selection": c.TextColumn(
            _("Strength"), width=110,
            help=_("How the strength was chosen: by validation (recommended "
                   "for this benchmark and scenario, all else as it was then), "
                   "given, the method's default, or swept: then whoever picks the best has seen the results."),
        ),
        "time": c.TextColumn(_("Time"), width=60),
        "when": c.DatetimeColumn(_("Started"), format="distance", width=110),
        "id": c.TextColumn(_("Id"), width=110),
        "owner": c.TextColumn(_("Who"), width=110),
    }  # fmt: skip


# ---- actions --------------------------------------------------------------------------------------------------------


def run_actions(store: Store, rows: Sequence[RunRow]) -> None:
    """Open, export, cancel, delete: for the selected runs."""
    if not rows:
        if store.count_runs():
            st.caption(_("Select runs to open, compare, export, cancel or delete them."))
        return
    for row in [row for row in rows if row.error][:MOST_ERRORS]:
        st.caption(f":material/error: **{method_title(row.method)}** `{row.id}`: {row.error}")
    live = [row for row in rows if row.state in LIVE]
    locked = "" if may_steer(rows) else _("Only the instructor may change the runs of others.")
    results = [(row.id, row.spec, row.result) for row in rows if row.result]
    with st.container(horizontal=True, key="run-actions"):
        if st.button(_("Open in the Lab"), type="primary", icon=":material/open_in_full:", key="open",
                     disabled=len({row.experiment for row in rows}) > 1,
                     help=_("Shows the whole experiment of the run; select runs of one experiment.")):  # fmt: skip
            open_in_lab(store, rows[0])
        if st.button(n_("Compare {n}", "Compare {n}", len(rows)), icon=":material/compare_arrows:", key="compare-selected",
                     disabled=not results, help=_("Side by side, with intervals and differences.")):  # fmt: skip
            st.switch_page(COMPARE, query_params={"runs": ",".join(row.id for row in rows)})
        st.download_button(
            _("JSON"), lambda: json.dumps(export(rows), indent=1), file_name="runs.json", mime="application/json",
            key="export-json", on_click="ignore", icon=":material/download:", disabled=not results,
            help=_("Specification and results of the selected runs."),
        )  # fmt: skip
        st.download_button(
            _("CSV"), lambda: replica_table(results).to_csv(index=False), file_name="runs.csv", mime="text/csv",
            key="export-csv", on_click="ignore", icon=":material/download:", disabled=not results,
            help=_("One line a network: seed, strength, memory and metrics, and under which conditions it was trained."),
        )  # fmt: skip
        stop = n_("Cancel {n} run", "Cancel {n} runs", len(live)) if live else _("Cancel")
        if st.button(stop, icon=":material/stop:", key="cancel-selected",
                     disabled=not live or bool(locked), help=locked or None):  # fmt: skip
            for row in live:
                store.want(row.id, "cancel")
            st.rerun()
        if st.button(_("Name and tags …"), icon=":material/label:", key="label-selected",
                     help=_("A name for one run, tags for all that are selected.")):  # fmt: skip
            st.dialog(_("Name and tags"))(name_and_tag)(store, rows)
        if st.button(n_("Delete {n} run …", "Delete {n} runs …", len(rows)), icon=":material/delete:",
                     key="delete-selected", disabled=bool(locked), help=locked or None):  # fmt: skip
            st.dialog(_("Delete runs"))(confirm_delete)(store, [row.id for row in rows])


def export(rows: Sequence[RunRow]) -> list[dict[str, Any]]:
    """The selected runs as data: what was asked for and what came out."""
    return [
        {"id": row.id, "state": row.state, "spec": row.spec.model_dump(mode="json"), "result": row.result}
        for row in rows
    ]


def open_in_lab(store: Store, row: RunRow) -> None:
    """Goes to the Lab, with the run's experiment shown and its settings in the controls."""
    specs = [r.spec for r in store.runs(experiment=row.experiment)][::-1]
    st.switch_page(LAB, query_params={**link_of(specs), "x": row.experiment})


def name_and_tag(store: Store, rows: Sequence[RunRow]) -> None:
    """What a person calls the selected runs; tags that only some of them have stay where they are."""
    name = st.text_input(_("Name"), rows[0].name, max_chars=200, key="label-name") if len(rows) == 1 else None
    shared = [tag for tag in rows[0].tags if all(tag in row.tags for row in rows)]
    known = sorted({tag for row in store.runs(limit=PAGE_SIZE) for tag in row.tags} | set(shared))
    tags = st.multiselect(
        _("Tags"), known, shared, accept_new_options=True, key="label-tags", placeholder=_("Choose or type a tag")
    )
    if st.button(_("Save"), type="primary", key="label-saved"):
        for row in rows:
            others = [tag for tag in row.tags if tag not in shared]
            store.label(row.id, name=row.name if name is None else name, tags=[*others, *tags])
        st.rerun()


def import_box(store: Store) -> None:
    """A file of results becomes runs of the history; a bad one is refused with one sentence."""
    with st.popover(_("Import"), icon=":material/upload:", key="import", width="content"):
        given = st.file_uploader(
            _("Results as JSON"), type="json", key="import-file", max_upload_size=LARGEST // 2**20,
            help=_("A file that `run --json`, the JSON button here or the Compare page has written."),
        )  # fmt: skip
        if given is None or st.session_state.get("import-done") == given.file_id:
            return
        try:
            done = import_results(store, given.getvalue(), name=given.name)
        except RequestError as error:
            st.error(str(error), title=_("Not imported"), icon=":material/block:")
            return
        st.session_state["import-done"] = given.file_id
        said = [n_("{n} run imported.", "{n} runs imported.", len(done.new))] if done.new else []
        if done.known:
            said.append(n_("{n} was here already.", "{n} were here already.", done.known))
        st.toast(" ".join(said), icon=":material/upload:")


def confirm_delete(store: Store, run_ids: Sequence[str]) -> None:
    """Asks before runs and all their curves are removed."""
    n = len(run_ids)
    st.markdown(
        n_(
            "Delete **{n} run** with all its curves and results?",
            "Delete **{n} runs** with all their curves and results?",
            n,
        )
    )
    st.caption(_("This cannot be undone."))
    with st.container(horizontal=True):
        if st.button(n_("Delete {n} run", "Delete {n} runs", n), type="primary", key="delete-confirmed"):
            try:
                store.delete(run_ids)
            except RequestError as error:
                st.error(str(error), icon=":material/block:")
            else:
                st.rerun()
        if st.button(_("Keep them") if n > 1 else _("Keep it"), key="delete-kept"):
            st.rerun()
