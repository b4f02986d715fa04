"""PyOD's confidence in a label, for all rows at once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.stats import binom

__all__ = ["Reference", "confidence", "quantiles", "rejected"]

Floats = npt.NDArray[np.float64]
Counts = npt.NDArray[np.int_]

_MOST_VALUES = 2_501


@dataclass(frozen=True, eq=False)
class Reference:
    """The training scores in brief, as far as probabilities and confidences need them.

    Attributes
    ----------
    n : int
        Number of the scores.
    mean, deviation : float
    values : ndarray of shape (k,)
        Some of the scores, increasing, the least and the greatest among them.
    below, at_most : ndarray of int of shape (k,)
        How many scores are less than, and at most, each of these.
    """

    n: int
    mean: float
    deviation: float
    values: Floats
    below: Counts
    at_most: Counts

    @classmethod
    def of(cls, scores: Floats) -> Reference:
        """Keep up to 2,501 scores, evenly spaced in rank."""
        ordered = np.sort(scores)
        values = quantiles(ordered)
        below, at_most = (np.searchsorted(ordered, values, side) for side in ("left", "right"))
        mean, deviation = float(np.mean(scores)), float(np.std(scores))
        return cls(len(ordered), mean, deviation, values, below, at_most)

    def __post_init__(self) -> None:
        orders = (self.below < self.at_most, self.below[1:] >= self.at_most[:-1])
        increasing = (np.diff(self.values) > 0).all() and all(part.all() for part in orders)
        if not (increasing and self.below[0] == 0 < self.n == self.at_most[-1]):
            raise ValueError(f"values and counts do not go together: {self!r}")

    def counts(self, scores: Floats) -> Counts:
        """Return how many training scores are at most each score, interpolated between values."""
        steps = np.stack((self.below, self.at_most), axis=1).ravel()
        found: Counts = np.interp(scores, np.repeat(self.values, 2), steps, left=0).astype(int)
        return found


def quantiles(ordered: Floats) -> Floats:
    """Return the different ones of up to 2,501 values of a sorted array, evenly spaced in rank."""
    ranks = np.linspace(0, len(ordered) - 1, min(_MOST_VALUES, len(ordered))).astype(int)
    return np.unique(ordered[ranks])


def confidence(
    n: int, counts: Counts, contamination: float, labels: npt.NDArray[np.int_]
) -> Floats:
    r"""Return the probability that a perturbed training set would give the same labels.

    Let :math:`n_s` of n training scores be at most s. A new score is at most s with a
    probability of posterior mean :math:`p = (1 + n_s) / (2 + n)`. The label of s is 1 if at least
    :math:`n - \lfloor n c \rfloor + 1` of n new scores are at most s, c the contamination: a
    binomial probability. The numbers are those of PyOD's `BaseDetector.predict_confidence`.

    References
    ----------
    Perini, Vercruyssen & Davis, *Quantifying the confidence of anomaly detectors in their
    example-wise predictions*, ECML PKDD 2020.
    """
    different, index = np.unique(counts, return_inverse=True)
    outlier = 1 - binom.cdf(n - int(n * contamination), n, (1 + different) / (2 + n))
    found: Floats = np.where(labels == 0, 1 - outlier[index], outlier[index])
    return found


def rejected(labels: npt.NDArray[np.int_], confidence: Floats, T: float) -> npt.NDArray[Any]:
    r"""Tell which labels have a certainty of at most :math:`1 - 2 e^{-T}`: too uncertain ones.

    The certainty of a label is twice the distance between 1/2 and the probability of an outlier.
    """
    outlier = np.where(labels == 0, 1 - confidence, confidence)
    rejected: npt.NDArray[Any] = 2 * np.abs(outlier - 0.5) <= 1 - 2 * np.exp(-T)
    return rejected
