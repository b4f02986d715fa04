from __future__ import annotations

from benchmark_utils import LEAST_CONTAMINATION, DetectorSolver
from pyod.models.iforest import IForest


class Solver(DetectorSolver):
    """PyOD's isolation forest."""

    name = "IForest"

    def build(self, seed: int) -> IForest:
        return IForest(contamination=self.contamination or LEAST_CONTAMINATION, random_state=seed)
