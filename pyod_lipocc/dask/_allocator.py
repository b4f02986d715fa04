"""Memory of workers: temporary arrays come from the heap again and again, not from the kernel."""

from __future__ import annotations

import ctypes
import os
import sys
from functools import cache

__all__ = ["reuse_temporaries"]

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # names of glibc's malloc.h
_LARGEST_TEMPORARY = 4 * 2**20  # bytes
_LEFT_ON_THE_HEAP = 4 * _LARGEST_TEMPORARY


@cache
def reuse_temporaries() -> None:
    """Let glibc serve arrays of less than 4 MiB from its heap, once for each worker.

    glibc would learn by itself that a program frees what it has just allocated. It stops learning
    where MALLOC_TRIM_THRESHOLD_ is set, as Dask sets it for its workers. Each array from 128 KiB on
    is then mapped and cleared anew, and scoring takes half as long again. Larger arrays, such as
    partitions, go back to the kernel as before.
    """
    if sys.platform != "linux" or "MALLOC_TRIM_THRESHOLD_" not in os.environ:
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None and "MALLOC_MMAP_THRESHOLD_" not in os.environ:
        mallopt(_MMAP_THRESHOLD, _LARGEST_TEMPORARY)
        mallopt(_TRIM_THRESHOLD, _LEFT_ON_THE_HEAP)
