"""To the top of the page, for a view that takes the place of a longer one.

Streamlit keeps a page's scroll position when its contents change: what is opened from far down would begin above the window.
"""

from __future__ import annotations

import streamlit as st

_JS = """
const shown = new WeakMap();
export default function ({ data, parentElement }) {
  if (shown.get(parentElement) === data.view) return;  // drawn again, in another theme say
  shown.set(parentElement, data.view);
  document.querySelector('[data-testid="stMain"]')?.scrollTo(0, 0);
}
"""
_scroller = st.components.v2.component("lab_scroll", html="<span></span>", js=_JS)


def from_the_top(view: str) -> None:
    """Has the browser show the page from its top, once for each view."""
    with st.container(key="remember-scroll"):  # hidden by the page's style
        _scroller(key="scroll", data={"view": view}, height="content")
