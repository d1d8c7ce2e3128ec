"""Compare: groups of seeds side by side, their differences, and what they cost."""

import streamlit as st

from clcore.ui.compare.page import compare_page
from clcore.ui.frame import designed_errors, the_store

with st.container(key="page"), designed_errors():
    compare_page(the_store())
