"""Sorting activations as modules."""

from __future__ import annotations

from torch import Tensor, nn

from pyod_lipocc.lipschitz.functional import full_sort, group_sort2

__all__ = ["FullSort", "GroupSort2"]


class GroupSort2(nn.Module):
    """Sort pairs of features (MaxMin): see `functional.group_sort2`.

    1-Lipschitz in the l2 norm, with an orthogonal Jacobian almost everywhere.

    Examples
    --------
    >>> import torch
    >>> GroupSort2()(torch.tensor([[1.0, 2.0]]))
    tensor([[2., 1.]])
    """

    def forward(self, x: Tensor) -> Tensor:
        """Map (..., d) to (..., d)."""
        return group_sort2(x)


class FullSort(nn.Module):
    """Sort all features: see `functional.full_sort`.

    1-Lipschitz in the l2 norm, with an orthogonal Jacobian almost everywhere.

    Examples
    --------
    >>> import torch
    >>> FullSort()(torch.tensor([[3.0, 1.0, 2.0]]))
    tensor([[1., 2., 3.]])
    """

    def forward(self, x: Tensor) -> Tensor:
        """Map (..., d) to (..., d)."""
        return full_sort(x)
