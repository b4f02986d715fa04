"""Builders of 1-Lipschitz networks."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import nn

from pyod_lipocc._checks import check_image_shape, check_integer
from pyod_lipocc.lipschitz._activations import FullSort, GroupSort2
from pyod_lipocc.lipschitz._conv import OrthogonalConv2d
from pyod_lipocc.lipschitz._dense import OrthogonalLinear
from pyod_lipocc.lipschitz._pooling import (
    GlobalL2NormPool2d,
    InvertibleDownsampling2d,
    L2NormPool2d,
    ScaledAvgPool2d,
)

__all__ = ["conv", "conv_deep", "dense", "norm_preserving"]


def dense(
    n_features: int,
    *,
    hidden: Sequence[int] = (128, 128, 128),
    activation: Callable[[], nn.Module] = GroupSort2,
    generator: torch.Generator | None = None,
) -> nn.Sequential:
    """Build the paper's dense network: orthogonal layers, sorting activations, unit-norm output.

    Parameters
    ----------
    n_features : int
        Width of the input.
    hidden : sequence of int, default=(128, 128, 128)
        Widths of the hidden layers. The paper's toy network is ``(512, 512, 512, 512)``.
    activation : callable, default=GroupSort2
        Builds an activation that is 1-Lipschitz in the l2 norm: `GroupSort2` or `FullSort`.
    generator : torch.Generator, optional
        Draws the weights; None uses torch's global generator.

    Returns
    -------
    network : torch.nn.Sequential
        Maps (n, n_features) to (n, 1). 1-Lipschitz in the l2 norm as a composition of 1-Lipschitz
        maps.

    Examples
    --------
    >>> dense(2, hidden=(8, 8))
    Sequential(
      (0): OrthogonalLinear(2, 8, bias=True)
      (1): GroupSort2()
      (2): OrthogonalLinear(8, 8, bias=True)
      (3): GroupSort2()
      (4): OrthogonalLinear(8, 1, bias=True)
    )
    """
    layers: list[nn.Module] = []
    width = n_features
    for wider in hidden:
        layers += [OrthogonalLinear(width, wider, generator=generator), activation()]
        width = wider
    return nn.Sequential(*layers, OrthogonalLinear(width, 1, generator=generator))


def _image_shape(
    n_features: int, image_shape: Sequence[int], halvings: int
) -> tuple[int, int, int]:
    """Return (channels, height, width) of images that can be halved so many times."""
    check_image_shape(image_shape, n_features)
    *channels, height, width = image_shape
    if min(height, width) < 2**halvings:
        raise ValueError(
            f"image_shape must have sides of at least {2**halvings} for {halvings} poolings by 2, "
            f"got {tuple(image_shape)!r}: use a smaller depth"
        )
    return channels[0] if channels else 1, height, width


def conv(
    n_features: int,
    *,
    image_shape: Sequence[int],
    width: int = 16,
    depth: int = 4,
    convolution: Callable[..., nn.Module] = OrthogonalConv2d,
    generator: torch.Generator | None = None,
) -> nn.Sequential:
    """Build a network of the layers of the paper's Table 2 on flattened images.

    `depth` convolutions 3x3 with FullSort over the channels, l2-norm pooling 2x2 after each but the
    last, global l2-norm pooling after the last; three dense layers with FullSort; a unit-norm
    output. Images of 28x28 shrink to 14, 7 and 3.

    The paper's network is ``conv(..., width=128, convolution=ReshapedConv2d)``. With one channel it
    has 493,697 weights and biases. The caption of Table 2 says 872K; nothing in the table accounts
    for the difference. Reshaped kernels shrink the signal: a trained network of 16 channels has a
    gradient of norm 0.2 with them, and of norm 0.5 with orthogonal kernels.

    Parameters
    ----------
    n_features : int
        Pixels of an image.
    image_shape : sequence of int
        (height, width) or (channels, height, width).
    width : int, default=16
        Channels of each convolution and features of each dense layer.
    depth : int, default=4
        Number of convolutions, at least 1.
    convolution : callable, default=OrthogonalConv2d
        Builds a convolution: the paper's is `ReshapedConv2d`.
    generator : torch.Generator, optional
        Draws the weights; None uses torch's global generator.

    Returns
    -------
    network : torch.nn.Sequential
        Maps (n, n_features) to (n, 1). 1-Lipschitz in the l2 norm as a composition of 1-Lipschitz
        maps.

    Raises
    ------
    ValueError
        If `image_shape` does not have `n_features` pixels or is too small for `depth`.

    Examples
    --------
    >>> conv(16, image_shape=(4, 4), width=8, depth=2)
    Sequential(
      (0): Unflatten(dim=1, unflattened_size=(1, 4, 4))
      (1): OrthogonalConv2d(1, 8, kernel_size=3, bias=True)
      (2): FullSort(dim=1)
      (3): L2NormPool2d(2)
      (4): OrthogonalConv2d(8, 8, kernel_size=3, bias=True)
      (5): FullSort(dim=1)
      (6): GlobalL2NormPool2d()
      (7): Sequential(
        (0): OrthogonalLinear(8, 8, bias=True)
        (1): FullSort()
        (2): OrthogonalLinear(8, 8, bias=True)
        (3): FullSort()
        (4): OrthogonalLinear(8, 8, bias=True)
        (5): FullSort()
        (6): OrthogonalLinear(8, 1, bias=True)
      )
    )
    """
    check_integer("depth", depth, 1)
    shape = _image_shape(n_features, image_shape, depth - 1)
    layers: list[nn.Module] = [nn.Unflatten(1, shape)]
    for index in range(depth):
        channels = width if index else shape[0]
        layers += [convolution(channels, width, 3, generator=generator), FullSort(dim=1)]
        layers.append(L2NormPool2d(2) if index < depth - 1 else GlobalL2NormPool2d())
    head = dense(width, hidden=(width,) * 3, activation=FullSort, generator=generator)
    return nn.Sequential(*layers, head)


def norm_preserving(
    n_features: int,
    *,
    image_shape: Sequence[int],
    depth: int = 2,
    hidden: Sequence[int] = (256,),
    generator: torch.Generator | None = None,
) -> nn.Sequential:
    """Build a convolutional network that keeps the norm of gradients, on flattened images.

    Invertible down-sampling turns pixels into channels, as long as both sides are even and at most
    twice. `depth` orthogonal convolutions 3x3 with GroupSort2 keep the number of channels, so that
    their kernels are square and lose nothing inside the image. A dense network follows. Where
    `conv` widens one channel to sixteen, half of the gradient is lost.

    Parameters
    ----------
    n_features : int
        Pixels of an image.
    image_shape : sequence of int
        (height, width) or (channels, height, width).
    depth : int, default=2
        Number of convolutions, at least 1.
    hidden : sequence of int, default=(256,)
        Widths of the dense layers.
    generator : torch.Generator, optional
        Draws the weights; None uses torch's global generator.

    Returns
    -------
    network : torch.nn.Sequential
        Maps (n, n_features) to (n, 1). 1-Lipschitz in the l2 norm as a composition of 1-Lipschitz
        maps.

    Raises
    ------
    ValueError
        If `image_shape` does not have `n_features` pixels, or `depth` is not positive.

    Examples
    --------
    >>> norm_preserving(16, image_shape=(4, 4), depth=1, hidden=(8,))
    Sequential(
      (0): Unflatten(dim=1, unflattened_size=(1, 4, 4))
      (1): InvertibleDownsampling2d(2)
      (2): InvertibleDownsampling2d(2)
      (3): OrthogonalConv2d(16, 16, kernel_size=3, bias=True)
      (4): GroupSort2(dim=1)
      (5): Flatten(start_dim=1, end_dim=-1)
      (6): Sequential(
        (0): OrthogonalLinear(16, 8, bias=True)
        (1): GroupSort2()
        (2): OrthogonalLinear(8, 1, bias=True)
      )
    )
    """
    check_integer("depth", depth, 1)
    channels, height, width = _image_shape(n_features, image_shape, 0)
    layers: list[nn.Module] = [nn.Unflatten(1, (channels, height, width))]
    while height % 2 == width % 2 == 0 and len(layers) <= 2:
        layers.append(InvertibleDownsampling2d())
        channels, height, width = 4 * channels, height // 2, width // 2
    for _ in range(depth):
        layers += [OrthogonalConv2d(channels, channels, 3, generator=generator), GroupSort2(dim=1)]
    return nn.Sequential(
        *layers, nn.Flatten(), dense(n_features, hidden=hidden, generator=generator)
    )


def conv_deep(
    n_features: int,
    *,
    image_shape: Sequence[int],
    stages: Sequence[tuple[int, int]] = ((3, 64), (4, 128), (4, 256)),
    convolution: Callable[..., nn.Module] = OrthogonalConv2d,
    generator: torch.Generator | None = None,
) -> nn.Sequential:
    """Build the network of the paper's follow-up on flattened images.

    Eleven convolutions 3x3 of 64 to 256 channels with GroupSort2 over the channels, scaled average
    pooling 2x2 between the stages, and a linear output of unit 2->inf norm. For one output this is
    a unit row, which `OrthogonalLinear` keeps. The publication names these parts. The division of
    the convolutions into stages is a choice of this package, as is the orthogonal convolution: a
    reshaped kernel would shrink the signal in each of eleven layers.

    Parameters
    ----------
    n_features : int
        Pixels of an image.
    image_shape : sequence of int
        (height, width) or (channels, height, width).
    stages : sequence of (int, int), default=((3, 64), (4, 128), (4, 256))
        Number of convolutions and their channels.
    convolution : callable, default=OrthogonalConv2d
        Builds a convolution.
    generator : torch.Generator, optional
        Draws the weights; None uses torch's global generator.

    Returns
    -------
    network : torch.nn.Sequential
        Maps (n, n_features) to (n, 1). 1-Lipschitz in the l2 norm as a composition of 1-Lipschitz
        maps.

    Raises
    ------
    ValueError
        If `image_shape` does not have `n_features` pixels or is too small for the stages.

    Examples
    --------
    >>> conv_deep(16, image_shape=(4, 4), stages=((1, 4), (1, 8)))
    Sequential(
      (0): Unflatten(dim=1, unflattened_size=(1, 4, 4))
      (1): OrthogonalConv2d(1, 4, kernel_size=3, bias=True)
      (2): GroupSort2(dim=1)
      (3): ScaledAvgPool2d(2)
      (4): OrthogonalConv2d(4, 8, kernel_size=3, bias=True)
      (5): GroupSort2(dim=1)
      (6): Flatten(start_dim=1, end_dim=-1)
      (7): OrthogonalLinear(32, 1, bias=True)
    )
    """
    channels, height, width = _image_shape(n_features, image_shape, len(stages) - 1)
    layers: list[nn.Module] = [nn.Unflatten(1, (channels, height, width))]
    for index, (depth, wider) in enumerate(stages):
        if index:
            layers.append(ScaledAvgPool2d(2))
            height, width = height // 2, width // 2
        for _ in range(depth):
            layers += [convolution(channels, wider, 3, generator=generator), GroupSort2(dim=1)]
            channels = wider
    output = OrthogonalLinear(channels * height * width, 1, generator=generator)
    return nn.Sequential(*layers, nn.Flatten(), output)
