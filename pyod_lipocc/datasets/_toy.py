"""Toy sets of the plane."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.datasets import make_blobs, make_circles, make_moons

from pyod_lipocc._checks import check_choice, check_integer
from pyod_lipocc._isolation import isolated
from pyod_lipocc._random import RandomState, numpy_generator
from pyod_lipocc.shapes import Shells

__all__ = ["SHAPE_NAMES", "TOY_NAMES", "load_toy", "toy_signed_distance"]

# Centres and spreads are those of scikit-learn's comparison of outlier detectors on toy sets.
_FIGURE_1: dict[str, Callable[..., Any]] = {
    "one-cloud": partial(make_blobs, centers=[[0.0, 0.0]], cluster_std=[0.5]),
    "two-circles": partial(make_circles, noise=0.05, factor=0.5),
    "two-blobs": partial(make_blobs, centers=[[2.0, 2.0], [-2.0, -2.0]], cluster_std=[0.5, 0.5]),
    "blob-and-cloud": partial(
        make_blobs, centers=[[2.0, 2.0], [-2.0, -2.0]], cluster_std=[0.3, 1.5]
    ),
    "two-moons": partial(make_moons, noise=0.05),
}

_SHAPES = {
    "disc": Shells([[0.0, 0.0]]),
    "ring": Shells([[0.0, 0.0]], inner=0.5),
    "two-discs": Shells([[-1.5, 0.0], [1.5, 0.0]]),
}

SHAPE_NAMES = tuple(_SHAPES)
"""Names of the toy sets whose signed distance is known."""

TOY_NAMES = (*_FIGURE_1, *SHAPE_NAMES)
"""Names that `load_toy` takes: the five sets of the paper's Figure 1, then `SHAPE_NAMES`."""


def load_toy(
    name: str, n_samples: int = 1000, *, random_state: RandomState = None
) -> NDArray[np.float64]:
    """Sample a toy set of the plane, not standardised.

    Parameters
    ----------
    name : str
        One of `TOY_NAMES`. "one-cloud", "two-circles", "two-blobs", "blob-and-cloud" and
        "two-moons" are the sets of the paper's Figure 1. The others are uniform on a shape: "disc"
        (radius 1), "ring" (radii 0.5 and 1), "two-discs" (radius 1, centres 3 apart).
    n_samples : int, default=1000
        At least 1.
    random_state : int, RandomState, Generator or None, default=None
        Source of the draws; numpy's global state is neither read nor changed.

    Returns
    -------
    X : ndarray of shape (n_samples, 2)

    Raises
    ------
    ValueError
        If a parameter is not as described.

    Examples
    --------
    >>> load_toy("two-moons", 200, random_state=0).shape
    (200, 2)
    """
    check_choice("name", name, TOY_NAMES)
    check_integer("n_samples", n_samples, 1)
    generator = numpy_generator(random_state)
    if name in _SHAPES:
        return _in_polar_coordinates(_SHAPES[name], int(n_samples), generator)
    X: NDArray[np.float64]
    X, _ = _FIGURE_1[name](int(n_samples), random_state=int(generator.integers(2**32)))
    return X


def _in_polar_coordinates(
    shells: Shells, n: int, generator: np.random.Generator
) -> NDArray[np.float64]:
    """Sample shells of the plane; `Shells.sample` spends the draws in another order."""
    # The area within a radius grows as its square.
    radius = np.sqrt(generator.uniform(shells.inner**2, shells.outer**2, n))
    angle = generator.uniform(0.0, 2.0 * np.pi, n)
    center = shells.centers[generator.integers(len(shells.centers), size=n)]
    direction: NDArray[np.float64] = np.column_stack([np.cos(angle), np.sin(angle)])
    return center + radius[:, None] * direction


@isolated()
def toy_signed_distance(name: str, X: ArrayLike) -> NDArray[np.float64]:
    """Signed distance of points to the boundary of a toy shape, in closed form.

    Parameters
    ----------
    name : str
        One of `SHAPE_NAMES`.
    X : array-like of shape (n, 2)

    Returns
    -------
    distance : ndarray of shape (n,)
        l2 distance to the boundary in the units of X; positive inside the shape.

    Raises
    ------
    ValueError
        If a parameter is not as described.

    Examples
    --------
    >>> toy_signed_distance("ring", [[0.0, 0.0], [0.75, 0.0], [0.0, 3.0]])
    array([-0.5 ,  0.25, -2.  ])
    """
    check_choice("name", name, SHAPE_NAMES)
    return _SHAPES[name].signed_distance(X)
