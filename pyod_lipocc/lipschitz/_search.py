r"""Search for the points of least height :math:`\|x - \mu_k\| + c_k`, proven to be exact.

A fast search proposes a few points more than are asked for, and a number that the heights of all
other points exceed. The heights of the proposed points, computed without cancellation, tell which
points are least. They are certain where the greatest of their heights is below that number.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from scipy.spatial import KDTree
from torch import Tensor

from pyod_lipocc.lipschitz._components import squared_distances
from pyod_lipocc.lipschitz._kernels import is_tracing, is_transformed, sqrt_

__all__ = ["Candidates", "blocks", "candidates", "smallest"]

_GROUPS = (8, 4, 2)
_FEW = 64  # torch's topk is several times faster for k at most the length of a row over 64
_SPARE = 3  # candidates beyond those asked for
_BLOCK = 2**19  # so many heights stay in the cache
_FEW_FEATURES, _POINTS_OF_A_TREE = 3, 512  # for which a tree is several times faster than products
_POINTS_OF_A_ROW = 64  # at most, of a tree that is built for one call
_POINTS_OF_SINGLE_PRECISION = 2048


class Candidates(NamedTuple):
    """Points that may be the least, and a number below the heights of all others, by row.

    Attributes
    ----------
    points : Tensor of int of shape (n, c)
    beyond : Tensor of shape (n,)
    """

    points: Tensor
    beyond: Tensor


def candidates(x: Tensor, centers: Tensor, offset: Tensor, k: int) -> Candidates | None:
    """Propose more than k points for each row, or return None where products are faster.

    Parameters
    ----------
    x : Tensor of shape (n, d)
    centers : Tensor of shape (K, d)
    offset : Tensor of shape (K,)
    k : int
    """
    if not x.is_cpu or is_transformed(x, centers, offset):
        return None
    (K, d), c = centers.shape, k + _SPARE
    if c * d > K:
        return None  # to compare the candidates, number by number, would cost too much
    many_rows = _POINTS_OF_A_TREE <= K <= _POINTS_OF_A_ROW * len(x)
    if d <= _FEW_FEATURES and many_rows and _nearest_are_least(centers, offset):
        return _by_tree(x, centers, offset, c)
    many_points = K >= _POINTS_OF_SINGLE_PRECISION and x.dtype == torch.float64
    if many_points and _single_precision_is_single():
        return _by_single_precision(x, centers, offset, c)
    return None


def _nearest_are_least(centers: Tensor, offset: Tensor) -> bool:
    """Tell whether offsets differ by less than neighbours are apart, about."""
    K, d = centers.shape
    low, high = centers.aminmax(dim=0)
    differ = offset.max() - offset.min()
    return bool(differ <= (high - low).max() / K ** (1 / d))  # false of nan


def _by_tree(x: Tensor, centers: Tensor, offset: Tensor, c: int) -> Candidates:
    """Propose the nearest points, all others of which are at least as far as the last.

    Distances are off by at most (d + 4) u of their size, u being the unit roundoff, and heights by
    a few u more.
    """
    rows = x.detach().nan_to_num()  # a row that holds nan has no nearest point
    tree = KDTree(centers.detach().numpy(), balanced_tree=False, compact_nodes=False)
    distances, points = map(torch.from_numpy, tree.query(rows.numpy(), k=c))
    last = distances[:, -1].to(x.dtype)
    error = (last + offset.abs().max()) * (2 * (x.shape[1] + 8) * torch.finfo(x.dtype).eps)
    return Candidates(points, last + offset.min() - error)


def _by_single_precision(x: Tensor, centers: Tensor, offset: Tensor, c: int) -> Candidates:
    r"""Propose the points that are least in single precision.

    Let u be its unit roundoff and :math:`w = \|x\| + \max_k \|\mu_k\|`. Squared distances are off
    by at most :math:`e = (d + 6)\, u\, w^2`, distances by :math:`\sqrt e`, distances of at least r
    by :math:`e / r`. The last candidate is the least of all others, but for this error.
    """
    single = torch.finfo(torch.float32)
    lengths = torch.linalg.vector_norm(centers, dim=1)
    w = torch.linalg.vector_norm(x, dim=1) + lengths.max()
    e = single.eps * (x.shape[1] + 8) * w.square() + single.tiny * x.shape[1]
    means, squares, offsets = (tensor.float() for tensor in (centers, lengths.square(), offset))
    points, last = [], []
    for rows in blocks(x, len(centers)):
        squared = squared_distances(rows.float(), means, squares)
        heights = sqrt_(squared.clamp_min_(0)).add_(offsets)
        points.append(smallest(heights, c))
        last.append(heights.gather(1, points[-1][:, -1:]).squeeze(1).double())
    highest = torch.cat(last)
    error = e / torch.maximum(highest - offset.max(), e.sqrt())
    error += 2 * single.eps * (w + offset.abs().max())
    beyond = torch.where(highest.isfinite(), highest - error, -torch.inf)
    return Candidates(torch.cat(points), beyond)


def _single_precision_is_single() -> bool:
    """Tell whether matrix products of float32 are computed in float32, not in bfloat16 or TF32."""
    setting = getattr(torch.backends.mkldnn, "matmul", None)
    if setting is None:  # before torch 2.9
        return torch.get_float32_matmul_precision() == "highest"
    return setting.fp32_precision in ("none", "ieee")


def smallest(values: Tensor, k: int) -> Tensor:
    """Return the places of the k smallest values of each row, in ascending order, shape (n, k).

    The k smallest values are in the k groups of least minimum. One pass over a long row finds these
    groups, several times faster than torch's topk and numpy's partition.
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
    chosen = torch.cat((members, columns[n_groups * size :].expand(n, -1)), dim=1)
    best = values.gather(1, chosen).topk(k, dim=1, largest=False).indices
    return chosen.gather(1, best)


def blocks(rows: Tensor, n_points: int) -> tuple[Tensor, ...]:
    """Split rows so that the heights of a block above all points stay in the cache."""
    if is_transformed(rows):
        return (rows,)
    return torch.split(rows, max(_BLOCK // n_points, 1))
