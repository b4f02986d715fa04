from __future__ import annotations

from pyod.models.knn import KNN

from benchmark_utils import LEAST_CONTAMINATION, DetectorSolver


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
