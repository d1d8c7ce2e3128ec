"""The language of a person: from `?lang=ko`, from the menu in the header, from the browser's memory, or from its settings.

It is no part of a page's state: `?lang=` leaves the address at once, so that a copied link opens in its reader's language.
A choice is kept in a cookie.
"""

from __future__ import annotations

import streamlit as st
from streamlit.runtime.scriptrunner import get_script_run_ctx

from clcore.text import LANGUAGES, SOURCE, ask_with, language, speak
from clcore.ui import cookie
from clcore.ui.text import _

_LINK, _CHOSEN, _SEEN = "lang", "language", "language-by-link"
_COOKIE = "forgetting_lab_language"


def choose_language() -> None:
    """Finds out in which language this person is served. For every run of the app, before its first word."""
    state = st.session_state
    asked = st.query_params.get(_LINK)
    if asked is not None:
        del st.query_params[_LINK]
    if asked is not None and state.get(_SEEN) != asked:  # the browser may send it again before it has our answer
        state[_SEEN] = asked
        if asked in LANGUAGES:
            state[_CHOSEN] = asked
    speak(_of_this_session() or SOURCE)
    if asked is not None and asked not in LANGUAGES:
        st.toast(
            _("The interface does not speak '{language}'; it speaks {languages}.").format(
                language=asked, languages=", ".join(LANGUAGES)
            ),
            icon=":material/translate:",
        )


def _of_this_session() -> str | None:
    """Chosen here, remembered by the browser, or the first of its own languages; None outside a session."""
    if get_script_run_ctx(suppress_warning=True) is None:
        return None
    if chosen := st.session_state.get(_CHOSEN):
        return chosen
    remembered = dict(st.context.cookies).get(_COOKIE, "")
    if remembered in LANGUAGES:
        return remembered
    preferred = (st.context.locale or SOURCE).replace("_", "-").split("-")[0].lower()
    return preferred if preferred in LANGUAGES else SOURCE


# A fragment that runs alone, and a callback, begin without `choose_language`.
ask_with(_of_this_session)


def language_menu() -> None:
    """The other languages, each by its own name, in the header (the page's style puts them there)."""
    with st.container(key="languages", horizontal=True, gap="xsmall"):
        for name, title in LANGUAGES.items():
            if name != language():
                st.button(title, key=f"speak-{name}", type="tertiary", icon=":material/translate:",
                          on_click=_switch, args=(name,))  # fmt: skip
    chosen = st.session_state.get(_CHOSEN, "")
    if chosen or language() != SOURCE:
        cookie.keep("language", name=_COOKIE if chosen else "", value=chosen, page_language=language())


def _switch(name: str) -> None:
    st.session_state[_CHOSEN] = name
    st.session_state.pop(_SEEN, None)
    speak(name)
