"""Small pictures of pixels as PNG data URIs: a thumbnail in a figure is a few hundred characters."""

from __future__ import annotations

import base64
import struct
import zlib

import numpy as np

_GREY, _RGB = 0, 2


def data_uri(pixels: np.ndarray, side: int = 56) -> str:
    """`pixels` (h, w) or (channels, h, w), 0 … 255, enlarged without blur to at least `side`. One channel or three."""
    if pixels.ndim == 3:
        pixels = np.moveaxis(pixels, 0, -1)
        pixels = pixels[..., :3] if pixels.shape[-1] >= 3 else pixels[..., 0]
    times = max(1, -(-side // max(pixels.shape[:2])))
    pixels = pixels.clip(0, 255).astype(np.uint8).repeat(times, 0).repeat(times, 1)
    height, width = pixels.shape[:2]
    rows = b"".join(b"\0" + row.tobytes() for row in pixels)
    header = struct.pack(">IIBBBBB", width, height, 8, _RGB if pixels.ndim == 3 else _GREY, 0, 0, 0)
    body = _chunk(b"IHDR", header) + _chunk(b"IDAT", zlib.compress(rows, 9)) + _chunk(b"IEND", b"")
    return "data:image/png;base64," + base64.b64encode(b"\x89PNG\r\n\x1a\n" + body).decode("ascii")


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
