from __future__ import annotations

from pyod.models.ocsvm import OCSVM

from benchmark_utils.solver import LEAST_CONTAMINATION, DetectorSolver


class Solver(DetectorSolver):
    """PyOD's one-class support vector machine."""

    name = "OCSVM"

    def build(self, seed: int) -> OCSVM:
        return OCSVM(contamination=self.contamination or LEAST_CONTAMINATION)
