"""Sorting activations as modules."""

from __future__ import annotations

from torch import Tensor, nn

from pyod_lipocc.lipschitz.functional import full_sort, group_sort2

__all__ = ["FullSort", "GroupSort2"]


class _Sort(nn.Module):
    def __init__(self, dim: int = -1) -> None:
        super().__init__()
        self.dim = dim

    def extra_repr(self) -> str:
        """Name the dimension where it is not the last."""
        return "" if self.dim == -1 else f"dim={self.dim}"


class GroupSort2(_Sort):
    """Sort pairs of features (MaxMin): see `functional.group_sort2`.

    1-Lipschitz in the l2 norm, with an orthogonal Jacobian almost everywhere.

    Parameters
    ----------
    dim : int, default=-1
        Dimension of the features: 1 for the channels of images (n, c, h, w).

    Examples
    --------
    >>> import torch
    >>> GroupSort2()(torch.tensor([[1.0, 2.0]]))
    tensor([[2., 1.]])
    """

    def forward(self, x: Tensor) -> Tensor:
        """Map a tensor to a tensor of the same shape."""
        return group_sort2(x, self.dim)


class FullSort(_Sort):
    """Sort all features: see `functional.full_sort`.

    1-Lipschitz in the l2 norm, with an orthogonal Jacobian almost everywhere.

    Parameters
    ----------
    dim : int, default=-1
        Dimension of the features: 1 for the channels of images (n, c, h, w).

    Examples
    --------
    >>> import torch
    >>> FullSort()(torch.tensor([[3.0, 1.0, 2.0]]))
    tensor([[1., 2., 3.]])
    """

    def forward(self, x: Tensor) -> Tensor:
        """Map a tensor to a tensor of the same shape."""
        return full_sort(x, self.dim)
