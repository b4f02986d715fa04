"""Fixed contractions in front of a network."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from pyod_lipocc._checks import check_number

__all__ = ["GaussianBlur"]


def _blurring_matrix(side: int, sigma: float) -> Tensor:
    """Return the matrix of a Gaussian blur of a line of pixels, zeros beyond its ends."""
    steps = torch.arange(side, dtype=torch.float64)
    reach = math.ceil(4 * sigma)
    kernel = torch.exp(
        -(torch.arange(-reach, reach + 1, dtype=torch.float64) ** 2) / (2 * sigma**2)
    )
    distance = steps[:, None] - steps
    weights = torch.exp(-distance.square() / (2 * sigma**2)) / kernel.sum()
    return torch.where(distance.abs() <= reach, weights, 0.0)


class GaussianBlur(nn.Module):
    r"""Gaussian blur of flattened images: fixed, linear, of operator norm at most 1.

    Along each axis the kernel k is not negative and sums to 1. By Young's inequality, with zeros
    beyond the border, :math:`\|k * x\|_2 \le \|k\|_1 \|x\|_2 = \|x\|_2`.

    Parameters
    ----------
    image_shape : sequence of int
        (height, width) or (channels, height, width).
    sigma : float
        Standard deviation in pixels, positive.

    Attributes
    ----------
    vertical : Buffer of shape (height, height)
    horizontal : Buffer of shape (width, width)

    Raises
    ------
    ValueError
        If `sigma` is not positive and finite.

    Examples
    --------
    >>> blur = GaussianBlur((7, 7), 0.7)
    >>> spread = blur(torch.eye(49)[24:25])
    >>> round(float(spread.sum()), 3), bool(spread.max() < 0.4)
    (1.0, True)
    """

    vertical: Tensor
    horizontal: Tensor

    def __init__(self, image_shape: Sequence[int], sigma: float) -> None:
        super().__init__()
        check_number("sigma", sigma, "> 0", lambda sigma: sigma > 0)
        self.image_shape = tuple(int(side) for side in image_shape)
        self.sigma = float(sigma)
        height, width = self.image_shape[-2:]
        self.register_buffer("vertical", _blurring_matrix(height, sigma).float())
        self.register_buffer("horizontal", _blurring_matrix(width, sigma).float())

    def forward(self, x: Tensor) -> Tensor:
        """Map (n, pixels) to (n, pixels)."""
        images = x.reshape(x.shape[0], *self.image_shape)
        return (self.vertical @ (images @ self.horizontal)).flatten(1)

    def extra_repr(self) -> str:
        """Shape and deviation."""
        return f"{self.image_shape}, sigma={self.sigma:g}"
