"""The figures at the top of a report, and the versions at its end."""

from __future__ import annotations

import platform
from decimal import ROUND_CEILING
from importlib.metadata import version
from typing import Any

import numpy as np

from pyod_lipocc._version import __version__
from pyod_lipocc.report._figures import number

__all__ = ["summary", "versions"]

_LIBRARIES = ("numpy", "scipy", "scikit-learn", "torch", "pyod")


def summary(detector: Any) -> list[tuple[str, str]]:
    """Return the figures at the top of the page."""
    n, outliers = len(detector.labels_), int(np.sum(detector.labels_))
    shape = detector.image_shape
    features = f"{detector.n_features_in_:,}"
    seconds = getattr(detector, "fit_seconds_", None)
    return [
        ("rows", f"{n:,}"),
        ("features", features + (f" ({' by '.join(map(str, shape))} pixels)" if shape else "")),
        ("labelled 1", f"{outliers:,} ({number(100 * outliers / n)} %)"),
        ("threshold", number(detector.threshold_)),
        ("Lipschitz constant", number(detector.lipschitz_constant_, 3, ROUND_CEILING)),
        ("training steps", f"{detector.n_iter_:,}"),
        ("seconds to fit", "not in the file" if seconds is None else number(seconds)),
    ]


def versions() -> list[tuple[str, str]]:
    """Return what has written the page."""
    libraries = [(name, version(name)) for name in _LIBRARIES]
    return [("pyod_lipocc", __version__), ("Python", platform.python_version()), *libraries]
