"""The constant of a start: most normal rows are a margin inside."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from pyod_lipocc.lipschitz import NearestBox, NearestSubspace

__all__ = ["raise_above"]

_LEAST_SHARE_BELOW = 0.05  # of the rows below the margin
_ROWS = 1024


@torch.no_grad()
def raise_above(network: nn.Module, rows: Tensor, margin: float, contamination: float) -> None:
    """Add a constant to f, so that f is at least the margin on all rows but the most distant.

    Parameters
    ----------
    network : torch.nn.Module
        Of boxes or subspaces, or a mean of these.
    rows : Tensor of shape (n, d)
        Normal rows; at most 1,024 of these decide.
    margin : float
    contamination : float
        Share of the rows that stay below, if it is larger than 5 %.
    """
    values = network(rows[:: -(-len(rows) // _ROWS)]).numpy()
    below = float(np.quantile(values, max(contamination, _LEAST_SHARE_BELOW)))
    for component in network.modules():
        if isinstance(component, (NearestBox, NearestSubspace)):
            component.bias.add_(margin - below)
