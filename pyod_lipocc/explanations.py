"""Contributions of the features to a signed distance: gradients integrated from the boundary."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from pyod_lipocc._isolation import isolated
from pyod_lipocc._scores import Score, check_points, value_and_gradient
from pyod_lipocc.counterfactuals import counterfactual

__all__ = ["explain"]

_FIRST_NODES = 8


@isolated()
def explain(
    score: Score,
    X: Tensor,
    baseline: Tensor | None = None,
    *,
    tolerance: float = 1e-3,
    max_nodes: int = 256,
    batch_size: int = 1024,
) -> Tensor:
    r"""Split the signed distance of each row into contributions of its features.

    With c the nearest boundary point, where S(c) = 0, the gradient is integrated along the segment
    from c to x (integrated gradients; Sundararajan, Taly & Yan, 2017):

    .. math:: \phi_i = (x_i - c_i) \int_0^1 \partial_i S\big(c + t\,(x - c)\big)\, dt,
              \qquad \sum_i \phi_i = S(x) - S(c)

    Negative contributions tell which features put x outside, and by how much. A feature in which x
    and c agree contributes nothing. Where S is a distance, :math:`\phi_i = (x_i - c_i)^2 / S(x)`,
    so all contributions have the sign of S(x).

    Gauss-Legendre quadrature takes the integral. It doubles its nodes for the rows whose sum misses
    :math:`S(x) - S(c)` by more than the tolerance. The rest, mostly from kinks between two nodes,
    is spread over the features in proportion to :math:`|\phi_i|`, or to :math:`|x_i - c_i|` where
    all :math:`\phi_i` are 0. So the contributions always sum to the difference, up to rounding.
    Unless `max_nodes` was reached, the spreading changes each by at most the tolerance.

    Parameters
    ----------
    score : callable
        S, from (n, d) to (n,) or (n, 1), differentiable by torch almost everywhere.
    X : Tensor of shape (n, d)
        Finite floating-point numbers.
    baseline : Tensor of shape (n, d) or (d,), optional
        c. None: the points that `counterfactual` finds. Another reference, such as the mean of the
        data, is as good: the contributions then sum to the difference from its score.
    tolerance : float, default=1e-3
        Share of :math:`\sum_i |\phi_i|` that may be spread, >= 0.
    max_nodes : int, default=256
        Most nodes of a quadrature, >= 8.
    batch_size : int, default=1024
        Rows at once: memory beyond the result is bounded by it.

    Returns
    -------
    contributions : Tensor of shape (n, d)
        In the units of S. Zeros where x is its own baseline; NaN where the baseline is NaN, as
        where `counterfactual` has found no boundary point.

    Raises
    ------
    ValueError
        If X is not a floating-point matrix, or `baseline` has another width or length.

    Examples
    --------
    >>> x = torch.tensor([[3.0, 4.0, 0.0]], dtype=torch.float64)
    >>> explain(lambda z: 1 - z.norm(dim=1), x).round(decimals=4)
    tensor([[-1.4400, -2.5600,  0.0000]], dtype=torch.float64)
    """
    check_points(X)
    if baseline is None:
        baseline = counterfactual(score, X, batch_size=batch_size).points
    if tuple(baseline.shape) not in (tuple(X.shape), tuple(X.shape[1:])):
        raise ValueError(
            f"baseline must have the shape {tuple(X.shape)} of X or of one of its rows, "
            f"got {tuple(baseline.shape)}"
        )
    rows = torch.split(X.detach(), batch_size)
    starts = torch.split(baseline.detach().to(X).expand_as(X), batch_size)
    return torch.cat(
        [
            _contributions(score, x, c, tolerance, max_nodes)
            for x, c in zip(rows, starts, strict=True)
        ]
    )


def _contributions(score: Score, x: Tensor, c: Tensor, tolerance: float, max_nodes: int) -> Tensor:
    """Integrate with more nodes until the sums are right, then spread what they still miss."""
    with torch.no_grad():
        total = (score(x) - score(c)).reshape(-1, 1)
    contributions = torch.zeros_like(x)
    wrong = torch.ones(len(x), dtype=torch.bool, device=x.device)
    n_nodes = _FIRST_NODES
    while wrong.any() and n_nodes <= max_nodes:
        contributions[wrong] = _integrate(score, x[wrong], c[wrong], n_nodes)
        missing = (total - contributions.sum(1, keepdim=True)).abs()
        wrong = missing.squeeze(1) > tolerance * contributions.abs().sum(1)
        n_nodes *= 2
    return _complete(contributions, total, x - c)


def _integrate(score: Score, x: Tensor, c: Tensor, n_nodes: int) -> Tensor:
    """Return (x - c) times the mean gradient of the segment."""
    nodes, weights = np.polynomial.legendre.leggauss(n_nodes)
    mean = torch.zeros_like(x)
    for node, weight in zip((1 + nodes) / 2, weights / 2, strict=True):
        _, gradient = value_and_gradient(score, torch.lerp(c, x, float(node)))
        mean += float(weight) * gradient
    return (x - c) * mean


def _complete(contributions: Tensor, total: Tensor, offset: Tensor) -> Tensor:
    """Spread the difference between the totals and the sums over the features."""
    size = contributions.abs()
    size = torch.where(size.sum(1, keepdim=True) > 0, size, offset.abs())
    # A second round removes the rounding of the first.
    for _ in range(2):
        missing = total - contributions.sum(1, keepdim=True)
        share = size / size.sum(1, keepdim=True)
        contributions = contributions + missing * torch.where(offset == 0, 0.0, share)
    return contributions
