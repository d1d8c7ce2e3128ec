"""What this browser shall remember of a person, in a cookie that lives for a year."""

from __future__ import annotations

import streamlit as st

_JS = """
export default function ({ data }) {
  const year = data.value ? 31536000 : 0;
  if (data.name) {
    document.cookie = `${data.name}=${encodeURIComponent(data.value)}; path=/; max-age=${year}; samesite=lax`;
  }
  if (data.pageLanguage) document.documentElement.lang = data.pageLanguage;
}
"""
_keeper = st.components.v2.component("lab_cookie", html="<span></span>", js=_JS)


def keep(what: str, *, name: str, value: str, page_language: str = "") -> None:
    """Has the browser keep the value under this name; an empty value is forgotten, an empty name keeps nothing.

    The page's language is told along: how a text is read aloud and where its lines break depend on it.
    """
    with st.container(key=f"remember-{what}"):  # hidden by the page's style
        _keeper(key=f"{what}-cookie", data={"name": name, "value": value, "pageLanguage": page_language}, height="content")
