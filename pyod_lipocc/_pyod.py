"""PyOD's base class, and for type checkers its signatures, which PyOD does not annotate."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from typing_extensions import Self

__all__ = ["BaseDetector"]

if TYPE_CHECKING:

    class BaseDetector:
        """What this package and its users call of `pyod.models.base.BaseDetector`."""

        contamination: Any
        decision_scores_: npt.NDArray[np.float64]
        labels_: npt.NDArray[np.int_]
        threshold_: float
        rejection_threshold_: float
        _classes: int
        _mu: float
        _sigma: float

        def __init__(self, contamination: Any = 0.1) -> None: ...
        def fit_predict(self, X: npt.ArrayLike, y: Any = None) -> npt.NDArray[np.int_]: ...
        def fit_predict_score(
            self, X: npt.ArrayLike, y: npt.ArrayLike, scoring: str = "roc_auc_score"
        ) -> float: ...
        def compute_rejection_stats(
            self,
            T: float = 32,
            delta: float = 0.1,
            c_fp: float = 1,
            c_fn: float = 1,
            c_r: float = -1,
            verbose: bool = False,
        ) -> tuple[float, float, float]: ...
        def get_params(self, deep: bool = True) -> dict[str, Any]: ...
        def set_params(self, **params: Any) -> Self: ...
        def __getstate__(self) -> dict[str, Any]: ...
        def __sklearn_clone__(self) -> Self: ...

else:
    from pyod.models.base import BaseDetector
