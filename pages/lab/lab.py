"""Lab: pick methods and a benchmark, run them, watch them learn and forget."""

import streamlit as st

from clcore.errors import RequestError
from clcore.ui.classroom import class_strip
from clcore.ui.controls import experiment_form, publish_link
from clcore.ui.frame import designed_errors, the_store, wake_runner
from clcore.ui.lab import action_row
from clcore.ui.recorded import recorded_view
from clcore.ui.run_panel import preview
from clcore.ui.running import running_view, shown_experiment
from clcore.ui.states import is_live
from clcore.ui.text import _

specs, refused = (), ""
with st.sidebar, designed_errors():
    try:
        specs = experiment_form()
    except RequestError as error:
        refused = str(error)

with st.container(key="page"), designed_errors():
    store = the_store()
    with st.container(key="heading"):  # heard, not seen: the navigation shows where one is
        st.title(_("Lab"), anchor=False)
    with st.container(key="notes"):
        rows = shown_experiment(store)
        if refused:
            st.warning(refused, title=_("The settings need a change"), icon=":material/rule:")
    class_strip(store, rows)
    action_row(store, specs, rows)
    with st.container(key="experiment"):
        if rows:
            if is_live(rows):
                wake_runner()
            running_view(rows)
        elif specs and not recorded_view(specs):
            preview(specs)
    publish_link()
