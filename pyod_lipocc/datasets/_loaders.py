"""Data: toy sets, digits and MNIST by class, ODDS, ADBench and files of one's own.

ODDS, ADBench and MNIST are read from the folder that the environment variable ``LIPOCC_DATA``
names (``odds/*.mat``, ``adbench/*.npz``, ``mnist/*.gz``). Where it is unset they are downloaded
once into the user's cache, which needs the extra ``data``. Either way a file whose hash is not the
registered one is refused.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from io import BytesIO
from numbers import Integral
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn import datasets as sklearn_datasets
from sklearn.model_selection import train_test_split

from pyod_lipocc._isolation import isolated
from pyod_lipocc._random import RandomState, numpy_generator
from pyod_lipocc.datasets._fetch import read
from pyod_lipocc.datasets._files import LABEL_NAMES, SEPARATORS, SUFFIXES, parse
from pyod_lipocc.datasets._registry import ADBENCH, MNIST, ODDS, Collection

__all__ = [
    "ADBENCH_NAMES",
    "LABEL_NAMES",
    "ODDS_NAMES",
    "SHAPE_NAMES",
    "TOY_NAMES",
    "Dataset",
    "OneClassDataset",
    "load_adbench",
    "load_digits_one_class",
    "load_file",
    "load_mnist",
    "load_odds",
    "load_toy",
    "toy_signed_distance",
]

ODDS_NAMES = tuple(ODDS.hashes)
"""Names that `load_odds` takes."""

ADBENCH_NAMES = tuple(ADBENCH.hashes)
"""Names that `load_adbench` takes: the 47 classical sets, in ADBench's order."""


@dataclass(frozen=True, eq=False)
class Dataset:
    """Rows with the labels of outlier detection.

    Attributes
    ----------
    name : str
    X : ndarray of shape (n, d)
        float64.
    y : ndarray of shape (n,) or None
        int64: 1 = outlier, 0 = normal; None where the source has no labels.
    feature_names : tuple of str or None
        Names of the d columns, where the source names them.
    label_name : str or None
        Name under which the source has `y`; None where it has no labels.
    """

    name: str
    X: NDArray[np.float64]
    y: NDArray[np.int64] | None
    feature_names: tuple[str, ...] | None = None
    label_name: str | None = None


@dataclass(frozen=True, eq=False)
class OneClassDataset:
    """Images of one class to train on, images of all classes to test on.

    Attributes
    ----------
    name : str
    X_train : ndarray of shape (n_train, d)
        float32, pixels in [0, 1]; the one class only.
    X_test : ndarray of shape (n_test, d)
        float32, pixels in [0, 1]; all classes.
    y_test : ndarray of shape (n_test,)
        int64: 1 = of another class, 0 = of the one class.
    image_shape : tuple of int
        (channels, height, width), of product d.
    """

    name: str
    X_train: NDArray[np.float32]
    X_test: NDArray[np.float32]
    y_test: NDArray[np.int64]
    image_shape: tuple[int, int, int]


@dataclass(frozen=True)
class _Annuli:
    """Disjoint annuli of one size; discs where `inner` is 0."""

    centers: tuple[tuple[float, float], ...]
    inner: float
    outer: float

    def sample(self, n_samples: int, generator: np.random.Generator) -> NDArray[np.float64]:
        # the area within a radius grows as its square
        radius = np.sqrt(generator.uniform(self.inner**2, self.outer**2, n_samples))
        angle = generator.uniform(0.0, 2.0 * np.pi, n_samples)
        center = np.asarray(self.centers)[generator.integers(len(self.centers), size=n_samples)]
        points: NDArray[np.float64] = center + radius[:, None] * np.column_stack(
            [np.cos(angle), np.sin(angle)]
        )
        return points

    def signed_distance(self, X: NDArray[np.float64]) -> NDArray[np.float64]:
        radius = np.linalg.norm(X[:, None] - np.asarray(self.centers), axis=2)
        distance = self.outer - radius
        if self.inner > 0.0:
            distance = np.minimum(distance, radius - self.inner)
        nearest: NDArray[np.float64] = distance.max(axis=1)
        return nearest


_SHAPES = {
    "disc": _Annuli(((0.0, 0.0),), inner=0.0, outer=1.0),
    "ring": _Annuli(((0.0, 0.0),), inner=0.5, outer=1.0),
    "two-discs": _Annuli(((-1.5, 0.0), (1.5, 0.0)), inner=0.0, outer=1.0),
}


def _blobs(n: int, seed: int, centers: list[list[float]], spreads: list[float]) -> Any:
    return sklearn_datasets.make_blobs(n, centers=centers, cluster_std=spreads, random_state=seed)[
        0
    ]


# Centres and spreads are those of scikit-learn's comparison of outlier detectors on toy sets.
_FIGURE_1: dict[str, Callable[[int, int], Any]] = {
    "one-cloud": lambda n, seed: _blobs(n, seed, [[0.0, 0.0]], [0.5]),
    "two-circles": lambda n, seed: sklearn_datasets.make_circles(
        n, noise=0.05, factor=0.5, random_state=seed
    )[0],
    "two-blobs": lambda n, seed: _blobs(n, seed, [[2.0, 2.0], [-2.0, -2.0]], [0.5, 0.5]),
    "blob-and-cloud": lambda n, seed: _blobs(n, seed, [[2.0, 2.0], [-2.0, -2.0]], [0.3, 1.5]),
    "two-moons": lambda n, seed: sklearn_datasets.make_moons(n, noise=0.05, random_state=seed)[0],
}

SHAPE_NAMES = tuple(_SHAPES)
"""Names of the toy sets whose signed distance is known."""

TOY_NAMES = (*_FIGURE_1, *SHAPE_NAMES)
"""Names that `load_toy` takes: the five sets of the paper's Figure 1, then `SHAPE_NAMES`."""


def load_toy(
    name: str, n_samples: int = 1000, *, random_state: RandomState = None
) -> NDArray[np.float64]:
    """Sample a toy set of the plane; not standardised.

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
        If a parameter is none of the above.

    Examples
    --------
    >>> load_toy("two-moons", 200, random_state=0).shape
    (200, 2)
    """
    _check_choice("name", name, TOY_NAMES)
    if not isinstance(n_samples, Integral) or n_samples < 1:
        raise ValueError(f"n_samples must be an int >= 1, got {n_samples!r}")
    generator = numpy_generator(random_state)
    if name in _SHAPES:
        return _SHAPES[name].sample(int(n_samples), generator)
    X: NDArray[np.float64] = _FIGURE_1[name](int(n_samples), int(generator.integers(2**32)))
    return X


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
        If `name` is another or `X` has another shape.

    Examples
    --------
    >>> toy_signed_distance("ring", [[0.0, 0.0], [0.75, 0.0], [0.0, 3.0]])
    array([-0.5 ,  0.25, -2.  ])
    """
    _check_choice("name", name, SHAPE_NAMES)
    points = np.asarray(X, dtype=np.float64)
    if points.ndim != 2 or points.shape[1] != 2:
        raise ValueError(f"X must have the shape (n, 2), got {points.shape}")
    return _SHAPES[name].signed_distance(points)


def load_digits_one_class(one_class: int) -> OneClassDataset:
    """Load scikit-learn's 8 x 8 digits, one class of them for training.

    The split is fixed: of each class two thirds may train and one third tests. Nothing is
    downloaded.

    Parameters
    ----------
    one_class : int
        The digit to train on, 0 to 9.

    Returns
    -------
    dataset : OneClassDataset
        d = 64, n_test = 599.

    Raises
    ------
    ValueError
        If `one_class` is no digit.

    Examples
    --------
    >>> load_digits_one_class(3).X_test.shape
    (599, 64)
    """
    _check_digit(one_class)
    pixels, digits = sklearn_datasets.load_digits(return_X_y=True)
    pixels = (pixels / 16.0).astype(np.float32)
    X_train, X_test, d_train, d_test = train_test_split(
        pixels, digits, test_size=1 / 3, stratify=digits, random_state=0
    )
    return OneClassDataset(
        name=f"digits-{one_class}",
        X_train=X_train[d_train == one_class],
        X_test=X_test,
        y_test=(d_test != one_class).astype(np.int64),
        image_shape=(1, 8, 8),
    )


def load_mnist(one_class: int) -> OneClassDataset:
    """Load MNIST, one class of the 60,000 for training and the 10,000 for testing.

    Parameters
    ----------
    one_class : int
        The digit to train on, 0 to 9.

    Returns
    -------
    dataset : OneClassDataset
        d = 784, n_test = 10,000.

    Raises
    ------
    ValueError
        If `one_class` is no digit, or a file is truncated or altered.
    FileNotFoundError
        If a file is neither at hand nor to be downloaded; the message says what to put where.
    ImportError
        If a download is needed and the extra `data` is not installed.

    Examples
    --------
    >>> load_mnist(8).X_train.shape  # doctest: +SKIP
    (5851, 784)
    """
    _check_digit(one_class)
    X_train = _mnist_images("train")[_mnist_digits("train") == one_class]
    return OneClassDataset(
        name=f"mnist-{one_class}",
        X_train=X_train.astype(np.float32) / np.float32(255.0),
        X_test=_mnist_images("t10k").astype(np.float32) / np.float32(255.0),
        y_test=(_mnist_digits("t10k") != one_class).astype(np.int64),
        image_shape=(1, 28, 28),
    )


def _mnist_images(part: str) -> NDArray[np.uint8]:
    return np.frombuffer(read(MNIST, f"{part}-images-idx3-ubyte"), np.uint8, offset=16).reshape(
        -1, 784
    )


def _mnist_digits(part: str) -> NDArray[np.uint8]:
    return np.frombuffer(read(MNIST, f"{part}-labels-idx1-ubyte"), np.uint8, offset=8)


def load_odds(name: str) -> Dataset:
    """Load a set of ODDS, as PyOD's benchmark uses it.

    Parameters
    ----------
    name : str
        One of `ODDS_NAMES`.

    Returns
    -------
    dataset : Dataset

    Raises
    ------
    ValueError
        If `name` is another, or the file is truncated or altered.
    FileNotFoundError
        If the file is neither at hand nor to be downloaded; the message says what to put where.
    ImportError
        If a download is needed and the extra `data` is not installed.

    Examples
    --------
    >>> load_odds("cardio").X.shape  # doctest: +SKIP
    (1831, 21)
    """
    _check_choice("name", name, ODDS_NAMES)
    return _registered(ODDS, name)


def load_adbench(name: str) -> Dataset:
    """Load a classical set of ADBench.

    Parameters
    ----------
    name : str
        One of `ADBENCH_NAMES`, with or without its number: "2_annthyroid" or "annthyroid".

    Returns
    -------
    dataset : Dataset
        Its name has the number.

    Raises
    ------
    ValueError
        If `name` is another, or the file is truncated or altered.
    FileNotFoundError
        If the file is neither at hand nor to be downloaded; the message says what to put where.
    ImportError
        If a download is needed and the extra `data` is not installed.

    Examples
    --------
    >>> load_adbench("annthyroid").X.shape  # doctest: +SKIP
    (7200, 6)
    """
    numbered = next((full for full in ADBENCH_NAMES if full.split("_", 1)[1] == name), name)
    _check_choice("name", numbered, ADBENCH_NAMES)
    return _registered(ADBENCH, numbered)


def _registered(collection: Collection, name: str) -> Dataset:
    file = BytesIO(read(collection, name))
    return Dataset(name, *parse(file, collection.suffix, name, label="y"))


def load_file(
    path: str | os.PathLike[str], *, label: str | None = None, separator: str = ","
) -> Dataset:
    """Load rows, and labels if any, from a .npz, .mat, .csv or .parquet file.

    Pickled objects are refused: no file can run code.

    Parameters
    ----------
    path : str or path-like
        .npz and .mat (up to v7.2) hold an array ``X`` of shape (n, d) and may hold labels of n
        values. In .csv and .parquet (extra `data`) every column but the labels is a feature.
    label : str or None, default=None
        Name of the labels, 0 = normal and 1 = outlier, as the file writes it. None takes what has
        one of `LABEL_NAMES`, whatever its capitals, blanks, ``-``, ``_`` and ``.``; `y` is None
        where the file has none.
    separator : str, default=","
        Separator of the fields of a .csv file: a comma, semicolon, tab or ``|``, or " " for blanks.

    Returns
    -------
    dataset : Dataset
        Named after the file.

    Raises
    ------
    ValueError
        If the file is of another type, damaged, without numeric rows, or with other labels.
    FileNotFoundError
        If there is no such file.
    ImportError
        If .parquet is asked for and the extra `data` is not installed.

    Warns
    -----
    UserWarning
        If a feature has no name (or ``Unnamed: 0``, which pandas gives), counts the rows (as ``id``
        or ``index``) or may be the labels (as ``class`` or ``target`` of two values), or if an
        index is left out.

    Notes
    -----
    The first line of a .csv file names its columns; each other line has a field for each of them,
    and blank lines are skipped. A field holds a number with a decimal point, true or false, or a
    missing value: nothing, ``NA``, ``NaN`` or ``null``. A first line of numbers is refused, as data
    without names, unless it is 0, 1, 2 and so on, which pandas writes for columns without names.

    A column ``y`` beside a column ``x`` is a coordinate, hence a feature, unless it holds 0 and 1
    only or `label` names it.

    An index that ``DataFrame.to_parquet`` has written is left out, as the file declares it to be
    one. ``DataFrame.to_csv`` writes an index as a column without a name; nothing in the file says
    that it is an index, so it stays a feature.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     np.savez(f"{folder}/mine.npz", X=np.eye(3), Outlier=[0, 0, 1])
    ...     dataset = load_file(f"{folder}/mine.npz")
    >>> dataset.name, dataset.X.shape, dataset.y, dataset.label_name
    ('mine', (3, 3), array([0, 0, 1]), 'Outlier')
    """
    path = Path(path)
    suffix = path.suffix.lower()
    if suffix not in SUFFIXES:
        raise ValueError(f"path must end with one of {', '.join(SUFFIXES)}, got {str(path)!r}")
    if separator not in SEPARATORS:
        accepted = ", ".join(map(repr, SEPARATORS))
        raise ValueError(f"separator must be one of {accepted}, got {separator!r}")
    with path.open("rb") as file:
        return Dataset(path.stem, *parse(file, suffix, str(path), label, separator))


def _check_choice(parameter: str, value: object, accepted: tuple[str, ...]) -> None:
    if value not in accepted:
        raise ValueError(f"{parameter} must be one of {', '.join(accepted)}, got {value!r}")


def _check_digit(one_class: object) -> None:
    if (
        isinstance(one_class, bool)
        or not isinstance(one_class, Integral)
        or one_class not in range(10)
    ):
        raise ValueError(f"one_class must be an int from 0 to 9, got {one_class!r}")
