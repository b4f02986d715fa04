r"""The Stiefel manifold of matrices with an orthonormal shorter side, and optimisers on it.

A matrix :math:`W` of shape (m, n) lies on the manifold when :math:`W^\top W = I` (m >= n,
orthonormal columns) or :math:`W W^\top = I` (m <= n, orthonormal rows): all its singular values are
1, so the linear map is 1-Lipschitz in the l2 norm. A single row is a unit vector.

The paper re-parametrises each layer by :math:`\Theta = \Pi(W)`, the projection computed by Björck's
iteration :math:`W \leftarrow \tfrac32 W - \tfrac12 W W^\top W` inside the graph, with :math:`W`
unconstrained. Here the weights themselves stay on the manifold and Björck's iteration, of order
two, is the *retraction* after each step: the same projection, but nothing is differentiated through
it, and since a step leaves the weights near the manifold one iteration is enough where the paper's
setting needs a dozen.

All functions accept leading batch dimensions: (..., m, n).

References
----------
Absil, Mahony & Sepulchre, *Optimization Algorithms on Matrix Manifolds*, Princeton, 2008, sections
3.5 and 4.1. Björck & Bowie, *An iterative algorithm for computing the best estimate of an
orthogonal matrix*, 1971.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

__all__ = [
    "StiefelAdam",
    "StiefelRMSprop",
    "orthogonality_error",
    "project_tangent",
    "retract",
    "sample_stiefel",
]


def _deviation(weight: Tensor) -> Tensor:
    """Gram matrix of the shorter side minus the identity."""
    tall = weight.shape[-2] >= weight.shape[-1]
    gram = weight.mT @ weight if tall else weight @ weight.mT
    gram.diagonal(dim1=-2, dim2=-1).sub_(1.0)
    return gram


def orthogonality_error(weight: Tensor) -> Tensor:
    r"""Frobenius norm of :math:`W^\top W - I`: an upper bound of every :math:`|\sigma_i^2 - 1|`.

    Parameters
    ----------
    weight : Tensor of shape (..., m, n)

    Returns
    -------
    error : Tensor of shape (...)
        Zero on the manifold.

    Examples
    --------
    >>> orthogonality_error(2 * torch.eye(3)[:1])
    tensor(3.)
    """
    return torch.linalg.matrix_norm(_deviation(weight))


def project_tangent(weight: Tensor, direction: Tensor) -> Tensor:
    r"""Project a direction onto the tangent space of the manifold at `weight`.

    :math:`G - W\,\mathrm{sym}(W^\top G)` for tall matrices, :math:`G - \mathrm{sym}(G W^\top)\,W`
    for wide ones.

    Parameters
    ----------
    weight : Tensor of shape (..., m, n)
        A point of the manifold.
    direction : Tensor of shape (..., m, n)
        Any direction, such as a gradient.

    Returns
    -------
    tangent : Tensor of shape (..., m, n)
        The nearest direction along which the singular values stay 1 to first order.

    Examples
    --------
    >>> project_tangent(torch.tensor([[1.0, 0.0]]), torch.tensor([[3.0, 4.0]]))
    tensor([[0., 4.]])
    """
    if weight.shape[-2] >= weight.shape[-1]:
        inner = weight.mT @ direction
        return torch.sub(direction, weight @ (inner + inner.mT), alpha=0.5)
    inner = direction @ weight.mT
    return torch.sub(direction, (inner + inner.mT) @ weight, alpha=0.5)


def _orthonormal_basis(weight: Tensor) -> Tensor:
    """Q of a QR factorisation with a non-negative diagonal; orthonormal for every finite matrix."""
    if weight.shape[-2] < weight.shape[-1]:
        return _orthonormal_basis(weight.mT).mT
    if not torch.isfinite(weight).all():
        raise FloatingPointError(
            "weight must be finite to come onto the Stiefel manifold, got nan or inf entries: "
            "the training has diverged"
        )
    largest = weight.abs().amax(dim=(-2, -1), keepdim=True)
    q, r = torch.linalg.qr(weight / torch.where(largest > 0, largest, 1.0))
    return q * torch.where(r.diagonal(dim1=-2, dim2=-1) < 0, -1.0, 1.0).to(q).unsqueeze(-2)


def retract(weight: Tensor) -> Tensor:
    r"""Bring a matrix back onto the manifold.

    With :math:`E = W^\top W - I` and :math:`b = \|E^2\|_F^{1/2} < 1`, a bound of the spectral norm
    of E, Björck and Bowie's iteration of order two :math:`W \leftarrow W (I - \tfrac12 E + \tfrac38
    E^2)` converges to the polar factor of W, the nearest point of the manifold. One iteration
    leaves every :math:`|\sigma_i^2 - 1|` at most :math:`\tfrac58 b^3 + \tfrac{15}{64} b^4 +
    \tfrac9{64} b^5`: it stops when this proven bound is at the rounding level, after one iteration
    for the steps of usual learning rates. Farther away a QR factorisation, itself a retraction,
    comes first.

    Parameters
    ----------
    weight : Tensor of shape (..., m, n)
        Any finite matrix, rank-deficient ones included.

    Returns
    -------
    point : Tensor of shape (..., m, n)
        On the manifold.

    Raises
    ------
    FloatingPointError
        If an entry is nan or infinite.

    Examples
    --------
    >>> retract(torch.tensor([[3.0, 4.0]]))
    tensor([[0.6000, 0.8000]])
    >>> retract(torch.zeros(3, 2)).T @ retract(torch.zeros(3, 2))
    tensor([[1., 0.],
            [0., 1.]])
    """
    tolerance = 16 * torch.finfo(weight.dtype).eps
    tall = weight.shape[-2] >= weight.shape[-1]
    while True:
        deviation = _deviation(weight)
        squared = deviation @ deviation
        bound = torch.linalg.matrix_norm(squared).max().sqrt().item()
        if not bound < 1:
            weight = _orthonormal_basis(weight)
            continue
        correction = squared.mul_(0.375).sub_(deviation, alpha=0.5)
        weight = weight + (weight @ correction if tall else correction @ weight)
        if (0.625 + (0.234375 + 0.140625 * bound) * bound) * bound**3 <= tolerance:
            return weight


def sample_stiefel(
    *shape: int,
    generator: torch.Generator | None = None,
    dtype: torch.dtype | None = None,
) -> Tensor:
    """Draw a matrix uniformly (Haar measure) from the manifold.

    Parameters
    ----------
    *shape : int
        (..., m, n).
    generator : torch.Generator, optional
        Source of randomness; None uses torch's global one.
    dtype : torch.dtype, optional
        None means torch's default.

    Returns
    -------
    point : Tensor of shape (..., m, n)

    Examples
    --------
    >>> sample_stiefel(4, 2).shape
    torch.Size([4, 2])
    """
    return retract(torch.randn(*shape, generator=generator, dtype=dtype))


class _OnStiefel(torch.optim.Optimizer):
    """Mixin: the groups marked ``stiefel=True`` take tangent steps and are retracted after each."""

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> Any:
        """Take one step; the marked weights are on the manifold before and after it."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        weights = [
            weight
            for group in self.param_groups
            if group.get("stiefel", False)
            for weight in group["params"]
            if weight.grad is not None
        ]
        origins = [weight.clone() for weight in weights]
        for weight in weights:
            weight.grad = project_tangent(weight, weight.grad)
        super().step()
        for weight, origin in zip(weights, origins, strict=True):
            # Adaptive scaling bends the tangent direction: straighten it before moving.
            weight.copy_(retract(origin + project_tangent(origin, weight - origin)))
        return loss


class StiefelAdam(_OnStiefel, torch.optim.Adam):
    r"""Adam whose parameter groups with ``stiefel=True`` stay on the Stiefel manifold.

    The gradient is projected onto the tangent space before it enters the moments, the update is
    projected again, and the result is retracted. All other groups are updated by plain Adam.

    Parameters
    ----------
    params : iterable
        Parameter groups as for :class:`torch.optim.Adam`; each may carry ``"stiefel": True``.
    **kwargs
        Those of :class:`torch.optim.Adam`.

    Examples
    --------
    >>> weight = torch.nn.Parameter(sample_stiefel(5, 3))
    >>> optimizer = StiefelAdam([{"params": [weight], "stiefel": True}], lr=0.1)
    >>> weight.sum().backward()
    >>> optimizer.step()
    >>> bool(orthogonality_error(weight) < 1e-5)
    True
    """


class StiefelRMSprop(_OnStiefel, torch.optim.RMSprop):
    """RMSprop whose parameter groups with ``stiefel=True`` stay on the manifold: see `StiefelAdam`.

    Parameters
    ----------
    params : iterable
        Parameter groups as for :class:`torch.optim.RMSprop`; each may carry ``"stiefel": True``.
    **kwargs
        Those of :class:`torch.optim.RMSprop`. The paper's "default hyper-parameters" are those of
        Keras: ``lr=1e-3, alpha=0.9, eps=1e-7``, where torch has 1e-2, 0.99 and 1e-8.
    """
