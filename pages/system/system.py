"""System: who waits and what runs, on which machine, with which data, settings and versions; the class."""

import streamlit as st

from clcore.ui.frame import designed_errors, the_store
from clcore.ui.system.activity import live_part, title_row
from clcore.ui.system.installation import data_sets, installation
from clcore.ui.system.people import class_panel

with st.container(key="page"), designed_errors():
    store = the_store()
    title_row(store)
    live_part(store)
    class_panel(store)
    data_sets()
    installation(store)
