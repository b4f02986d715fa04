"""The detector of this package as a benchopt solver."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from numpy.typing import NDArray

import pyod_lipocc
from pyod_lipocc import LipOCC

from .solver import DetectorSolver, source_digest

# no fit and no score of the package runs through these
WITHOUT_EFFECT = {
    *("adengine", "attacks", "conformal", "counterfactuals", "datasets", "explanations", "export"),
    *("metrics", "persistence", "plotting", "shapes", "synthesis"),
    "certificates",  # proves `lipschitz_constant_`, equal but for rounding
}
PACKAGE = Path(pyod_lipocc.__file__).parent
DIGEST = source_digest(
    file
    for file in PACKAGE.rglob("*.py")
    if file.relative_to(PACKAGE).parts[0].removesuffix(".py") not in WITHOUT_EFFECT
)
CONTAMINATION = 0.1  # of clean training parts: this share of normal rows is to pass `threshold_`
GRADIENTS = 2000
BATCH = 128


def gradient_norm(detector: LipOCC, X: NDArray) -> float:
    """Return the mean norm of the gradient of the score at up to 2,000 of the rows."""
    scorer = detector.to_torch().cpu()
    norms = []
    for batch in torch.from_numpy(X[:: -(-len(X) // GRADIENTS)]).double().split(BATCH):
        (gradient,) = torch.autograd.grad(scorer(batch.requires_grad_()).sum(), batch)
        norms.append(gradient.norm(dim=1))
    return float(torch.cat(norms).mean())


class LipOCCSolver(DetectorSolver):
    """LipOCC with one set of parameters for all data; by default with its own."""

    version = f"pyod_lipocc {pyod_lipocc.__version__} ({DIGEST})"

    def settings(self) -> dict[str, Any]:
        """Return parameters beside those that `build` sets, or in their place."""
        return {}

    def build(self, seed: int) -> LipOCC:
        image = {"standardize": False, "image_shape": self.image_shape} if self.image_shape else {}
        parameters = {"novelty": self.contamination == 0, **image, **self.settings()}
        return LipOCC(self.contamination or CONTAMINATION, random_state=seed, **parameters)

    def certificate(self, detector: LipOCC) -> dict[str, float]:
        """Return the proven constant, and the mean gradient norm at test rows."""
        return {
            "lipschitz_constant": detector.lipschitz_constant_,
            "gradient_norm": gradient_norm(detector, self.X_test),
        }
