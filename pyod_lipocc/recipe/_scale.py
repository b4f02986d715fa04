"""The margin and the domain, from the rows."""

from __future__ import annotations

import operator
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from sklearn.neighbors import NearestNeighbors

from pyod_lipocc._moments import extremes
from pyod_lipocc._table import Rows, Table
from pyod_lipocc.domains import Ball, Box, Domain
from pyod_lipocc.units import Scaling

__all__ = ["Data", "around_the_rows", "share_of_spacing", "that_contains"]

Data = npt.NDArray[Any] | Table

_MARGIN_OF_THE_PAPER = 0.05
_QUERIES, _REFERENCES = 512, 8192  # rows compared for the margin
_RADIUS = 1.5  # of the domain, in distances of the farthest row from the mean


def share_of_spacing(share: float, X: Data, scaling: Scaling, rng: np.random.Generator) -> float:
    """Return a share of the median distance of a row to its nearest other row, as a margin.

    Two rows closer than 2 m cannot both be a margin away from a boundary between them, so half the
    spacing is the largest m that the data allow. Where all rows coincide, m is the paper's 0.05 in
    units of the network.
    """
    rows = rng.choice(len(X), size=min(len(X), _REFERENCES), replace=False)
    references = Table.of(X).take(np.sort(rows), scaling.to_network, np.float64)
    neighbours = NearestNeighbors(n_neighbors=min(2, len(rows))).fit(references)
    distances = neighbours.kneighbors(references[:: -(-len(rows) // _QUERIES)])[0][:, -1]
    apart = distances[distances > 1e-6]
    margin = share * float(np.median(apart)) if len(apart) else _MARGIN_OF_THE_PAPER
    return margin * scaling.unit


def around_the_rows(
    X: Data, scaling: Scaling, margin: float, image_shape: Sequence[int] | None
) -> Domain:
    """Return a ball around the rows, or the range of the pixels.

    The ball has the mean of the rows as its centre. Its radius is one and a half times the distance
    of the farthest row, plus two margins: the paper's ball of radius 5 around standardised data in
    the plane, for any data.
    """
    table = Table.of(X)
    if image_shape is not None:
        # The scaling is the same for all pixels, and increases.
        low, high = (scaling.to_scores(pixels) for pixels in extremes(table))
        return Box(low.min(), high.max()).expand(X.shape[1])
    farthest = table.fold(
        lambda rows: np.linalg.norm(scaling.to_network(rows), axis=1).max(), np.maximum
    )
    radius = _RADIUS * scaling.unit * farthest + 2 * margin
    return Ball(radius, 0.0 if scaling.standardized else scaling.location).expand(X.shape[1])


def that_contains(domain: Domain, X: Data, scaling: Scaling, margin: float) -> Domain:
    """Return the domain given, of the width of X; raise ValueError if a row lies outside."""
    expanded = domain.expand(X.shape[1])

    def count(rows: Rows) -> int:
        points = torch.as_tensor(scaling.to_scores(rows), dtype=torch.float64)
        return int((~expanded.contains(points)).sum())

    outside = Table.of(X).fold(count, operator.add)
    if outside:
        units = "standardised units" if scaling.standardized else "the units of X"
        raise ValueError(
            f"domain must contain the data, got {expanded!r} with {outside} of {len(X)} "
            f"rows outside, in {units}: widen it, or use domain='auto'"
        )
    return expanded
