"""What this installation is made of: data sets, database, settings, packages, and a text for bug reports."""

from __future__ import annotations

import pandas as pd
import streamlit as st

from clcore.accounting import readable_bytes, readable_count
from clcore.catalogue import catalogue
from clcore.datasets import Availability, availability
from clcore.diagnostics import Setting, package_versions, report, settings_in_effect
from clcore.settings import settings
from clcore.store import STATES, DatabaseFacts, Store
from clcore.ui.states import face
from clcore.ui.text import _, n_


def data_sets() -> None:
    """Each data set: here or not, where it lies, where it would come from, and who uses it."""
    found = availability(catalogue().benchmarks, settings().data_dir)
    with st.container(border=True, key="data"):
        st.markdown(f":material/database: **{_('Data sets')}**")
        frame = data_frame(found)
        st.dataframe(frame, hide_index=True, key="data-sets", height=38 + 35 * len(frame),
                     column_config=_data_columns(), alt=_("The data sets and whether they are here"))  # fmt: skip
        for data in found:
            if data.state == "damaged":
                st.warning(
                    _("{title} is damaged ({files} in {folder}); delete what is named and it is fetched anew.").format(
                        title=data.title, files=", ".join(data.wrong), folder=data.where
                    ),
                    icon=":material/broken_image:",
                )
        st.caption(_("A missing data set is downloaded and verified when the first run that needs it starts."))


def data_frame(found: list[Availability]) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "data": [_data_title(data.title) for data in found],
            "state": [_data_state(data) for data in found],
            "benchmarks": [", ".join(data.benchmarks) for data in found],
            "size": [data.size or "–" for data in found],
            "origin": [data.origin or "–" for data in found],
            "where": [data.where or "–" for data in found],
        }
    )


def _data_title(title: str) -> str:
    return {
        "digits": _("Handwritten digits"), "generated": _("Toy points"), "own": _("Your own pictures"),
    }.get(title, title)  # fmt: skip


def _data_state(data: Availability) -> str:
    return {
        "included": "✓ " + (_("comes with scikit-learn") if data.where else _("made by the program")),
        "present": "✓ " + _("here, {bytes}").format(bytes=readable_bytes(data.bytes)),
        "packed": "✓ " + _("here, packed"), "missing": "↓ " + _("will be downloaded"), "damaged": "✕ " + _("damaged"),
        "own": "✓ " + _("a folder that you name"), "unknown": "↓ " + _("downloaded when it is missing"),
    }[data.state]  # fmt: skip


def _data_columns() -> dict:
    c = st.column_config
    return {
        "data": c.TextColumn(_("Data set"), width=140),
        "state": c.TextColumn(_("State"), width=190),
        "benchmarks": c.TextColumn(_("Benchmarks"), width=300),
        "size": c.TextColumn(_("Download"), width=80),
        "origin": c.TextColumn(_("From"), width=220),
        "where": c.TextColumn(_("Folder"), width=320),
    }


def installation(store: Store) -> None:
    """Database, settings and versions; and all of it as a text to paste."""
    facts = store.about()
    left, right = st.columns([2.2, 1], gap="medium")
    with left, st.container(border=True, key="settings"):
        st.markdown(f":material/tune: **{_('Settings in effect')}**")
        st.table(settings_frame(settings_in_effect()), hide_index=True, border="horizontal")
        st.caption(_("They are read from the environment when the server and the runner start."))
    with right, st.container(border=True, key="database"):
        st.markdown(f":material/storage: **{_('Run database')}**")
        st.markdown("\n".join(f"- {line}" for line in database_lines(facts)))
        st.code(facts.location, language=None, wrap_lines=True)
    with st.expander(_("Versions of programs and packages"), icon=":material/inventory_2:", key="versions"):
        versions = package_versions()
        st.table(pd.DataFrame({_("Program"): list(versions), _("Version"): list(versions.values())}),
                 hide_index=True, border="horizontal", width="content")  # fmt: skip
    bug = st.expander(_("Diagnostics for a bug report"), icon=":material/bug_report:", key="diagnostics", on_change="rerun")
    with bug:
        if bug.open:  # it asks the database and the GPU's driver
            st.caption(_("Copy this into your report. It holds no code, no password and no nickname."))
            st.code(report(store), language=None)


def settings_frame(found: list[Setting]) -> pd.DataFrame:
    meaning = {
        "CLCORE_HOME": _("Database, checkpoints and logs"),
        "CLCORE_DATA_DIR": _("Data sets"),
        "CLCORE_DATABASE_URL": _("Run database"),
        "CLCORE_CUDA_GRAPHS": _("Recorded training steps on a GPU (0: none)"),
        "CLCORE_RUNS_PER_PERSON": _("Runs that one person may have at a time"),
        "CLCORE_INSTRUCTOR_CODE": _("Who knows it is the instructor"),
    }
    return pd.DataFrame(
        {
            _("Setting"): [meaning[s.variable] for s in found],
            _("Value"): [_value(s) for s in found],
            _("Variable"): [f"`{s.variable}`" for s in found],
            _("Set by"): [_("the environment") if s.given else _("default") for s in found],
        }
    )


def _value(setting: Setting) -> str:
    if setting.secret:
        return _("set") if setting.value else _("not set")
    return f"`{setting.value}`" if setting.value else _("no limit")


def database_lines(facts: DatabaseFacts) -> list[str]:
    known = {state: n for state in STATES if (n := facts.runs.get(state))}
    lines = [
        _("{kind}, version {schema} of the tables").format(kind=facts.kind, schema=facts.schema),
        n_("{n} run", "{n} runs", sum(facts.runs.values()))
        + (": " + ", ".join(f"{n} {face(state).word}" for state, n in known.items()) if known else ""),
        _("{n} events").format(n=readable_count(facts.events).strip()),
    ]
    if facts.bytes is not None:
        lines.append(_("{bytes} on disk").format(bytes=readable_bytes(facts.bytes)))
    return lines
