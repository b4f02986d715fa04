from __future__ import annotations

import numpy as np
from pyod.models.knn import KNN

from benchmark_utils.solver import LEAST_CONTAMINATION, DetectorSolver


class Solver(DetectorSolver):
    """PyOD's mean distance to the k nearest training rows."""

    name = "KNN"
    parameters = {"k": [1, 5]}

    def build(self, seed: int) -> KNN:
        return KNN(
            contamination=self.contamination or LEAST_CONTAMINATION,
            n_neighbors=self.k,
            method="mean",
        )

    def certificate(self, detector: KNN) -> dict[str, float]:
        """Return that a mean of distances moves at most as far as the row does."""
        return {"lipschitz_constant": 1.0, "gradient_norm": np.nan}
