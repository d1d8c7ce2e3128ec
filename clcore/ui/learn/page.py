"""The Learn page: which of its parts is shown."""

from __future__ import annotations

import streamlit as st

from clcore.ui.learn.guide import guide
from clcore.ui.learn.link import VIEWS, adopt_link, key, publish_link, value
from clcore.ui.learn.method_cards import method_cards
from clcore.ui.learn.metrics_by_hand import metrics_by_hand
from clcore.ui.learn.pictures import pictures
from clcore.ui.text import _


def learn_page() -> None:
    adopt_link()
    titles = {
        "lessons": _("Lessons"), "methods": _("Method cards"), "metrics": _("Metrics by hand"),
        "pictures": _("Pictures to play with"),
    }  # fmt: skip
    with st.container(horizontal=True, vertical_alignment="center", key="learn-head"):
        st.title(_("Learn"), anchor=False, width="content")
        shown = st.segmented_control(_("Part"), VIEWS, default=value("show"), key=key("show"), required=True,
                                     format_func=titles.get, label_visibility="collapsed")  # fmt: skip
    {"lessons": guide, "methods": method_cards, "metrics": metrics_by_hand, "pictures": pictures}[shown]()
    publish_link()
