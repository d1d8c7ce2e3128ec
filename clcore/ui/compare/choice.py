"""Which runs and which groups of them are compared: the choice, the link that holds it, and what is still awaited."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import streamlit as st

from clcore.catalogue import scenario_word
from clcore.comparison import AXES, METRICS, MOST, Group
from clcore.errors import LabError, UnknownName
from clcore.store import RunRow, Store
from clcore.ui.frame import the_store
from clcore.ui.run_words import headline, method_title
from clcore.ui.states import face
from clcore.ui.text import _
from clcore.ui.url import Query, held, publish, read, unknown

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


def values_of(store: Store, query: Query) -> dict[str, Any]:
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


def chosen_runs(store: Store) -> list[RunRow]:
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
            _("Runs to compare"), list(newest), default=held({"runs": []}, "runs", newest), key="runs",
            format_func=lambda i: _run_words(newest[i]), placeholder=_("Choose finished runs"),
            help=_("Runs of one setting with other seeds become one group."),
        )  # fmt: skip
    return [newest[run_id] for run_id in chosen]


def _run_words(row: RunRow) -> str:
    when = row.created.astimezone().strftime("%d.%m. %H:%M")
    return f"{method_title(row.method)} · {row.benchmark} · {scenario_word(row.scenario)} · {when} · {row.id[:6]}"


def nothing_chosen(store: Store) -> None:
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


def watch(rows: Sequence[RunRow]) -> None:
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


def chips(found: Sequence[Group], labels: Names) -> tuple[list[Group], list[str]]:
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


def publish_choice(rows: Sequence[RunRow], found: Sequence[Group], shown: Sequence[Group]) -> None:
    """Writes runs, switched off groups and the view into the link."""
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
