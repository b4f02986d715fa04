from __future__ import annotations

from typing import Any

import numpy as np
from benchopt import BaseObjective
from numpy.typing import NDArray
from pyod.utils.utility import precision_n_scores
from sklearn.metrics import average_precision_score, roc_auc_score

from pyod_lipocc.metrics import best_threshold_accuracy


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

    def evaluate_result(self, scores: NDArray, **measured: Any) -> dict[str, Any]:
        """Return the measures of the ranking and the sizes beside what the solver has measured."""
        return {
            "roc_auc": roc_auc_score(self.y_test, scores),
            "average_precision": average_precision_score(self.y_test, scores),
            "precision_at_n": precision_n_scores(self.y_test, scores),
            "best_threshold_accuracy": best_threshold_accuracy(self.y_test, scores),
            **measured,
            "n_train": len(self.X_train),
            "n_test": len(self.X_test),
            "n_features": self.X_train.shape[1],
        }

    def get_one_result(self) -> dict[str, Any]:
        return {"scores": np.arange(len(self.y_test), dtype=float)}
