"""Rows in chunks: memory is bounded by a chunk, not by n."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

__all__ = ["CHUNK", "chunks"]

CHUNK = 512
"""Rows handled at once wherever all of X is read: memory is bounded by it, not by n."""


def chunks(X: Any) -> Iterator[Any]:
    """Iterate over consecutive slices of at most `CHUNK` rows."""
    return (X[start : start + CHUNK] for start in range(0, len(X), CHUNK))
