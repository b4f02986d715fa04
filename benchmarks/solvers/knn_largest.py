from __future__ import annotations

import numpy as np
from pyod.models.knn import KNN

from benchmark_utils.solver import LEAST_CONTAMINATION, DetectorSolver


class Solver(DetectorSolver):
    """PyOD's distance to the fifth nearest training row."""

    name = "KNN-largest"

    def build(self, seed: int) -> KNN:
        return KNN(
            contamination=self.contamination or LEAST_CONTAMINATION,
            n_neighbors=5,
            method="largest",
        )

    def certificate(self, detector: KNN) -> dict[str, float]:
        """Return that the fifth smallest distance moves at most as far as the row does."""
        return {"lipschitz_constant": 1.0, "gradient_norm": np.nan}
