"""The Lipschitz constant of a network, from those of its layers."""

from __future__ import annotations

import math

from torch import nn

from pyod_lipocc._isolation import isolated
from pyod_lipocc.lipschitz._arithmetic import product, quotient, total
from pyod_lipocc.lipschitz._combinations import Maximum, Mean, Minimum
from pyod_lipocc.lipschitz.dispatch import computes_as, entry_of
from pyod_lipocc.lipschitz.proofs._layers import PROOFS

__all__ = ["lipschitz_bound"]


@isolated()
def lipschitz_bound(network: nn.Module) -> float:
    """Bound the l2 Lipschitz constant of a network by composition of its layers' bounds.

    Parameters
    ----------
    network : torch.nn.Module
        Sequences and combinations of this package's layers, and of torch's linear layers,
        convolutions with zero padding (no groups, no dilation), identity, flattening and
        component-wise activations of slope at most 1.

    Returns
    -------
    bound : float
        A proven upper bound, all rounding included. It is ``inf`` where a module is not known or
        has hooks, never an estimate.

    Examples
    --------
    >>> from pyod_lipocc.lipschitz import dense
    >>> round(lipschitz_bound(dense(2, hidden=(8,))), 5)
    1.0
    >>> lipschitz_bound(nn.Bilinear(2, 2, 1))
    inf
    """
    if computes_as(network, nn.Sequential):
        return product(*map(lipschitz_bound, network))
    if computes_as(network, Maximum, Minimum):
        return max(map(lipschitz_bound, network.networks))
    if computes_as(network, Mean):
        return quotient(total(*map(lipschitz_bound, network.networks)), len(network.networks))
    proof = entry_of(network, PROOFS)
    return math.inf if proof is None else proof.lipschitz(network)
