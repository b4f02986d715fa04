"""Initial proposals Q0 for images, flattened to rows: see `negatives`."""

from __future__ import annotations

import abc
import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor

from pyod_lipocc._checks import check_image_shape, check_integer, check_number, check_pair
from pyod_lipocc.domains import Domain

__all__ = ["CutPaste", "ImageAugmentation", "ImageEdit", "PatchShuffle", "partners", "span"]


@dataclass(frozen=True)
class ImageEdit(abc.ABC):
    """Proposals that alter the images of the batch, and may add noise to each pixel.

    Noise on the negatives alone is all that a convolutional network needs to tell them apart.
    """

    image_shape: tuple[int, ...]
    noise: float = 0.0

    def __post_init__(self) -> None:
        check_image_shape(self.image_shape)
        if max(self._sides) == 1:
            raise ValueError(
                f"image_shape must have more than one pixel per channel, got {self.image_shape!r}"
            )
        object.__setattr__(self, "image_shape", tuple(self.image_shape))
        check_number("noise", self.noise, ">= 0", lambda noise: noise >= 0)

    def _set_pair(self, name: str, accepted: str, test: Callable[[Any, Any], bool]) -> None:
        """Check a parameter of two numbers and keep it as a tuple, which compares and hashes."""
        check_pair(name, getattr(self, name), accepted, test)
        object.__setattr__(self, name, tuple(getattr(self, name)))

    @property
    def _sides(self) -> tuple[int, int]:
        """Height and width."""
        return self.image_shape[-2], self.image_shape[-1]

    @abc.abstractmethod
    def _edit(self, x: Tensor, generator: torch.Generator) -> Tensor:
        """Alter the images, shape (n, d)."""

    def __call__(self, x: Tensor, domain: Domain, generator: torch.Generator) -> Tensor:
        """Propose an image for each row."""
        check_image_shape(self.image_shape, x.shape[1])
        edited = self._edit(x, generator)
        if self.noise:
            drawn = torch.randn(x.shape, generator=generator, dtype=x.dtype, device=x.device)
            edited = edited + self.noise * drawn
        return domain.project(edited)


@dataclass(frozen=True)
class ImageAugmentation(ImageEdit):
    r"""Mix two rotated or flipped images: the authors' negative data augmentation.

    .. math:: z = \Pi_B\big(w\, g x + (1 - w)\, g' x' + \sigma \xi\big), \qquad
              w \sim U(a, b), \quad \xi \sim \mathcal{N}(0, I)

    with g and g' uniform on the rotations by quarter turns and their flips, without the identity:
    seven for square images, the three that keep the shape for others. The image x' is another one
    of the batch, or x itself. Symmetric classes, such as the digit 8, have augmentations within
    the class: see `Away`.

    Parameters
    ----------
    image_shape : tuple of int
        (height, width) or (channels, height, width), of more than one pixel per channel.
    noise : float, default=0.0
        :math:`\sigma`, in the units of the pixels.
    mixing : tuple of float, default=(0.25, 0.75)
        Bounds a, b of the weight; ``(1.0, 1.0)`` mixes nothing.
    between_images : bool, default=True
        Whether x' is another image.

    Raises
    ------
    ValueError
        If a parameter is out of range, or, in a call, images have another number of pixels.

    Examples
    --------
    >>> from pyod_lipocc.domains import Box
    >>> turn = ImageAugmentation((1, 3), mixing=(1.0, 1.0))
    >>> turn(torch.tensor([[1.0, 2.0, 3.0]]), Box(0.0, 9.0).expand(3).to(torch.float32),
    ...      torch.Generator())
    tensor([[3., 2., 1.]])
    """

    mixing: tuple[float, float] = (0.25, 0.75)
    between_images: bool = True

    def __post_init__(self) -> None:
        super().__post_init__()
        self._set_pair("mixing", "0 <= a <= b <= 1", lambda a, b: 0 <= a <= b <= 1)

    def _edit(self, x: Tensor, generator: torch.Generator) -> Tensor:
        symmetries = _symmetries(self.image_shape, x.device)
        choices = torch.randint(len(symmetries), (2, len(x)), generator=generator, device=x.device)
        partner = x[partners(x, generator)] if self.between_images else x
        own, other = x.gather(1, symmetries[choices[0]]), partner.gather(1, symmetries[choices[1]])
        u = torch.rand(len(x), 1, generator=generator, dtype=x.dtype, device=x.device)
        low, high = self.mixing
        return torch.lerp(other, own, low + (high - low) * u)


@dataclass(frozen=True)
class PatchShuffle(ImageEdit):
    r"""Cut each image into a grid of patches and permute them by one random cycle.

    .. math:: z = \Pi_B(P_\pi x + \sigma \xi), \qquad \pi \text{ a uniform cycle of all patches}

    Every patch moves. Rows and columns that do not fill a patch, at the ends, stay.

    Parameters
    ----------
    image_shape : tuple of int
        (height, width) or (channels, height, width).
    noise : float, default=0.0
        :math:`\sigma`, in the units of the pixels.
    grid : int, default=2
        Patches along each side, from 2 to the shorter side.

    Raises
    ------
    ValueError
        If a parameter is out of range, or, in a call, images have another number of pixels.

    Examples
    --------
    >>> from pyod_lipocc.domains import Box
    >>> x = torch.arange(4.0).reshape(1, 4)
    >>> z = PatchShuffle((2, 2))(
    ...     x, Box(0.0, 3.0).expand(4).to(x.dtype), torch.Generator())
    >>> bool((z != x).all()), z.sort().values
    (True, tensor([[0., 1., 2., 3.]]))
    """

    grid: int = 2

    def __post_init__(self) -> None:
        super().__post_init__()
        check_integer("grid", self.grid, 2, min(self._sides))

    def _edit(self, x: Tensor, generator: torch.Generator) -> Tensor:
        (height, width), n_patches = self._sides, self.grid**2
        rows, columns = height // self.grid, width // self.grid
        pixel = torch.arange(height * width, device=x.device)
        row, column = pixel // width // rows, pixel % width // columns
        patch = torch.where(
            (row < self.grid) & (column < self.grid), row * self.grid + column, n_patches
        )
        number = torch.arange(n_patches, device=x.device)
        corner = number // self.grid * rows * width + number % self.grid * columns
        order = torch.rand(
            len(x), n_patches, generator=generator, dtype=torch.float32, device=x.device
        ).argsort(1)
        cycle = torch.empty_like(order).scatter_(1, order, order.roll(1, 1))
        # One more patch, which stays, holds the pixels beyond the grid.
        move = torch.nn.functional.pad(corner[cycle] - corner, (0, 1))
        source = pixel + move[:, patch]
        images = x.reshape(len(x), -1, height * width)
        return images.gather(2, source[:, None].expand_as(images)).reshape(x.shape)


@dataclass(frozen=True)
class CutPaste(ImageEdit):
    r"""Paste a rectangle of another image of the batch, at another place, into each image.

    .. math:: z = \Pi_B\big((1 - M) \odot x + M \odot \tau x' + \sigma \xi\big)

    with M the indicator of a rectangle and :math:`\tau` the shift that brings it from x'; both
    places are uniform.

    Parameters
    ----------
    image_shape : tuple of int
        (height, width) or (channels, height, width), of more than one pixel per channel.
    noise : float, default=0.0
        :math:`\sigma`, in the units of the pixels.
    share : tuple of float, default=(0.25, 0.75)
        Bounds of the uniform share of each side that the rectangle spans, within (0, 1). It is
        at least a pixel.

    Raises
    ------
    ValueError
        If a parameter is out of range, or, in a call, images have another number of pixels.

    Examples
    --------
    >>> from pyod_lipocc.domains import Box
    >>> x = torch.tensor([0.0, 1.0]).expand(16, 2).T
    >>> z = CutPaste((4, 4), share=(0.5, 0.5))(
    ...     x, Box(0.0, 1.0).expand(16).to(x.dtype), torch.Generator())
    >>> (z != x).sum(dim=1)
    tensor([4, 4])
    """

    share: tuple[float, float] = (0.25, 0.75)

    def __post_init__(self) -> None:
        super().__post_init__()
        self._set_pair("share", "0 < a <= b < 1", lambda a, b: 0 < a <= b < 1)

    def _edit(self, x: Tensor, generator: torch.Generator) -> Tensor:
        height, width = self._sides
        row, in_rows = self._moved(height, x, generator)
        column, in_columns = self._moved(width, x, generator)
        source = (row[:, :, None] * width + column[:, None]).reshape(len(x), 1, -1)
        inside = (in_rows[:, :, None] & in_columns[:, None]).reshape(len(x), 1, -1)
        images = x.reshape(len(x), -1, height * width)
        donors = images[partners(x, generator)].gather(2, source.expand_as(images))
        return torch.where(inside, donors, images).reshape(x.shape)

    def _moved(self, side: int, x: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Return, of shape (n, side), where pixels come from and which lie in the rectangle."""
        start, size, inside = span(side, self.share, x, generator)
        v = torch.rand(len(x), 1, generator=generator, dtype=torch.float32, device=x.device)
        source = ((side + 1 - size) * v).long()
        place = torch.arange(side, device=x.device)
        return torch.where(inside, place - start + source, place), inside


def span(
    side: int, share: tuple[float, float], x: Tensor, generator: torch.Generator
) -> tuple[Tensor, Tensor, Tensor]:
    """Draw for each row of x an interval of pixels of one side of an image.

    The start and the size have shape (n, 1). The third result tells which pixels the interval
    holds, (n, side).
    """
    u, v = torch.rand(2, len(x), 1, generator=generator, dtype=torch.float32, device=x.device)
    low, high = share
    # Shares below 1 leave a pixel out.
    size = (side * (low + (high - low) * u)).long().clamp(1, max(side - (high < 1), 1))
    start = ((side + 1 - size) * v).long()
    place = torch.arange(side, device=x.device)
    return start, size, (place >= start) & (place < start + size)


def partners(x: Tensor, generator: torch.Generator) -> Tensor:
    """Return for each row the number of another one, its own where there is no other."""
    n = len(x)
    shift = torch.randint(1, max(n, 2), (n,), generator=generator, device=x.device)
    return (torch.arange(n, device=x.device) + shift) % max(n, 1)


@lru_cache
def _symmetries(image_shape: tuple[int, ...], device: torch.device) -> Tensor:
    """Return where the pixels come from, (g, d), in each turn or flip that keeps the shape."""
    pixels = torch.arange(math.prod(image_shape), device=device).reshape(image_shape)
    turned = [pixels.rot90(turns, (-2, -1)) for turns in range(4)]
    symmetries = [
        view.flatten()
        for view in turned + [view.flip(-1) for view in turned]
        if view.shape == pixels.shape
    ]
    # Sorted: the identity comes first.
    distinct: Tensor = torch.unique(torch.stack(symmetries), dim=0)
    return distinct[1:]
