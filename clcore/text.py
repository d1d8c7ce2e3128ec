"""Every sentence a person sees passes through here. English is the source; a catalogue in ui/locale translates it."""

from __future__ import annotations

import gettext
from functools import cache
from pathlib import Path

DOMAIN = "forgetting-lab"
LOCALE = Path(__file__).parent / "ui" / "locale"


@cache
def _translations() -> gettext.NullTranslations:
    return gettext.translation(DOMAIN, LOCALE, fallback=True)


def _(text: str) -> str:
    return _translations().gettext(text)


def n_(singular: str, plural: str, n: int, **more: object) -> str:
    """The form for n, with {n} and what else is named filled in."""
    return _translations().ngettext(singular, plural, n).format(n=n, **more)
