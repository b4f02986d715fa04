"""Phases: a bar where asked for, and lines in the log "pyod_lipocc"."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from tqdm.auto import tqdm

__all__ = ["LOGGER", "phase", "unwatched"]

LOGGER = logging.getLogger("pyod_lipocc")
LOGGER.addHandler(logging.NullHandler())


@contextmanager
def phase(name: str, *, total: int | None = None, verbose: int = 0, **bar: Any) -> Iterator[Any]:
    """Time a phase; yield its bar, whose `update` takes what is done of `total`, in rows if unsaid.

    Of a phase without a total, only the time that it has taken is known.
    """
    started = time.perf_counter()
    LOGGER.debug("%s begins", name)
    form = None if total else "{desc}: {elapsed}"
    options = {"unit": "row", "leave": False, "bar_format": form, "disable": not verbose} | bar
    with tqdm(total=total, desc=name, **options) as shown:
        yield shown
    LOGGER.info("%s: %.3g s", name, time.perf_counter() - started)


def unwatched(n_rows: int) -> None:
    """Take the place of the `update` of a bar where nobody looks."""
