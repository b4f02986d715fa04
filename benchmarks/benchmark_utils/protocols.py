"""The splits that the data sets have in common."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from typing import Any

import numpy as np
from benchopt import BaseDataset
from numpy.typing import NDArray
from sklearn.model_selection import train_test_split
from sklearn.preprocessing import StandardScaler

from pyod_lipocc.datasets import OneClassDataset

MAX_ROWS = 50_000

Data = dict[str, Any]


class DownloadedDataset(BaseDataset):
    """A data set that may be absent: then the objective skips it, saying what the loader says."""

    @abstractmethod
    def load(self) -> Data:
        """Return the data, or raise OSError or ImportError where they cannot be had."""

    def get_data(self) -> Data:
        try:
            return self.load()
        except (OSError, ImportError) as error:
            return {"absent": str(error)}


def one_digit(digits: OneClassDataset) -> Data:
    """Train on the images of one digit; test on those of all ten."""
    return {
        "X_train": digits.X_train,
        "X_test": digits.X_test,
        "y_test": digits.y_test,
        "contamination": 0.0,
        "image_shape": digits.image_shape,
    }


def contaminated_digit(
    load: Callable[[int], OneClassDataset], digit: int, share: float, split: int
) -> Data:
    """As `one_digit`, but this share of the training images is drawn from those of the others."""
    clean = load(digit)
    others = np.concatenate([load(other).X_train for other in range(10) if other != digit])
    n_drawn = round(share / (1 - share) * len(clean.X_train))
    drawn = np.random.RandomState(split).permutation(len(others))[:n_drawn]
    return one_digit(clean) | {
        "X_train": np.concatenate([clean.X_train, others[drawn]]),
        "contamination": share,
    }


def standardized(X_train: NDArray, X_test: NDArray) -> tuple[NDArray, NDArray]:
    """Shift and scale both parts by the mean and deviation of the training part."""
    scaler = StandardScaler().fit(X_train)
    return scaler.transform(X_train), scaler.transform(X_test)


def contaminated_split(X: NDArray, y: NDArray, split: int) -> Data:
    """Train on 60 % of all rows, outliers among them; of larger sets ``MAX_ROWS`` rows come first.

    The contamination is the true share of outliers in the whole set.
    """
    if len(X) > MAX_ROWS:
        kept = np.random.RandomState(split).permutation(len(X))[:MAX_ROWS]
        X, y = X[kept], y[kept]
    X_train, X_test, _, y_test = train_test_split(
        X, y, test_size=0.4, random_state=np.random.RandomState(split)
    )
    X_train, X_test = standardized(X_train, X_test)
    return {
        "X_train": X_train,
        "X_test": X_test,
        "y_test": y_test,
        "contamination": float(np.mean(y)),
    }


def one_class_split(X: NDArray, y: NDArray, split: int) -> Data:
    """Train on half of the normal rows; test on the other half and all anomalies.

    Of larger sets, ``MAX_ROWS`` rows are drawn first. Both draws come from ``split`` alone.
    """
    random = np.random.RandomState(split)
    kept = random.permutation(len(X))[:MAX_ROWS]
    X, y = X[kept], y[kept]
    normal, anomalies = np.flatnonzero(y == 0), np.flatnonzero(y == 1)
    train, held_out = np.array_split(random.permutation(normal), 2)
    test = np.concatenate([held_out, anomalies])
    X_train, X_test = standardized(X[train], X[test])
    return {"X_train": X_train, "X_test": X_test, "y_test": y[test], "contamination": 0.0}
