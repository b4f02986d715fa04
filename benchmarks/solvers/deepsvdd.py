from __future__ import annotations

import numpy as np
from pyod.models.deep_svdd import DeepSVDD

from benchmark_utils.solver import LEAST_CONTAMINATION, DetectorSolver


class Solver(DetectorSolver):
    """PyOD's Deep SVDD."""

    name = "DeepSVDD"

    def build(self, seed: int) -> DeepSVDD:
        np.random.seed(seed)  # noqa: NPY002  it shuffles with NumPy's global generator
        return DeepSVDD(
            n_features=self.X_train.shape[1],
            contamination=self.contamination or LEAST_CONTAMINATION,
            random_state=seed,
            verbose=0,
        )
