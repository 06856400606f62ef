"""Freed memory is kept for the next step: glibc gives large blocks back to the kernel, which clears them anew.

A step of training allocates and frees some hundred megabytes of activations. With glibc's defaults a part of them goes
back after each step and returns page by page, cleared, which takes 10 to 25 % of a training's time (docs/RESULTS.md,
speed of training and search). Elsewhere (macOS, Windows, musl) nothing is done.
"""

import contextlib
import ctypes
from collections.abc import Iterator
from functools import cache
from typing import Any

# Parameters of mallopt in glibc's malloc.h, and the most that each may be: blocks of up to 32 MiB come from memory that
# is kept, and up to 2 GiB of it are.
TRIM_THRESHOLD, MMAP_THRESHOLD = -1, -3
LARGEST = {MMAP_THRESHOLD: 32 * 2**20, TRIM_THRESHOLD: 2**31 - 1}


@contextlib.contextmanager
def kept_memory() -> Iterator[None]:
    """Memory that is freed meanwhile is used again; at the end what is unused goes back to the kernel.

    The thresholds stay as they are set: glibc cannot tell what they were.
    """
    library = _settled()
    try:
        yield
    finally:
        if library is not None:
            library.malloc_trim(0)


@cache
def _settled() -> Any | None:
    """The C library with its thresholds raised, once for this process; None where it has none."""
    try:
        library = ctypes.CDLL(None)
        done = all(library.mallopt(name, value) for name, value in LARGEST.items())
    except (OSError, TypeError, AttributeError):
        return None
    return library if done else None
