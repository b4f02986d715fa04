r"""The Stiefel manifold of matrices with an orthonormal shorter side, and optimisers on it.

A matrix :math:`W` of shape (m, n) lies on the manifold when :math:`W^\top W = I` (m >= n,
orthonormal columns) or :math:`W W^\top = I` (m <= n, orthonormal rows): all its singular values are
1, so the linear map is 1-Lipschitz in the l2 norm. A single row is a unit vector.

The paper re-parametrises each layer by :math:`\Theta = \Pi(W)`, with :math:`W` unconstrained.
Björck's iteration :math:`W \leftarrow \tfrac32 W - \tfrac12 W W^\top W` computes the projection
inside the graph. Here the weights themselves stay on the manifold. Björck's iteration, of higher
order where this pays, is the *retraction* after each step: the same projection, but nothing is
differentiated through it. A step leaves the weights near the manifold, so one iteration is enough
where the paper needs a dozen.

All functions accept leading batch dimensions: (..., m, n).

References
----------
Absil, Mahony & Sepulchre, *Optimization Algorithms on Matrix Manifolds*, Princeton, 2008, sections
3.5 and 4.1. Björck & Bowie, *An iterative algorithm for computing the best estimate of an
orthogonal matrix*, 1971.
"""

from pyod_lipocc.stiefel._manifold import (
    nearest_point,
    orthogonality_error,
    project_tangent,
    retract,
    sample_stiefel,
)
from pyod_lipocc.stiefel.optimizers import StiefelAdam, StiefelRMSprop

__all__ = [
    "StiefelAdam",
    "StiefelRMSprop",
    "nearest_point",
    "orthogonality_error",
    "project_tangent",
    "retract",
    "sample_stiefel",
]
