"""Distances to rows and subspaces: the network that is nearest to the data before any training."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from pyod_lipocc._isolation import isolated
from pyod_lipocc.lipschitz import GaussianBlur, Mean, NearestSubspace
from pyod_lipocc.starts._batches import in_batches
from pyod_lipocc.starts._constant import raise_above
from pyod_lipocc.starts._neighbours import prototypes
from pyod_lipocc.starts._subspaces import k_subspaces, principal_subspace

__all__ = ["nearest_subspace"]

_IMAGES_OF_A_COMPONENT = 200
_MOST_COMPONENTS = 30
_FEWEST_COMPONENTS = 5
_STARTS = 3  # of K-means
_PIXELS_OF_BLUR = 40  # side of an image over the deviation of the blur


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

    =======================  =====================================================================
    rows                     f, up to a constant, is minus
    =======================  =====================================================================
    table                    the mean distance to the 2 nearest rows
    table, contaminated      the mean of two: the mean distance to the 5 nearest rows, isolated
                             rows pushed away, and the distance to the principal subspace
    images, fewer than       as for tables, but of clean images the distance to the nearest, for
    1,000                    which the Lipschitz bound is tight
    images, 1,000 and more   behind a Gaussian blur, the mean height over the 2 nearest of up to 30
                             subspaces; the mean of three such functions
    =======================  =====================================================================

    The principal subspace holds 90 % of the variance: a few outliers that are neighbours of each
    other do not bend it. It is left out if it is the whole space. The blur has the deviation of a
    fortieth of the image's side. There is one subspace for 200 images. The three functions differ
    in the start of K-means.

    Parameters
    ----------
    n_features : int
        d.
    rows : Tensor of shape (n, d)
        Data to start from.
    normal : Tensor of bool of shape (n,) or None, default=None
        Rows that look normal; None: all. The others are centres of tables only, pushed away.
    margin : float, default=0.0
        m: f is at least m on all rows but the most distant. These are 5 % of the rows, or the share
        `contamination` if it is larger; of more than 1,024 rows, of a sample.
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
    members = rows if normal is None else rows[normal]
    if n_components is None:
        n_components = 0 if image_shape is None else _components_for(len(members))
    if not 0 <= n_components <= len(members):
        raise ValueError(
            f"n_components must be an int from 0 to the number of rows, {len(members)}, got "
            f"{n_components!r}"
        )
    filters: list[nn.Module] = []
    experts: list[NearestSubspace]
    if n_components:
        seen = members
        if image_shape is not None:
            filters = [GaussianBlur(image_shape, min(image_shape[-2:]) / _PIXELS_OF_BLUR)]
            seen = in_batches(filters[0], members)
        directions = min(n_directions, n_features - 1)
        nearest = min(2, n_components)
        experts = [
            k_subspaces(seen, n_components, directions, nearest, seed + start)
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
    raise_above(network, members, margin, contamination)
    return network


def _components_for(n_images: int) -> int:
    """Return the number of subspaces, 0 where there are too few images for subspaces."""
    found = min(n_images // _IMAGES_OF_A_COMPONENT, _MOST_COMPONENTS)
    return found if found >= _FEWEST_COMPONENTS else 0
