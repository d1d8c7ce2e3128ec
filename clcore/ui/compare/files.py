"""The comparison as files: a report, tables, and data that can be imported again."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any

import streamlit as st

from clcore import report as rows_report
from clcore.comparison import Group
from clcore.export import tables
from clcore.export.html import report
from clcore.text import in_this_language
from clcore.ui.compare.choice import Names
from clcore.ui.compare.reported import ends_of
from clcore.ui.text import _, n_


def exports(found: Sequence[Group], labels: Names, *, of: int) -> None:
    """A button for each kind of file. They hold what the page shows, since the corrections for many pairs are over that;
    where it leaves some of the `of` groups out, that is said."""
    files: tuple[tuple[str, str, str, Callable[[], str], str], ...] = (
        ("html", _("Report (HTML)"), "text/html", lambda: _report(found, labels),
         _("One file with charts, tables, the run card and the commands; opens without a network and prints.")),
        ("csv", _("CSV"), "text/csv", lambda: tables.as_csv(found, labels), _("The table of metrics, unrounded.")),
        ("json", _("JSON"), "application/json", lambda: json.dumps(document(found, labels), indent=1),
         _("Every seed's numbers, the differences, and the runs themselves: it can be imported again.")),
        ("tex", "LaTeX", "text/x-tex", lambda: tables.as_latex(found, labels), _("The table of metrics for a paper.")),
    )  # fmt: skip
    with st.container(key="compare-exports"):
        if len(found) < of:
            st.caption(
                n_("The files hold the {n} group that is shown, of {all}. `python -m clcore report` writes all of them.",
                   "The files hold the {n} groups that are shown, of {all}. `python -m clcore report` writes all of them.",
                   len(found), all=of)
            )  # fmt: skip
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
    seconds = {group.newest.id: ends_of(group.newest).seconds for group in found}
    return report(found, labels, seconds=seconds, written=datetime.now(UTC))
