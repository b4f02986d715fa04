"""The training scores, and how far those of new rows are from them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.stats import ks_2samp

from pyod_lipocc.report._figures import Chart, histogram, number
from pyod_lipocc.report._given import Given, feature_names

__all__ = ["Drift", "drift", "quantiles", "scores"]

Floats = npt.NDArray[np.float64]

_QUANTILES = (0, 5, 25, 50, 75, 95, 100)
_FEATURES = 10  # of the most moved


@dataclass(frozen=True)
class Drift:
    """How far the scores of new rows are from the training scores."""

    chart: Chart
    statistic: str
    p_value: str
    labelled: tuple[str, str]
    medians: tuple[str, str]
    moved: list[tuple[str, str, str, str]]


def scores(detector: Any) -> Chart:
    """Draw the training scores."""
    title = "Histogram of the scores of the training rows"
    text = (
        f"Scores run from {number(detector.decision_scores_.min())} to "
        f"{number(detector.decision_scores_.max())}; the threshold is "
        f"{number(detector.threshold_)}."
    )
    groups = {"training rows": detector.decision_scores_}
    return histogram("scores", title, text, groups, detector.threshold_)


def quantiles(values: Floats) -> list[tuple[str, str]]:
    """Return percentiles by name."""
    names = {0: "least", 50: "median", 100: "greatest"}
    found = np.percentile(values, _QUANTILES)
    return [
        (names.get(q, f"{q} %"), number(value)) for q, value in zip(_QUANTILES, found, strict=True)
    ]


def drift(detector: Any, rows: Given) -> Drift:
    """Compare the scores of new rows with the training scores."""
    trained, threshold = detector.decision_scores_, detector.threshold_
    scaling = detector.distance_.scaling
    test = ks_2samp(trained, rows.scores, method="asymp")
    both = trained, rows.scores
    labelled = [f"{number(100 * np.mean(scores > threshold))} %" for scores in both]
    medians = [number(float(np.median(scores))) for scores in both]
    chart = histogram(
        "drift",
        "Scores of the given rows over those of the training rows",
        f"Labelled 1: {labelled[0]} of the training rows, {labelled[1]} of the given rows.",
        {"training rows": trained, "given rows": rows.scores},
        threshold,
    )
    moved: list[tuple[str, str, str, str]] = []
    if scaling.standardized and detector.image_shape is None:
        mean = rows.rows.mean(axis=0, dtype=np.float64)
        shifts = (mean - scaling.location) / scaling.scale
        names = feature_names(detector)
        moved = [
            (names[i], number(scaling.location[i]), number(mean[i]), number(shifts[i]))
            for i in np.argsort(-np.abs(shifts), kind="stable")[:_FEATURES]
        ]
    return Drift(
        chart,
        number(float(test.statistic)),
        number(float(test.pvalue)) if test.pvalue >= 1e-4 else "less than 0.0001",
        (labelled[0], labelled[1]),
        (medians[0], medians[1]),
        moved,
    )
