"""Split-conformal thresholds and p-values: false-alarm rates that hold for any score."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
from numpy.typing import ArrayLike, NDArray

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

    If the n calibration scores and that of a new normal row are exchangeable (the rows independent
    draws from one distribution, none of them used to fit the score), the k-th smallest one,
    :math:`k = \lceil (n + 1)(1 - \alpha) \rceil`, is exceeded with probability at most
    :math:`\alpha`, and where no two scores are equal at least :math:`\alpha - 1/(n + 1)` (Vovk,
    Gammerman & Shafer, 2005). No other assumption is made, on the score or on the distribution.

    An adversary who moves the new row by at most r in the l2 norm raises its score by at most
    :math:`L r`; so does the threshold returned for ``radius=r``, and the rate holds under attack.

    The probability is over the calibration rows too: given one set of them the rate varies by about
    :math:`\sqrt{\alpha (1 - \alpha) / n}` around its mean.

    Parameters
    ----------
    scores : array-like of shape (n,)
        Of calibration rows, normal and kept out of training; higher = more abnormal, as
        `decision_function` returns them.
    alpha : float in (0, 1)
        Largest false-alarm rate, read as the decimal number that it prints as.
    radius : float, default=0.0
        r >= 0: l2 size of the attack, in the units of the rows.
    lipschitz_constant : float, default=1.0
        L >= 0: proven bound of \|score(x) - score(x')\| / \|x - x'\|_2.

    Returns
    -------
    threshold : float
        In the units of the scores; rows with a greater score are labelled outliers.

    Raises
    ------
    ValueError
        If n is too small for alpha, whose threshold would be infinite (the message gives the n
        needed), scores are not finite, or a parameter is out of range.

    Examples
    --------
    >>> conformal_threshold(range(1, 100), 0.05)
    95.0
    >>> conformal_threshold(range(1, 100), 0.05, radius=0.5, lipschitz_constant=2.0)
    96.0
    """
    calibration = np.sort(_finite("scores", scores))
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
    same as a score above the threshold for :math:`\alpha`; p-values suit procedures for many tests,
    such as Benjamini & Hochberg's.

    Parameters
    ----------
    calibration_scores : array-like of shape (n,)
        Of normal rows kept out of training; higher = more abnormal.
    scores : array-like of shape (n_rows,)
        Of the rows to test.
    radius : float, default=0.0
        r >= 0: l2 size of the attack, in the units of the rows.
    lipschitz_constant : float, default=1.0
        L >= 0.

    Returns
    -------
    p_values : ndarray of shape (n_rows,)
        In [1 / (n + 1), 1]; small = abnormal.

    Raises
    ------
    ValueError
        If scores are not finite, not one-dimensional or empty, or a parameter is out of range.

    Examples
    --------
    >>> conformal_p_values([1.0, 2.0, 3.0, 4.0], [0.0, 3.5, 9.0])
    array([1. , 0.4, 0.2])
    """
    calibration = np.sort(_finite("calibration_scores", calibration_scores))
    attacked = _finite("scores", scores) - _shift(radius, lipschitz_constant)
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
    """Return the decimal number that is meant: 0.29 * 100 is less than 29 in floating point."""
    if not 0 < alpha < 1:
        raise ValueError(f"alpha must be a number between 0 and 1, both excluded, got {alpha!r}")
    return Fraction(repr(float(alpha)))


def _shift(radius: float, lipschitz_constant: float) -> float:
    """Return how far an attack of the given size can move a score."""
    for name, value in {"radius": radius, "lipschitz_constant": lipschitz_constant}.items():
        if not 0 <= value < math.inf:
            raise ValueError(f"{name} must be a finite number >= 0, got {value!r}")
    return radius * lipschitz_constant


def _finite(name: str, values: ArrayLike) -> Floats:
    array = np.asarray(values)
    if array.dtype.kind not in "biuf" or array.ndim != 1 or array.size == 0:
        raise ValueError(
            f"{name} must be a non-empty list of real numbers, got {array.dtype} of {array.shape}"
        )
    if not np.isfinite(array).all():
        raise ValueError(f"{name} must be finite, got NaN or infinity")
    return array.astype(np.float64)
