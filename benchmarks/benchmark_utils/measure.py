"""Threads, time and memory of the process that fits."""

from __future__ import annotations

import ctypes
import gc
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from time import perf_counter, process_time

import psutil
import torch
from threadpoolctl import threadpool_limits

MEGABYTE = 2**20


@contextmanager
def limited_threads(n: int) -> Iterator[None]:
    """Let BLAS, OpenMP and torch use ``n`` threads inside the block."""
    before = torch.get_num_threads()
    torch.set_num_threads(n)
    try:
        with threadpool_limits(n):
            yield
    finally:
        torch.set_num_threads(before)


class Stopwatch:
    """Measures how long a block takes.

    Attributes
    ----------
    seconds : float
        Time on the wall.
    cpu_seconds : float
        Time of the processor, over all threads of this process. With one thread this is the time on
        the wall of an idle machine.
    """

    def __enter__(self) -> Stopwatch:
        self._start = perf_counter(), process_time()
        return self

    def __exit__(self, *_: object) -> None:
        self.seconds = perf_counter() - self._start[0]
        self.cpu_seconds = process_time() - self._start[1]


def release_freed_memory() -> None:
    """Return freed memory to the system where the C library can, as glibc does."""
    gc.collect()
    with suppress(OSError):
        ctypes.CDLL("libc.so.6").malloc_trim(0)


class PeakMemory:
    """Growth of this process's resident set inside the block, at its peak, in MiB.

    On entry freed memory is released. Then a thread compares the resident set with that on entry
    every 5 ms. This counts everything that the block allocates, native memory included. The growth
    is a lower bound for two reasons. A peak shorter than the interval, or than a native call that
    keeps Python's lock, can be missed. Free memory between memory in use cannot be released, and is
    used again without growth.

    Attributes
    ----------
    megabytes : float
        The growth, known once the block is left.
    """

    interval = 0.005  # seconds

    def __enter__(self) -> PeakMemory:
        release_freed_memory()
        self._process = psutil.Process()
        self._before = self._peak = self._process.memory_info().rss
        self._left = threading.Event()
        self._sampler = threading.Thread(target=self._sample, daemon=True)
        self._sampler.start()
        return self

    def _sample(self) -> None:
        while not self._left.wait(self.interval):
            self._record()

    def _record(self) -> None:
        self._peak = max(self._peak, self._process.memory_info().rss)

    def __exit__(self, *_: object) -> None:
        self._record()
        self._left.set()
        self._sampler.join()
        self.megabytes = (self._peak - self._before) / MEGABYTE
