"""Networks that start from rows.

Three builders may be the `network` of a detector. They take ``rows``, the rows to start from.

==================  ==========================================================================
`clusters`          distances to points and boxes, 480 at most, for tables of any size
`nearest_subspace`  distances to rows and to subspaces, for tables and images of any width
`inscribed_balls`   signed distance to the shape that the rows fill, for up to 5 features
==================  ==========================================================================

The others are the parts of `nearest_subspace`: `prototypes`, `principal_subspace`, `k_subspaces`.
"""

from pyod_lipocc.starts._balls import inscribed_balls
from pyod_lipocc.starts._clusters import clusters
from pyod_lipocc.starts._nearest import nearest_subspace
from pyod_lipocc.starts._neighbours import prototypes
from pyod_lipocc.starts._subspaces import k_subspaces, principal_subspace

__all__ = [
    "clusters",
    "inscribed_balls",
    "k_subspaces",
    "nearest_subspace",
    "principal_subspace",
    "prototypes",
]
