"""Nearest neighbours as a network: every row is a centre."""

from __future__ import annotations

import torch
from torch import Tensor

from pyod_lipocc._isolation import isolated
from pyod_lipocc.lipschitz import NearestSubspace
from pyod_lipocc.starts._batches import in_batches

__all__ = ["prototypes"]


@isolated()
@torch.no_grad()
def prototypes(rows: Tensor, n_nearest: int, *, isolation: float = 0.0) -> NearestSubspace:
    r"""Build minus the mean distance to the nearest rows: nearest neighbours.

    With `isolation` the offset of a row is that many times its mean distance to the nearest tenth
    of the other rows. Rows far from most others, as outliers are, then hardly count as neighbours.

    Parameters
    ----------
    rows : Tensor of shape (n, d)
    n_nearest : int
        j; at most n - 1 are used.
    isolation : float, default=0.0
        From 0 to 1. Above 1 a row's own centre may not be its nearest.

    Returns
    -------
    network : NearestSubspace
        K = n, q = 0. With more than one row each is left out of its own score in training mode.
    """
    n, d = rows.shape
    used = max(1, min(n_nearest, n - 1))
    generator = torch.Generator()  # spares the global one: the draws are overwritten
    network = NearestSubspace(d, n, n_nearest=used, leave_one_out=n > 1, generator=generator)
    network.assign(centers=rows)
    if isolation:
        others = max(n // 10, 1)
        counted = min(others + 1, n)  # the row itself, at distance 0, is the nearest
        nearest = in_batches(
            lambda batch: torch.cdist(batch, rows).topk(counted, largest=False).values, rows
        )
        network.assign(offset=isolation * nearest.sum(1) / others)
    return network
