"""The nearest-subspace network: the distance to a union of affine subspaces, or of points."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from pyod_lipocc._checks import check_integer
from pyod_lipocc.lipschitz._components import Components, squared_distances
from pyod_lipocc.lipschitz._kernels import is_tracing, is_transformed, sqrt_

__all__ = ["NearestSubspace"]

_GROUPS = (8, 4, 2)
_FEW = 64  # torch's topk is several times faster for k at most the length of a row over 64
_MANY = 2048  # from so many points on, single precision looks first
_SPARE = 3  # candidates beyond those asked for
_BLOCK = 2**19  # so many heights stay in the cache


def _smallest(values: Tensor, k: int) -> Tensor:
    """Return the places of the k smallest values of each row, in ascending order, shape (n, k).

    The k smallest values are in the k groups of least minimum. One pass over a long row finds these
    groups, several times faster than torch's topk.
    """
    n, K = values.shape
    sizes = [] if is_tracing() else [size for size in _GROUPS if K // size >= _FEW * k]
    if not sizes:
        return values.topk(k, dim=1, largest=False).indices
    size, n_groups = sizes[0], K // sizes[0]
    grouped = torch.unflatten(values[:, : n_groups * size], 1, (size, n_groups))
    groups = grouped.amin(1).topk(k, dim=1, largest=False, sorted=False).indices
    columns = torch.arange(K, device=values.device)
    members = columns[: n_groups * size].view(size, n_groups).T[groups].flatten(1)
    candidates = torch.cat((members, columns[n_groups * size :].expand(n, -1)), dim=1)
    best = values.gather(1, candidates).topk(k, dim=1, largest=False).indices
    return candidates.gather(1, best)


def _single_precision_is_single() -> bool:
    """Tell whether matrix products of float32 are computed in float32, not in bfloat16 or TF32."""
    setting = getattr(torch.backends.mkldnn, "matmul", None)
    if setting is None:  # before torch 2.9
        return torch.get_float32_matmul_precision() == "highest"
    return setting.fp32_precision in ("none", "ieee")


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
        if self._screens(x, k):
            found, certain = self._screened(x, k)
            if not certain.all():
                doubtful = ~certain
                found[doubtful] = self._by_squares(x[doubtful], coordinates[doubtful], k)
        else:
            found = self._by_squares(x, coordinates, k)
        return found[:, skipped:]

    def _screens(self, x: Tensor, k: int) -> bool:
        """Tell whether products in single precision help to choose, and torch computes such."""
        K, q, d = self._sizes()
        # The comparison of the candidates, number by number, must cost little.
        helps = not q and max(_MANY, (k + _SPARE) * d) <= K
        plain = x.is_cpu and not is_transformed(x, self.centers, self.offset)
        return helps and x.dtype == torch.float64 and plain and _single_precision_is_single()

    def _by_squares(self, x: Tensor, coordinates: Tensor, k: int) -> Tensor:
        """Return the k components of least height, from squared lengths."""
        squares = (self.centers * self.centers).sum(1)
        kept = self.contraction.clamp(0, 1)
        _, q, _ = self._sizes()
        found = []
        for rows, along in zip(*map(self._blocks, (x, coordinates)), strict=True):
            squared = squared_distances(rows, self.centers, squares)
            if q:
                squared -= torch.einsum("nkq,nkq,kq->nk", along, along, 1 - kept * kept)
            found.append(_smallest(sqrt_(squared.clamp_min_(0)).add_(self.offset), k))
        return torch.cat(found)

    def _screened(self, x: Tensor, k: int) -> tuple[Tensor, Tensor]:
        r"""Return the k points of least height, and the rows whose choice is certain.

        Let u be the unit roundoff of single precision and
        :math:`w = \|x\| + \max_k \|\mu_k\|`. Squared distances in single precision are off by at
        most :math:`e = (d + 6)\, u\, w^2`, distances by :math:`\sqrt e`, distances of at least r by
        :math:`e / r`. Single precision proposes a few candidates more than k, double precision
        compares them. The k best are certain if the last candidate, whatever its error, is higher:
        all points that are no candidates are then higher as well.
        """
        single = torch.finfo(torch.float32)
        lengths = torch.linalg.vector_norm(self.centers, dim=1)
        centers, squares, offset = (
            tensor.float() for tensor in (self.centers, lengths.square(), self.offset)
        )
        w = torch.linalg.vector_norm(x, dim=1) + lengths.max()
        e = single.eps * (x.shape[1] + 8) * w.square() + single.tiny * x.shape[1]
        chosen, least, last = [], [], []
        for rows in self._blocks(x):
            squared = squared_distances(rows.float(), centers, squares)
            heights = squared.clamp_min_(0).sqrt_().add_(offset)
            candidates = _smallest(heights, k + _SPARE)
            exact, best = self.heights(rows, candidates, rows).topk(k, dim=1, largest=False)
            chosen.append(candidates.gather(1, best))
            least.append(exact[:, -1])
            last.append(heights.gather(1, candidates[:, -1:]).squeeze(1).double())
        beyond = torch.cat(last)
        error = e / torch.maximum(beyond - self.offset.max(), e.sqrt())
        error += 2 * single.eps * (w + self.offset.abs().max())
        certain = (torch.cat(least) + error <= beyond) & beyond.isfinite()
        return torch.cat(chosen), certain

    def _blocks(self, tensor: Tensor) -> tuple[Tensor, ...]:
        """Split rows so that the heights of a block stay in the cache."""
        if is_transformed(tensor):
            return (tensor,)
        return torch.split(tensor, max(_BLOCK // len(self.centers), 1))

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
