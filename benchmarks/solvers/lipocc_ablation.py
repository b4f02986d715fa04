from __future__ import annotations

from typing import Any

from benchmark_utils import LipOCCSolver
from pyod_lipocc.negatives import uniform

SETTINGS: dict[str, dict[str, Any]] = {
    "default": {},
    # one step too small to be seen: the network as it starts
    "untrained": {"max_iter": 1, "learning_rate": 1e-12},
    "steps-200": {"max_iter": 200},
    "lambda-1": {"regularization": 1.0},
    "lambda-1000": {"regularization": 1000.0},
    "T-4": {"n_newton_steps": 4},
    "uniform-negatives": {"negatives": uniform},
    "keep-all-rows": {"novelty": True},
    "dense": {"network": "dense"},
}


class Solver(LipOCCSolver):
    """LipOCC with one ingredient changed."""

    name = "LipOCC-ablation"
    parameters = {"variant": list(SETTINGS)}

    def skip(
        self, contamination: float, image_shape: tuple[int, ...] | None, **_: Any
    ) -> tuple[bool, str | None]:
        if self.variant == "keep-all-rows" and contamination == 0:
            return True, "all rows are kept where they are clean"
        if self.variant == "uniform-negatives" and contamination > 0 and image_shape is None:
            return True, "negatives are uniform where tables are contaminated"
        return False, None

    def settings(self) -> dict[str, Any]:
        return SETTINGS[self.variant]
