"""Proofs about networks: how fast they move at most, and how far rounding carries them.

`_layers` is the table of what is proven of each layer. `_lipschitz` and `_rounding` conclude from
it for networks. All of them compute with numbers that are rounded upwards, which are here for
whoever continues a proof.
"""

from pyod_lipocc.lipschitz._arithmetic import gamma, product, quotient, root, total
from pyod_lipocc.lipschitz._norms import (
    frobenius_norm,
    largest_frobenius_norm,
    orthonormality_defect,
    spectral_norm,
    subspace_norm,
)
from pyod_lipocc.lipschitz.proofs._lipschitz import lipschitz_bound
from pyod_lipocc.lipschitz.proofs._rounding import Prefix, Rounding, rounding_bound

__all__ = [
    "Prefix",
    "Rounding",
    "frobenius_norm",
    "gamma",
    "largest_frobenius_norm",
    "lipschitz_bound",
    "orthonormality_defect",
    "product",
    "quotient",
    "root",
    "rounding_bound",
    "spectral_norm",
    "subspace_norm",
    "total",
]
