"""Forgetting Lab: `streamlit run app.py`."""

import gc

import streamlit as st

from clcore.ui.classroom import greet
from clcore.ui.frame import designed_errors, page_style, wake_runner, wordmark
from clcore.ui.language import choose_language, language_menu
from clcore.ui.live_plot import publish_plotly
from clcore.ui.text import _

st.set_page_config(
    page_title="Forgetting Lab", page_icon=":material/psychology:", layout="wide", initial_sidebar_state=360
)


@st.cache_resource(show_spinner=False)
def prepare() -> None:
    """Once a server: the chart library in place, a runner that warms up, and a quiet garbage collector."""
    publish_plotly()
    wake_runner()
    gc.collect()
    gc.freeze()


choose_language()
page = st.navigation(
    [
        st.Page("pages/lab/lab.py", title=_("Lab"), icon=":material/science:", default=True),
        st.Page("pages/results/runs.py", title=_("Runs"), icon=":material/list_alt:", url_path="runs"),
        st.Page("pages/results/compare.py", title=_("Compare"), icon=":material/compare_arrows:", url_path="compare"),
        st.Page("pages/results/tradeoff.py", title=_("Trade-off"), icon=":material/balance:", url_path="tradeoff"),
        st.Page("pages/learn/learn.py", title=_("Learn"), icon=":material/school:", url_path="learn"),
        st.Page("pages/system/system.py", title=_("System"), icon=":material/dns:", url_path="system"),
    ],
    position="top",
)
st.logo(wordmark(dark=st.context.theme.type == "dark"), size="large")
st.html(page_style())
language_menu()
with designed_errors():
    prepare()
    greet()
page.run()
