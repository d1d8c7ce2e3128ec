"""Every sentence a person sees passes through here. English is the source; a catalogue in ui/locale translates it.

A server serves people of several languages at once, so the language belongs to whoever is being served, not to the
process: a context variable holds it, and the interface says how a thread that has none yet finds it out. The command line
and the workers never say anything, and speak English.
"""

from __future__ import annotations

import gettext
import io
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache, wraps
from pathlib import Path
from typing import Any

from clcore import po

DOMAIN = "forgetting-lab"
LOCALE = Path(__file__).parent / "ui" / "locale"
SOURCE = "en"
LANGUAGES = {SOURCE: "English", "ko": "한국어"}  # each by its own name; a new one needs its catalogue beside

_spoken: ContextVar[str] = ContextVar("language")


def _ask() -> str | None:
    return None


def _(text: str) -> str:
    return _translations(language()).gettext(text)


def n_(singular: str, plural: str, n: int, **more: object) -> str:
    """The form for n, with {n} and what else is named filled in."""
    return _translations(language()).ngettext(singular, plural, n).format(n=n, **more)


# ---- whose language --------------------------------------------------------------------------------------------------


def language() -> str:
    """The language in force here, one of LANGUAGES."""
    try:
        return _spoken.get()
    except LookupError:
        asked = _ask()
    if asked is None:
        return SOURCE
    _spoken.set(asked)  # asked once a thread: sentences are many
    return asked


def speak(name: str) -> None:
    """What follows in this thread is said in this language."""
    _spoken.set(name)


def ask_with(ask: Callable[[], str | None]) -> None:
    """How a thread that was told nothing learns its language; None where nobody is being served."""
    global _ask
    _ask = ask


@contextmanager
def speaking(name: str) -> Iterator[None]:
    """The language of a block."""
    before = _spoken.set(name)
    try:
        yield
    finally:
        _spoken.reset(before)


def in_this_language(work: Callable[..., Any]) -> Callable[..., Any]:
    """`work` in the language in force now, in whatever thread it is done: a file is written when somebody fetches it."""
    now = language()

    @wraps(work)
    def done(*args: Any, **kwargs: Any) -> Any:
        with speaking(now):
            return work(*args, **kwargs)

    return done


# ---- catalogues ------------------------------------------------------------------------------------------------------


def catalogue_path(name: str) -> Path:
    return LOCALE / name / "LC_MESSAGES" / f"{DOMAIN}.po"


@cache
def _translations(name: str) -> gettext.NullTranslations:
    """Read from the .po itself, so that nothing compiled has to be kept in step with it."""
    if name == SOURCE:
        return gettext.NullTranslations()
    entries = po.read(catalogue_path(name).read_text(encoding="utf-8"))
    return gettext.GNUTranslations(io.BytesIO(po.compiled(entries)))
