"""Which rows of contaminated data look normal: the others lose their say in the training."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.metrics import pairwise_distances_chunked

from pyod_lipocc._progress import unwatched

__all__ = ["inliers", "least"]

_REFERENCES = 1024
_FEWEST_NEIGHBOURS = 5
_WORKING_MEMORY = 64  # MB


def inliers(
    rows: npt.NDArray[np.floating],
    contamination: float,
    generator: np.random.Generator,
    *,
    progress: Callable[[int], object] = unwatched,
) -> npt.NDArray[np.intp]:
    """Return the indices of the rows that are near to many others.

    The most outlying rows are left out: the share 2 c of them, at most half. That is twice the
    share of outliers, because no outlier is recognised for certain, and a normal row less costs
    less than an outlier more.

    To measure how outlying a row is, up to 1,024 reference rows are drawn and sorted by their
    distance to the row. The nearest share c of them is passed over. The mean distance to the next
    share c is the measure. So c n outliers that lie together cannot vouch for each other. Above a
    quarter, c counts as a quarter here.

    Parameters
    ----------
    rows : ndarray of shape (n, d)
        In the units of the network.
    contamination : float
        c, in (0, 0.5].
    generator : numpy.random.Generator
        Chooses the references.
    progress : callable
        Receives numbers of rows as they are compared.

    Returns
    -------
    kept : ndarray of int, sorted
        At least half of the rows.

    Examples
    --------
    >>> rows = np.array([[0.0], [0.1], [0.2], [0.3], [9.0], [0.4], [0.5], [0.6], [0.7], [0.8]])
    >>> bool(4 in inliers(rows, 0.1, np.random.default_rng(0)))
    False
    """
    n = len(rows)
    share = min(2 * contamination, 0.5)
    references = rows[generator.choice(n, size=min(n, _REFERENCES), replace=False)]
    neighbours = min(max(_FEWEST_NEIGHBOURS, round(share * len(references))) + 1, len(references))
    passed_over = min(round(share / 2 * len(references)) + 1, neighbours - 1)

    def outlyingness(distances: npt.NDArray[np.floating], _: int) -> Any:
        nearest = np.partition(distances, neighbours - 1, axis=1)[:, :neighbours]
        counted = np.partition(nearest, passed_over, axis=1)[:, passed_over:]  # faster in two steps
        progress(len(distances))
        return counted.mean(axis=1, dtype=np.float64)

    blocks = pairwise_distances_chunked(
        rows, references, reduce_func=outlyingness, working_memory=_WORKING_MEMORY
    )
    return least(np.concatenate(list(blocks)), contamination)


def least(outlyingness: npt.NDArray[np.floating], contamination: float) -> npt.NDArray[np.intp]:
    """Return the indices of the least outlying rows: all but the share 2 c, and at least half.

    Parameters
    ----------
    outlyingness : ndarray of shape (n,)
    contamination : float
        c, in (0, 0.5].

    Returns
    -------
    kept : ndarray of int, sorted

    Examples
    --------
    >>> least(np.array([0.3, 0.1, 0.9, 0.2, 0.5]), 0.1)
    array([0, 1, 3, 4])
    """
    n_left_out = int(min(2 * contamination, 0.5) * len(outlyingness))
    return np.sort(np.argsort(outlyingness, kind="stable")[: len(outlyingness) - n_left_out])
