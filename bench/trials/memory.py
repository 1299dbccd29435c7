"""How a worker's malloc treats memory that is freed."""

from __future__ import annotations

import ctypes
import sys

__all__ = ["keep_freed_memory"]

_TRIM_THRESHOLD, _MMAP_MAX = -1, -4  # options of glibc's mallopt, malloc.h
_KEPT = 1 << 30  # bytes


def keep_freed_memory() -> bool:
    """Let malloc reuse up to 1 GiB of freed memory instead of returning it to the system.

    By default glibc maps every large tensor anew and the system clears its pages, which takes as long as the work
    itself in the first layers of audio models, whose activations hold every sample.

    Returns:
        Whether the C library has these options; others are left as they are.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    return mallopt is not None and bool(mallopt(_MMAP_MAX, 0)) and bool(mallopt(_TRIM_THRESHOLD, _KEPT))
