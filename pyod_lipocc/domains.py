"""Compact domains B on which negatives live: exact uniform sampling, projection, membership."""

from __future__ import annotations

import abc
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

__all__ = ["Ball", "Box", "Domain"]


def _as_tensor(value: Any) -> Tensor:
    """Return an own float64 copy of numbers given in any form."""
    if isinstance(value, Tensor) and value.is_floating_point():
        return value.detach().clone()
    return torch.tensor(np.asarray(value, dtype=np.float64), device="cpu")


class Domain(abc.ABC):
    """A compact convex set B in R^d, in the units of the scores.

    Coordinates given as scalars hold for every feature; `expand` gives them their width.
    """

    @abc.abstractmethod
    def _map(self, function: Any) -> Domain:
        """Apply a function to every tensor of the domain."""

    @abc.abstractmethod
    def sample(self, n_samples: int, generator: torch.Generator | None = None) -> Tensor:
        """Draw from the uniform distribution on the domain.

        Parameters
        ----------
        n_samples : int
        generator : torch.Generator, optional
            On the domain's device; None uses torch's global one.

        Returns
        -------
        z : Tensor of shape (n_samples, d)
        """

    @abc.abstractmethod
    def project(self, z: Tensor) -> Tensor:
        """Return the nearest point of the domain to each row, in l2.

        Parameters
        ----------
        z : Tensor of shape (n, d)

        Returns
        -------
        projected : Tensor of shape (n, d)
        """

    @abc.abstractmethod
    def contains(self, z: Tensor) -> Tensor:
        """Tell which rows lie in the domain, its boundary included.

        Parameters
        ----------
        z : Tensor of shape (n, d)

        Returns
        -------
        inside : bool Tensor of shape (n,)
        """

    @abc.abstractmethod
    def rescale(self, location: npt.ArrayLike, scale: npt.ArrayLike) -> Domain:
        """Return the image of the domain under z -> (z - location) / scale.

        Parameters
        ----------
        location : array-like of shape (d,) or float
        scale : array-like of shape (d,) or float
            Positive.

        Returns
        -------
        domain : Domain
        """

    @abc.abstractmethod
    def enclose(self, z: Tensor) -> Domain:
        """Return the domain grown until it contains the rows given.

        Parameters
        ----------
        z : Tensor of shape (n, d)

        Returns
        -------
        domain : Domain
        """

    @property
    @abc.abstractmethod
    def n_features(self) -> int | None:
        """Width d, or None while every coordinate is a scalar."""

    def expand(self, n_features: int) -> Domain:
        """Give the domain the width of the data.

        Parameters
        ----------
        n_features : int

        Returns
        -------
        domain : Domain
            With coordinates of shape (n_features,).

        Raises
        ------
        ValueError
            If the domain has another width already.
        """
        if self.n_features not in (None, n_features):
            raise ValueError(
                f"domain must have {n_features} features as X has, "
                f"got {self!r} with {self.n_features}"
            )
        return self._map(lambda value: value.expand(n_features).contiguous())

    def to(self, dtype: torch.dtype, device: torch.device | str = "cpu") -> Domain:
        """Return the domain with its coordinates in another precision or on another device.

        Parameters
        ----------
        dtype : torch.dtype
        device : torch.device or str, default="cpu"

        Returns
        -------
        domain : Domain
        """
        return self._map(lambda value: value.to(dtype=dtype, device=device))


@dataclass(frozen=True, init=False, eq=False)
class Ball(Domain):
    """Closed l2 ball: the paper's domain for two-dimensional data, with radius 5.

    Parameters
    ----------
    radius : float
        Positive.
    center : array-like of shape (d,) or float, default=0.0

    Raises
    ------
    ValueError
        If the radius is not a positive number or the centre not finite.

    Examples
    --------
    >>> ball = Ball(5.0).expand(2)
    >>> ball.project(torch.tensor([[30.0, 40.0]], dtype=torch.float64))
    tensor([[3., 4.]], dtype=torch.float64)
    """

    radius: Tensor
    center: Tensor

    def __init__(self, radius: Any, center: Any = 0.0) -> None:
        radius, center = _as_tensor(radius), _as_tensor(center)
        if radius.ndim > 0 or not 0 < float(radius) < float("inf"):
            raise ValueError(f"radius must be a finite number > 0, got {radius.tolist()!r}")
        if center.ndim > 1 or not torch.isfinite(center).all():
            raise ValueError(f"center must be one or d finite numbers, got {center.tolist()!r}")
        vars(self).update(radius=radius, center=center)

    @property
    def n_features(self) -> int | None:
        """Width d, or None while the centre is a scalar."""
        return self.center.shape[0] if self.center.ndim else None

    def _map(self, function: Any) -> Ball:
        radius = self.radius.to(function(self.center))
        return Ball(radius, function(self.center))

    def sample(self, n_samples: int, generator: torch.Generator | None = None) -> Tensor:
        r"""Draw uniformly: a Gaussian direction times :math:`r\,u^{1/d}`, u uniform on [0, 1]."""
        width, dtype, device = len(self.center), self.center.dtype, self.center.device
        direction = torch.randn(n_samples, width, generator=generator, dtype=dtype, device=device)
        u = torch.rand(n_samples, 1, generator=generator, dtype=dtype, device=device)
        return self.center + torch.nn.functional.normalize(direction) * (
            self.radius * u ** (1 / width)
        )

    def project(self, z: Tensor) -> Tensor:
        """Pull the rows outside back along their radius."""
        offset = z - self.center
        # In double: squares of single precision overflow from 1e19 on.
        norm = torch.linalg.vector_norm(offset, dim=-1, keepdim=True, dtype=torch.float64)
        nearest = self.center + offset * (self.radius / norm).to(offset)
        return torch.where(norm > self.radius, nearest, z)

    def contains(self, z: Tensor) -> Tensor:
        """Tell which rows are at most `radius` from the centre."""
        distance: Tensor = torch.linalg.vector_norm(z - self.center, dim=-1)
        return distance <= self.radius

    def rescale(self, location: npt.ArrayLike, scale: npt.ArrayLike) -> Ball:
        """Return the image of the ball; the scale must be the same for all features."""
        scales = np.unique(np.asarray(scale, dtype=np.float64))
        if scales.size != 1:
            raise ValueError("scale must be one number for a Ball, whose image is a ball only then")
        return Ball(self.radius / scales[0], (self.center - _as_tensor(location)) / scales[0])

    def enclose(self, z: Tensor) -> Ball:
        """Increase the radius to the farthest row."""
        farthest = torch.linalg.vector_norm(z - self.center, dim=-1).max()
        return Ball(torch.maximum(self.radius, farthest), self.center)

    def __repr__(self) -> str:
        return f"Ball(radius={float(self.radius):.6g})"


@dataclass(frozen=True, init=False, eq=False)
class Box(Domain):
    """Axis-aligned closed box: images, bounded features, bounding boxes.

    Parameters
    ----------
    low, high : array-like of shape (d,) or float
        Bounds of each feature; ``low <= high``.

    Raises
    ------
    ValueError
        If the bounds are not finite or `low` exceeds `high`.

    Examples
    --------
    >>> Box(-1.0, 1.0).expand(3).project(torch.tensor([[0.5, 2.0, -9.0]]))
    tensor([[ 0.5000,  1.0000, -1.0000]], dtype=torch.float64)
    """

    low: Tensor
    high: Tensor

    def __init__(self, low: Any, high: Any) -> None:
        low, high = _as_tensor(low), _as_tensor(high)
        for name, bound in {"low": low, "high": high}.items():
            if bound.ndim > 1 or not torch.isfinite(bound).all():
                raise ValueError(f"{name} must be one or d finite numbers, got {bound.tolist()!r}")
        if low.ndim and high.ndim and low.shape != high.shape:
            raise ValueError(
                f"low and high must have one width, got {low.shape[0]} and {high.shape[0]} numbers"
            )
        if not (low <= high).all():
            raise ValueError(
                f"low must not exceed high, got low={low.tolist()!r} and high={high.tolist()!r}"
            )
        dtype = torch.promote_types(low.dtype, high.dtype)
        both = low.to(dtype), high.to(dtype)
        low, high = torch.broadcast_tensors(*both)  # type: ignore[no-untyped-call]
        vars(self).update(low=low, high=high)

    @property
    def n_features(self) -> int | None:
        """Width d, or None while both bounds are scalars."""
        return self.low.shape[0] if self.low.ndim else None

    def _map(self, function: Any) -> Box:
        return Box(function(self.low), function(self.high))

    def sample(self, n_samples: int, generator: torch.Generator | None = None) -> Tensor:
        """Draw each feature uniformly between its bounds."""
        width, dtype, device = len(self.low), self.low.dtype, self.low.device
        u = torch.rand(n_samples, width, generator=generator, dtype=dtype, device=device)
        return torch.lerp(self.low, self.high, u)

    def project(self, z: Tensor) -> Tensor:
        """Clip each feature to its bounds."""
        return torch.clamp(z, self.low, self.high)

    def contains(self, z: Tensor) -> Tensor:
        """Tell which rows have every feature within its bounds."""
        return ((z >= self.low) & (z <= self.high)).all(dim=-1)

    def rescale(self, location: npt.ArrayLike, scale: npt.ArrayLike) -> Box:
        """Return the image of the box, feature by feature."""
        shift, factor = _as_tensor(location), _as_tensor(scale)
        return Box((self.low - shift) / factor, (self.high - shift) / factor)

    def enclose(self, z: Tensor) -> Box:
        """Move the bounds out to the extreme rows; each feature keeps its own."""
        return Box(torch.minimum(self.low, z.amin(0)), torch.maximum(self.high, z.amax(0)))

    def __repr__(self) -> str:
        return f"Box({float(self.low.min()):.6g}, {float(self.high.max()):.6g})"
