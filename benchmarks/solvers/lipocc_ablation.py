from __future__ import annotations

from functools import partial
from typing import Any

from benchmark_utils.lipocc import LipOCCSolver
from pyod_lipocc.domains import Box
from pyod_lipocc.negatives import LocalNoise, shuffled_marginals, uniform
from pyod_lipocc.sampler import newton_raphson

# "parameter-value" is a point of a curve; margins are in units of the scores
NOISE = LocalNoise(0.1, 10.0)  # in standardised units
SHORT_DENSE = {"network": "dense", "max_iter": 300}
SETTINGS: dict[str, dict[str, Any]] = {
    "default": {},
    # one step too small to be seen: the network as it starts
    "untrained": {"max_iter": 1, "learning_rate": 1e-12},
    "steps-200": {"max_iter": 200},
    "margin-0.1": {"margin": 0.1},
    "margin-0.4": {"margin": 0.4},
    "margin-1.6": {"margin": 1.6},
    "lambda-1": {"regularization": 1.0},
    "lambda-1000": {"regularization": 1000.0},
    "T-0": {"n_newton_steps": 0},
    "T-4": {"n_newton_steps": 4},
    "T-16": {"n_newton_steps": 16},
    "uniform-negatives": {"negatives": uniform},
    "keep-all-rows": {"novelty": True},
    "dense": {"network": "dense"},
    "dense-T-0": {"network": "dense", "n_newton_steps": 0},
    "dense-lambda-3": {"network": "dense", "regularization": 3.0},
}
# which initial negatives help where: the default of clean tables is the mixture of the three
PRIORS: dict[str, dict[str, Any]] = {
    "noise-negatives": {"negatives": NOISE},
    "shuffled-negatives": {"negatives": shuffled_marginals},
    "dense-mixed-negatives": SHORT_DENSE,
    "dense-uniform-negatives": SHORT_DENSE | {"negatives": uniform},
    "dense-noise-negatives": SHORT_DENSE | {"negatives": NOISE},
    "dense-shuffled-negatives": SHORT_DENSE | {"negatives": shuffled_marginals},
}
# what Algorithm 1 does for a network that learns from scratch: inside the range of the pixels, in a
# wider domain, which does not undo its steps, and with negatives that reach the boundary
WIDE = {"network": "dense", "n_newton_steps": 4, "domain": Box(-2.0, 3.0)}
OF_IMAGES: dict[str, dict[str, Any]] = {
    "dense-T-4": {"network": "dense", "n_newton_steps": 4},
    "dense-wide-T-4": WIDE | {"sampler": partial(newton_raphson, step_range=(0.0, 1.6))},
    "dense-wide-level-0": WIDE
    | {"sampler": partial(newton_raphson, step_range=(0.0, 1.6), level=0.0)},
    "dense-margin-2.3": {"network": "dense", "margin": 2.3},  # one and a half times the default's
}


class Solver(LipOCCSolver):
    """LipOCC with one ingredient changed."""

    name = "LipOCC-ablation"
    parameters = {"variant": [*SETTINGS, *PRIORS, *OF_IMAGES]}

    def skip(
        self, contamination: float, image_shape: tuple[int, ...] | None, **_: Any
    ) -> tuple[bool, str | None]:
        if self.variant in OF_IMAGES and image_shape is None:
            return True, "compared on images"
        if self.variant in {"T-0", "dense-T-0"} and image_shape is not None:
            return True, "images take no Newton steps"
        if self.variant == "keep-all-rows" and contamination == 0:
            return True, "all rows are kept where they are clean"
        if self.variant in PRIORS and (contamination > 0 or image_shape is not None):
            return True, "initial negatives are compared on clean tables"
        if self.variant == "uniform-negatives" and contamination > 0 and image_shape is None:
            return True, "negatives are uniform where tables are contaminated"
        return False, None

    def settings(self) -> dict[str, Any]:
        return (SETTINGS | PRIORS | OF_IMAGES)[self.variant]
