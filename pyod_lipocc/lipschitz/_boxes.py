"""The nearest-box network: the distance to a union of boxes, each with axes of its own."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from pyod_lipocc._checks import check_integer
from pyod_lipocc.lipschitz._components import Components, squared_distances
from pyod_lipocc.lipschitz._kernels import argmin, sqrt_
from pyod_lipocc.lipschitz._search import blocks

__all__ = ["NearestBox"]


class NearestBox(Components):
    r"""Signed distance to a union of K flat boxes, each with a radius of its own.

    .. math::
        f(x) = b - \min_k \big( \operatorname{dist}(x, B_k) + c_k \big), \qquad
        B_k = \{ \mu_k + U_k^\top a : |a_j| \le w_{kj} \}

    :math:`U_k` has q orthonormal rows: a box is a point for q = 0, a segment for q = 1, a rectangle
    for q = 2. Boxes are convex, so f is 1-Lipschitz in the l2 norm for all values of its
    parameters, and its gradient is a unit vector almost everywhere outside the boxes. With q = 0
    and :math:`r_k = b - c_k`, f is the signed distance to a union of balls, depth in the deepest
    ball included.

    Parameters
    ----------
    n_features : int
        d, at least 1.
    n_boxes : int
        K, at least 1.
    n_directions : int, default=0
        q, from 0 to d.
    generator : torch.Generator, optional
        Draws centres and directions; None uses torch's global generator.

    Attributes
    ----------
    centers : Parameter of shape (K, d)
        :math:`\mu`.
    basis : Parameter of shape (K, q, d)
        U, orthonormal rows in each box.
    half_width : Parameter of shape (K, q)
        w. A negative value acts as 0.
    offset : Parameter of shape (K,)
        c. A large offset switches a box off.
    bias : Parameter of shape ()
        b.

    Examples
    --------
    >>> network = NearestBox(2, 1, 1)
    >>> network.assign(
    ...     centers=torch.zeros(1, 2), basis=torch.tensor([[[1.0, 0.0]]]),
    ...     half_width=torch.tensor([[2.0]]))
    >>> network(torch.tensor([[5.0, 4.0], [1.0, 4.0]])).tolist()
    [[-5.0], [-4.0]]
    """

    half_width: nn.Parameter

    def __init__(
        self,
        n_features: int,
        n_boxes: int,
        n_directions: int = 0,
        *,
        generator: torch.Generator | None = None,
    ) -> None:
        check_integer("n_features", n_features, 1)
        check_integer("n_boxes", n_boxes, 1)
        check_integer("n_directions", n_directions, 0, n_features)
        super().__init__(n_features, n_boxes, n_directions, generator, half_width=1.0)

    @torch.no_grad()
    def nearest(self, x: Tensor) -> Tensor:
        r"""Return the box of least height for each row, shape (n,).

        Products of matrices find it, from
        :math:`\operatorname{dist}^2 = \|v\|^2 + \sum_j c_j (c_j - 2 a_j)` with
        :math:`v = x - \mu`, :math:`a = U v` and c its part inside the box. By cancellation, only
        boxes of nearly the same height may be confused.
        """
        K, q, _ = self._sizes()
        squares = self.centers.square().sum(1)
        found = []
        for rows in blocks(x, 2 * K * (q + 1)):  # coordinates, and their parts inside
            squared = squared_distances(rows, self.centers, squares)
            if q:
                along = self._along(rows)
                inside = self._inside(along, self.half_width.T)
                # In place: memory of this size costs more than the arithmetic.
                squared += along.mul_(-2).add_(inside).mul_(inside).sum(1)
            found.append(argmin(sqrt_(squared.clamp_min_(0)).add_(self.offset)))
        return torch.cat(found)

    def _along(self, x: Tensor) -> Tensor:
        """Return U_k (x - mu_k) for every box, shape (n, q, K), by one matrix product.

        The boxes come last: torch adds numbers of one row several times slower than rows.
        """
        K, q, d = self._sizes()
        basis = self.basis.transpose(0, 1).reshape(q * K, d)
        middle = torch.einsum("kqd,kd->qk", self.basis, self.centers).reshape(-1)
        return torch.addmm(middle, x, basis.T, beta=-1).view(x.shape[0], q, K)

    @staticmethod
    def _inside(along: Tensor, half_width: Tensor) -> Tensor:
        """Project coordinates along the axes on the box."""
        reach = half_width.clamp_min(0)
        return torch.clamp(along, -reach, reach)

    def forward(self, x: Tensor) -> Tensor:
        """Map (n, d) to (n, 1)."""
        k = self.nearest(x)
        v = x - self.centers[k]
        if torch.numel(self.half_width):
            basis = self.basis[k]
            # Products in batches, and their gradients, cost several times more than such sums.
            along = (basis * v.unsqueeze(1)).sum(2)
            inside = self._inside(along, self.half_width[k])
            v = v - (basis * inside.unsqueeze(2)).sum(1)
        height: Tensor = torch.linalg.vector_norm(v, dim=1) + self.offset[k]
        return (self.bias - height).unsqueeze(1)

    @torch.no_grad()
    def polish(self) -> None:
        """Retract the axes and clip the half-widths: removes the rounding of training."""
        super().polish()
        self.half_width.clamp_min_(0)

    def extra_repr(self) -> str:
        """Shapes."""
        K, q, d = self.basis.shape
        return f"{d}, {K}, {q}"
