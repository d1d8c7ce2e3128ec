"""Ctrl+Enter presses Run, whatever has the focus.

Streamlit's own shortcut does not hear a key that a focused pill takes for itself: there Ctrl+Enter would choose or drop the
pill, silently changing the experiment.
"""

from __future__ import annotations

import streamlit as st

_JS = """
export default function ({ data }) {
  if (window.labShortcut) return;
  window.labShortcut = true;
  document.addEventListener('keydown', (event) => {
    if (event.key !== 'Enter' || !(event.ctrlKey || event.metaKey)) return;
    if (!event.target.closest?.('.stButtonGroup')) return;
    event.preventDefault();
    event.stopImmediatePropagation();
    document.querySelector(`.st-key-${data.button} button`)?.click();
  }, true);
}
"""
_listener = st.components.v2.component("lab_shortcut", html="<span></span>", js=_JS)


def from_pills_too(button: str) -> None:
    """Lets the shortcut of the button with this key be heard where a pill has the focus."""
    with st.container(key=f"remember-shortcut-{button}"):  # hidden by the page's style
        _listener(key=f"shortcut-{button}", data={"button": button}, height="content")
