"""The Compare page from its heading to its last chart."""

from __future__ import annotations

import streamlit as st

from clcore.comparison import groups, names
from clcore.store import Store
from clcore.ui.compare.charts import show, show_configurations
from clcore.ui.compare.choice import chips, chosen_runs, nothing_chosen, publish_choice, values_of, watch
from clcore.ui.compare.files import exports
from clcore.ui.compare.reported import plan_of
from clcore.ui.text import _
from clcore.ui.url import adopt, publish, warn


def compare_page(store: Store) -> None:
    """The whole page."""
    adopt("compare", "runs", lambda query: values_of(store, query))
    head = st.container(horizontal=True, vertical_alignment="center", key="compare-head")
    with head:
        st.title(_("Compare"), anchor=False)
        rows = chosen_runs(store)
    warn(st.session_state.get("compare-problems", ()))
    if not rows:
        publish("compare", {"runs": None})
        nothing_chosen(store)
        return
    watch(rows)
    found = groups(rows, {row.id: plan for row in rows if (plan := plan_of(row))})
    if not found:
        publish("compare", {"runs": ",".join(row.id for row in rows)})
        if not any(row.live for row in rows):
            st.info(_("None of these runs has a result. Choose finished ones."), icon=":material/hourglass_disabled:")
        return
    labels = names(found)
    shown, shown_names = chips(found, labels)
    publish_choice(rows, found, shown)
    if not shown:
        st.info(_("Every group is switched off. Press one above."), icon=":material/visibility_off:")
        return
    with head, st.popover(_("Export"), icon=":material/download:", key="compare-export", width="content"):
        exports(shown, shown_names, of=len(found))
    show(shown, shown_names)
    show_configurations(found)
