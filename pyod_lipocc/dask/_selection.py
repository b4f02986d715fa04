"""Exact quantiles of a column that no machine holds: a radix selection on the bits of float64."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from pyod_lipocc._table import Indices, Rows, Table

__all__ = ["order_statistics", "quantile"]

Floats = npt.NDArray[np.float64]
Keys = npt.NDArray[np.uint64]

_DIGIT = 16  # bits
_SIGN = np.uint64(1 << 63)


def quantile(table: Table, q: float) -> float:
    """Return the quantile of a table of one column, with the bits of `numpy.quantile`.

    Parameters
    ----------
    table : Table
    q : float in [0, 1]

    Raises
    ------
    ValueError
        If the column holds NaN or infinity.
    """
    position = (len(table) - 1) * q
    lower = int(position)
    neighbours = order_statistics(table, np.array([lower, min(lower + 1, len(table) - 1)]))
    return float(np.quantile(neighbours, position - lower))


def order_statistics(table: Table, ranks: Indices) -> Floats:
    """Return the values that have some ranks, counted from 0, in a table of one column.

    Each of four passes counts the values that begin with the digits known of each result, by their
    next digit of 16 bits. No pass is an approximation, so ties need no care.
    """
    known, ahead = np.zeros(len(ranks), np.uint64), ranks.astype(np.int64)
    for shift in range(64 - _DIGIT, -1, -_DIGIT):
        wanted, index = np.unique(known, return_inverse=True)
        counts = table.fold(partial(_counts, wanted, shift), np.add)
        up_to = np.concatenate((np.zeros((len(wanted), 1), np.int64), counts.cumsum(axis=1)), 1)
        for i, of in enumerate(index):
            digit = int(np.searchsorted(up_to[of], ahead[i], side="right")) - 1
            ahead[i] -= up_to[of, digit]
            known[i] = (known[i] << np.uint64(_DIGIT)) | np.uint64(digit)
    return _values(known)


def _counts(wanted: Keys, shift: int, rows: Rows) -> npt.NDArray[Any]:
    """Count, for each beginning, the values by the digit that follows it."""
    keys = _keys(rows.ravel()) >> np.uint64(shift)
    beginnings, digits = keys >> np.uint64(_DIGIT), keys & np.uint64(2**_DIGIT - 1)
    parts = (digits[beginnings == beginning].astype(np.intp) for beginning in wanted)
    return np.stack([np.bincount(part, minlength=2**_DIGIT) for part in parts])


def _keys(values: Floats) -> Keys:
    """Map float64 to integers of the same order."""
    if not np.isfinite(values).all():
        raise ValueError("scores must be finite, got NaN or infinity")
    bits = (values + 0.0).view(np.uint64)  # the sum makes 0 of -0
    return np.where(bits & _SIGN, ~bits, bits | _SIGN)


def _values(keys: Keys) -> Floats:
    """Map integers back."""
    return np.where(keys & _SIGN, keys & ~_SIGN, ~keys).view(np.float64)
