"""Learn: lessons, method cards, metrics worked by hand, pictures to play with."""

import streamlit as st

from clcore.ui.frame import designed_errors
from clcore.ui.learn.page import learn_page

with st.container(key="page"), designed_errors():
    learn_page()
