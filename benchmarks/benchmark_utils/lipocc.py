"""The detector of this package as a benchopt solver."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

import pyod_lipocc
from benchmark_utils.solver import DetectorSolver, source_digest
from pyod_lipocc import LipOCC

# modules that no fit and no score runs through: a change there leaves the ranking as it is
WITHOUT_EFFECT = {
    "_codec.py",
    "_fetch.py",
    "_files.py",
    "_fitted.py",
    "_onnx.py",
    "_registry.py",
    "_rounding.py",
    "adengine.py",
    "attacks.py",
    "certificates.py",  # proves `lipschitz_constant_`, equal but for rounding
    "conformal.py",
    "datasets.py",
    "explanations.py",
    "export.py",
    "metrics.py",
    "persistence.py",
    "plotting.py",
    "shapes.py",
    "synthesis.py",
}
DIGEST = source_digest(
    file
    for file in Path(pyod_lipocc.__file__).parent.rglob("*.py")
    if file.name not in WITHOUT_EFFECT
)
CONTAMINATION = 0.1  # of clean training parts: `threshold_` is to be passed by as many normal rows
GRADIENTS = 2000
BATCH = 128


class LipOCCSolver(DetectorSolver):
    """LipOCC with one set of parameters for all data; by default with its own."""

    version = f"pyod_lipocc {pyod_lipocc.__version__} ({DIGEST})"

    def settings(self) -> dict[str, Any]:
        """Return the parameters that are not as `build` has them."""
        return {}

    def build(self, seed: int) -> LipOCC:
        image = {"standardize": False, "image_shape": self.image_shape} if self.image_shape else {}
        parameters = {"novelty": self.contamination == 0, **image, **self.settings()}
        return LipOCC(self.contamination or CONTAMINATION, random_state=seed, **parameters)

    def certificate(self, detector: LipOCC) -> dict[str, float]:
        """Return the proven constant; the gradient is that at up to 2,000 test rows."""
        scorer = detector.to_torch()
        rows = torch.from_numpy(self.X_test[:: -(-len(self.X_test) // GRADIENTS)]).double()
        norms = []
        for batch in rows.split(BATCH):
            (gradient,) = torch.autograd.grad(scorer(batch.requires_grad_()).sum(), batch)
            norms.append(gradient.norm(dim=1))
        return {
            "lipschitz_constant": detector.lipschitz_constant_,
            "gradient_norm": float(torch.cat(norms).mean()),
        }
