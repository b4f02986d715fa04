"""Clusters: a network whose size and cost do not grow with the number of rows."""

from __future__ import annotations

import warnings
from collections.abc import Sequence

import numpy as np
import torch
from scipy.cluster.vq import kmeans2
from torch import Tensor, nn

from pyod_lipocc._isolation import isolated, one_blas_thread
from pyod_lipocc.lipschitz import Mean, NearestBox
from pyod_lipocc.starts._constant import raise_above
from pyod_lipocc.starts._subspaces import principal_subspace

__all__ = ["clusters"]

_MOST_ROWS = 4096  # clustered: more rows move no centre of so few
_POINTS, _POINTS_OF_CLEAN_ROWS = 64, 128
_STARTS_OF_CLEAN_ROWS = 2
_BOXES = (64, 32, 16)
_MOST_DIRECTIONS = 5
_DEVIATIONS = 2.0  # in half a box
_TENTH = 0.1  # of the rows, by which isolation is measured
_MOST_CLUMPED = 0.25  # contamination of which a clump is told from normal rows
_CLOSE = 0.01  # of normal rows are closer together than a clump of outliers
_FEW_FEATURES = 3  # without a principal subspace
_FEW_TO_DECOMPOSE = 24  # features
_ROUNDS = 4  # of K-means: more change no score


@isolated()
@torch.no_grad()
def clusters(
    n_features: int,
    *,
    rows: Tensor,
    normal: Tensor | None = None,
    margin: float = 0.0,
    contamination: float = 0.0,
    generator: torch.Generator | None = None,
) -> nn.Module:
    r"""Build distances to clusters of the rows: 480 components at most, for any number of rows.

    ============== ==============================================================================
    rows           f, up to a constant, is minus the mean of
    ============== ==============================================================================
    clean          the distance to the nearest of 128 centres of K-means, and the distances to the
                   nearest of 64, of 32 and of 16 boxes, each twice
    contaminated   the distance to the nearest of 64 centres, isolated centres pushed away; from 4
                   features on also, with the same weight, the distance to the principal subspace
                   that holds 90 % of the variance
    ============== ==============================================================================

    A box lies along the first principal directions of the rows of a cluster: half as many as there
    are features, 5 at most. It reaches two deviations to either side of their mean. K-means starts
    from other rows each time.

    An isolated centre is pushed away by its mean distance to the nearest tenth of the rows. Before,
    a clustering of all contaminated rows finds the outliers. The share 2 c of the rows that are
    farthest from all centres is left out, c being the contamination, and 2 c a half at most. Rows
    that do not look normal although they lie closer together than nearly all normal rows are a
    clump of outliers, which is left out as well where c is a quarter at most.

    Parameters
    ----------
    n_features : int
        d.
    rows : Tensor of shape (n, d)
        Data to start from; of more than 4,096 rows a sample is clustered.
    normal : Tensor of bool of shape (n,) or None, default=None
        Rows that look normal; None: all. They decide on the constant, and on clumps.
    margin : float, default=0.0
        m: f is at least m on all normal rows but the most distant. These are 5 % of the rows, or
        the share `contamination` if it is larger; of more than 1,024 rows, of a sample.
    contamination : float, default=0.0
        c, share of outliers among `rows`.
    generator : torch.Generator, optional
        Draws the starts of K-means; None uses torch's global generator.

    Returns
    -------
    network : torch.nn.Module
        Maps (n, d) to (n, 1), 1-Lipschitz in the l2 norm.

    Examples
    --------
    >>> rows = torch.randn(500, 2, generator=torch.Generator().manual_seed(0))
    >>> network = clusters(2, rows=rows, generator=torch.Generator().manual_seed(0))
    >>> bool((network(torch.tensor([[9.0, 9.0]])) < network(rows)).all())
    True
    """
    seeds = iter(torch.randint(2**31, (16,), generator=generator).tolist())
    chosen = torch.from_numpy(np.random.default_rng(next(seeds)).permutation(len(rows)))
    chosen = chosen[:_MOST_ROWS]
    seen = rows[chosen]
    looks_normal = torch.full((len(seen),), True) if normal is None else normal[chosen]
    members = seen[looks_normal]
    if contamination:
        seen = _without_outliers(seen, looks_normal, contamination, next(seeds))
        network: nn.Module = _points(seen, _POINTS, next(seeds), _TENTH)
        if n_features > _FEW_FEATURES:
            network = Mean(network, principal_subspace(seen, most_directions=n_features - 1))
    else:
        experts = []
        for _ in range(_STARTS_OF_CLEAN_ROWS):
            experts.append(_points(seen, _POINTS_OF_CLEAN_ROWS, next(seeds)))
            experts += [_boxes(seen, n_boxes, next(seeds)) for n_boxes in _BOXES]
        network = Mean(*experts)
    raise_above(network, members, margin, contamination)
    return network


def _without_outliers(rows: Tensor, normal: Tensor, contamination: float, seed: int) -> Tensor:
    """Leave out the rows that are farthest from all centres, isolation counted, and clumps."""
    share = min(2 * contamination, 0.5)
    heights = -_points(rows, _POINTS, seed, _TENTH)(rows).squeeze(1)
    left_out = int(share * len(rows))
    kept = torch.zeros(len(rows), dtype=torch.bool)
    kept[heights.argsort(stable=True)[: len(rows) - left_out]] = True
    clump = (
        ~normal & (contamination <= _MOST_CLUMPED) & (heights < heights[normal].quantile(_CLOSE))
    )
    return rows[kept & ~clump]


def _cluster(rows: Tensor, n_clusters: int, seed: int) -> tuple[Tensor, Tensor]:
    """Return the centres of K-means and the cluster of each row.

    K-means starts from rows drawn at random. Where many rows coincide, as rows of discrete features
    do, some clusters have no rows and are left out, and rare rows do not get their own.
    """
    drawn = np.random.default_rng(seed).permutation(len(rows))[:n_clusters]
    X = rows.numpy()
    with one_blas_thread, warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # of a cluster without rows
        centers, labels = kmeans2(X, X[drawn], iter=_ROUNDS, minit="matrix")
    used, labels = np.unique(labels, return_inverse=True)
    return torch.from_numpy(centers[used]).to(rows), torch.from_numpy(labels)


def _points(rows: Tensor, n_points: int, seed: int, share: float = 0.0) -> NearestBox:
    """Build minus the distance to the nearest centre, plus that of a centre to a share of rows."""
    centers, _ = _cluster(rows, n_points, seed)
    network = NearestBox(rows.shape[1], len(centers), generator=torch.Generator())
    network.assign(centers=centers)
    if share:
        counted = max(int(share * len(rows)), 1)
        nearest = torch.cdist(centers, rows).topk(counted, largest=False).values
        network.assign(offset=nearest.mean(1))
    return network


def _boxes(rows: Tensor, n_boxes: int, seed: int) -> NearestBox:
    """Build minus the distance to the nearest box along principal directions of its cluster."""
    n_features = rows.shape[1]
    q = min(max(n_features // 2, 1), _MOST_DIRECTIONS)
    centers, labels = _cluster(rows, n_boxes, seed)
    basis = torch.eye(q, n_features).repeat(len(centers), 1, 1)
    half_width = torch.zeros(len(centers), q)
    sizes = torch.bincount(labels, minlength=len(centers)).tolist()
    centred = (rows - centers[labels])[labels.argsort(stable=True)]
    members = torch.split(centred.double(), sizes)
    # Too few rows do not span the directions: their boxes stay points.
    spanned = [k for k, size in enumerate(sizes) if size > q]
    if spanned:
        directions, deviations = _principal_directions([members[k] for k in spanned], q)
        basis[spanned] = directions.to(basis)
        half_width[spanned] = _DEVIATIONS * deviations.to(basis)
    network = NearestBox(n_features, len(centers), generator=torch.Generator())
    network.assign(centers=centers)
    network.basis, network.half_width = nn.Parameter(basis), nn.Parameter(half_width)
    return network


def _principal_directions(clusters: Sequence[Tensor], q: int) -> tuple[Tensor, Tensor]:
    """Return the first q principal directions of each cluster, and the deviations along them.

    One call decomposes all covariances, unless there are many features: the products of the rows of
    a small cluster are then far fewer numbers. In single precision, LAPACK returns nan for
    covariances of discrete features: squares of their rounding underflow.

    Parameters
    ----------
    clusters : sequence of Tensor of shape (n_k, d)
        Centred rows, more than q, in double precision.
    q : int

    Returns
    -------
    directions : Tensor of shape (K, q, d)
    deviations : Tensor of shape (K, q)
    """
    d = clusters[0].shape[1]
    axes = clusters[0].new_empty(len(clusters), d, q)
    variances = clusters[0].new_empty(len(clusters), q)
    covariances, tall = [], []
    for k, v in enumerate(clusters):
        if len(v) < d and d > _FEW_TO_DECOMPOSE:
            squares, vectors = torch.linalg.eigh(v @ v.T)
            axes[k], variances[k] = v.T @ vectors[:, -q:], squares[-q:] / len(v)
        else:
            covariances.append(v.T @ v / len(v))
            tall.append(k)
    if tall:
        squares, vectors = torch.linalg.eigh(torch.stack(covariances))
        axes[tall], variances[tall] = vectors[:, :, -q:], squares[:, -q:]
    axes, variances = axes.flip(2), variances.flip(1)  # from the largest variance on
    if len(tall) < len(clusters):
        axes = torch.linalg.qr(axes).Q  # axes of no variance follow the others
    return axes.mT, variances.clamp_min(0).sqrt()
