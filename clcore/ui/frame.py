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
    """Less empty margin beside the pages on a wide screen; small pills where there are many of them; legible captions.

    Captions and the shortcuts on buttons are faded by Streamlit to less than the contrast of 4.5:1 that small text needs.
    They have no key to be styled by, hence the test ids; the accessibility test notices when these change. The dark theme's
    primary colour carries white text; as the text of a chosen pill it would be too dark on its ground.
    """
    wide = ".st-key-page { margin-inline: -2.5rem; width: calc(100% + 5rem); max-width: none; }"
    pills = (
        ".st-key-method-rows button:has(p) { min-height: 1.75rem; padding: 0 0.6rem; } "
        ".st-key-method-rows :is(button, label) p { font-size: 0.8rem; } .st-key-method-rows label p { opacity: 0.8; }"
    )
    dark = st.context.theme.type == "dark"
    legible = (
        '.stApp :is([data-testid="stCaptionContainer"], summary) { opacity: 0.85; } .stApp button kbd { opacity: 1; }'
    )
    whole = '[class*="st-key-tile-"] label :is(div, p) { white-space: normal; overflow: visible; }'  # names of metrics
    touched = "@media (hover: none) { .stApp button kbd { display: none; } }"  # no keyboard, and little room
    # Half a full-HD screen with the sidebar open: what would be squeezed stands below instead.
    wraps = " ".join(
        f':is(.st-key-{key}, .st-key-{key} > div) > [data-testid="stHorizontalBlock"]:has(> [data-testid="stColumn"])'
        f' {{ flex-wrap: wrap; > [data-testid="stColumn"] {{ min-width: min({width}, 100%); }} }}'
        for key, width in (("panels", "17rem"), ("closer-look", "19rem"))
    )
    narrow = "@media (max-width: 640px) { .stButtonGroup > div { flex-wrap: wrap; } }"
    hidden = "div:has(> [class*=st-key-remember-]), [class*=st-key-remember-] { display: none; }"
    # Above Streamlit's header, which pages cannot write into, at its right end; the pages' names leave room for it.
    header = (
        "div:has(> .st-key-languages) { position: fixed; top: 1rem; right: 1rem; width: auto; z-index: 999991; } "
        ".st-key-languages button { min-height: 1.75rem; padding: 0 0.3rem; white-space: nowrap; } "
        '[data-testid="stToolbar"] { padding-right: 6.5rem; }'
    )
    # Korean breaks lines between words; without this any syllable may end one.
    words = (
        ".stApp :is(p, li, label, th, td, h1, h2, h3, h4, h5, summary) { word-break: keep-all; overflow-wrap: break-word; }"
        if language() == "ko" else ""
    )
    unseen = "div:has(> .st-key-heading) { position: absolute; width: 1px; height: 1px; clip-path: inset(50%); }"
    chosen = (
        ".stApp :is(button:is([aria-pressed=true], [aria-checked=true]), .stSlider [data-orientation=horizontal]) p "
        "{ color: #8CC8F2; }" if dark else ""
    )
    # A formula wider than its box goes on below, after a relation sign; a part that is still too wide scrolls.
    formulas = (
        ".stApp .katex-display { overflow: auto hidden; padding-bottom: 4px; } "
        ".stApp .katex-display > .katex { white-space: normal; } "
        ".stApp .katex-display .katex-html > .base { margin-block: 0.3em; }"
    )
    wide = f"@media (min-width: 700px) {{ {wide} }}"
    rules = (wide, formulas, pills, legible, whole, touched, wraps, narrow, hidden, header, words, unseen, chosen)
    return f"<style>{' '.join(rules)}</style>"


def wordmark(dark: bool) -> str:
    """The name of the program beside what it is about: a task that is learned, then forgotten step by step."""
    ink, line = ("#FAFAFA", "#65B5F3") if dark else ("#31333F", "#0070B7")
    return (
        '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 172 28" height="28" width="172">'
        f'<path d="M2 25 C4 8 5 4 10 4 L14 4 C15 13 17 13 22 13.5 C23 20 25 20 30 20.5" fill="none" stroke="{line}" '
        'stroke-width="2.6" stroke-linecap="round" stroke-linejoin="round"/>'
        f'<circle cx="12" cy="4" r="3" fill="{line}"/>'
        f'<text x="40" y="20" font-family="Source Sans, Source Sans Pro, Segoe UI, Roboto, Helvetica, Arial, sans-serif" '
        f'font-size="18" font-weight="600" fill="{ink}">Forgetting Lab</text></svg>'
    )


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
