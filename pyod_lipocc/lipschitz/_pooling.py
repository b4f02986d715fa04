"""Pooling layers as modules: each is 1-Lipschitz in the l2 norm."""

from __future__ import annotations

from torch import Tensor, nn

from pyod_lipocc._checks import check_integer
from pyod_lipocc.lipschitz.functional import (
    global_l2_norm_pool,
    invertible_downsampling,
    l2_norm_pool,
    scaled_avg_pool,
)

__all__ = ["GlobalL2NormPool2d", "InvertibleDownsampling2d", "L2NormPool2d", "ScaledAvgPool2d"]


class _Windowed(nn.Module):
    """A map of disjoint square windows of one size."""

    def __init__(self, window: int = 2) -> None:
        super().__init__()
        check_integer("window", window, 1)
        self.window = window

    def extra_repr(self) -> str:
        """Side of a window."""
        return f"{self.window}"


class L2NormPool2d(_Windowed):
    """Norms of disjoint windows: see `functional.l2_norm_pool`.

    Parameters
    ----------
    window : int, default=2
        Side of a window.

    Raises
    ------
    ValueError
        If `window` is not a positive int, or, in the forward pass, larger than the image.

    Examples
    --------
    >>> import torch
    >>> L2NormPool2d()(torch.ones(1, 1, 4, 4))
    tensor([[[[2., 2.],
              [2., 2.]]]])
    """

    def forward(self, x: Tensor) -> Tensor:
        """Map (n, c, h, w) to (n, c, h // window, w // window)."""
        return l2_norm_pool(x, self.window)


class GlobalL2NormPool2d(nn.Module):
    """Norm of each channel: see `functional.global_l2_norm_pool`.

    Examples
    --------
    >>> import torch
    >>> GlobalL2NormPool2d()(torch.ones(1, 2, 4, 4))
    tensor([[4., 4.]])
    """

    def forward(self, x: Tensor) -> Tensor:
        """Map (n, c, h, w) to (n, c)."""
        return global_l2_norm_pool(x)


class ScaledAvgPool2d(_Windowed):
    """Scaled means of disjoint windows: see `functional.scaled_avg_pool`.

    Parameters
    ----------
    window : int, default=2
        Side of a window.

    Raises
    ------
    ValueError
        If `window` is not a positive int, or, in the forward pass, larger than the image.

    Examples
    --------
    >>> import torch
    >>> ScaledAvgPool2d()(torch.ones(1, 1, 2, 2))
    tensor([[[[2.]]]])
    """

    def forward(self, x: Tensor) -> Tensor:
        """Map (n, c, h, w) to (n, c, h // window, w // window)."""
        return scaled_avg_pool(x, self.window)


class InvertibleDownsampling2d(_Windowed):
    """Pixels of disjoint windows as channels: see `functional.invertible_downsampling`.

    Parameters
    ----------
    window : int, default=2
        Side of a window; divides the height and width of the images.

    Raises
    ------
    ValueError
        If `window` is not a positive int, or, in the forward pass, does not divide the image.

    Examples
    --------
    >>> import torch
    >>> InvertibleDownsampling2d()(torch.ones(1, 3, 4, 4)).shape
    torch.Size([1, 12, 2, 2])
    """

    def forward(self, x: Tensor) -> Tensor:
        """Map (n, c, h, w) to (n, c * window**2, h // window, w // window)."""
        return invertible_downsampling(x, self.window)
