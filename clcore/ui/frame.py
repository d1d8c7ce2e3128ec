"""What every page shares: the store, and the face of an error that a person can act on."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import streamlit as st

from clcore.errors import LabError, StoreError
from clcore.frames import Series
from clcore.runner.launch import ensure_runner
from clcore.settings import settings
from clcore.store import Store, open_store
from clcore.text import language
from clcore.ui.text import _


def page_style() -> str:
    """Less empty margin beside the pages on a wide screen; small pills where there are many of them.

    The dark theme's primary colour carries white text; as the text of a chosen pill it would be too dark on its ground.
    """
    wide = ".st-key-page { margin-inline: -2.5rem; width: calc(100% + 5rem); max-width: none; }"
    pills = (
        ".st-key-methods button:has(p) { min-height: 1.75rem; padding: 0 0.6rem; } "
        ".st-key-methods :is(button, label) p { font-size: 0.8rem; } .st-key-methods label p { opacity: 0.75; }"
    )
    hidden = "div:has(> [class*=st-key-remember-]), [class*=st-key-remember-] { display: none; }"
    # Above Streamlit's header, which pages cannot write into; left of its menu.
    header = (
        "div:has(> .st-key-languages) { position: fixed; top: 0.7rem; right: 3.25rem; width: auto; z-index: 999991; } "
        ".st-key-languages button { min-height: 1.75rem; padding: 0 0.3rem; white-space: nowrap; } "
        "@media (max-width: 640px) { .st-key-languages button p { font-size: 0.8rem; } }"
    )
    # Korean breaks lines between words; without this any syllable may end one.
    words = ".stApp { word-break: keep-all; overflow-wrap: break-word; }" if language() == "ko" else ""
    dark = st.context.theme.type == "dark"
    chosen = ".stApp button:is([aria-pressed=true], [aria-checked=true]) p { color: #8CC8F2; }" if dark else ""
    return f"<style>@media (min-width: 1100px) {{ {wide} }} {pills} {hidden} {header} {words} {chosen}</style>"


@contextmanager
def designed_errors() -> Iterator[None]:
    """Shows a LabError as its sentence and ends the page there; anything else is a fault of ours and goes on."""
    try:
        yield
    except StoreError as error:
        st.error(str(error), title=_("The run database cannot be used"), icon=":material/database_off:")
        st.stop()
    except LabError as error:
        st.error(str(error), title=_("That is not possible"), icon=":material/block:")
        st.stop()


def the_store() -> Store:
    """The store in force, opened once for all sessions. Raises StoreError."""
    return _opened(settings().database_url)


@st.cache_resource(show_spinner=False, max_entries=4)
def _opened(url: str) -> Store:
    return open_store(url)


def series_of(run_id: str) -> Series:
    """The run's events so far, folded: one object for all who look at it."""
    return _series(settings().database_url, run_id).pull(the_store())


@st.cache_resource(show_spinner=False, max_entries=128)
def _series(url: str, run_id: str) -> Series:
    return Series(run_id)


def wake_runner() -> None:
    """Starts the background service where none lives, so that it trains what is queued. Raises LabError."""
    ensure_runner(the_store())
