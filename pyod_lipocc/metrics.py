"""Figures of merit for scores that are distances: certified AUROC, accuracy, errors of a field."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = ["best_threshold_accuracy", "certified_roc_auc_score", "eikonal_error", "sdf_rmse"]

Floats = NDArray[np.float64]


def certified_roc_auc_score(
    y_true: ArrayLike,
    scores: ArrayLike,
    radius: ArrayLike,
    *,
    lipschitz_constant: float = 1.0,
) -> float | Floats:
    r"""Area under the ROC curve that no attack of the given size can push lower.

    An adversary moves every row by at most `radius` in the l2 norm. A score with Lipschitz constant
    L then moves by at most :math:`L r`, at worst up for normal rows and down for outliers:

    .. math:: AUROC(r) = P(s_1 - s_0 > 2 L r) + \tfrac{1}{2} P(s_1 - s_0 = 2 L r)

    over pairs of an outlier's score :math:`s_1` and a normal row's score :math:`s_0`. With r = 0 it
    is the AUROC.

    Parameters
    ----------
    y_true : array-like of shape (n,)
        0 = normal, 1 = outlier; both occur.
    scores : array-like of shape (n,)
        Higher = more abnormal, as `decision_function` returns them.
    radius : float or array-like of floats
        l2 size of the attack, >= 0, in the units of the rows.
    lipschitz_constant : float, default=1.0
        L >= 0: proven bound of \|score(x) - score(x')\| / \|x - x'\|_2.

    Returns
    -------
    auroc : float or ndarray of the shape of `radius`
        In [0, 1].

    Raises
    ------
    ValueError
        If shapes differ, a value is not finite, a class is missing, or `radius` or
        `lipschitz_constant` is negative.

    Examples
    --------
    >>> y, scores = [0, 0, 1, 1], [-2.0, -1.0, 0.0, 1.0]
    >>> certified_roc_auc_score(y, scores, 0.0)
    1.0
    >>> certified_roc_auc_score(y, scores, [0.4, 0.6, 1.0, 2.0])
    array([1.  , 0.75, 0.5 , 0.  ])
    """
    y, s = _labels_and_scores(y_true, scores)
    shifts = 2.0 * _non_negative("radius", radius)
    shifts = shifts * _non_negative("lipschitz_constant", lipschitz_constant, ndim=0)
    normal, outlying = np.sort(s[~y]), s[y]
    auroc = np.reshape([_auroc(normal, outlying - shift) for shift in shifts.flat], shifts.shape)
    return auroc if auroc.ndim else float(auroc)


def best_threshold_accuracy(y_true: ArrayLike, scores: ArrayLike) -> float:
    """Highest accuracy that any threshold on the scores reaches.

    Rows with a score above the threshold count as outliers. The threshold is chosen with the labels
    in hand: an upper bound, not what a detector attains by itself.

    Parameters
    ----------
    y_true : array-like of shape (n,)
        0 = normal, 1 = outlier; both occur.
    scores : array-like of shape (n,)
        Higher = more abnormal.

    Returns
    -------
    accuracy : float
        In [0.5, 1]: a threshold beyond all scores gets the larger class right.

    Raises
    ------
    ValueError
        If shapes differ, a value is not finite or a class is missing.

    Examples
    --------
    >>> best_threshold_accuracy([0, 0, 1, 0, 1], [0.1, 0.2, 0.3, 0.3, 0.9])
    0.8
    """
    y, s = _labels_and_scores(y_true, scores)
    order = np.argsort(-s)
    gain = np.cumsum(np.where(y[order], 1, -1))  # correct rows won by calling the first k outliers
    separable = np.append(np.diff(s[order]) != 0, True)  # no threshold parts equal scores
    correct = np.count_nonzero(~y) + max(0, gain[separable].max())
    return float(correct / len(y))


def eikonal_error(gradients: ArrayLike) -> float:
    r"""Mean of :math:`|1 - \|g\|_2|` over gradients g: 0 for a distance function.

    Parameters
    ----------
    gradients : array-like of shape (n, d)
        Gradients of the score, one row a point.

    Returns
    -------
    error : float
        Without unit, >= 0; at most 1 for a 1-Lipschitz score.

    Raises
    ------
    ValueError
        If `gradients` is not 2-D, empty or not finite.

    Examples
    --------
    >>> eikonal_error([[1.0, 0.0], [0.3, 0.4]])
    0.25
    """
    g = _finite("gradients", gradients, ndim=2)
    return float(np.abs(1.0 - np.linalg.norm(g, axis=1)).mean())


def sdf_rmse(predicted: ArrayLike, true: ArrayLike, *, band: float | None = None) -> float:
    r"""Root mean square error of a signed distance.

    Parameters
    ----------
    predicted, true : array-like of one shape
        Signed distances at the same points, in the units of the input.
    band : float or None, default=None
        Count only the points with \|true\| <= band; None counts all.

    Returns
    -------
    rmse : float
        In the units of the input.

    Raises
    ------
    ValueError
        If shapes differ, a value is not finite, `band` is negative, or no point is left to count.

    Examples
    --------
    >>> sdf_rmse([0.1, 0.0, 5.0], [0.0, 0.1, 1.0], band=0.5)
    0.1
    """
    p, t = _finite("predicted", predicted), _finite("true", true)
    if p.shape != t.shape:
        raise ValueError(f"predicted and true must have one shape, got {p.shape} and {t.shape}")
    if band is not None:
        near = np.abs(t) <= _non_negative("band", band, ndim=0)
        if not near.any():
            raise ValueError(
                f"band must be >= {np.abs(t).min()}, the least |true|, to leave points, got {band}"
            )
        p, t = p[near], t[near]
    return float(np.sqrt(np.mean((p - t) ** 2)))


def _auroc(normal: Floats, outlying: Floats) -> float:
    """Share of pairs ranked rightly, ties counting half; `normal` is sorted."""
    below = np.searchsorted(normal, outlying, side="left")
    not_above = np.searchsorted(normal, outlying, side="right")
    return float((below + not_above).mean() / (2 * len(normal)))


def _finite(name: str, values: ArrayLike, *, ndim: int | None = None) -> Floats:
    array = np.asarray(values)
    if array.dtype.kind not in "biuf":
        raise ValueError(f"{name} must hold real numbers, got dtype {array.dtype}")
    if ndim is not None and array.ndim != ndim:
        raise ValueError(f"{name} must have {ndim} dimensions, got the shape {array.shape}")
    if array.size == 0:
        raise ValueError(f"{name} must not be empty, got the shape {array.shape}")
    if not np.isfinite(array).all():
        raise ValueError(f"{name} must be finite, got NaN or infinity")
    return array.astype(np.float64)


def _non_negative(name: str, values: ArrayLike, *, ndim: int | None = None) -> Floats:
    array = _finite(name, values, ndim=ndim)
    if array.min() < 0:
        raise ValueError(f"{name} must be >= 0, got {array.min()}")
    return array


def _labels_and_scores(y_true: ArrayLike, scores: ArrayLike) -> tuple[NDArray[np.bool_], Floats]:
    y, s = _finite("y_true", y_true, ndim=1), _finite("scores", scores, ndim=1)
    if len(y) != len(s):
        raise ValueError(f"y_true and scores must have one length, got {len(y)} and {len(s)}")
    classes = np.unique(y)
    if not np.array_equal(classes, [0, 1]):
        raise ValueError(
            f"y_true must hold both 0 (normal) and 1 (outlier) and nothing else, got {classes[:5]}"
        )
    return y == 1, s
