"""Split-conformal thresholds and p-values: false-alarm rates that hold for any score."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pyod_lipocc._checks import check_number, finite_array
from pyod_lipocc._isolation import isolated

__all__ = ["conformal_p_values", "conformal_threshold", "minimum_calibration"]

Floats = NDArray[np.float64]


@isolated()
def conformal_threshold(
    scores: ArrayLike,
    alpha: float,
    *,
    radius: float = 0.0,
    lipschitz_constant: float = 1.0,
) -> float:
    r"""Smallest threshold that normal rows exceed with probability at most alpha.

    Let the n calibration scores and the score of a new normal row be exchangeable: the rows are
    independent draws from one distribution, and none of them was used to fit the score. Then the
    k-th smallest calibration score, :math:`k = \lceil (n + 1)(1 - \alpha) \rceil`, is exceeded with
    probability at most :math:`\alpha`, and at least :math:`\alpha - 1/(n + 1)` where no two scores
    are equal (Vovk, Gammerman & Shafer, 2005). Nothing else is assumed of the score or of the
    distribution.

    An adversary who moves the new row by at most r in the l2 norm raises its score by at most
    :math:`L r`. The threshold for ``radius=r`` is higher by as much: the rate holds under attack.

    The probability is over the calibration rows too. Given these rows the rate varies by about
    :math:`\sqrt{\alpha (1 - \alpha) / n}` around its mean.

    Parameters
    ----------
    scores : array-like of shape (n,)
        Scores of normal rows kept out of training; higher = more abnormal, as `decision_function`
        returns them.
    alpha : float in (0, 1)
        Largest false-alarm rate, read as the decimal number that it prints as.
    radius : float, default=0.0
        r >= 0: l2 size of the attack, in the units of the rows.
    lipschitz_constant : float, default=1.0
        L >= 0: proven bound of \|score(x) - score(x')\| / \|x - x'\|_2.

    Returns
    -------
    threshold : float
        In the units of the scores. Rows with a greater score are labelled outliers.

    Raises
    ------
    ValueError
        If scores are not finite, a parameter is out of range, or n is below
        `minimum_calibration(alpha)`: the threshold would be infinite.

    Examples
    --------
    >>> conformal_threshold(range(1, 100), 0.05)
    95.0
    >>> conformal_threshold(range(1, 100), 0.05, radius=0.5, lipschitz_constant=2.0)
    96.0
    """
    calibration = np.sort(finite_array("scores", scores, ndim=1))
    needed = minimum_calibration(alpha)
    if len(calibration) < needed:
        raise ValueError(
            f"scores must hold at least {needed} calibration scores for alpha={alpha!r}, "
            f"got {len(calibration)}"
        )
    exceeding = math.floor(_as_printed(alpha) * (len(calibration) + 1))
    return float(calibration[-exceeding]) + _shift(radius, lipschitz_constant)


@isolated()
def conformal_p_values(
    calibration_scores: ArrayLike,
    scores: ArrayLike,
    *,
    radius: float = 0.0,
    lipschitz_constant: float = 1.0,
) -> Floats:
    r"""p-values of the hypothesis that a row is normal.

    .. math:: p(x) = \frac{1 + \#\{i : s_i \ge s(x) - L r\}}{n + 1}

    For a normal row :math:`P(p \le \alpha) \le \alpha` at every :math:`\alpha`, under the
    assumptions of `conformal_threshold` and under attacks of size r. :math:`p \le \alpha` says the
    same as a score above the threshold for :math:`\alpha`. Procedures for many tests, such as
    Benjamini & Hochberg's, take p-values.

    Parameters
    ----------
    calibration_scores : array-like of shape (n,)
        Scores :math:`s_i` of normal rows kept out of training.
    scores : array-like of shape (n_rows,)
        Scores of the rows to test.
    radius, lipschitz_constant
        As in `conformal_threshold`.

    Returns
    -------
    p_values : ndarray of shape (n_rows,)
        In [1 / (n + 1), 1]; small = abnormal.

    Raises
    ------
    ValueError
        If scores are not finite, or a parameter is out of range.

    Examples
    --------
    >>> conformal_p_values([1.0, 2.0, 3.0, 4.0], [0.0, 3.5, 9.0])
    array([1. , 0.4, 0.2])
    """
    calibration = np.sort(finite_array("calibration_scores", calibration_scores, ndim=1))
    attacked = finite_array("scores", scores, ndim=1) - _shift(radius, lipschitz_constant)
    at_least = len(calibration) - np.searchsorted(calibration, attacked, side="left")
    return (1 + at_least) / (len(calibration) + 1)


def minimum_calibration(alpha: float) -> int:
    r"""Return the least number of calibration scores for which a threshold is finite.

    Parameters
    ----------
    alpha : float in (0, 1)
        Largest false-alarm rate.

    Returns
    -------
    n : int
        :math:`\lceil 1 / \alpha \rceil - 1`.

    Raises
    ------
    ValueError
        If `alpha` is out of range.

    Examples
    --------
    >>> minimum_calibration(0.05)
    19
    """
    return math.ceil(1 / _as_printed(alpha)) - 1


def _as_printed(alpha: float) -> Fraction:
    """Return the decimal number meant by alpha: 0.29 * 100 is less than 29 in floating point."""
    check_number("alpha", alpha, "between 0 and 1, both excluded", lambda a: 0 < a < 1)
    return Fraction(repr(float(alpha)))


def _shift(radius: float, lipschitz_constant: float) -> float:
    """Return how far an attack of the given size can move a score."""
    check_number("radius", radius, ">= 0", lambda r: r >= 0)
    check_number("lipschitz_constant", lipschitz_constant, ">= 0", lambda constant: constant >= 0)
    return radius * lipschitz_constant
