"""Rows of a dask collection as a table: each block is a task, and each question a graph."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import reduce
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
from typing_extensions import Self

from pyod_lipocc._chunks import chunk_size
from pyod_lipocc._extras import import_extra
from pyod_lipocc._isolation import isolated
from pyod_lipocc._progress import unwatched
from pyod_lipocc._random import global_seed
from pyod_lipocc._table import Indices, Rows, Table
from pyod_lipocc.dask._allocator import reuse_temporaries

__all__ = ["Blocks", "merged"]

dask = import_extra("dask", "dask")
da = import_extra("dask.array", "dask")

T = TypeVar("T")

_NONE = np.empty(0, dtype=np.intp)
_FAN_IN = 16  # measures that one task merges


class Blocks(Table):
    """Blocks of rows, of known lengths.

    Parameters
    ----------
    blocks : sequence of dask.delayed.Delayed
        Each gives a matrix.
    lengths : sequence of int
    d : int
    left_out : ndarray of int
    seed : int
        Of torch's global generators while rows are used.
    """

    in_chunks = True
    """Whether a measure sees a block in chunks of bounded size."""

    def __init__(
        self,
        blocks: Sequence[Any],
        lengths: Sequence[int],
        d: int,
        left_out: Indices = _NONE,
        seed: int = 0,
    ) -> None:
        super().__init__(sum(lengths), d, left_out)
        self.blocks, self.lengths, self.seed = blocks, lengths, seed
        self._starts = np.cumsum([0, *lengths])

    @classmethod
    def measured(cls, blocks: Sequence[Any], d: int) -> Blocks:
        """Return blocks whose lengths are not known yet: they are read."""
        return cls(blocks, dask.compute(*map(dask.delayed(len), blocks)), d)

    def without(self, rows: Indices) -> Blocks:
        return type(self)(self.blocks, self.lengths, self.shape[1], np.sort(rows), self.seed)

    def fold(
        self,
        measure: Callable[[Rows], T],
        merge: Callable[[T, T], T],
        progress: Callable[[int], object] = unwatched,
    ) -> T:
        measured = dask.delayed(_measured)
        parts = [
            measured(block, left_out, measure, merge, self.in_chunks)
            for block, length, left_out in zip(
                self.blocks, self.lengths, self.parts(self._left_out), strict=True
            )
            if len(left_out) < length
        ]
        result: T = merged(parts, merge).compute()
        return result

    def take(
        self,
        chosen: Indices,
        convert: Callable[[Rows], Rows],
        dtype: npt.DTypeLike,
        use: Callable[[Rows], Any] = lambda rows: rows,
    ) -> Any:
        taken = dask.delayed(_taken)
        parts = [
            taken(block, part, convert, dtype)
            for block, part in zip(self.blocks, self.parts(self.original(chosen)), strict=True)
            if len(part)
        ]
        return dask.delayed(_used)(parts, use, self.seed).compute()

    def parts(self, rows: Indices) -> list[Indices]:
        """Split sorted indices, among all rows, by the blocks, and count within these."""
        cuts = np.searchsorted(rows, self._starts)
        return [
            rows[low:high] - start
            for low, high, start in zip(cuts, cuts[1:], self._starts, strict=False)
        ]

    def aligned(self) -> Blocks:
        """Return blocks that start where chunks do, so that all chunks but one are whole.

        The last bits of a score depend on how many rows a matrix product has.
        """
        size = chunk_size(self.shape[1])
        ends = {*(-(-self._starts[1:] // size) * size).clip(max=self._starts[-1]).tolist()}
        lengths = np.diff([0, *sorted(ends - {0})]).tolist()
        return Blocks.of_array(self.array(np.float64).rechunk((tuple(lengths), self.shape[1])))

    def array(self, dtype: npt.DTypeLike) -> Any:
        """Return a dask array of the blocks."""
        arrays = [
            da.from_delayed(block, (length, self.shape[1]), dtype)
            for block, length in zip(self.blocks, self.lengths, strict=True)
        ]
        return da.concatenate(arrays)

    @classmethod
    def of_array(cls, array: Any) -> Self:
        """Return the blocks of a dask array whose chunks are known and hold whole rows."""
        return cls(array.to_delayed().ravel().tolist(), array.chunks[0], array.shape[1])


def merged(parts: list[Any], merge: Callable[[Any, Any], Any]) -> Any:
    """Return a task that merges the results of other tasks, as the root of a tree."""
    while len(parts) > 1:
        groups = (parts[i : i + _FAN_IN] for i in range(0, len(parts), _FAN_IN))
        parts = [dask.delayed(reduce)(merge, group) for group in groups]
    return parts[0]


@isolated()
def _measured(
    block: Rows,
    left_out: Indices,
    measure: Callable[[Rows], T],
    merge: Callable[[T, T], T],
    in_chunks: bool,
) -> T:
    reuse_temporaries()
    if not in_chunks:
        return measure(np.delete(block, left_out, axis=0))
    return Table.of(block).without(left_out).fold(measure, merge)


@isolated()
def _taken(
    block: Rows, part: Indices, convert: Callable[[Rows], Rows], dtype: npt.DTypeLike
) -> Rows:
    rows: Rows = Table.of(block).take(part, convert, dtype)
    return rows


@isolated()
def _used(parts: list[Rows], use: Callable[[Rows], T], seed: int) -> T:
    reuse_temporaries()
    with global_seed(seed):
        return use(np.concatenate(parts))
