"""Freed memory is kept for the next step: glibc gives large blocks back to the kernel, which clears them anew.

A step of training allocates and frees hundreds of megabytes of activations. With glibc's defaults a part of them goes
back after each step and returns page by page, cleared: a seventh of the time of a training at 32 pixels, half of it at
224 (docs/RESULTS.md, speed of training and search). Elsewhere (macOS, Windows, musl) nothing is done.
"""

import contextlib
import ctypes
from collections.abc import Iterator
from functools import cache
from typing import Any

# Parameters of mallopt, from glibc's malloc.h.
TRIM_THRESHOLD, MMAP_MAX, ARENA_MAX = -1, -4, -8
# Nothing is given back by itself, and no block comes straight from the kernel.
KEPT = {TRIM_THRESHOLD: -1, MMAP_MAX: 0}
# A thread's own part of the memory ends at 64 MiB, and what ends with a large block is given back whatever the
# thresholds. Where blocks are so large, all threads take theirs from the one part without an end; where they are
# small, waiting for each other there costs more (7 % at 32 pixels, nothing at 64).
IN_ONE_PART = {ARENA_MAX: 1}
LARGE_SIDE = 96


@contextlib.contextmanager
def kept_memory(side: int) -> Iterator[None]:
    """Memory that is freed meanwhile is used again; at the end what is unused goes back to the kernel.

    The thresholds stay as they are set: glibc cannot tell what they were.

    side : of the pictures, pixels.
    """
    library = _settled(side >= LARGE_SIDE)
    try:
        yield
    finally:
        if library is not None:
            library.malloc_trim(0)


@cache
def _settled(large: bool) -> Any | None:
    """The C library told to keep memory, once for this process; None where it cannot."""
    wanted = KEPT | IN_ONE_PART if large else KEPT
    try:
        library = ctypes.CDLL(None)
        done = all(library.mallopt(name, value) for name, value in wanted.items())
    except (OSError, TypeError, AttributeError):
        return None
    return library if done else None
