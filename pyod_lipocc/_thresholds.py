"""Where a label becomes 1: by contamination, at the boundary, calibrated, or at a number."""

from __future__ import annotations

from numbers import Real
from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.utils.validation import check_is_fitted
from typing_extensions import Self

from pyod_lipocc._auto import leaves_own_rows_out, threads_for
from pyod_lipocc._isolation import isolated
from pyod_lipocc._state import DetectorState
from pyod_lipocc._validation import ThresholdName, check_parameters, check_threshold
from pyod_lipocc.conformal import conformal_threshold, minimum_calibration
from pyod_lipocc.lipschitz import NearestSubspace

__all__ = ["ThresholdMethods"]

_FEWEST_TO_HOLD_OUT = 1000
_MOST_HELD_OUT = 1000
_RULES = {"contamination": "contamination", "alpha": "conformal", "attack_radius": "conformal"}


class ThresholdMethods(DetectorState):
    """Training scores, threshold and labels of a detector with the parameters of `LipOCC`."""

    @isolated()
    def set_threshold(
        self,
        threshold: ThresholdName | float = "contamination",
        *,
        contamination: Any = None,
        alpha: float | None = None,
        attack_radius: float | None = None,
    ) -> Self:
        """Set another threshold without learning again; `labels_` follow.

        The support stays as it was learned, and the parameters stay as they were given: the next
        `fit` or `partial_fit` labels by the parameters again.

        Parameters
        ----------
        threshold : {"contamination", "boundary", "conformal"} or float, default="contamination"
            The rule, as the parameter of `LipOCC`, or the threshold itself, in the units of the
            scores. "conformal" needs rows that `fit` has held out, see `calibration_scores_`.
        contamination : float in (0, 0.5] or threshold object, optional
            For "contamination"; None: the parameter.
        alpha : float in (0, 1), optional
            For "conformal"; None: the parameter.
        attack_radius : float, optional
            For "conformal"; None: the parameter.

        Returns
        -------
        self : LipOCC
            With new `threshold_`, `labels_` and `contamination_`.

        Raises
        ------
        NotFittedError
            Before `fit`.
        ValueError
            If an argument is out of range, or too few rows were held out for `alpha`. The detector
            is then as it was before.

        Examples
        --------
        >>> from pyod_lipocc import LipOCC
        >>> X = np.random.default_rng(0).normal(size=(200, 2))
        >>> detector = LipOCC(contamination=0.1, random_state=0).fit(X)
        >>> int(detector.labels_.sum())
        20
        >>> int(detector.set_threshold(contamination=0.05).labels_.sum())
        10
        """
        check_is_fitted(self, "network_")
        given = {"contamination": contamination, "alpha": alpha, "attack_radius": attack_radius}
        options = {
            name: getattr(self, name) if value is None else value for name, value in given.items()
        }
        check_threshold(threshold)
        for name, value in given.items():
            if value is not None and threshold != _RULES[name]:
                raise ValueError(
                    f"{name} must be None unless threshold={_RULES[name]!r}, got {value!r} with "
                    f"threshold={threshold!r}"
                )
        check_parameters(self.get_params(deep=False) | options, type(self).__name__)
        if threshold == "conformal":
            found, least = len(self.calibration_scores_), minimum_calibration(options["alpha"])
            if found < least:
                raise ValueError(
                    f"alpha={options['alpha']!r} needs at least {least} rows held out of training, "
                    f"got {found}: a fit with threshold='conformal' holds out a quarter of the "
                    "rows, or as many as alpha needs"
                )
        self._label(threshold, **options)
        return self

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
        if leaves_own_rows_out(self.network, self.image_shape) or n < _FEWEST_TO_HOLD_OUT:
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

        The network scores the rows that it holds as its `own` as if it did not hold them. Where
        rows were held out, the scores of the others are too low: the percentile shows by how much.
        """
        with threads_for(self.network_):
            scores = self._score(X)
            layers = [m for m in self.network_.modules() if isinstance(m, NearestSubspace)]
            leave_out = len(own) and any(layer.leave_one_out for layer in layers)
            if leave_out:
                for layer in layers:
                    layer.train()
                scores[own] = self._score(X[own], self.network_)
                self.network_.eval()
        if not leave_out and len(held_out):
            seen = np.delete(np.arange(len(X)), held_out)
            level = 1 - self._share_of_outliers
            unseen, lowered = (np.quantile(scores[rows], level) for rows in (held_out, seen))
            scores[seen] += max(unseen - lowered, 0.0)
        self.decision_scores_, self.calibration_scores_ = scores, scores[held_out]
        self._set_n_classes(None)
        self._process_decision_scores()

    def _process_decision_scores(self) -> Self:
        """Set what PyOD derives from the training scores, by the rule of the parameters."""
        self._mu = float(np.mean(self.decision_scores_))
        self._sigma = float(np.std(self.decision_scores_))
        self._label(self.threshold, self.contamination, self.alpha, self.attack_radius)
        return self

    def _label(
        self,
        threshold: ThresholdName | float,
        contamination: Any,
        alpha: float,
        attack_radius: float,
    ) -> None:
        """Set what follows from a threshold, all at once."""
        scores = self.decision_scores_
        value: float
        if threshold == "contamination" and not isinstance(contamination, Real):
            contamination.fit(scores.copy())
            labels = contamination.labels_
            value = _threshold_of_object(contamination.thresh_, scores, labels)
        else:
            if threshold == "contamination":
                value = float(np.percentile(scores, 100 * (1 - contamination)))
            elif threshold == "boundary":
                value = 0.0
            elif threshold == "conformal":
                value = conformal_threshold(
                    self.calibration_scores_,
                    alpha,
                    radius=attack_radius,
                    lipschitz_constant=self.lipschitz_constant_,
                )
            else:
                value = float(threshold)
            labels = (scores > value).astype(int)
        expected = isinstance(contamination, Real) and threshold in (
            "contamination",
            self.threshold,
        )
        self.threshold_, self.labels_ = value, labels
        self.contamination_ = float(contamination if expected else np.mean(labels))


def _threshold_of_object(
    threshold: Any, scores: npt.NDArray[np.float64], labels: npt.NDArray[np.int_]
) -> float:
    """Return the threshold of an object in the units of the scores.

    PyThresh's own is in units of its own or None, and PyOD overwrites a 0 by the share of outliers.
    """
    if threshold is not None and np.array_equal(scores > threshold, labels):
        return float(threshold)
    return float(scores[labels == 0].max(initial=scores.min()))
