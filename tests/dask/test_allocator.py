"""What workers of Dask do with temporary arrays, where the C library is glibc."""

from __future__ import annotations

import ctypes
import os
import platform
import resource
from concurrent.futures import ProcessPoolExecutor

import numpy as np
import pytest
from processes import FORKED

from pyod_lipocc.dask._allocator import reuse_temporaries

M_TRIM_THRESHOLD = -1
TRIM_AT = 65_536  # what a nanny of Dask sets
ROUNDS = 100


def page_faults(n_bytes):
    """Count the page faults of an array that is made and dropped again and again."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(ROUNDS):
        np.ones(n_bytes, dtype=np.uint8)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before


def faults_in_a_worker(sizes, **environment):
    """Count before and after `reuse_temporaries`, in a process that is as a worker of Dask."""
    ctypes.CDLL(None).mallopt(M_TRIM_THRESHOLD, TRIM_AT)
    os.environ.update(environment)
    before = [page_faults(size) for size in sizes]
    reuse_temporaries()
    return before, [page_faults(size) for size in sizes]


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="about glibc")
def test_temporary_arrays_keep_their_pages_and_partitions_give_them_back():
    small, large = 2**19, 2**25
    with ProcessPoolExecutor(1, FORKED) as worker:
        counted = worker.submit(
            faults_in_a_worker, (small, large), MALLOC_TRIM_THRESHOLD_=str(TRIM_AT)
        )
        (small_before, large_before), (small_after, large_after) = counted.result(timeout=60)
    pages = small // resource.getpagesize()
    assert small_before > ROUNDS * pages / 2
    assert small_after < ROUNDS
    assert large_after > large_before / 2


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="about glibc")
@pytest.mark.parametrize(
    "environment",
    [{}, {"MALLOC_TRIM_THRESHOLD_": str(TRIM_AT), "MALLOC_MMAP_THRESHOLD_": "131072"}],
    ids=["no worker of Dask", "a threshold of the user"],
)
def test_other_processes_and_choices_stay_as_they_are(environment):
    with ProcessPoolExecutor(1, FORKED) as process:
        counted = process.submit(faults_in_a_worker, (2**19,), **environment)
        (before,), (after,) = counted.result(timeout=60)
    assert after > before / 2
