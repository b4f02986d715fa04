"""Distances to affine subspaces that are fitted to rows: one, or a mixture of K."""

from __future__ import annotations

import torch
from sklearn.cluster import MiniBatchKMeans
from torch import Tensor

from pyod_lipocc._isolation import isolated
from pyod_lipocc._random import global_seed
from pyod_lipocc.lipschitz import NearestSubspace
from pyod_lipocc.starts._batches import in_batches

__all__ = ["k_subspaces", "principal_subspace"]

_MOST_DIRECTIONS = 128  # of the principal subspace: each step of training turns them
_ROUNDS = 8
_SETTLED = 0.995  # share of the rows that keep their component


@isolated()
def principal_subspace(
    rows: Tensor, variance: float = 0.9, most_directions: int = _MOST_DIRECTIONS
) -> NearestSubspace:
    """Build minus the distance to the subspace that holds a share of the variance: PCA's residual.

    Parameters
    ----------
    rows : Tensor of shape (n, d)
    variance : float, default=0.9
        Share of the variance, in (0, 1].
    most_directions : int, default=128

    Returns
    -------
    network : NearestSubspace
        K = 1, s = 0; q the least number of directions that hold the share, if that is not more than
        `most_directions`.
    """
    n, d = rows.shape
    center = rows.mean(0)
    _, lengths, basis = torch.linalg.svd(rows - center, full_matrices=False)
    held = torch.cumsum(lengths.square(), 0)
    q = int(torch.searchsorted(held, variance * held[-1])) + 1 if held[-1] > 0 else 0
    q = min(q, d, n - 1, most_directions)
    network = NearestSubspace(d, 1, q, generator=torch.Generator())
    network.assign(centers=center[None], basis=basis[None, :q])
    return network


@isolated()
@torch.no_grad()
def k_subspaces(
    rows: Tensor, n_components: int, n_directions: int, n_nearest: int, seed: int
) -> NearestSubspace:
    r"""Build minus the height over K affine subspaces, fitted by rounds of PCA and reassignment.

    K-means gives the first components. Each component shrinks its directions to the deviation of
    the rest, :math:`s_j^2 = \sigma^2 / \lambda_j`, with :math:`\lambda_j` the variance along
    direction j and :math:`\sigma^2` the mean variance across all others. This is a mixture of
    probabilistic PCA, capped to be a contraction. The radius of a component is the mean distance of
    its members.

    Parameters
    ----------
    rows : Tensor of shape (n, d)
    n_components, n_directions, n_nearest : int
        K, q and j.
    seed : int

    Returns
    -------
    network : NearestSubspace
    """
    d = rows.shape[1]
    generator = torch.Generator().manual_seed(seed)
    network = NearestSubspace(d, n_components, n_directions, generator=generator)
    means = MiniBatchKMeans(n_components, n_init=1, batch_size=2048, max_iter=20, random_state=seed)
    labels = torch.from_numpy(means.fit(rows.numpy()).labels_).long()
    network.assign(centers=torch.from_numpy(means.cluster_centers_).to(rows))
    with global_seed(seed):  # of the random projections of torch.svd_lowrank
        for _ in range(_ROUNDS):
            _fit_components(network, rows, labels)
            nearest = in_batches(
                lambda batch: network.nearest(batch, network.coordinates(batch)), rows
            ).squeeze(1)
            settled = (nearest == labels).float().mean()
            labels = nearest
            if settled > _SETTLED:
                break
    distances = in_batches(lambda batch: -network(batch), rows).squeeze(1)
    sums = torch.zeros(n_components).index_add_(0, labels, distances)
    radii = sums / torch.bincount(labels, minlength=n_components).clamp_min(1)
    network.assign(offset=-radii)
    network.n_nearest = n_nearest
    return network


def _fit_components(network: NearestSubspace, rows: Tensor, labels: Tensor) -> None:
    """Fit the centre, the directions and the contractions of each component to its rows."""
    _, q, d = network.basis.shape
    for k in range(len(network.centers)):
        members = rows[labels == k]
        if len(members) <= q:
            continue  # too few to span the directions: the component stays as it was
        center = members.mean(0)
        v = members - center
        _, lengths, basis = torch.svd_lowrank(v, q=min(q + 8, *v.shape), niter=2)
        variances = lengths[:q].square() / len(v)
        rest = ((v * v).sum() / len(v) - variances.sum()).clamp_min(0) / max(d - q, 1)
        network.centers[k] = center
        network.basis[k] = basis.T[:q]
        network.contraction[k] = (rest / variances.clamp_min(1e-30)).sqrt().clamp(max=1)
