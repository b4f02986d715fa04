"""Inscribed balls: the signed distance to a shape of the plane or of space, depth included."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
import torch
from scipy.spatial import KDTree
from torch import Tensor

from pyod_lipocc._isolation import isolated
from pyod_lipocc._random import unit_vectors
from pyod_lipocc.lipschitz import NearestBox

__all__ = ["inscribed_balls"]

Floats = npt.NDArray[np.float64]

_MOST_FEATURES = 5
_REACH = 2.5  # of the rolling ball, in radii of the largest gap
_SPLITS = 3
_EXTREMES = 256
_POSITIONS = 5000  # of the rolling ball, at most
_POSITIONS_OF_A_ROW = 32
_MOST_ROUNDS = 40
_MOVES = 8
_TOLERANCE = 1e-3  # of the radius of the rolling ball
_MOST_BALLS = 512


@isolated()
def inscribed_balls(
    n_features: int,
    *,
    rows: Tensor,
    normal: Tensor | None = None,
    margin: float = 0.0,
    reach: float | None = None,
    generator: torch.Generator | None = None,
) -> NearestBox:
    r"""Build the signed distance to the shape that the rows fill: a union of balls inside it.

    .. math:: S(x) = \max_k \big( r_k - \|x - x_k\|_2 \big)

    Outside, S is minus the distance to the union of the balls of radius :math:`r_k` around the rows
    :math:`x_k`. Inside, S is the depth in the deepest of the balls. It is the depth in the shape
    where a largest inscribed ball touches the nearest point of the boundary. So S is the signed
    distance on both sides, as far as the rows are dense, with a gradient of norm 1 almost
    everywhere. Distances to the rows alone know no depth.

    A ball of radius `reach` rolls around the rows. The radius :math:`r_k` is the distance from a
    row to the nearest centre of the rolling ball, less `reach`. The rows end before the shape does,
    by a gap that falls as :math:`n^{-2/(d+1)}` (Dümbgen & Walther, 1996). The depth that is lost
    with half of the rows tells the gap with all of them, which is added to the radii.

    A ball that lies in another ball, but for a margin, is left out. If more than 512 balls are
    left, the margin is doubled until 512 suffice.

    The network is for the plane and for space, and for 5 features at most: it samples the surface
    on which the ball rolls.

    Parameters
    ----------
    n_features : int
        d.
    rows : Tensor of shape (n, d)
        Samples of the shape.
    normal : Tensor of bool of shape (n,) or None, default=None
        Rows of the shape; None: all. The others get no ball.
    margin : float, default=0.0
        m: the network is f = S + m.
    reach : float or None, default=None
        Radius of the rolling ball, in the units of `rows`: larger than the gaps between rows
        inside the shape, smaller than the hollows of the shape. None: :math:`2.5\, h (\log_2
        n)^{1/d}` with h the median distance of a row to its nearest; uniform samples leave gaps
        of radius :math:`h (\log_2 n)^{1/d}`.
    generator : torch.Generator, optional
        Draws positions of the rolling ball; None uses torch's global generator.

    Returns
    -------
    network : NearestBox
        512 balls at most, 1-Lipschitz in the l2 norm.

    Raises
    ------
    ValueError
        If there are more than 5 features, or `reach` is not positive.

    References
    ----------
    Edelsbrunner, Kirkpatrick & Seidel, *On the shape of a set of points in the plane*, 1983: the
    rolling ball. Amenta & Kolluri, *The medial axis of a union of balls*, 2001.

    Examples
    --------
    >>> from pyod_lipocc.datasets import load_toy
    >>> disc = torch.from_numpy(load_toy("disc", 2000, random_state=0)).float()
    >>> network = inscribed_balls(2, rows=disc, generator=torch.Generator().manual_seed(0))
    >>> with torch.no_grad():
    ...     S = network(torch.tensor([[0.0, 0.0], [2.0, 0.0]])).flatten()
    >>> torch.allclose(S, torch.tensor([1.0, -1.0]), atol=0.1)
    True
    """
    if n_features > _MOST_FEATURES:
        raise ValueError(
            f"inscribed balls are for X with at most {_MOST_FEATURES} features, got {n_features}: "
            "beyond, the surface on which the ball rolls cannot be sampled. "
            "network='nearest-subspace' takes any number"
        )
    if reach is not None and not reach > 0:
        raise ValueError(f"reach must be a float > 0 or None, got {reach!r}")
    seed = int(torch.randint(2**31, (), generator=generator))
    members = rows if normal is None else rows[normal]
    radii = _radii(members.double().numpy(), reach, np.random.default_rng(seed))
    kept = _needed(members.double().numpy(), radii, margin)
    network = NearestBox(n_features, len(kept), generator=torch.Generator())
    network.assign(
        centers=members[torch.from_numpy(kept)],
        offset=-torch.from_numpy(radii[kept]).to(members),
        bias=torch.tensor(margin).to(members),
    )
    return network


def _needed(centers: Floats, radii: Floats, tolerance: float) -> npt.NDArray[np.intp]:
    """Return balls whose union holds that of all, but for a tolerance; `_MOST_BALLS` at most."""
    left = np.argsort(-radii, kind="stable")
    found: list[int] = []
    while len(left) and len(found) < _MOST_BALLS:
        largest = left[0]
        found.append(largest)
        beyond = np.linalg.norm(centers[left] - centers[largest], axis=1) + radii[left]
        left = left[1:][beyond[1:] > radii[largest] + tolerance]
    if len(left):
        spread = np.ptp(centers, axis=0).max() / _MOST_BALLS
        return _needed(centers, radii, max(2 * tolerance, spread))
    return np.array(found)


def _radii(rows: Floats, reach: float | None, rng: np.random.Generator) -> Floats:
    """Return the distance of each row to the boundary, shape (n,)."""
    n, d = rows.shape
    if reach is None:
        distances = KDTree(rows).query(rows, k=min(2, n))[0].reshape(n, -1)[:, -1]
        apart = distances[distances > 0]
        gap = float(np.median(apart)) * math.log2(n) ** (1 / d) if len(apart) else 0.0
        reach = _REACH * gap
    if reach == 0:
        return np.zeros(n)
    depths = _depths(rows, reach, rng)
    halved = np.empty((_SPLITS, n))
    for split in halved:
        for half in np.array_split(rng.permutation(n), min(2, n)):
            split[half] = _depths(rows[half], reach, rng)
    missing = np.median(depths - halved) / (2 ** (2 / (d + 1)) - 1)
    return depths + max(float(missing), 0.0)


def _depths(rows: Floats, reach: float, rng: np.random.Generator) -> Floats:
    """Return the distance of each row to the balls at all positions, shape (n,)."""
    centers = _rolling_ball(rows, reach, rng)
    depths: Floats = np.maximum(KDTree(centers).query(rows)[0] - reach, 0.0)
    return depths


def _rolling_ball(rows: Floats, reach: float, rng: np.random.Generator) -> Floats:
    """Draw centres of balls of radius `reach` that touch a row and hold none, shape (k, d).

    The first centres lie beyond the extreme rows in random directions. Each other centre starts
    beside a row and moves away from its nearest row until that row is `reach` away. Half of them
    start beside rows that a ball has touched.
    """
    positions = min(_POSITIONS, _POSITIONS_OF_A_ROW * len(rows))
    tree = KDTree(rows)
    directions = unit_vectors(_EXTREMES, rows.shape[1], rng)
    touched = (rows @ directions.T).argmax(axis=0)
    found = [rows[touched] + reach * directions]
    for _ in range(_MOST_ROUNDS):
        beside = rng.integers(len(rows), size=positions)
        beside[::2] = rng.choice(touched, size=len(beside[::2]))
        centers = rows[beside] + 1.5 * reach * unit_vectors(positions, rows.shape[1], rng)
        distances, nearest = tree.query(centers)
        outside = distances > reach
        centers, distances, nearest = centers[outside], distances[outside], nearest[outside]
        moved = np.arange(len(centers))
        for _ in range(_MOVES):
            row = rows[nearest[moved]]
            centers[moved] = row + (centers[moved] - row) * (reach / distances[moved])[:, None]
            distances[moved], nearest[moved] = tree.query(centers[moved])
            moved = moved[distances[moved] < (1 - _TOLERANCE) * reach]
        touching = distances >= (1 - _TOLERANCE) * reach
        found.append(centers[touching])
        touched = np.union1d(touched, nearest[touching])
        if sum(map(len, found)) >= positions:
            break
    return np.concatenate(found)
