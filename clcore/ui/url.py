"""The URL is the state of a page: read when it says something new, written when a control has moved.

Widgets could bind themselves to query parameters, but they write the label that is shown: a link would break with the
language. Here a link holds names. `adopt` notices a fresh link, the browser's back button, and the return from another
page.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Any

import streamlit as st

from clcore.errors import RequestError
from clcore.text import language
from clcore.ui.text import _

Query = dict[str, list[str]]


def adopt(page: str, probe: str, values_of: Callable[[Query], dict[str, Any]]) -> None:
    """Sets the controls from the URL where it differs from what this session wrote last.

    probe      the key of a control that the page always draws: when it has no value, the page has just been entered
    values_of  the query as session-state values; it may raise nothing, but may warn
    """
    memory = f"url-{page}"
    query = current()
    last = st.session_state.get(memory)
    same_words = st.session_state.get(f"language-{page}") == language()  # in others some controls forget their values
    if same_words and probe in st.session_state and (query == last or _moved(page)):
        return
    if not query and last and probe not in st.session_state:
        query = last
        st.query_params.from_dict(query)
    for key, value in values_of(query).items():
        st.session_state[key] = value
    st.session_state[memory] = query
    st.session_state[f"language-{page}"] = language()


def publish(page: str, params: Mapping[str, Any], *, prefix: str = "", controls: Mapping[str, str] | None = None) -> None:
    """Writes the controls' values into the URL; a None leaves it out.

    prefix    before a name, the key of its control
    controls  name → the control's key where it is another
    """
    query = {key: written(value) for key, value in params.items() if value is not None}
    if query != current():
        st.query_params.from_dict(query)
    st.session_state[f"url-{page}"] = query
    keys = [(controls or {}).get(name, prefix + name) for name in params]
    st.session_state[f"shown-{page}"] = {key: st.session_state[key] for key in keys if key in st.session_state}


def held(default: Mapping[str, Any], key: str, allowed: Collection[Any] | None = None) -> Any:
    """A control's value where it has one that is `allowed`, otherwise its default: where the control starts in a browser.

    A value set in the session state reaches the browser with one drawing of the page. A browser that is still loading the
    control when the page is drawn again – Run is pressed at once, say – would start from the default and send that back as
    if it had been chosen. So every drawing names the value. (A number that may be none keeps none as its default:
    Streamlit lets a person empty no other.)
    """
    value = st.session_state.get(key, default[key])
    if allowed is None:
        return value
    if isinstance(value, list):
        return [item for item in value if item in allowed]
    return value if value in allowed else default[key]


def held_index(default: Mapping[str, Any], key: str, options: Iterable[Any]) -> int:
    """The same as a place among a control's options."""
    options = list(options)
    return options.index(held(default, key, options))


def _moved(page: str) -> bool:
    """Whether a control has moved since the URL was written.

    Then a URL that differs is not a new one: the browser sent it before it had received ours, because two controls were
    moved in quick succession. Adopting it would undo them.
    """
    shown = st.session_state.get(f"shown-{page}", {})
    return any(key in st.session_state and st.session_state[key] != value for key, value in shown.items())


def unknown(query: Iterable[str], known: Collection[str]) -> list[str]:
    """A sentence for each name in a link that the page does not know; what embeds a page is Streamlit's own."""
    strange = [key for key in query if key not in known and not key.startswith("embed")]
    return [_("`{key}` is unknown").format(key=key) for key in strange]


def warn(problems: Sequence[str]) -> None:
    """Says what of a link could not be used; nothing where all could."""
    if problems:
        told = "; ".join(problem.rstrip(".") for problem in problems)
        st.warning(
            _("Some of this link could not be used; the defaults stand in:") + f" {told}.", icon=":material/link_off:"
        )


def current() -> Query:
    return {key: st.query_params.get_all(key) for key in st.query_params}


def written(value: Any) -> list[str]:
    """A control's value as it stands in a link."""
    if isinstance(value, list | tuple):
        return [text for item in value for text in written(item)] or ["none"]
    if isinstance(value, bool):
        return ["true" if value else "false"]
    if isinstance(value, float):
        short = f"{value:g}"
        return [short if float(short) == value else repr(value)]
    return ["none" if value is None else str(value)]


def read(texts: list[str], like: Any, allowed: list[Any] | None = None) -> Any:
    """A value from a link, of the kind of `like` (a control's default). Raises RequestError."""
    if isinstance(like, list):
        item = like[0] if like else ""
        return [] if texts == ["none"] else [read([text], item, allowed) for text in texts]
    text = texts[-1]
    try:
        if text == "none":
            value: Any = None
        elif isinstance(like, bool):
            value = {"true": True, "false": False}[text.lower()]
        elif isinstance(like, int):
            value = int(text)
        elif isinstance(like, float):
            value = float(text)
        else:
            value = text
    except (KeyError, ValueError):
        raise RequestError(_("'{value}' cannot be read").format(value=text)) from None
    if allowed is not None and value not in allowed:
        choices = ", ".join(written(a)[0] for a in allowed)
        raise RequestError(_("'{value}' is not one of {choices}").format(value=text, choices=choices))
    return value
