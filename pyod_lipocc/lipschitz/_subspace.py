"""The nearest-subspace network: the distance to a union of affine subspaces, or of points."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from pyod_lipocc._checks import check_integer
from pyod_lipocc.lipschitz._components import Components, squared_distances
from pyod_lipocc.lipschitz._kernels import sqrt_
from pyod_lipocc.lipschitz._search import blocks, candidates, smallest

__all__ = ["NearestSubspace"]


class NearestSubspace(Components):
    r"""Signed distance to a union of K affine subspaces, each with a radius of its own.

    .. math::
        f(x) = b - \operatorname*{agg}_k \big( \|A_k (x - \mu_k)\| + c_k \big), \qquad
        A_k = I - U_k^\top \operatorname{diag}(1 - s_k)\, U_k

    :math:`U_k` has q orthonormal rows and :math:`s_k \in [0, 1]^q`, so that :math:`\|A_k\| \le 1`:
    :math:`A_k` shrinks the directions of a subspace and keeps its complement. agg is the mean of
    the j smallest, the minimum for j = 1: its partial derivatives are not negative and sum to 1. f
    is therefore 1-Lipschitz in the l2 norm for all values of its parameters. With j = 1, and s = 0
    or q = 0, the gradient of f is a unit vector almost everywhere: f is a signed distance function
    by construction.

    The family holds

    - a capped Mahalanobis distance for K = 1, the residual of PCA if s = 0 too;
    - nearest neighbours, with all rows as centres and q = 0;
    - K-subspaces, for K > 1 and q > 0.

    :math:`b - c_k` is the radius of a component: f is positive in a union of tubes.

    Parameters
    ----------
    n_features : int
        d, at least 1.
    n_components : int
        K, at least 1.
    n_directions : int, default=0
        q, from 0 to d.
    n_nearest : int, default=1
        j, from 1 to K.
    leave_one_out : bool, default=False
        In training mode the component of least height is passed over, and the next j count. Where
        the rows themselves are the centres, no row is its own evidence. Needs K > j.
    generator : torch.Generator, optional
        Draws centres and subspaces; None uses torch's global generator.

    Attributes
    ----------
    centers : Parameter of shape (K, d)
        :math:`\mu`.
    basis : Parameter of shape (K, q, d)
        U, orthonormal rows in each component.
    contraction : Parameter of shape (K, q)
        s. A value outside [0, 1] acts as the nearer end.
    offset : Parameter of shape (K,)
        c. A large offset switches a component off.
    bias : Parameter of shape ()
        b.

    Examples
    --------
    >>> network = NearestSubspace(2, 1)
    >>> network.assign(centers=torch.zeros(1, 2))
    >>> network(torch.tensor([[3.0, 4.0]]))
    tensor([[-5.]], grad_fn=<UnsqueezeBackward0>)
    """

    contraction: nn.Parameter

    def __init__(
        self,
        n_features: int,
        n_components: int,
        n_directions: int = 0,
        *,
        n_nearest: int = 1,
        leave_one_out: bool = False,
        generator: torch.Generator | None = None,
    ) -> None:
        check_integer("n_features", n_features, 1)
        check_integer("n_components", n_components, 1)
        check_integer("n_directions", n_directions, 0, n_features)
        check_integer("n_nearest", n_nearest, 1, n_components - leave_one_out)
        super().__init__(n_features, n_components, n_directions, generator, contraction=0.0)
        self.n_nearest = n_nearest
        self.leave_one_out = leave_one_out

    def shrinkage(self) -> Tensor:
        """Return 1 - s, clipped to [0, 1]. The gradient ignores the clipping."""
        inside = self.contraction.detach().clamp(0, 1)
        return 1 - (inside + (self.contraction - self.contraction.detach()))

    def coordinates(self, x: Tensor) -> Tensor:
        """Return U_k (x - mu_k) for every component, shape (n, K, q), by one matrix product."""
        K, q, d = self._sizes()
        along = torch.einsum("kqd,kd->kq", self.basis, self.centers).reshape(-1)
        return torch.addmm(along, x, self.basis.reshape(K * q, d).T, beta=-1).view(x.shape[0], K, q)

    @torch.no_grad()
    def nearest(self, x: Tensor, coordinates: Tensor) -> Tensor:
        """Return the j components of least height for each row, shape (n, j).

        Matrix products find them. By cancellation, only components of nearly the same height may
        be confused.
        """
        skipped = int(self.leave_one_out and self.training)
        k = self.n_nearest + skipped
        if torch.numel(self.offset) == 1:
            return torch.zeros_like(x[:, :1], dtype=torch.long)
        proposed = None if torch.numel(self.basis) else candidates(x, self.centers, self.offset, k)
        if proposed is None:
            return self._by_squares(x, coordinates, k)[:, skipped:]
        exact, best = self.heights(x, proposed.points, x).topk(k, dim=1, largest=False)
        found = proposed.points.gather(1, best)
        doubtful = ~(exact[:, -1] <= proposed.beyond)
        if doubtful.any():
            found[doubtful] = self._by_squares(x[doubtful], coordinates[doubtful], k)
        return found[:, skipped:]

    def _by_squares(self, x: Tensor, coordinates: Tensor, k: int) -> Tensor:
        """Return the k components of least height, from squared lengths."""
        squares = (self.centers * self.centers).sum(1)
        kept = self.contraction.clamp(0, 1)
        _, q, _ = self._sizes()
        found = []
        n_points = torch.numel(self.offset)
        for rows, along in zip(blocks(x, n_points), blocks(coordinates, n_points), strict=True):
            squared = squared_distances(rows, self.centers, squares)
            if q:
                squared -= torch.einsum("nkq,nkq,kq->nk", along, along, 1 - kept * kept)
            found.append(smallest(sqrt_(squared.clamp_min_(0)).add_(self.offset), k))
        return torch.cat(found)

    def heights(self, x: Tensor, components: Tensor, coordinates: Tensor) -> Tensor:
        """Return ||A_k (x - mu_k)|| + c_k of given components, by differences that do not cancel.

        Parameters
        ----------
        x : Tensor of shape (n, d)
        components : Tensor of int of shape (n, j)
        coordinates : Tensor of shape (n, K, q)

        Returns
        -------
        heights : Tensor of shape (n, j)
        """
        v = x.unsqueeze(1) - self.centers[components]
        K, q, d = self._sizes()
        basis = self.basis.reshape(K * q, d)
        if q and K == 1:
            v = v - ((coordinates * self.shrinkage()).flatten(1) @ basis).unsqueeze(1)
        elif q:
            along = coordinates * self.shrinkage()
            removed = torch.zeros_like(along)
            shadows = []
            for column in torch.split(components.unsqueeze(2).expand(-1, -1, q), 1, dim=1):
                chosen = removed.scatter(1, column, along.gather(1, column))
                shadows.append(chosen.flatten(1) @ basis)
            v = v - torch.stack(shadows, dim=1)
        lengths: Tensor = torch.linalg.vector_norm(v, dim=2)
        return lengths + self.offset[components]

    def forward(self, x: Tensor) -> Tensor:
        """Map (n, d) to (n, 1)."""
        coordinates = self.coordinates(x)
        heights = self.heights(x, self.nearest(x, coordinates), coordinates)
        return (self.bias - heights.mean(1)).unsqueeze(1)

    @torch.no_grad()
    def polish(self) -> None:
        """Retract the subspaces and clip the contractions: removes the rounding of training."""
        super().polish()
        self.contraction.clamp_(0, 1)

    def extra_repr(self) -> str:
        """Shapes and aggregate."""
        K, q, d = self.basis.shape
        return f"{d}, {K}, {q}, n_nearest={self.n_nearest}, leave_one_out={self.leave_one_out}"
