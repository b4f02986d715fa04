"""Where a label becomes 1: by contamination, at the boundary, calibrated, or at a number."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from numbers import Real
from typing import Any, get_args

import numpy as np
import numpy.typing as npt

from pyod_lipocc._checks import check_number
from pyod_lipocc._parameters import ThresholdName
from pyod_lipocc.conformal import conformal_threshold, minimum_calibration
from pyod_lipocc.signed_distance import SignedDistance

__all__ = ["ThresholdRule"]

Floats = npt.NDArray[np.float64]

_SHARE_UNDER_A_THRESHOLD_OBJECT = 0.1  # PyOD's default contamination
_FEWEST_TO_HOLD_OUT, _FEWEST_IMAGES = 1000, 100
_MOST_HELD_OUT, _MOST_CALIBRATED = 1000, 100_000
_LONGEST_PERMUTATION = 1_000_000


@dataclass(frozen=True)
class ThresholdRule:
    """How the threshold follows from the training scores.

    Attributes
    ----------
    threshold : {"contamination", "boundary", "conformal"} or float
        PyOD's percentile; 0, the boundary of the support; the least threshold for which held-out
        rows bound the rate of false alarms; or the threshold itself.
    contamination : float or threshold object
    alpha, attack_radius : float
        Of "conformal".
    """

    threshold: ThresholdName | float
    contamination: Any
    alpha: float
    attack_radius: float

    @classmethod
    def of(cls, parameters: Mapping[str, Any]) -> ThresholdRule:
        """Return the rule of the parameters of `LipOCC`."""
        names = ("threshold", "contamination", "alpha", "attack_radius")
        return cls(*(parameters[name] for name in names))

    def __post_init__(self) -> None:
        names = get_args(ThresholdName)
        if not (isinstance(self.threshold, str) and self.threshold in names):
            accepted = f"or one of {', '.join(map(repr, names))}"
            check_number("threshold", self.threshold, accepted, lambda number: True)

    @property
    def share_of_outliers(self) -> float:
        """Contamination as a number; PyOD's default where an object finds the threshold."""
        is_share = isinstance(self.contamination, Real)
        return float(self.contamination) if is_share else _SHARE_UNDER_A_THRESHOLD_OBJECT

    def hold_out(
        self,
        n: int,
        leaves_own_rows_out: bool,
        rng: np.random.Generator,
        *,
        of_images: bool = False,
    ) -> npt.NDArray[np.intp]:
        """Choose the rows that are not trained on, for a threshold that new rows will respect.

        ======================================= ===================================================
        "conformal"                             a quarter of the rows (100,000 at most), or as many
                                                as `alpha` needs
        a network that leaves own rows out      none
        from 1,000 rows on                      a twentieth, at most 1,000
        100 to 999 images                       a tenth
        otherwise                               none
        ======================================= ===================================================

        Parameters
        ----------
        n : int
        leaves_own_rows_out : bool
            Whether the network can leave a row that it holds out of the score of that row.
        rng : numpy.random.Generator
        of_images : bool, default=False
            Whether the rows are images.

        Returns
        -------
        held_out : ndarray of int

        Raises
        ------
        ValueError
            If there are too few rows for "conformal".
        """
        if self.threshold == "conformal":
            least = minimum_calibration(self.alpha)
            if n <= least:
                raise ValueError(
                    f"alpha={self.alpha!r} needs at least {least + 1} rows for "
                    f"threshold='conformal', {least} of them to calibrate it, got {n}"
                )
            return _draw(n, max(least, min(n // 4, _MOST_CALIBRATED)), rng)
        fewest = _FEWEST_IMAGES if of_images else _FEWEST_TO_HOLD_OUT
        if leaves_own_rows_out or n < fewest:
            return np.empty(0, dtype=np.intp)
        share = 20 if n >= _FEWEST_TO_HOLD_OUT else 10
        return _draw(n, min(n // share, _MOST_HELD_OUT), rng)

    def label(
        self, scores: Floats, calibration_scores: Floats, distance: SignedDistance
    ) -> tuple[float, npt.NDArray[np.int_]]:
        """Label the training rows.

        Parameters
        ----------
        scores : ndarray of shape (n,)
        calibration_scores : ndarray of shape (n_held_out,)
            Of the rows held out of training.
        distance : SignedDistance
            Its Lipschitz constant bounds the effect of attacks.

        Returns
        -------
        threshold : float
            Rows with a greater score have the label 1.
        labels : ndarray of int of shape (n,)

        Raises
        ------
        ValueError
            If too few rows were held out for `alpha`.
        """
        if self.threshold == "contamination" and not isinstance(self.contamination, Real):
            self.contamination.fit(scores.copy())
            labels = self.contamination.labels_
            return _threshold_of_object(self.contamination.thresh_, scores, labels), labels
        value = self.value(partial(np.percentile, scores), calibration_scores, distance)
        return value, (scores > value).astype(int)

    def value(
        self,
        percentile: Callable[[float], float],
        calibration_scores: Floats,
        distance: SignedDistance,
    ) -> float:
        """Return the threshold, unless a threshold object finds it.

        Parameters
        ----------
        percentile : callable
            Maps a number from 0 to 100 to the percentile of the training scores.
        calibration_scores, distance
            As of `label`.

        Returns
        -------
        threshold : float

        Raises
        ------
        ValueError
            If too few rows were held out for `alpha`.
        """
        if self.threshold == "contamination":
            return float(percentile(100 * (1 - self.contamination)))
        if self.threshold == "boundary":
            return 0.0
        if self.threshold == "conformal":
            return self._conformal(calibration_scores, distance)
        return float(self.threshold)

    def _conformal(self, calibration_scores: Floats, distance: SignedDistance) -> float:
        found, least = len(calibration_scores), minimum_calibration(self.alpha)
        if found < least:
            raise ValueError(
                f"alpha={self.alpha!r} needs at least {least} rows held out of training, "
                f"got {found}: a fit with threshold='conformal' holds out a quarter of the "
                "rows, or as many as alpha needs"
            )
        return conformal_threshold(
            calibration_scores,
            self.alpha,
            radius=self.attack_radius,
            lipschitz_constant=distance.lipschitz_constant if self.attack_radius else 1.0,
        )


def _draw(n: int, size: int, rng: np.random.Generator) -> npt.NDArray[np.intp]:
    """Draw indices of rows in memory that n does not bound."""
    if n <= _LONGEST_PERMUTATION:  # so that draws are those of earlier versions
        return rng.permutation(n)[:size]
    return rng.choice(n, size=size, replace=False)


def _threshold_of_object(threshold: Any, scores: Floats, labels: npt.NDArray[np.int_]) -> float:
    """Return the threshold of an object in the units of the scores.

    PyThresh's own is in units of its own or None, and PyOD overwrites a 0 by the share of outliers.
    """
    if threshold is not None and np.array_equal(scores > threshold, labels):
        return float(threshold)
    return float(scores[labels == 0].max(initial=scores.min()))
