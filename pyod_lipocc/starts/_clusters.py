"""Clusters: a network whose size and cost do not grow with the number of rows."""

from __future__ import annotations

import warnings

import numpy as np
import torch
from sklearn import config_context
from sklearn.cluster import KMeans
from sklearn.exceptions import ConvergenceWarning
from torch import Tensor, nn

from pyod_lipocc._isolation import isolated
from pyod_lipocc.lipschitz import Mean, NearestBox, NearestSubspace
from pyod_lipocc.starts._batches import in_batches
from pyod_lipocc.starts._subspaces import principal_subspace

__all__ = ["clusters"]

_MOST_ROWS = 4096  # clustered: more rows move no centre of so few
_POINTS, _POINTS_OF_CLEAN_ROWS = 64, 128
_STARTS_OF_CLEAN_ROWS = 3
_BOXES = (64, 32, 16)
_MOST_DIRECTIONS = 5
_DEVIATIONS = 2.0  # in half a box
_TENTH = 0.1  # of the rows, by which isolation is measured
_MOST_CLUMPED = 0.25  # contamination of which a clump is told from normal rows
_CLOSE = 0.01  # of normal rows are closer together than a clump of outliers
_FEW_FEATURES = 3  # without a principal subspace
_ROUNDS = 4  # of K-means: more change no score
_LEAST_SHARE_BELOW = 0.05  # of the rows below the margin


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
    r"""Build distances to clusters of the rows: 720 components at most, for any number of rows.

    ============== ==============================================================================
    rows           f, up to a constant, is minus the mean of
    ============== ==============================================================================
    clean          the distance to the nearest of 128 centres of K-means, and the distances to the
                   nearest of 64, of 32 and of 16 boxes, each three times
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
        the share `contamination` if it is larger.
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
    if contamination:
        looks_normal = torch.full((len(seen),), True) if normal is None else normal[chosen]
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
    members = rows if normal is None else rows[normal]
    values = in_batches(network, members).numpy()
    below = float(np.quantile(values, max(contamination, _LEAST_SHARE_BELOW)))
    for component in network.modules():
        if isinstance(component, (NearestBox, NearestSubspace)):
            component.bias.add_(margin - below)
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

    K-means starts from rows drawn at random, each counted once. Where many rows coincide, as rows
    of discrete features do, there are then fewer clusters, and rare rows do not get their own.
    """
    drawn = np.random.default_rng(seed).permutation(len(rows))[:n_clusters]
    first = np.unique(rows[torch.from_numpy(drawn)].numpy(), axis=0)
    means = KMeans(len(first), init=first, n_init=1, max_iter=_ROUNDS)
    unchecked = config_context(assume_finite=True, skip_parameter_validation=True)
    with unchecked, warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # clusters may merge
        means.fit(rows.numpy())
    return torch.from_numpy(means.cluster_centers_).to(rows), torch.from_numpy(means.labels_).long()


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
    network = NearestBox(n_features, len(centers), q, generator=torch.Generator().manual_seed(seed))
    network.assign(centers=centers, half_width=torch.zeros(len(centers), q))
    sizes = torch.bincount(labels, minlength=len(centers)).tolist()
    members = torch.split(rows[labels.argsort(stable=True)], sizes)
    for k, (center, cluster) in enumerate(zip(centers, members, strict=True)):
        if len(cluster) <= q:
            continue  # too few to span the directions: the box stays a point
        network.basis[k], deviations = _principal_directions(cluster - center, q)
        network.half_width[k] = _DEVIATIONS * deviations
    return network


def _principal_directions(v: Tensor, q: int) -> tuple[Tensor, Tensor]:
    """Return the first q principal directions of centred rows, and the deviations along them."""
    n, d = v.shape
    if n < d:
        _, lengths, basis = torch.linalg.svd(v, full_matrices=False)
        return basis[:q], lengths[:q] / n**0.5
    variances, basis = torch.linalg.eigh(v.T @ v / n)  # several times faster, of few features
    return basis.T.flip(0)[:q], variances.flip(0)[:q].clamp_min(0).sqrt()
