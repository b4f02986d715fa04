"""Proofs about networks: how fast they move at most, and how far rounding carries them.

`_layers` is the table of the bounds of each layer. `_lipschitz` and `_rounding` conclude from them
for networks. Certificates continue these proofs: the arithmetic that rounds upwards is here, too.
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
