"""Trade-off: what each configuration keeps of old tasks against how well it learns new ones, and what that costs."""

import streamlit as st

from clcore.ui.frame import designed_errors, the_store
from clcore.ui.sweep_builder import sweep_builder
from clcore.ui.text import _
from clcore.ui.tradeoff.choice import choose, conditions_of
from clcore.ui.tradeoff.view import tradeoff_view

with st.container(key="page"), designed_errors():
    st.title(_("Trade-off"), anchor=False)
    store = the_store()
    shown = choose(store)
    if shown is not None:
        sweep_builder(store, conditions_of(shown), shown.outcomes, shown.readings)
        tradeoff_view(shown)
