from __future__ import annotations

from pyod.models.iforest import IForest

from benchmark_utils.solver import LEAST_CONTAMINATION, DetectorSolver


class Solver(DetectorSolver):
    """PyOD's isolation forest."""

    name = "IForest"

    def build(self, seed: int) -> IForest:
        return IForest(contamination=self.contamination or LEAST_CONTAMINATION, random_state=seed)
