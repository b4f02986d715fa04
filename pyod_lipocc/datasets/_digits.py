"""Images of digits, one class of them to train on."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

from pyod_lipocc._checks import check_integer
from pyod_lipocc.datasets._fetch import read
from pyod_lipocc.datasets._registry import MNIST

__all__ = ["OneClassDataset", "load_digits_one_class", "load_mnist"]


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
    check_integer("one_class", one_class, 0, 9)
    pixels, digits = load_digits(return_X_y=True)
    split = train_test_split(pixels, digits, test_size=1 / 3, stratify=digits, random_state=0)
    return _one_class("digits", one_class, split, brightest=16)


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
        If a file is neither at hand nor to be downloaded; the message says where to put it.
    ImportError
        If a download is needed and the extra `data` is not installed.

    Examples
    --------
    >>> load_mnist(8).X_train.shape  # doctest: +SKIP
    (5851, 784)
    """
    check_integer("one_class", one_class, 0, 9)
    X_train, d_train = _mnist("train")
    X_test, d_test = _mnist("t10k")
    return _one_class("mnist", one_class, (X_train, X_test, d_train, d_test), brightest=255)


def _mnist(part: str) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Return the images of "train" or "t10k" as rows, and their digits."""
    pixels = np.frombuffer(read(MNIST, f"{part}-images-idx3-ubyte"), np.uint8, offset=16)
    digits = np.frombuffer(read(MNIST, f"{part}-labels-idx1-ubyte"), np.uint8, offset=8)
    return pixels.reshape(-1, 784), digits


def _one_class(
    name: str, one_class: int, split: Sequence[NDArray[Any]], brightest: int
) -> OneClassDataset:
    """Keep one class of the first part of a split, and scale the pixels of both to [0, 1]."""
    X_train, X_test, d_train, d_test = split
    side = math.isqrt(X_test.shape[1])
    return OneClassDataset(
        name=f"{name}-{one_class}",
        X_train=X_train[d_train == one_class].astype(np.float32) / np.float32(brightest),
        X_test=X_test.astype(np.float32) / np.float32(brightest),
        y_test=(d_test != one_class).astype(np.int64),
        image_shape=(1, side, side),
    )
