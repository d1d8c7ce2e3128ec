"""Small pictures as text: bytes in a row, compressed, so that an event that holds one stays a few hundred characters."""

from __future__ import annotations

import base64
import zlib


def packed(values: bytes) -> str:
    return base64.b64encode(zlib.compress(values, 9)).decode("ascii")


def unpacked(text: str) -> bytes:
    return zlib.decompress(base64.b64decode(text))
