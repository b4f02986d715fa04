"""Rows in chunks: memory is bounded by a chunk, not by n."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

__all__ = ["chunk_size", "chunks", "slices"]

_FEWEST_ROWS, _MOST_ROWS = 512, 2048
_NUMBERS = 2**16


def chunk_size(n_features: int) -> int:
    """Return how many rows of a width are handled at once, wherever all of X is read.

    What is computed from 512 wide rows stays in the cache. Of narrow rows a chunk has up to four
    times as many, since these cost less than the Python between operators does.
    """
    size = _MOST_ROWS
    while size > _FEWEST_ROWS and size * n_features > _NUMBERS:
        size //= 2
    return size


def slices(n: int, n_features: int) -> Iterator[slice]:
    """Iterate over consecutive slices of n rows of a width."""
    size = chunk_size(n_features)
    return (slice(start, start + size) for start in range(0, n, size))


def chunks(X: Any) -> Iterator[Any]:
    """Iterate over consecutive chunks of the rows of X, shape (n, d)."""
    return (X[rows] for rows in slices(*X.shape))
