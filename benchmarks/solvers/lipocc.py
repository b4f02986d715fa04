from __future__ import annotations

from pathlib import Path

import pyod_lipocc
from benchmark_utils import LEAST_CONTAMINATION, DetectorSolver, source_digest
from pyod_lipocc import LipOCC

# modules that no fit and no score runs through: a change there leaves the results as they are
WITHOUT_EFFECT = {
    "_fetch.py",
    "_files.py",
    "_registry.py",
    "attacks.py",
    "certificates.py",
    "datasets.py",
    "metrics.py",
    "persistence.py",
    "plotting.py",
    "synthesis.py",
}
DIGEST = source_digest(
    file
    for file in Path(pyod_lipocc.__file__).parent.rglob("*.py")
    if file.name not in WITHOUT_EFFECT
)


class Solver(DetectorSolver):
    """The detector of this package with its default settings."""

    name = "LipOCC"

    version = f"pyod_lipocc {pyod_lipocc.__version__} ({DIGEST})"

    def build(self, seed: int) -> LipOCC:
        image = {"standardize": False, "image_shape": self.image_shape} if self.image_shape else {}
        return LipOCC(
            contamination=self.contamination or LEAST_CONTAMINATION, random_state=seed, **image
        )
