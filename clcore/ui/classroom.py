"""Class mode: whose runs they are, who may stop them, and what all are invited to look at.

There are no accounts. A nickname comes from the person, or from a link that ends in `?u=NAME`; the browser remembers it in
a cookie, and it leaves the address at once, or whoever gets a copied link would run under another one's name. It keeps
turns fair among people who want them to be fair; it protects nothing.

Who knows CLCORE_INSTRUCTOR_CODE is an instructor until the page is reloaded. Without a code everybody is.
"""

from __future__ import annotations

import hmac
import unicodedata
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from urllib.parse import unquote

import streamlit as st

from clcore.errors import RequestError
from clcore.settings import settings
from clcore.spec import RunSpec
from clcore.store import RunRow, Shown, Store
from clcore.ui import cookie
from clcore.ui.text import _

LAB = "pages/lab/lab.py"
LONGEST = 24  # characters of a nickname
POLL_SECONDS = 5.0
_PERSON, _CODE, _LINK = "person", "instructor-code", "u"
_COOKIE = "forgetting_lab_nickname"


# ---- who -----------------------------------------------------------------------------------------------------------


def greet() -> None:
    """Takes the nickname from a link or from the browser's memory. For every run of the app, before its page."""
    named = st.query_params.get(_LINK)
    if named is not None:
        del st.query_params[_LINK]
        if st.session_state.get("named-by-link") != named:  # the browser may send it again before it has our answer
            st.session_state["named-by-link"] = named
            st.session_state[_PERSON] = clean(named)
    elif _PERSON not in st.session_state:
        st.session_state[_PERSON] = clean(unquote(dict(st.context.cookies).get(_COOKIE, "")))
    _remember_me()


def clean(text: str) -> str:
    """A nickname as it is kept: letters, digits and a few signs of any language, nothing that markdown could mean."""
    text = unicodedata.normalize("NFC", text).replace("_", "-")
    kept = "".join(c for c in text if c.isalnum() or unicodedata.category(c)[0] == "M" or c in " .'-")
    return " ".join(kept.split())[:LONGEST].strip(" .-")


def me() -> str:
    """The nickname of who looks at the page; empty without one."""
    return st.session_state.get(_PERSON, "")


def owner_words(owner: str) -> str:
    return clean(owner) or _("no name")


def class_mode() -> bool:
    """Whether this server was set up for several people."""
    here = settings()
    return here.instructor_code is not None or here.runs_per_person is not None


def is_instructor() -> bool:
    code = settings().instructor_code
    return code is None or hmac.compare_digest(st.session_state.get(_CODE, "").encode(), code.encode())


def may_steer(rows: Sequence[RunRow]) -> bool:
    """Whether this person may pause, cancel and delete these runs: where there is an instructor, one's own only."""
    return is_instructor() or (bool(me()) and all(row.owner == me() for row in rows))


def queue_runs(store: Store, specs: Sequence[RunSpec]) -> list[str]:
    """Queues runs as this person's; returns their ids. Raises RequestError, StoreError.

    An instructor who had to give the code may queue any number.
    """
    known = settings().instructor_code is not None and is_instructor()
    if class_mode() and not known and not me():
        raise RequestError(
            _("In a class every run belongs to somebody: give a nickname, on the Lab or on the System page, and press Run "
              "again.")
        )  # fmt: skip
    return store.add(list(specs), owner=me(), limit=None if known else settings().runs_per_person)


@contextmanager
def refusals() -> Iterator[None]:
    """Says in place why runs were not queued; the rest of the page goes on."""
    try:
        yield
    except RequestError as error:
        st.warning(str(error), title=_("These runs were not queued"), icon=":material/front_hand:")


def name_field() -> None:
    """Asks for the nickname."""
    st.session_state["nickname"] = me()
    st.text_input(
        _("Your nickname"), key="nickname", max_chars=LONGEST, placeholder=_("for example Ada"), on_change=_rename,
        help=_("Your runs carry it, and people take turns by it in the queue: who shares a nickname shares the turns. "
               "It is no password and protects nothing. This browser remembers it in a cookie."),
    )  # fmt: skip


def _rename() -> None:
    st.session_state[_PERSON] = clean(st.session_state["nickname"])


def _remember_me() -> None:
    """Has the browser keep the nickname, once one was given."""
    if me() or st.session_state.get("remembered"):
        st.session_state["remembered"] = True
        cookie.keep("nickname", name=_COOKIE, value=me())


def code_field() -> None:
    """Asks for the instructor's code."""
    with st.form("instructor", border=False):
        code = st.text_input(_("Instructor's code"), type="password", key="code", autocomplete="off")
        if st.form_submit_button(_("I am the instructor"), icon=":material/key:"):
            st.session_state[_CODE] = code.strip()
            if is_instructor():
                st.rerun()
            st.error(_("That is not the code that this server was started with."), icon=":material/block:")


def leave() -> None:
    """Ends being the instructor."""
    st.session_state.pop(_CODE, None)


# ---- the Lab's strip -------------------------------------------------------------------------------------------------


def class_strip(store: Store, rows: Sequence[RunRow]) -> None:
    """Above the Lab's buttons: who I am, whose runs these are, and what the instructor shows. Nothing for one person."""
    if not (class_mode() or me() or store.shown_to_all()):
        return
    experiment = rows[0].experiment if rows else None
    owner = rows[0].owner if rows else ""
    with st.container(horizontal=True, vertical_alignment="center", key="class"):
        with st.popover(me() or _("Who are you?"), icon=":material/person:", key="who"):
            name_field()
        if rows and owner and owner != me():
            st.caption(_("started by {owner}").format(owner=owner_words(owner)), width="content")
        if is_instructor() and rows:
            _show_button(store, experiment)
        _follow(store, experiment)


def _show_button(store: Store, experiment: str) -> None:
    shown = store.shown_to_all()
    if shown and shown.experiment == experiment:
        st.button(_("Stop showing it"), icon=":material/cancel_presentation:", key="unshow",
                  on_click=show, args=(store, None))  # fmt: skip
    else:
        st.button(_("Show it to the class"), icon=":material/cast_for_education:", key="show",
                  on_click=show, args=(store, experiment),
                  help=_("Offers everybody a link to this experiment; nobody's page moves by itself."))  # fmt: skip


def show(store: Store, experiment: str | None) -> None:
    """Shows an experiment to all, or none; does nothing for who may not."""
    if is_instructor():
        store.show_to_all(experiment, by=me())


def _follow(store: Store, experiment: str | None) -> None:
    """The invitation, looked for every few seconds: it shall appear on a page that nobody touches."""

    @st.fragment(run_every=POLL_SECONDS if class_mode() else None, key="follow")
    def invitation() -> None:
        shown = store.shown_to_all()
        with st.container(key="invitation"):
            if shown is None:
                return
            if shown.experiment == experiment:
                st.badge(_("shown to the class"), icon=":material/cast_for_education:", color="violet")
            # No page link: to the page that is shown already, Streamlit 1.67 leaves the address as it was.
            elif st.button(_("Follow the instructor's run"), icon=":material/cast_for_education:", key="follow-shown",
                           help=_since(shown)):  # fmt: skip
                st.query_params["x"] = shown.experiment
                st.rerun()

    invitation()


def _since(shown: Shown) -> str:
    who = f"{owner_words(shown.by)}: " if shown.by else ""
    return who + _("Your settings stay as they are; the browser's back button leads back to your own runs.")
