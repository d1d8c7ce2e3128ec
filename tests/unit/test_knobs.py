"""Declared settings that are texts: a file's name, say."""

from __future__ import annotations

import pytest

from clcore.errors import RequestError
from clcore.knobs import Knobs, check_settings, knob


class Settings(Knobs):
    backbone: str | None = knob(None, help="a file")
    title: str = knob("plain", help="a name")


def test_a_text_is_taken_as_it_is_and_none_where_it_may_be():
    backbone, title = Settings.describe()
    assert (backbone.kind, backbone.optional, title.kind, title.optional) == ("text", True, "text", False)
    assert backbone.check(" a file.npz ", "m") == "a file.npz"
    assert backbone.check("none", "m") is backbone.check("", "m") is backbone.check(None, "m") is None
    assert check_settings({"title": "none"}, Settings.describe(), "m") == {"backbone": None, "title": "none"}


def test_what_is_no_text_is_refused():
    with pytest.raises(RequestError, match="m.title = 3 is not allowed: give a text"):
        check_settings({"title": 3}, Settings.describe(), "m")
