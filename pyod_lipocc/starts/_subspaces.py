"""Nearest-subspace networks that start from data: prototypes, principal and K subspaces."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from sklearn.cluster import MiniBatchKMeans
from torch import Tensor, nn

from pyod_lipocc._isolation import isolated
from pyod_lipocc._random import global_seed
from pyod_lipocc.lipschitz import GaussianBlur, Mean, NearestSubspace
from pyod_lipocc.starts._neighbours import prototypes

__all__ = ["k_subspaces", "nearest_subspace", "principal_subspace"]

_ROWS_OF_A_COMPONENT = 200
_MOST_COMPONENTS = 30
_FEWEST_COMPONENTS = 5
_MOST_DIRECTIONS = 128  # of the principal subspace: each step of training turns them
_STARTS = 3
_PIXELS_OF_BLUR = 40  # side of an image over the deviation of the blur
_ROUNDS = 8
_SETTLED = 0.995  # share of the rows that keep their component
_BATCH = 1024


@isolated()
def principal_subspace(rows: Tensor, variance: float = 0.9) -> NearestSubspace:
    """Build the distance to the subspace that holds a share of the variance: PCA's residual.

    Parameters
    ----------
    rows : Tensor of shape (n, d)
    variance : float, default=0.9
        Share of the variance, in (0, 1].

    Returns
    -------
    network : NearestSubspace
        K = 1, s = 0; q the least number of directions that hold the share, 128 at most.
    """
    n, d = rows.shape
    center = rows.mean(0)
    _, lengths, basis = torch.linalg.svd(rows - center, full_matrices=False)
    held = torch.cumsum(lengths.square(), 0)
    q = int(torch.searchsorted(held, variance * held[-1])) + 1 if held[-1] > 0 else 0
    q = min(q, d, n - 1, _MOST_DIRECTIONS)
    network = NearestSubspace(d, 1, q, generator=torch.Generator())
    network.assign(centers=center[None], basis=basis[None, :q])
    return network


def _components(rows: Tensor, labels: Tensor, q: int, network: NearestSubspace) -> None:
    """Fit the centre, the directions and the contractions of each component to its rows."""
    d = rows.shape[1]
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


@isolated()
@torch.no_grad()
def k_subspaces(
    rows: Tensor, n_components: int, n_directions: int, n_nearest: int, seed: int
) -> NearestSubspace:
    r"""Build the distance to K affine subspaces by K-means, then rounds of PCA and reassignment.

    A component shrinks its directions to the deviation of what remains, :math:`s_j^2 = \sigma^2 /
    \lambda_j`, with :math:`\lambda_j` the variance along direction j and :math:`\sigma^2` the mean
    variance across all others: a mixture of probabilistic PCA, capped to be a contraction. The mean
    distance of its members is its radius.

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
            _components(rows, labels, n_directions, network)
            nearest = _nearest(network, rows)
            settled = (nearest == labels).float().mean()
            labels = nearest
            if settled > _SETTLED:
                break
    distances = torch.cat([-network(batch) for batch in torch.split(rows, _BATCH)]).squeeze(1)
    sums = torch.zeros(n_components).index_add_(0, labels, distances)
    radii = sums / torch.bincount(labels, minlength=n_components).clamp_min(1)
    network.assign(offset=-radii)
    network.n_nearest = n_nearest
    return network


def _nearest(network: NearestSubspace, rows: Tensor) -> Tensor:
    """Return the nearest component of each row, shape (n,)."""
    batches = torch.split(rows, _BATCH)
    return torch.cat([network.nearest(x, network.coordinates(x)) for x in batches]).squeeze(1)


@isolated()
def nearest_subspace(
    n_features: int,
    *,
    rows: Tensor,
    normal: Tensor | None = None,
    margin: float = 0.0,
    contamination: float = 0.0,
    image_shape: Sequence[int] | None = None,
    n_components: int | None = None,
    n_directions: int = 12,
    generator: torch.Generator | None = None,
) -> nn.Module:
    """Build the network that is nearest to the data before any training: one rule for all data.

    Tables: the mean distance to the 2 nearest rows. Where the rows may be contaminated, to the 5
    nearest, isolated ones pushed away, averaged with the distance to the principal subspace of 90 %
    of the variance, if that is not the whole space: a few outliers that are neighbours of each
    other do not bend it.

    Images, from 1,000 on: behind a Gaussian blur of a fortieth of their side, up to 30 subspaces of
    12 directions, one for 200 images, the mean height of the 2 nearest; the mean of three such
    functions, whose K-means starts differ. Fewer clean images: the distance to the nearest, for
    which the Lipschitz bound is tight.

    Parameters
    ----------
    n_features : int
        d.
    rows : Tensor of shape (n, d)
        Data to start from.
    normal : Tensor of bool of shape (n,) or None, default=None
        Rows that look normal; None: all. The others are centres of tables only, pushed away.
    margin : float, default=0.0
        m: f is at least m on all rows but the most distant 5 %, or as many as `contamination` says.
    contamination : float, default=0.0
        Share of outliers among `rows`.
    image_shape : sequence of int or None, default=None
        (height, width) or (channels, height, width) where rows are flattened images.
    n_components : int or None, default=None
        K of subspaces, for tables too, or 0 for the rows themselves; None: the rule above.
    n_directions : int, default=12
        q of each subspace; at most d - 1 are used.
    generator : torch.Generator, optional
        Draws the start of K-means; None uses torch's global generator.

    Returns
    -------
    network : torch.nn.Module
        Maps (n, d) to (n, 1), 1-Lipschitz in the l2 norm.

    Raises
    ------
    ValueError
        If there are fewer rows than `n_components`.

    Examples
    --------
    >>> network = nearest_subspace(2, rows=torch.tensor([[0.0, 0.0], [0.0, 2.0], [2.0, 0.0]]))
    >>> with torch.no_grad():
    ...     f = network.eval()(torch.tensor([[0.0, 1.0], [0.0, 5.0]]))
    >>> float(f[0] - f[1])  # mean distances to the two nearest rows: 1 and 4
    3.0
    """
    seed = int(torch.randint(2**31, (), generator=generator))
    filters: list[nn.Module] = []
    experts: list[NearestSubspace]
    members = rows if normal is None else rows[normal]
    if n_components is None:
        found = min(len(members) // _ROWS_OF_A_COMPONENT, _MOST_COMPONENTS)
        n_components = found if image_shape is not None and found >= _FEWEST_COMPONENTS else 0
    if not 0 <= n_components <= len(members):
        raise ValueError(
            f"n_components must be an int from 0 to the number of rows, {len(members)}, got "
            f"{n_components!r}"
        )
    if n_components:
        seen = members
        if image_shape is not None:
            blur = GaussianBlur(image_shape, min(image_shape[-2:]) / _PIXELS_OF_BLUR)
            filters = [blur]
            seen = torch.cat([blur(batch) for batch in torch.split(members, _BATCH)])
        nearest = min(2, n_components)
        directions = min(n_directions, n_features - 1)
        experts = [
            k_subspaces(seen, n_components, directions, n_nearest=nearest, seed=seed + start)
            for start in range(_STARTS)
        ]
    elif contamination > 0:
        experts = [prototypes(rows, n_nearest=5, isolation=1.0)]
        principal = principal_subspace(members)
        if principal.basis.shape[1] < n_features:
            experts.append(principal)
    else:
        experts = [prototypes(rows, n_nearest=2 if image_shape is None else 1)]
    network = nn.Sequential(*filters, experts[0] if len(experts) == 1 else Mean(*experts))
    _place(network, experts, members, margin, max(contamination, 0.05))
    return network


@torch.no_grad()
def _place(
    network: nn.Module,
    experts: Sequence[NearestSubspace],
    rows: Tensor,
    margin: float,
    share: float,
) -> None:
    """Raise or lower f until all rows but a share of them reach the margin."""
    f = torch.cat([network(batch) for batch in torch.split(rows, _BATCH)])
    raised = margin - float(np.quantile(f.numpy(), share))
    for expert in experts:
        expert.bias.add_(raised)
