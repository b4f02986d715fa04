"""Mean and deviation of features, by sums whose bits depend neither on order nor on blocks."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from pyod_lipocc._progress import unwatched
from pyod_lipocc._table import Rows, Table

__all__ = ["extremes", "moments"]

Floats = npt.NDArray[np.float64]

_LEVELS = 3
_LEAST_UNIT = 2.0**-1000  # lesser powers of two have no inverse
_ROUNDING = 64 * np.finfo(np.float64).eps


def moments(
    table: Table, *, alike: bool = False, progress: Callable[[int], object] = unwatched
) -> tuple[Floats, Floats]:
    """Return mean and standard deviation of each feature, in three passes.

    Parameters
    ----------
    table : Table
    alike : bool, default=False
        All features are one.
    progress : callable, optional
        Told of the numbers of rows that the first pass has done.

    Returns
    -------
    mean, deviation : ndarray of shape (d,), or (1,) where the features are alike
        The deviation is 0 where it is mere rounding, and ``inf`` where the variance overflows.
    """
    low, high = extremes(table, alike=alike, progress=progress)
    with np.errstate(over="ignore", invalid="ignore"):
        unit = _unit(np.maximum(np.abs(low), np.abs(high)))
        mean = unit * _mean(table, alike, 0.0, unit, 1)
        unit = _unit(np.maximum(high - mean, mean - low))
        deviation = unit * np.sqrt(_mean(table, alike, mean, unit, 2))
        deviation[~np.isfinite(deviation**2)] = np.inf
    deviation[deviation <= _ROUNDING * np.abs(mean)] = 0.0
    return mean, deviation


def extremes(
    table: Table, *, alike: bool = False, progress: Callable[[int], object] = unwatched
) -> tuple[Floats, Floats]:
    """Return the least and the greatest value of each feature."""
    low, high = table.fold(partial(_reach, alike), np.maximum, progress)
    return -low, high


def _reach(alike: bool, rows: Rows) -> Floats:
    values = _features(rows, alike)
    return np.stack((-values.min(axis=0), values.max(axis=0)))


def _features(rows: Rows, alike: bool) -> Floats:
    values = np.asarray(rows, dtype=np.float64, order="C")
    return values.reshape(-1, 1) if alike else values


def _unit(size: Floats) -> Floats:
    """Return the greatest power of two that is at most `size`: to divide by it rounds nothing."""
    power: Floats = np.ldexp(1.0, np.frexp(size)[1] - 1)
    return np.maximum(power, _LEAST_UNIT)


def _mean(table: Table, alike: bool, location: Any, unit: Floats, power: int) -> Floats:
    """Return the mean of ((x - location) / unit)^power, which is less than 4.

    A sum of multiples of one number is exact while it is less than 2^53 times that number. So each
    addend is split into multiples of three numbers, one finer than the other, and a remainder of no
    consequence. The three numbers follow from the count of the addends.
    """
    n = len(table) * (table.shape[1] if alike else 1)
    bits = n.bit_length() + 3  # of the sum of n numbers below 4, in front of the point

    def sums(rows: Rows) -> Floats:
        rest = ((_features(rows, alike) - location) / unit) ** power
        found, shift = [], 1.5 * 2.0**bits  # a number plus `shift` has no bit below 2^(bits - 52)
        for _ in range(_LEVELS):
            multiples = (rest + shift) - shift
            found.append(multiples.sum(axis=0))
            rest = rest - multiples
            shift *= 2.0 ** (bits - 53)
        return np.stack(found)

    coarse, fine, finest = table.fold(sums, np.add)
    total: Floats = coarse + (fine + finest)
    return total / n
