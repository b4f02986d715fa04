"""Where a label becomes 1: by contamination, at the boundary, or calibrated on held-out rows."""

from __future__ import annotations

from numbers import Real
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from pyod_lipocc.conformal import conformal_threshold, minimum_calibration
from pyod_lipocc.lipschitz import NearestSubspace

__all__ = ["ThresholdMethods"]

_FEWEST_TO_HOLD_OUT = 1000
_MOST_HELD_OUT = 1000


class ThresholdMethods:
    """Training scores, threshold and labels of a detector with the parameters of `LipOCC`."""

    if TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any:
            """Stand for the parameters and fitted attributes of the detector."""

    def _hold_out(self, n: int, rng: np.random.Generator) -> npt.NDArray[np.intp]:
        """Choose the rows that are not trained on, for a threshold that new rows will respect."""
        if self.threshold == "conformal":
            least = minimum_calibration(self.alpha)
            if n <= least:
                raise ValueError(
                    f"alpha={self.alpha!r} needs at least {least + 1} rows for "
                    f"threshold='conformal', {least} of them to calibrate it, got {n}"
                )
            return rng.permutation(n)[: max(least, n // 4)]
        leaves_rows_out = self.image_shape is None and self.network in ("auto", "nearest-subspace")
        if leaves_rows_out or n < _FEWEST_TO_HOLD_OUT:
            return np.empty(0, dtype=np.intp)
        return rng.permutation(n)[: min(n // 20, _MOST_HELD_OUT)]

    def _set_threshold(
        self,
        X: npt.NDArray[Any],
        *,
        own: npt.NDArray[np.intp],
        held_out: npt.NDArray[np.intp],
    ) -> None:
        """Score X and set threshold and labels.

        Rows that the network holds as its `own` are scored as if it did not. Where rows were held
        out, the others are raised by what training has lowered them, as the percentile shows.
        """
        self.decision_scores_ = self._score(X)
        layers = [m for m in self.network_.modules() if isinstance(m, NearestSubspace)]
        if len(own) and any(layer.leave_one_out for layer in layers):
            self.network_.train()
            self.decision_scores_[own] = self._score(X[own])
            self.network_.eval()
        elif len(held_out):
            seen = np.delete(np.arange(len(X)), held_out)
            level = 1 - self._share_of_outliers
            unseen, lowered = (
                np.quantile(self.decision_scores_[i], level) for i in (held_out, seen)
            )
            self.decision_scores_[seen] += max(unseen - lowered, 0.0)
        self._set_n_classes(None)
        self._process_decision_scores()
        if self.threshold == "contamination":
            if not isinstance(self.contamination, Real):
                self.threshold_ = self._threshold_of_object()
            return
        self.threshold_ = 0.0
        if self.threshold == "conformal":
            self.threshold_ = conformal_threshold(
                self.decision_scores_[held_out],
                self.alpha,
                radius=self.attack_radius,
                lipschitz_constant=self.lipschitz_constant_,
            )
        self.labels_ = (self.decision_scores_ > self.threshold_).astype(int)

    @property
    def _share_of_outliers(self) -> float:
        """Contamination as a number; PyOD's default where an object finds the threshold."""
        return float(self.contamination) if isinstance(self.contamination, Real) else 0.1

    def _threshold_of_object(self) -> float:
        """Return the threshold of an object in the units of the scores.

        PyThresh's own is in units of its own or None, and PyOD overwrites a 0 by the share of
        outliers.
        """
        threshold, scores = self.contamination.thresh_, self.decision_scores_
        if threshold is not None and np.array_equal(scores > threshold, self.labels_):
            return float(threshold)
        return float(scores[self.labels_ == 0].max(initial=scores.min()))
