"""Runs: everything that was ever started, to filter, open, export, cancel and delete."""

import streamlit as st

from clcore.ui.frame import designed_errors, the_store
from clcore.ui.history import filters, history_table, import_box, run_actions
from clcore.ui.text import _

with st.container(key="page"), designed_errors():
    store = the_store()
    with st.container(horizontal=True, vertical_alignment="center", key="runs-head"):
        st.title(_("Runs"), anchor=False)
        import_box(store)
    chosen = filters(store)
    selected = history_table(store, chosen)
    run_actions(store, selected)
