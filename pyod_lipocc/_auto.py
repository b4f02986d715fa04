"""The rules behind "auto": the same for all data sets, from the rows alone, never from labels."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.neighbors import NearestNeighbors

from pyod_lipocc._scaling import Scaling, chunks
from pyod_lipocc.domains import Box

__all__ = ["bounding_box", "half_nearest_neighbour_distance"]

_QUERIES = 512
_REFERENCES = 8192
_MARGIN_OF_THE_PAPER = 0.05


def half_nearest_neighbour_distance(
    X: npt.NDArray[Any], scaling: Scaling, generator: np.random.Generator
) -> float:
    """Return the margin m: half the median distance of a row to its nearest other row.

    Two rows closer than 2 m cannot both be a margin away from a boundary between them, so m is as
    large as the spacing of the data allows. At most 512 rows are compared with at most 8,192.

    Parameters
    ----------
    X : ndarray of shape (n, d)
    scaling : Scaling
    generator : numpy.random.Generator
        Chooses the rows.

    Returns
    -------
    margin : float
        In the units of the scores. Where all rows coincide: the paper's 0.05, in units of the
        network.
    """
    rows = generator.choice(len(X), size=min(len(X), _REFERENCES), replace=False)
    references = scaling.to_network(X[np.sort(rows)])
    neighbours = NearestNeighbors(n_neighbors=min(2, len(rows))).fit(references)
    distances = neighbours.kneighbors(references[:: -(-len(rows) // _QUERIES)])[0][:, -1]
    apart = distances[distances > 1e-6]
    margin = float(np.median(apart)) / 2 if len(apart) else _MARGIN_OF_THE_PAPER
    return margin * scaling.unit


def bounding_box(X: npt.NDArray[Any], scaling: Scaling, padding: float) -> Box:
    """Return the box around the data, padded on every side.

    Parameters
    ----------
    X : ndarray of shape (n, d)
    scaling : Scaling
    padding : float
        In the units of the scores.

    Returns
    -------
    box : Box
        In the units of the scores.
    """
    low = np.min([scaling.to_scores(rows).min(axis=0) for rows in chunks(X)], axis=0)
    high = np.max([scaling.to_scores(rows).max(axis=0) for rows in chunks(X)], axis=0)
    return Box(low - padding, high + padding)
