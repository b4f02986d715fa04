"""Negatives that teach: images of the batch, bent, turned, erased or overlaid; see `negatives`."""

from __future__ import annotations

import abc
import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import affine_grid, grid_sample, interpolate

from pyod_lipocc._checks import check_integer, check_number
from pyod_lipocc.negatives._images import ImageEdit, partners, span

__all__ = ["Erase", "Overlay", "Rotate", "Warp"]


def background(images: Tensor) -> Tensor:
    """Return the median of the border pixels of a batch (n, c, h, w), by channel: (1, c, 1, 1)."""
    sides = images[:, :, 0], images[:, :, -1], images[..., 0], images[..., -1]
    border = torch.cat(sides, dim=2).transpose(0, 1).flatten(1)
    # The mean of both middle numbers is that of the inverted images, inverted.
    middle = (border.median(1).values - (-border).median(1).values) / 2
    return middle.reshape(1, -1, 1, 1)


class _Deformation(ImageEdit):
    """Edits that leave the background where an image has gone."""

    def _edit(self, x: Tensor, generator: torch.Generator) -> Tensor:
        images = x.reshape(len(x), -1, *self._sides)
        if not len(x):
            return x
        ground = background(images)
        # An edit fills with zeros, which are the background here.
        return (self._deform(images - ground, generator) + ground).reshape(x.shape)

    @abc.abstractmethod
    def _deform(self, images: Tensor, generator: torch.Generator) -> Tensor:
        """Alter images whose background is 0, (n, c, h, w)."""


def _uniform(low: float, high: float, n: int, like: Tensor, generator: torch.Generator) -> Tensor:
    drawn = torch.rand(n, generator=generator, dtype=like.dtype, device=like.device)
    return low + (high - low) * drawn


def _turned(images: Tensor, angle: Tensor, scale: Tensor, displacement: Tensor | None) -> Tensor:
    """Rotate and scale images about their centres, then displace their pixels, (n, h, w, 2)."""
    height, width = images.shape[-2:]
    cos, sin = torch.cos(angle) / scale, torch.sin(angle) / scale
    # The grid runs from -1 to 1 along each side, whatever the side is.
    aspect = height / width
    rows = torch.stack((cos, -sin * aspect, torch.zeros_like(cos)), dim=1)
    columns = torch.stack((sin / aspect, cos, torch.zeros_like(cos)), dim=1)
    grid = affine_grid(torch.stack((rows, columns), dim=1), list(images.shape), align_corners=False)
    if displacement is not None:
        grid = grid + displacement
    return grid_sample(images, grid, align_corners=False)


@dataclass(frozen=True)
class Rotate(_Deformation):
    """Turn each image about its centre by a random angle.

    Parameters
    ----------
    image_shape : tuple of int
        (height, width) or (channels, height, width), of more than one pixel per channel.
    noise : float, default=0.0
        Standard deviation of the noise on each pixel, in the units of the pixels.
    degrees : tuple of float, default=(20.0, 340.0)
        Bounds of the uniform angle. A smaller angle may leave the image within its class.

    Raises
    ------
    ValueError
        If a parameter is out of range, or, in a call, images have another number of pixels.

    Notes
    -----
    Corners that the image has left show the background: the median of the pixels along the borders
    of the batch.

    Examples
    --------
    >>> from pyod_lipocc.domains import Box
    >>> turn = Rotate((2, 2), degrees=(90.0, 90.0))
    >>> box = Box(0.0, 9.0).expand(4).to(torch.float32)
    >>> turn(torch.tensor([[1.0, 2.0, 3.0, 4.0]]), box, torch.Generator()).round(decimals=3)
    tensor([[2., 4., 1., 3.]])
    """

    degrees: tuple[float, float] = (20.0, 340.0)

    def __post_init__(self) -> None:
        super().__post_init__()
        self._set_pair("degrees", "a <= b", lambda a, b: a <= b)

    def _deform(self, images: Tensor, generator: torch.Generator) -> Tensor:
        low, high = map(math.radians, self.degrees)
        angle = _uniform(low, high, len(images), images, generator)
        return _turned(images, angle, torch.ones_like(angle), None)


@dataclass(frozen=True)
class Warp(_Deformation):
    """Bend each image: a rotation, a scaling and a smooth displacement of its pixels.

    The displacement is a cubic interpolation of Gaussian vectors on a coarse grid. Bent images have
    the strokes and the contrast of the data: only their shape tells them apart.

    Parameters
    ----------
    image_shape : tuple of int
        (height, width) or (channels, height, width), of more than one pixel per channel.
    noise : float, default=0.0
        Standard deviation of the noise on each pixel, in the units of the pixels.
    degrees : float, default=35.0
        Largest angle of the rotation, in either direction.
    scale : tuple of float, default=(0.8, 1.2)
        Bounds of the uniform factor of the size.
    displacement : tuple of float, default=(0.07, 0.18)
        Bounds of the uniform deviation of the displacement, as a share of each side.
    n_knots : int, default=4
        Knots of the coarse grid along each side, at least 2.

    Raises
    ------
    ValueError
        If a parameter is out of range, or, in a call, images have another number of pixels.

    Examples
    --------
    >>> from pyod_lipocc.domains import Box
    >>> x = torch.eye(8).reshape(1, 64)
    >>> z = Warp((8, 8))(x, Box(0.0, 1.0).expand(64).to(x.dtype), torch.Generator())
    >>> z.shape
    torch.Size([1, 64])
    """

    degrees: float = 35.0
    scale: tuple[float, float] = (0.8, 1.2)
    displacement: tuple[float, float] = (0.07, 0.18)
    n_knots: int = 4

    def __post_init__(self) -> None:
        super().__post_init__()
        check_number("degrees", self.degrees, ">= 0", lambda degrees: degrees >= 0)
        self._set_pair("scale", "0 < a <= b", lambda a, b: 0 < a <= b)
        self._set_pair("displacement", "0 <= a <= b", lambda a, b: 0 <= a <= b)
        check_integer("n_knots", self.n_knots, 2)

    def _deform(self, images: Tensor, generator: torch.Generator) -> Tensor:
        n, most = len(images), math.radians(self.degrees)
        angle = _uniform(-most, most, n, images, generator)
        scale = _uniform(*self.scale, n, images, generator)
        # The grid has the length 2 along each side.
        deviation = 2 * _uniform(*self.displacement, n, images, generator)
        knots = torch.randn(
            (n, 2, self.n_knots, self.n_knots),
            generator=generator,
            dtype=images.dtype,
            device=images.device,
        )
        bent = interpolate(knots, self._sides, mode="bicubic", align_corners=True)
        displacement = (deviation[:, None, None, None] * bent).permute(0, 2, 3, 1)
        return _turned(images, angle, scale, displacement)


@dataclass(frozen=True)
class _BoxEdit(_Deformation):
    """Edits inside a random rectangle."""

    share: tuple[float, float] = (0.3, 0.7)

    def __post_init__(self) -> None:
        super().__post_init__()
        self._set_pair("share", "0 < a <= b <= 1", lambda a, b: 0 < a <= b <= 1)

    def _inside(self, images: Tensor, generator: torch.Generator) -> Tensor:
        """Draw a rectangle for each image, (n, 1, h, w)."""
        rows, columns = (span(side, self.share, images, generator)[2] for side in self._sides)
        return (rows[:, :, None] & columns[:, None, :]).unsqueeze(1)


@dataclass(frozen=True)
class Erase(_BoxEdit):
    """Erase a rectangle of each image to the background.

    A rectangle of mere background leaves the image as it is.

    Parameters
    ----------
    image_shape : tuple of int
        (height, width) or (channels, height, width), of more than one pixel per channel.
    noise : float, default=0.0
        Standard deviation of the noise on each pixel, in the units of the pixels.
    share : tuple of float, default=(0.3, 0.7)
        Bounds of the uniform share of each side that the rectangle spans, within (0, 1].

    Raises
    ------
    ValueError
        If a parameter is out of range, or, in a call, images have another number of pixels.

    Examples
    --------
    >>> from pyod_lipocc.domains import Box
    >>> x = torch.tensor([[0.0] * 5 + [1.0, 1.0] + [0.0] * 2 + [1.0, 1.0] + [0.0] * 5])
    >>> erase = Erase((4, 4), share=(1.0, 1.0))
    >>> erase(x, Box(0.0, 1.0).expand(16).to(x.dtype), torch.Generator()).sum()
    tensor(0.)
    """

    def _deform(self, images: Tensor, generator: torch.Generator) -> Tensor:
        return images.masked_fill(self._inside(images, generator), 0.0)


@dataclass(frozen=True)
class Overlay(_BoxEdit):
    """Draw another image of the batch, shifted, over each image inside a rectangle.

    Of both images each pixel shows the colour that is farther from the background: the maximum
    where bright strokes lie on a dark ground, the minimum on a bright ground. Some images stay as
    they are.

    Parameters
    ----------
    image_shape : tuple of int
        (height, width) or (channels, height, width), of more than one pixel per channel.
    noise : float, default=0.0
        Standard deviation of the noise on each pixel, in the units of the pixels.
    share : tuple of float, default=(0.3, 0.7)
        Bounds of the uniform share of each side that the rectangle spans, within (0, 1].
    shift : float, default=0.25
        Largest shift of the other image, as a share of each side.

    Raises
    ------
    ValueError
        If a parameter is out of range, or, in a call, images have another number of pixels.

    Examples
    --------
    >>> from pyod_lipocc.domains import Box
    >>> x = torch.zeros(2, 16)
    >>> x[0, 5], x[1, 10] = 1.0, 1.0
    >>> overlay = Overlay((4, 4), share=(1.0, 1.0), shift=0.0)
    >>> overlay(x, Box(0.0, 1.0).expand(16).to(x.dtype), torch.Generator()).sum(dim=1)
    tensor([2., 2.])
    """

    shift: float = 0.25

    def __post_init__(self) -> None:
        super().__post_init__()
        check_number("shift", self.shift, ">= 0 and < 1", lambda shift: 0 <= shift < 1)

    def _deform(self, images: Tensor, generator: torch.Generator) -> Tensor:
        n, height, width = len(images), *images.shape[-2:]
        other = images[partners(images, generator)]
        for side, axis in ((height, 2), (width, 3)):
            most = self.shift * side
            shift = _uniform(-most, most, n, images, generator).round().long()
            place = torch.arange(side, device=images.device) - shift[:, None]
            within = (place >= 0) & (place < side)
            shape = (n, 1, side, 1) if axis == 2 else (n, 1, 1, side)
            source = place.clamp(0, side - 1).reshape(shape).expand_as(other)
            other = other.gather(axis, source) * within.reshape(shape)
        farther = (other**2).sum(1, keepdim=True) > (images**2).sum(1, keepdim=True)
        return torch.where(farther & self._inside(images, generator), other, images)
