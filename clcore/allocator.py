"""Keeps freed memory for the next step instead of giving it back to the system after every one.

A training step allocates and frees megabytes of activations and gradients. glibc returns blocks of that size to the kernel at
once, and the next step pays for every page again: up to 600 page faults a step for eight 784-256-256-10 networks, a tenth of
the time (docs/speed.md).
"""

from __future__ import annotations

import ctypes
import platform

_TRIM_THRESHOLD, _TOP_PAD, _MMAP_THRESHOLD = -1, -2, -3  # malloc.h
_LARGEST_MMAP_THRESHOLD = 32 << 20  # glibc refuses more
_KEPT = 256 << 20


def keep_freed_memory() -> None:
    """Lets this process keep up to 256 MiB of freed memory. Does nothing where the C library is not glibc."""
    if platform.libc_ver()[0] != "glibc":
        return
    libc = ctypes.CDLL(None)
    libc.mallopt(_MMAP_THRESHOLD, _LARGEST_MMAP_THRESHOLD)
    libc.mallopt(_TRIM_THRESHOLD, _KEPT)
    libc.mallopt(_TOP_PAD, _LARGEST_MMAP_THRESHOLD)
