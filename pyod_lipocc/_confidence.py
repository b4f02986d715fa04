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

    With :math:`n_s` of n training scores at most s, a new score exceeds s with a probability whose
    posterior mean is :math:`1 - p`, :math:`p = (1 + n_s) / (2 + n)`. The label is 1 if at least
    :math:`n - \lfloor n c \rfloor + 1` of n new scores are at most s: a binomial probability.

    Parameters
    ----------
    training_scores : ndarray of shape (n,), sorted
    contamination : float
        c.
    scores : ndarray of shape (m,)
    labels : ndarray of shape (m,)
        Of these scores: 0 or 1.

    Returns
    -------
    confidence : ndarray of shape (m,)
        In [0, 1], the numbers of `pyod.models.base.BaseDetector.predict_confidence`.

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
    r"""Tell which labels are too uncertain: those of certainty at most :math:`1 - 2 e^{-T}`.

    The certainty of a label is twice the distance of the probability to be an outlier from 1/2.
    """
    outlier = np.where(labels == 0, 1 - confidence, confidence)
    rejected: npt.NDArray[Any] = 2 * np.abs(outlier - 0.5) <= 1 - 2 * np.exp(-T)
    return rejected
