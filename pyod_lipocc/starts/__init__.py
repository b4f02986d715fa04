"""Networks that start from rows: nearest rows, subspaces and inscribed balls."""

from pyod_lipocc.starts._balls import inscribed_balls
from pyod_lipocc.starts._neighbours import prototypes
from pyod_lipocc.starts._subspaces import k_subspaces, nearest_subspace, principal_subspace

__all__ = [
    "inscribed_balls",
    "k_subspaces",
    "nearest_subspace",
    "principal_subspace",
    "prototypes",
]
