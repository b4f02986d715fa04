"""Shapes whose signed distance is known in closed form, to measure a learned one against."""

from __future__ import annotations

import abc
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pyod_lipocc._checks import check_integer
from pyod_lipocc._random import unit_vectors

__all__ = ["Cuboid", "Shape", "Shells", "Surface", "Torus", "unit_shapes"]

Floats = NDArray[np.float64]

_SURROUNDINGS = 1.5  # between the bounding box and a window


class Shape(abc.ABC):
    """A closed set, uniform samples of it and the distance to its boundary."""

    @property
    @abc.abstractmethod
    def n_features(self) -> int:
        """Width d of the points."""

    @property
    @abc.abstractmethod
    def window(self) -> tuple[Floats, Floats]:
        """Lower and upper corner, each of shape (d,), of a box that reaches 1.5 beyond the shape.

        A signed distance can be learned in the box, and measured.
        """

    def sample(self, n_samples: int, generator: np.random.Generator) -> Floats:
        """Draw from the uniform distribution on the shape.

        Parameters
        ----------
        n_samples : int
            At least 1.
        generator : numpy.random.Generator

        Returns
        -------
        X : ndarray of shape (n_samples, d)

        Raises
        ------
        ValueError
            If `n_samples` is not an int >= 1.
        """
        check_integer("n_samples", n_samples, 1)
        return self._sample(int(n_samples), generator)

    def sample_surface(
        self, n_samples: int, generator: np.random.Generator
    ) -> tuple[Floats, Floats]:
        """Draw from the uniform distribution on the boundary.

        Parameters
        ----------
        n_samples, generator
            As in `sample`.

        Returns
        -------
        points : ndarray of shape (n_samples, d)
        normals : ndarray of shape (n_samples, d)
            Unit vectors that point out of the shape.

        Raises
        ------
        ValueError
            As `sample`.
        """
        check_integer("n_samples", n_samples, 1)
        return self._sample_surface(int(n_samples), generator)

    def signed_distance(self, X: ArrayLike) -> Floats:
        """Return the l2 distance to the boundary, positive inside and negative outside.

        Parameters
        ----------
        X : array-like of shape (n, d)

        Returns
        -------
        distance : ndarray of shape (n,)
            In the units of X.

        Raises
        ------
        ValueError
            If X has another shape.
        """
        points = np.asarray(X, dtype=np.float64)
        if points.ndim != 2 or points.shape[1] != self.n_features:
            raise ValueError(f"X must have the shape (n, {self.n_features}), got {points.shape}")
        return self._signed_distance(points)

    @abc.abstractmethod
    def _sample(self, n: int, generator: np.random.Generator) -> Floats: ...

    @abc.abstractmethod
    def _sample_surface(self, n: int, generator: np.random.Generator) -> tuple[Floats, Floats]: ...

    @abc.abstractmethod
    def _signed_distance(self, X: Floats) -> Floats: ...


@dataclass(frozen=True, init=False, eq=False)
class Shells(Shape):
    """Disjoint spherical shells of one size: balls where `inner` is 0, rings in the plane.

    Parameters
    ----------
    centers : array-like of shape (k, d)
        More than ``2 * outer`` apart.
    outer : float, default=1.0
        Radius of the shells.
    inner : float, default=0.0
        Radius of the hollow, ``0 <= inner < outer``.

    Raises
    ------
    ValueError
        If the radii or the centres are not as documented.

    Examples
    --------
    >>> ring = Shells([[0.0, 0.0]], outer=1.0, inner=0.5)
    >>> ring.signed_distance([[0.0, 0.0], [0.75, 0.0], [0.0, 3.0]])
    array([-0.5 ,  0.25, -2.  ])
    """

    centers: Floats
    outer: float
    inner: float

    def __init__(self, centers: ArrayLike, outer: float = 1.0, inner: float = 0.0) -> None:
        points = np.array(centers, dtype=np.float64)
        if points.ndim != 2 or points.size == 0 or not np.isfinite(points).all():
            raise ValueError(
                f"centers must be finite numbers of shape (k, d), got the shape {points.shape}"
            )
        if not 0 <= inner < outer < np.inf:
            raise ValueError(
                "inner and outer must be finite with 0 <= inner < outer, "
                f"got inner={inner!r} and outer={outer!r}"
            )
        gaps = np.linalg.norm(points[:, None] - points, axis=2)[np.triu_indices(len(points), 1)]
        if gaps.min(initial=np.inf) <= 2 * outer:
            raise ValueError(f"centers must be more than {2 * outer} apart, got {gaps.min():.6g}")
        vars(self).update(centers=points, outer=float(outer), inner=float(inner))

    @property
    def n_features(self) -> int:
        """Width d of the points."""
        return int(self.centers.shape[1])

    @property
    def window(self) -> tuple[Floats, Floats]:
        """Box that reaches 1.5 beyond the shells."""
        reach = self.outer + _SURROUNDINGS
        return self.centers.min(axis=0) - reach, self.centers.max(axis=0) + reach

    def _sample(self, n: int, generator: np.random.Generator) -> Floats:
        d = self.n_features
        # the volume within a radius grows as its d-th power
        radius = self.outer * generator.uniform((self.inner / self.outer) ** d, 1.0, n) ** (1 / d)
        return self._pick_center(n, generator) + radius[:, None] * unit_vectors(n, d, generator)

    def _sample_surface(self, n: int, generator: np.random.Generator) -> tuple[Floats, Floats]:
        d = self.n_features
        areas = np.array([self.inner, self.outer]) ** (d - 1) * [self.inner > 0, 1]
        outward = generator.random(n) < areas[1] / areas.sum()
        radius = np.where(outward, self.outer, self.inner)
        directions = unit_vectors(n, d, generator)
        points = self._pick_center(n, generator) + radius[:, None] * directions
        return points, np.where(outward, 1.0, -1.0)[:, None] * directions

    def _signed_distance(self, X: Floats) -> Floats:
        radius = np.stack([np.linalg.norm(X - center, axis=1) for center in self.centers])
        distance: Floats = self.outer - radius
        if self.inner > 0:
            distance = np.minimum(distance, radius - self.inner)
        deepest: Floats = distance.max(axis=0)
        return deepest

    def _pick_center(self, n: int, generator: np.random.Generator) -> Floats:
        return self.centers[generator.integers(len(self.centers), size=n)]


@dataclass(frozen=True, init=False, eq=False)
class Cuboid(Shape):
    """Axis-aligned box around the origin, or a slab or prism without end along its last axes.

    Along the axes without end, `sample` and `window` both end at the half width. A detector whose
    negatives stay in the window sees no boundary there.

    Parameters
    ----------
    half_widths : array-like of shape (d,)
        Positive.
    n_bounded : int or None, default=None
        Number of axes, from the first, that have walls: 1 makes a slab between two planes, None
        gives walls to all.

    Raises
    ------
    ValueError
        If a parameter is not as documented.

    Examples
    --------
    >>> Cuboid([2.0, 1.0]).signed_distance([[0.0, 0.0], [1.5, 0.0], [5.0, 5.0]])
    array([ 1. ,  0.5, -5. ])
    >>> Cuboid([2.0, 1.0], n_bounded=1).signed_distance([[0.0, 0.0], [1.5, 0.0], [5.0, 5.0]])
    array([ 2. ,  0.5, -3. ])
    """

    half_widths: Floats
    n_bounded: int

    def __init__(self, half_widths: ArrayLike, n_bounded: int | None = None) -> None:
        widths = np.array(half_widths, dtype=np.float64)
        if widths.ndim != 1 or not len(widths) or not ((widths > 0) & (widths < np.inf)).all():
            raise ValueError(f"half_widths must be d finite numbers > 0, got {half_widths!r}")
        walls = len(widths) if n_bounded is None else n_bounded
        check_integer("n_bounded", walls, 1, len(widths))
        vars(self).update(half_widths=widths, n_bounded=int(walls))

    @property
    def n_features(self) -> int:
        """Width d of the points."""
        return len(self.half_widths)

    @property
    def window(self) -> tuple[Floats, Floats]:
        """Box that reaches 1.5 beyond the walls, and ends with the samples where there are none."""
        high = self.half_widths.copy()
        high[: self.n_bounded] += _SURROUNDINGS
        return -high, high

    def _sample(self, n: int, generator: np.random.Generator) -> Floats:
        return generator.uniform(-self.half_widths, self.half_widths, (n, self.n_features))

    def _sample_surface(self, n: int, generator: np.random.Generator) -> tuple[Floats, Floats]:
        areas = 1 / self.half_widths[: self.n_bounded]  # up to the volume, a common factor
        axis = generator.choice(self.n_bounded, size=n, p=areas / areas.sum())
        rows = np.arange(n)
        normals = np.zeros((n, self.n_features))
        normals[rows, axis] = generator.choice([-1.0, 1.0], size=n)
        points = self._sample(n, generator)
        points[rows, axis] = self.half_widths[axis] * normals[rows, axis]
        return points, normals

    def _signed_distance(self, X: Floats) -> Floats:
        beyond = np.abs(X[:, : self.n_bounded]) - self.half_widths[: self.n_bounded]
        outside = np.linalg.norm(np.maximum(beyond, 0.0), axis=1)
        distance: Floats = -outside - np.minimum(beyond.max(axis=1), 0.0)
        return distance


@dataclass(frozen=True)
class Torus(Shape):
    """Solid torus in three dimensions around the third axis.

    Parameters
    ----------
    major : float, default=0.7
        Radius of the circle in the middle of the tube.
    minor : float, default=0.3
        Radius of the tube, ``0 < minor < major``.

    Raises
    ------
    ValueError
        If the radii are not as documented.

    Examples
    --------
    >>> Torus(2.0, 0.5).signed_distance([[2.0, 0.0, 0.0], [0.0, 0.0, 0.0], [0.0, 2.0, 1.5]])
    array([ 0.5, -1.5, -1. ])
    """

    n_features = 3
    major: float = 0.7
    minor: float = 0.3

    def __post_init__(self) -> None:
        if not 0 < self.minor < self.major < np.inf:
            raise ValueError(
                "minor and major must be finite with 0 < minor < major, "
                f"got minor={self.minor!r} and major={self.major!r}"
            )

    @property
    def window(self) -> tuple[Floats, Floats]:
        """Box that reaches 1.5 beyond the torus."""
        across = self.major + self.minor + _SURROUNDINGS
        high = np.array([across, across, self.minor + _SURROUNDINGS])
        return -high, high

    def _sample(self, n: int, generator: np.random.Generator) -> Floats:
        radius = self.minor * np.sqrt(generator.random(n))
        return self._around_the_circle(radius, generator)[0]

    def _sample_surface(self, n: int, generator: np.random.Generator) -> tuple[Floats, Floats]:
        return self._around_the_circle(np.full(n, self.minor), generator)

    def _around_the_circle(
        self, radius: Floats, generator: np.random.Generator
    ) -> tuple[Floats, Floats]:
        """Return points at a radius from the circle in the tube, and the directions from it."""
        n = len(radius)
        longitude, angle = generator.uniform(0.0, 2 * np.pi, (2, n))
        across = np.cos(angle)
        # Volume grows outwards as 1 + across * radius / major. A point gives way to its mirror
        # image in the tube's upright axis so often that both are as frequent as their volumes.
        mirrored = 2 * generator.random(n) > 1 + across * radius / self.major
        across = np.where(mirrored, -across, across)
        directions = np.column_stack(
            [np.cos(longitude) * across, np.sin(longitude) * across, np.sin(angle)]
        )
        circle = np.column_stack([np.cos(longitude), np.sin(longitude), np.zeros(n)])
        return self.major * circle + radius[:, None] * directions, directions

    def _signed_distance(self, X: Floats) -> Floats:
        return self.minor - np.hypot(np.hypot(X[:, 0], X[:, 1]) - self.major, X[:, 2])


@dataclass(frozen=True)
class Surface(Shape):
    """The boundary of a shape as a set without an inside: its points have distance 0.

    Parameters
    ----------
    shape : Shape
        The shape whose boundary, normals and window these are.

    Examples
    --------
    >>> Surface(Torus(2.0, 0.5)).signed_distance([[2.0, 0.0, 0.0], [2.5, 0.0, 0.0]])
    array([-0.5, -0. ])
    """

    shape: Shape

    @property
    def n_features(self) -> int:
        """Width d of the points."""
        return self.shape.n_features

    @property
    def window(self) -> tuple[Floats, Floats]:
        """Window of the shape."""
        return self.shape.window

    def _sample(self, n: int, generator: np.random.Generator) -> Floats:
        return self.shape.sample_surface(n, generator)[0]

    def _sample_surface(self, n: int, generator: np.random.Generator) -> tuple[Floats, Floats]:
        return self.shape.sample_surface(n, generator)

    def _signed_distance(self, X: Floats) -> Floats:
        return -np.abs(self.shape.signed_distance(X))


def unit_shapes(n_features: int) -> dict[str, Shape]:
    """Return a shape of about unit size of every kind in d dimensions.

    Parameters
    ----------
    n_features : int
        d >= 2.

    Returns
    -------
    shapes : dict of str to Shape
        "ball", "shell", "two-balls", "cuboid" and "slab"; in three dimensions "torus" as well.

    Raises
    ------
    ValueError
        If `n_features` is not an int >= 2.

    Examples
    --------
    >>> list(unit_shapes(3))
    ['ball', 'shell', 'two-balls', 'cuboid', 'slab', 'torus']
    """
    check_integer("n_features", n_features, 2)
    origin = np.zeros((1, n_features))
    apart = np.zeros((2, n_features))
    apart[:, 0] = [-1.5, 1.5]
    shapes: dict[str, Shape] = {
        "ball": Shells(origin),
        "shell": Shells(origin, inner=0.5),
        "two-balls": Shells(apart),
        "cuboid": Cuboid(np.linspace(1.0, 0.5, n_features)),
        "slab": Cuboid([0.5] + [1.0] * (n_features - 1), n_bounded=1),
    }
    if n_features == 3:
        shapes["torus"] = Torus()
    return shapes
