"""Pure functions of tensors: sorting and pooling, 1-Lipschitz in the l2 norm, and a bound."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from pyod_lipocc._isolation import isolated
from pyod_lipocc.lipschitz._kernels import (
    halves,
    is_tracing,
    is_transformed,
    max_min,
    numpy_sort,
    suits_numpy,
    window_norm,
    windows,
)
from pyod_lipocc.lipschitz._norms import convolution_norm

__all__ = [
    "convolution_bound",
    "full_sort",
    "global_l2_norm_pool",
    "group_sort2",
    "invertible_downsampling",
    "l2_norm_pool",
    "scaled_avg_pool",
]


def group_sort2(x: Tensor, dim: int = -1) -> Tensor:
    r"""Sort pairs of features: the MaxMin or GroupSort2 activation.

    Feature :math:`i` of the first half is paired with feature :math:`i` of the second half. The
    larger goes to the first half, the smaller to the second. The paper pairs neighbours,
    :math:`(x_{2i}, x_{2i+1}) \mapsto [\min, \max]`. This is the same function up to a fixed
    permutation of the features before and after, which an orthogonal layer absorbs. Contiguous
    halves are several times cheaper.

    Parameters
    ----------
    x : Tensor of shape (..., d)
        With d odd the last feature has no partner and passes unchanged.
    dim : int, default=-1
        Dimension of the features: 1 for the channels of images (n, c, h, w).

    Returns
    -------
    sorted_pairs : Tensor of the shape of `x`
        A permutation of each row of `x`: norms are preserved and the Jacobian is orthogonal.

    References
    ----------
    Anil, Lucas & Grosse, *Sorting out Lipschitz function approximation*, ICML 2019.

    Examples
    --------
    >>> group_sort2(torch.tensor([1.0, 5.0, 3.0, 2.0]))
    tensor([3., 5., 1., 2.])
    """
    if not is_transformed(x):
        return max_min(x, dim)
    first, second, unpaired = halves(x, dim)
    return torch.cat((torch.maximum(first, second), torch.minimum(first, second), unpaired), dim)


def full_sort(x: Tensor, dim: int = -1) -> Tensor:
    """Sort all features in ascending order: the FullSort activation.

    Parameters
    ----------
    x : Tensor of shape (..., d)
    dim : int, default=-1
        Dimension of the features: 1 for the channels of images (n, c, h, w).

    Returns
    -------
    sorted : Tensor of the shape of `x`
        A permutation of each row of `x`: norms are preserved and the Jacobian is orthogonal.

    Examples
    --------
    >>> full_sort(torch.tensor([1.0, 5.0, 3.0, 2.0]))
    tensor([1., 2., 3., 5.])
    """
    if suits_numpy(x):
        return numpy_sort(x, dim)
    return torch.sort(x, dim=dim).values


def _root(squares: Tensor) -> Tensor:
    """Return square roots whose gradient is 0, not infinite, where the squares underflow."""
    positive = squares > torch.finfo(squares.dtype).tiny
    return torch.where(positive, squares, 1.0).sqrt() * positive


def _check_windows(x: Tensor, window: int) -> None:
    if not is_tracing() and min(x.shape[-2:]) < window:
        raise ValueError(
            f"window must be at most the height and width of the images, got {window} for images "
            f"of {x.shape[-2]} x {x.shape[-1]}"
        )


def l2_norm_pool(x: Tensor, window: int = 2) -> Tensor:
    r"""Replace disjoint square windows by their l2 norm, channel by channel.

    :math:`(x_{11}, x_{12}, x_{21}, x_{22}) \mapsto \|(x_{11}, x_{12}, x_{21}, x_{22})\|_2`. Each
    norm is 1-Lipschitz in its window and the windows are disjoint, so the whole is 1-Lipschitz. The
    gradient is a unit vector of each window, and 0, the subgradient of least norm, where a window
    is 0.

    Parameters
    ----------
    x : Tensor of shape (n, c, h, w)
    window : int, default=2
        Side of a window. Rows and columns left over at the end are dropped.

    Returns
    -------
    norms : Tensor of shape (n, c, h // window, w // window)

    Raises
    ------
    ValueError
        If the image is smaller than a window.

    Examples
    --------
    >>> l2_norm_pool(torch.tensor([[[[3.0, 0.0], [0.0, 4.0]]]]))
    tensor([[[[5.]]]])
    """
    _check_windows(x, window)
    if is_transformed(x):
        return window * _root(nn.functional.avg_pool2d(x * x, window))
    return window_norm(x, window)


def global_l2_norm_pool(x: Tensor) -> Tensor:
    """Replace each channel by the l2 norm of its pixels: `l2_norm_pool` with one window.

    Parameters
    ----------
    x : Tensor of shape (n, c, h, w)

    Returns
    -------
    norms : Tensor of shape (n, c)

    Examples
    --------
    >>> global_l2_norm_pool(torch.tensor([[[[3.0, 4.0]], [[0.0, 2.0]]]]))
    tensor([[5., 2.]])
    """
    return _root((x * x).sum(dim=(-2, -1)))


def scaled_avg_pool(x: Tensor, window: int = 2) -> Tensor:
    """Replace disjoint square windows by their mean times the side of the window.

    The factor makes each output the inner product of its window with a unit vector: the map has
    orthonormal rows, all its singular values are 1.

    Parameters
    ----------
    x : Tensor of shape (n, c, h, w)
    window : int, default=2
        Side of a window. Rows and columns left over at the end are dropped.

    Returns
    -------
    means : Tensor of shape (n, c, h // window, w // window)

    Raises
    ------
    ValueError
        If the image is smaller than a window.

    Examples
    --------
    >>> scaled_avg_pool(torch.tensor([[[[3.0, 0.0], [1.0, 4.0]]]]))
    tensor([[[[4.]]]])
    """
    _check_windows(x, window)
    return window * nn.functional.avg_pool2d(x, window)


def invertible_downsampling(x: Tensor, window: int = 2) -> Tensor:
    """Move the pixels of square windows into channels: a permutation, so an isometry.

    Parameters
    ----------
    x : Tensor of shape (n, c, h, w)
    window : int, default=2
        Side of a window; divides h and w.

    Returns
    -------
    channels : Tensor of shape (n, c * window**2, h // window, w // window)

    Raises
    ------
    ValueError
        If `window` does not divide the height and width.

    Examples
    --------
    >>> invertible_downsampling(torch.tensor([[[[1.0, 2.0], [3.0, 4.0]]]])).flatten()
    tensor([1., 2., 3., 4.])
    """
    if not is_tracing() and any(side % window for side in x.shape[-2:]):
        raise ValueError(
            f"window must divide the height and width of the images, got {window} for images of "
            f"{x.shape[-2]} x {x.shape[-1]}"
        )
    # pixel_unshuffle leaves a batch of no images as it is
    return windows(x, window).permute(0, 1, 3, 5, 2, 4).flatten(1, 3)


@isolated()
@torch.no_grad()
def convolution_bound(kernel: Tensor, stride: int = 1) -> float:
    r"""Bound the operator norm of a convolution for every image size and zero or circular padding.

    With stride s the kernel is first rearranged into the kernel of a convolution of stride 1 over
    the :math:`s^2` phases of the image. On the infinite grid, the norm of this convolution is the
    largest singular value of the transfer matrix :math:`\hat K(\omega)` over all frequencies
    :math:`\omega`. Finite images have no larger norm: a circular convolution sees only some of the
    frequencies, and a zero-padded convolution is a compression of the infinite one. The smallest of
    three bounds is returned.

    *Autocorrelation*, tight for orthogonal convolutions. Let C be the kernel of the smaller of
    :math:`K K^*` and :math:`K^* K`, and c the mean of the diagonal of :math:`C_0`. The squared norm
    is at most :math:`c + \|C_0 - cI\|_F + \sum_{\delta \ne 0} \|C_\delta\|_F`.

    *Grid of frequencies*, a few per cent too large at most. :math:`\hat K`, or its adjoint where
    c_out <= c_in, is computed at N = 8 m frequencies in each direction, for m taps a side. For
    every unit u and every c, :math:`\|\hat K(\omega) u\|^2 - c` is a real trigonometric polynomial
    of degree d = m - 1 in each coordinate. Everywhere, such a polynomial is at most
    :math:`\cos(\pi d / N)^{-2}` times its largest absolute value on the grid (M. Riesz; Ehlich &
    Zeller 1964). Let :math:`2c` be the largest squared singular value on the grid. The squared norm
    is at most :math:`c + c \cos(\pi d / N)^{-2}`.

    *Taps*, exact for a blur. The norm is at most the sum of the norms of the taps.

    Parameters
    ----------
    kernel : Tensor of shape (c_out, c_in, k_h, k_w)
        As for `torch.nn.functional.conv2d`.
    stride : int, default=1
        For circular padding it must divide the height and width of the images.

    Returns
    -------
    bound : float
        Proven for the kernel given, all rounding included. For an orthogonal kernel of 128
        channels it is 1e-10 too large.

    Examples
    --------
    >>> round(convolution_bound(torch.full((1, 1, 1, 1), 3.0)), 12)
    3.0
    """
    taps = -(-max(kernel.shape[-2:]) // stride)
    height, width = (taps * stride - side for side in kernel.shape[-2:])
    padded = nn.functional.pad(kernel, (0, width, 0, height))
    return convolution_norm(nn.functional.pixel_unshuffle(padded, stride))
