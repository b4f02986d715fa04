"""Rows wherever they are: what learning asks of them."""

from __future__ import annotations

import abc
from collections.abc import Callable, Iterator
from functools import reduce
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from pyod_lipocc._chunks import chunks, slices
from pyod_lipocc._progress import unwatched

__all__ = ["Indices", "Rows", "Table"]

Rows = npt.NDArray[Any]
Indices = npt.NDArray[np.intp]
T = TypeVar("T")

_NONE = np.empty(0, dtype=np.intp)


def _itself(rows: Any) -> Any:
    return rows


class Table(abc.ABC):
    """Rows that are read block by block, less some rows that are left out.

    Methods count the rows that are left. Answers must not depend on the blocks.

    Parameters
    ----------
    n, d : int
        Number of all rows and of features.
    left_out : ndarray of int
        Sorted.

    Attributes
    ----------
    shape : tuple of int
        Of the rows that are left.
    """

    def __init__(self, n: int, d: int, left_out: Indices = _NONE) -> None:
        self.shape = n - len(left_out), d
        self._left_out = left_out

    def __len__(self) -> int:
        return self.shape[0]

    @staticmethod
    def of(X: Any) -> Table:
        """Return a table of rows in memory; a table stands for itself."""
        return X if isinstance(X, Table) else _InMemory(X)

    @abc.abstractmethod
    def without(self, rows: Indices) -> Table:
        """Return a whole table less some rows, given in any order; nothing is copied."""

    @abc.abstractmethod
    def fold(
        self,
        measure: Callable[[Rows], T],
        merge: Callable[[T, T], T],
        progress: Callable[[int], object] = unwatched,
    ) -> T:
        """Measure every block of at least one row, and merge the measures in any order.

        Where the rows are here, `progress` is told of the numbers of rows that are done.
        """

    @abc.abstractmethod
    def take(
        self,
        chosen: Indices,
        convert: Callable[[Rows], Rows],
        dtype: npt.DTypeLike,
        use: Callable[[Rows], Any] = _itself,
    ) -> Any:
        """Use chosen rows, given by sorted indices, converted block by block.

        The function `use` is called where the rows are. Its result comes back.
        """

    def here(self, rows: Indices) -> Indices:
        """Return those of all rows that this process holds, as it counts them."""
        return rows

    def original(self, rows: Indices) -> Indices:
        """Return the indices, among all rows, of rows that are left."""
        before = self._left_out - np.arange(len(self._left_out))
        return rows + np.searchsorted(before, rows, side="right")

    def _left_in(self, rows: Rows, start: int) -> Rows:
        """Return the rows that are left of a block whose first row has the index `start`."""
        low, high = np.searchsorted(self._left_out, (start, start + len(rows)))
        return np.delete(rows, self._left_out[low:high] - start, axis=0) if low < high else rows


class _InMemory(Table):
    """Rows in memory or in a memory map."""

    def __init__(self, X: Rows, left_out: Indices = _NONE) -> None:
        n, d = X.shape
        super().__init__(n, d, left_out)
        self._X = X

    def without(self, rows: Indices) -> Table:
        return _InMemory(self._X, np.sort(rows))

    def fold(
        self,
        measure: Callable[[Rows], T],
        merge: Callable[[T, T], T],
        progress: Callable[[int], object] = unwatched,
    ) -> T:
        def measured(rows: Rows) -> T:
            progress(len(rows))
            return measure(rows)

        return reduce(merge, (measured(rows) for rows in self._blocks() if len(rows)))

    def take(
        self,
        chosen: Indices,
        convert: Callable[[Rows], Rows],
        dtype: npt.DTypeLike,
        use: Callable[[Rows], Any] = _itself,
    ) -> Any:
        taken = np.empty((len(chosen), self.shape[1]), dtype)
        rows = self.original(chosen)
        for batch in slices(*taken.shape):
            taken[batch] = convert(self._X[rows[batch]])
        return use(taken)

    def _blocks(self) -> Iterator[Rows]:
        start = 0
        for rows in chunks(self._X):
            yield self._left_in(rows, start)
            start += len(rows)
