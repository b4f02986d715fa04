r"""Figures of merit for scores that are distances: certified rates, errors of a field, of a set.

Certified figures hold against an adversary who moves every row by at most r in the l2 norm. A score
with :math:`|s(x) - s(x')| \le L \|x - x'\|_2` then moves by at most :math:`L r`: at worst up for
normal rows and down for outliers.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.spatial import cKDTree

from pyod_lipocc._checks import check_integer, finite_array
from pyod_lipocc._isolation import isolated

__all__ = [
    "best_threshold_accuracy",
    "certified_accuracy_score",
    "certified_error_rates",
    "certified_roc_auc_curve",
    "certified_roc_auc_score",
    "chamfer_distance",
    "eikonal_error",
    "hausdorff_distance",
    "sdf_rmse",
]

Floats = NDArray[np.float64]


@isolated()
def certified_roc_auc_score(
    y_true: ArrayLike,
    scores: ArrayLike,
    radius: ArrayLike,
    *,
    lipschitz_constant: float = 1.0,
) -> float | Floats:
    r"""Area under the ROC curve that no attack of the given size can push lower.

    .. math:: AUROC(r) = P(s_1 - s_0 > 2 L r) + \tfrac{1}{2} P(s_1 - s_0 = 2 L r)

    over pairs of an outlier's score :math:`s_1` and a normal row's score :math:`s_0`.

    Parameters
    ----------
    y_true : array-like of shape (n,)
        0 = normal, 1 = outlier; both occur.
    scores : array-like of shape (n,)
        Higher = more abnormal, as `decision_function` returns them.
    radius : float or array-like of floats
        r >= 0: l2 size of the attack, in the units of the rows.
    lipschitz_constant : float, default=1.0
        L >= 0: proven Lipschitz constant of the score.

    Returns
    -------
    auroc : float or ndarray of the shape of `radius`
        The AUROC where r = 0.

    Raises
    ------
    ValueError
        If shapes differ, a value is not finite or out of range, or a class is missing.

    Examples
    --------
    >>> y, scores = [0, 0, 1, 1], [-2.0, -1.0, 0.0, 1.0]
    >>> certified_roc_auc_score(y, scores, 0.0)
    1.0
    >>> certified_roc_auc_score(y, scores, [0.4, 0.6, 1.0, 2.0])
    array([1.  , 0.75, 0.5 , 0.  ])
    """
    y, s = _labels_and_scores(y_true, scores)
    shifts = 2.0 * _shifts(radius, lipschitz_constant)
    normal, outlying = np.sort(s[~y]), s[y]
    return _each(lambda shift: _auroc(normal, outlying - shift), shifts)


@isolated()
def certified_roc_auc_curve(
    y_true: ArrayLike,
    scores: ArrayLike,
    *,
    n_radii: int = 101,
    lipschitz_constant: float = 1.0,
) -> tuple[Floats, Floats]:
    """Certified AUROC at evenly spaced radii, from no attack until nothing is certified.

    Parameters
    ----------
    y_true, scores
        As in `certified_roc_auc_score`.
    n_radii : int, default=101
        At least 2.
    lipschitz_constant : float, default=1.0
        L > 0.

    Returns
    -------
    radii : ndarray of shape (n_radii,)
        From 0 to the radius that closes the widest gap between an outlier and a normal row, in the
        units of the rows. All are 0 where no outlier scores above a normal row.
    auroc : ndarray of shape (n_radii,)
        `certified_roc_auc_score` at the radii; never rises.

    Raises
    ------
    ValueError
        As `certified_roc_auc_score`.

    Examples
    --------
    >>> certified_roc_auc_curve([0, 0, 1, 1], [-2.0, -1.0, 0.0, 1.0], n_radii=4)
    (array([0. , 0.5, 1. , 1.5]), array([1.   , 0.875, 0.5  , 0.125]))
    """
    y, s = _labels_and_scores(y_true, scores)
    constant = float(_non_negative("lipschitz_constant", lipschitz_constant, ndim=0))
    if constant == 0:
        raise ValueError("lipschitz_constant must be > 0 for the curve to end, got 0.0")
    check_integer("n_radii", n_radii, 2)
    widest_gap = max(0.0, s[y].max() - s[~y].min())
    radii = np.linspace(0.0, widest_gap / (2 * constant), int(n_radii))
    auroc = certified_roc_auc_score(y, s, radii, lipschitz_constant=constant)
    return radii, np.asarray(auroc)


@isolated()
def certified_error_rates(
    y_true: ArrayLike,
    scores: ArrayLike,
    radius: ArrayLike,
    *,
    threshold: float = 0.0,
    lipschitz_constant: float = 1.0,
) -> tuple[float | Floats, float | Floats]:
    r"""False-alarm and miss rate that no attack of the given size can push higher.

    .. math:: FA(r) = P(s_0 + L r > t), \quad MISS(r) = P(s_1 - L r \le t)

    for the scores :math:`s_0` of normal rows and :math:`s_1` of outliers: a score above t is an
    alarm.

    Parameters
    ----------
    y_true, scores, radius, lipschitz_constant
        As in `certified_roc_auc_score`.
    threshold : float, default=0.0
        t, such as a detector's `threshold_`.

    Returns
    -------
    false_alarm_rate : float or ndarray of the shape of `radius`
        At least the share of normal rows called outliers.
    miss_rate : float or ndarray of the shape of `radius`
        At least the share of outliers called normal.

    Raises
    ------
    ValueError
        As `certified_roc_auc_score`.

    Examples
    --------
    >>> y, scores = [0, 0, 1, 1], [-2.0, -1.0, 0.5, 2.0]
    >>> certified_error_rates(y, scores, 0.0)
    (0.0, 0.0)
    >>> certified_error_rates(y, scores, [1.0, 1.5])
    (array([0. , 0.5]), array([0.5, 0.5]))
    """
    y, s = _labels_and_scores(y_true, scores)
    t = float(finite_array("threshold", threshold, ndim=0))
    shifts = _shifts(radius, lipschitz_constant)
    # Shift the scores, as the definition does, not the threshold: the rounding differs.
    false_alarm_rate = _each(lambda shift: np.mean(s[~y] + shift > t), shifts)
    miss_rate = _each(lambda shift: np.mean(s[y] - shift <= t), shifts)
    return false_alarm_rate, miss_rate


@isolated()
def certified_accuracy_score(
    y_true: ArrayLike,
    scores: ArrayLike,
    radius: ArrayLike,
    *,
    threshold: float = 0.0,
    lipschitz_constant: float = 1.0,
) -> float | Floats:
    """Share of rows that are rightly labelled, whatever an attack of the given size does.

    Parameters
    ----------
    y_true, scores, radius, threshold, lipschitz_constant
        As in `certified_error_rates`.

    Returns
    -------
    accuracy : float or ndarray of the shape of `radius`
        The accuracy where r = 0.

    Raises
    ------
    ValueError
        As `certified_error_rates`.

    Examples
    --------
    >>> certified_accuracy_score([0, 0, 1, 1], [-2.0, -1.0, 0.5, 2.0], [0.0, 1.0, 1.5])
    array([1.  , 0.75, 0.5 ])
    """
    false_alarms, misses = certified_error_rates(
        y_true, scores, radius, threshold=threshold, lipschitz_constant=lipschitz_constant
    )
    share = np.mean(np.asarray(y_true) == 1)
    accuracy = (1 - share) * (1 - np.asarray(false_alarms)) + share * (1 - np.asarray(misses))
    return accuracy if accuracy.ndim else float(accuracy)


@isolated()
def best_threshold_accuracy(y_true: ArrayLike, scores: ArrayLike) -> float:
    """Highest accuracy that any threshold on the scores reaches.

    Rows with a score above the threshold count as outliers. The labels choose the threshold: no
    detector attains more by itself.

    Parameters
    ----------
    y_true, scores
        As in `certified_roc_auc_score`.

    Returns
    -------
    accuracy : float
        In [0.5, 1]: a threshold beyond all scores gets the larger class right.

    Raises
    ------
    ValueError
        As `certified_roc_auc_score`.

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


@isolated()
def eikonal_error(gradients: ArrayLike) -> float:
    r"""Mean of :math:`|1 - \|g\|_2|` over gradients g: 0 for a distance function.

    Parameters
    ----------
    gradients : array-like of shape (n, d)
        Gradients of the score, a row for each point.

    Returns
    -------
    error : float
        At most 1 for a 1-Lipschitz score.

    Raises
    ------
    ValueError
        If `gradients` is not 2-D, empty or not finite.

    Examples
    --------
    >>> eikonal_error([[1.0, 0.0], [0.3, 0.4]])
    0.25
    """
    g = finite_array("gradients", gradients, ndim=2)
    return float(np.abs(1.0 - np.linalg.norm(g, axis=1)).mean())


@isolated()
def sdf_rmse(predicted: ArrayLike, true: ArrayLike, *, band: float | None = None) -> float:
    """Root mean square error of a signed distance.

    Parameters
    ----------
    predicted, true : array-like of one shape
        Signed distances at the same points, in the units of the input.
    band : float or None, default=None
        Count only points within this distance of the boundary; None counts all.

    Returns
    -------
    rmse : float
        In the units of the input.

    Raises
    ------
    ValueError
        If shapes differ, a value is not finite or out of range, or no point is left to count.

    Examples
    --------
    >>> sdf_rmse([0.1, 0.0, 5.0], [0.0, 0.1, 1.0], band=0.5)
    0.1
    """
    p, t = finite_array("predicted", predicted), finite_array("true", true)
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


@isolated()
def chamfer_distance(first: ArrayLike, second: ArrayLike) -> float:
    """Mean distance from a point of either set to the nearest point of the other.

    Each set counts as one half; distances are l2 and not squared. Between samples of a surface the
    mean is hardly smaller than the spacing of the samples.

    Parameters
    ----------
    first : array-like of shape (n, d)
    second : array-like of shape (k, d)

    Returns
    -------
    distance : float
        In the units of the points; symmetric.

    Raises
    ------
    ValueError
        If a set is not 2-D, empty or not finite, or the widths differ.

    Examples
    --------
    >>> chamfer_distance([[0.0], [1.0]], [[0.0], [1.5], [3.0]])
    0.541666...
    """
    forth, back = _nearest_distances(first, second)
    return float(forth.mean() + back.mean()) / 2


@isolated()
def hausdorff_distance(first: ArrayLike, second: ArrayLike) -> float:
    """Largest distance from a point of either set to the nearest point of the other.

    Parameters
    ----------
    first, second
        As in `chamfer_distance`.

    Returns
    -------
    distance : float
        In the units of the points; symmetric.

    Raises
    ------
    ValueError
        As `chamfer_distance`.

    Examples
    --------
    >>> hausdorff_distance([[0.0], [1.0]], [[0.0], [1.5], [3.0]])
    2.0
    """
    forth, back = _nearest_distances(first, second)
    return float(max(forth.max(), back.max()))


def _shifts(radius: ArrayLike, lipschitz_constant: float) -> Floats:
    """Return how far attacks can move a score."""
    constant = _non_negative("lipschitz_constant", lipschitz_constant, ndim=0)
    return _non_negative("radius", radius) * constant


def _each(figure: Callable[[float], Any], shifts: Floats) -> float | Floats:
    """Return the figure at every shift, in the shape of the shifts."""
    figures = np.reshape([figure(shift) for shift in shifts.flat], shifts.shape)
    return figures if figures.ndim else float(figures)


def _auroc(normal: Floats, outlying: Floats) -> float:
    """Share of pairs ranked rightly, ties counting half; `normal` is sorted."""
    below = np.searchsorted(normal, outlying, side="left")
    not_above = np.searchsorted(normal, outlying, side="right")
    return float((below + not_above).mean() / (2 * len(normal)))


def _nearest_distances(first: ArrayLike, second: ArrayLike) -> tuple[Floats, Floats]:
    """Return the distance of each point to the other set, for both sets."""
    a, b = finite_array("first", first, ndim=2), finite_array("second", second, ndim=2)
    if a.shape[1] != b.shape[1]:
        raise ValueError(f"first and second must have one width, got {a.shape} and {b.shape}")
    return cKDTree(b).query(a)[0], cKDTree(a).query(b)[0]


def _non_negative(name: str, values: ArrayLike, *, ndim: int | None = None) -> Floats:
    array = finite_array(name, values, ndim=ndim)
    if array.min() < 0:
        raise ValueError(f"{name} must be >= 0, got {array.min()}")
    return array


def _labels_and_scores(y_true: ArrayLike, scores: ArrayLike) -> tuple[NDArray[np.bool_], Floats]:
    y, s = finite_array("y_true", y_true, ndim=1), finite_array("scores", scores, ndim=1)
    if len(y) != len(s):
        raise ValueError(f"y_true and scores must have one length, got {len(y)} and {len(s)}")
    classes = np.unique(y)
    if not np.array_equal(classes, [0, 1]):
        raise ValueError(
            f"y_true must hold both 0 (normal) and 1 (outlier) and nothing else, got {classes[:5]}"
        )
    return y == 1, s
