"""PyOD's confidence in a label, for all rows at once."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.stats import binom

__all__ = ["confidence", "rejected"]

Floats = npt.NDArray[np.float64]


def confidence(
    training_scores: Floats, contamination: float, scores: Floats, labels: npt.NDArray[np.int_]
) -> Floats:
    r"""Return the probability that a perturbed training set would give the same labels.

    Let :math:`n_s` of n sorted training scores be at most s. A new score is at most s with a
    probability of posterior mean :math:`p = (1 + n_s) / (2 + n)`. The label of s is 1 if at least
    :math:`n - \lfloor n c \rfloor + 1` of n new scores are at most s, c the contamination: a
    binomial probability. The numbers are those of PyOD's `BaseDetector.predict_confidence`.

    References
    ----------
    Perini, Vercruyssen & Davis, *Quantifying the confidence of anomaly detectors in their
    example-wise predictions*, ECML PKDD 2020.
    """
    n = len(training_scores)
    counts, index = np.unique(
        np.searchsorted(training_scores, scores, side="right"), return_inverse=True
    )
    outlier = 1 - binom.cdf(n - int(n * contamination), n, (1 + counts) / (2 + n))
    found: Floats = np.where(labels == 0, 1 - outlier[index], outlier[index])
    return found


def rejected(labels: npt.NDArray[np.int_], confidence: Floats, T: float) -> npt.NDArray[Any]:
    r"""Tell which labels have a certainty of at most :math:`1 - 2 e^{-T}`: too uncertain ones.

    The certainty of a label is twice the distance between 1/2 and the probability of an outlier.
    """
    outlier = np.where(labels == 0, 1 - confidence, confidence)
    rejected: npt.NDArray[Any] = 2 * np.abs(outlier - 0.5) <= 1 - 2 * np.exp(-T)
    return rejected
