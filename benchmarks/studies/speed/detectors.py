"""The default fit beside those of PyOD's detectors."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial

import numpy as np
from numpy.typing import NDArray
from pyod.models.base import BaseDetector
from pyod.models.deep_svdd import DeepSVDD
from pyod.models.iforest import IForest
from pyod.models.knn import KNN
from pyod.models.ocsvm import OCSVM
from sklearn.datasets import make_blobs

from benchmarks.report.tables import markdown
from benchmarks.studies.speed.question import Question, Rows
from benchmarks.studies.speed.timing import Effort, cpu_seconds, interleaved, ratio, span

SIZES = ((5_000, 784), (2_000, 20), (100_000, 32))
QUICK_SIZES = ((200, 4),)

Build = Callable[[], BaseDetector]


def competitors(n_features: int) -> dict[str, Build]:
    """Return PyOD's detectors with their defaults."""
    return {
        "DeepSVDD": partial(DeepSVDD, n_features=n_features, verbose=0, random_state=0),
        "OCSVM": OCSVM,
        "IForest": partial(IForest, random_state=0),
        "KNN": KNN,
    }


def fit(build: Build, X: NDArray) -> Callable[[], object]:
    """Return a fit of a new detector."""
    return lambda: build().fit(X)


def predicted(build: Build, X: NDArray) -> float:
    """Extrapolate the seconds of a fit from those on a sixteenth and an eighth of the rows."""
    half, whole = (cpu_seconds(fit(build, X[: len(X) // part])) for part in (16, 8))
    exponent = min(max(math.log2(whole / half), 0.0), 3.0)
    return whole * 8**exponent


def measure(effort: Effort) -> Rows:
    """Time the fits; leave out a competitor that would take longer than the budget."""
    rows = []
    for n, d in QUICK_SIZES if effort.quick else SIZES:
        X = make_blobs(n, d, centers=4, random_state=0)[0].astype(np.float64)
        X = X[np.random.default_rng(0).permutation(n)]
        others = competitors(d)
        # the first fit in a process also imports and compiles
        for build in (effort.detector, *others.values()):
            build().fit(X[:64])
        forecast = {name: predicted(build, X) for name, build in others.items()}
        builders = {"LipOCC": effort.detector} | {
            name: build for name, build in others.items() if forecast[name] <= effort.budget
        }
        contestants = {name: fit(build, X) for name, build in builders.items()}
        seconds = interleaved(contestants, effort.fits, warm=False)
        left_out = {name: value for name, value in forecast.items() if name not in builders}
        rows.append(
            {"n": n, "d": d, "budget": effort.budget, "seconds": seconds, "left out": left_out}
        )
    return rows


def text(rows: Rows) -> str:
    """Return the table of seconds and ratios."""
    lines = []
    for row in rows:
        size = f"{row['n']:,} x {row['d']}"
        ours = row["seconds"]["LipOCC"]
        lines += [
            [size, name, span(seconds), ratio(seconds, ours)]
            for name, seconds in row["seconds"].items()
        ]
        lines += [
            [size, name, f"left out: about {forecast:,.0f}", "-"]
            for name, forecast in row["left out"].items()
        ]
    header = ["rows x features", "detector", "fit, s", "over LipOCC's"]
    return (
        "`fit` with default parameters on four Gaussian blobs, three rounds at most. A competitor "
        "is left out where its fit,\nextrapolated from an eighth of the rows, would take more than "
        f"{rows[0]['budget']:g} s.\n\n" + markdown([header, *lines])
    )


QUESTION = Question("The default fit beside PyOD's detectors", measure, text)
