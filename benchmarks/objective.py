from __future__ import annotations

from typing import Any

import numpy as np
from benchopt import BaseObjective
from numpy.typing import NDArray
from pyod.utils.utility import precision_n_scores
from sklearn.metrics import average_precision_score, roc_auc_score

from pyod_lipocc.metrics import best_threshold_accuracy, certified_roc_auc_score

RADII = (8, 16, 36, 72)  # of attacks on images, in 255ths of the range of a pixel


class Objective(BaseObjective):
    """Rank the outliers of the test part first, without having seen a label.

    A detector is fitted once on the training part and scores the test part once. Higher scores mean
    more abnormal.
    """

    name = "Outlier ranking"
    min_benchopt_version = "1.10"
    sampling_strategy = "run_once"
    test_dataset_name = "toy"
    # of one fit; timings compare only at equal numbers
    parameters = {"threads": [1]}

    def skip(
        self, y_test: NDArray | None = None, absent: str | None = None, **_: Any
    ) -> tuple[bool, str | None]:
        if absent is not None:
            return True, absent
        if len(np.unique(y_test)) < 2:
            return True, "the test part holds one class only, so that no ranking can be judged"
        return False, None

    def set_data(
        self,
        X_train: NDArray,
        X_test: NDArray,
        y_test: NDArray,
        contamination: float,
        image_shape: tuple[int, ...] | None = None,
    ) -> None:
        self.X_train, self.X_test, self.y_test = X_train, X_test, y_test
        self.contamination, self.image_shape = contamination, image_shape

    def get_objective(self) -> dict[str, Any]:
        return {
            "X_train": self.X_train,
            "X_test": self.X_test,
            "contamination": self.contamination,
            "image_shape": self.image_shape,
            "threads": self.threads,
        }

    def evaluate_result(
        self,
        scores: NDArray,
        threshold: float,
        lipschitz_constant: float,
        **measured: Any,
    ) -> dict[str, Any]:
        """Return the measures of the ranking and the sizes beside what the solver has measured."""
        return {
            "roc_auc": roc_auc_score(self.y_test, scores),
            "average_precision": average_precision_score(self.y_test, scores),
            "precision_at_n": precision_n_scores(self.y_test, scores),
            "best_threshold_accuracy": best_threshold_accuracy(self.y_test, scores),
            "alarm_rate": np.mean(scores > threshold),
            "false_alarm_rate": np.mean(scores[self.y_test == 0] > threshold),
            **self.certified_roc_auc(scores, lipschitz_constant),
            "lipschitz_constant": lipschitz_constant,
            **measured,
            "n_train": len(self.X_train),
            "n_test": len(self.X_test),
            "n_features": self.X_train.shape[1],
        }

    def certified_roc_auc(self, scores: NDArray, lipschitz_constant: float) -> dict[str, float]:
        """Return the ROC AUC that no attack of an l2 size pushes lower; nan where none is known."""
        certified = np.full(len(RADII), np.nan)
        if self.image_shape is not None and np.isfinite(lipschitz_constant):
            certified = certified_roc_auc_score(
                self.y_test,
                scores,
                np.array(RADII) / 255,
                lipschitz_constant=lipschitz_constant,
            )
        return {f"certified_roc_auc_{r}": auroc for r, auroc in zip(RADII, certified, strict=True)}

    def get_one_result(self) -> dict[str, Any]:
        scores = np.arange(len(self.y_test), dtype=float)
        return {"scores": scores, "threshold": scores.mean(), "lipschitz_constant": np.inf}
