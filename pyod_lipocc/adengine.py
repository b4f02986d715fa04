"""LipOCC in PyOD's ADEngine, which plans, builds and runs detectors by their names."""

from __future__ import annotations

import copy
from typing import Any

from pyod.utils.ad_engine import ADEngine

__all__ = ["register"]

_ENTRY: dict[str, Any] = {
    "class_path": "pyod_lipocc.LipOCC",
    "full_name": "Lipschitz One-Class Classifier",
    "status": "shipped",
    "data_types": ["tabular"],
    "category": "deep_learning",
    "complexity": {"time": "O(steps * batch * (d * h + h^2))", "space": "O(d * h + h^2)"},
    "strengths": [
        "Scores are signed distances to the boundary of the normal data",
        "Every score comes with a proven Lipschitz bound",
        "The number of training steps does not grow with the number of rows",
    ],
    "weaknesses": [
        "Slower to train than detectors without a network",
        "Distances depend on the scale of the features",
    ],
    "best_for": "One-class detection where scores must be robust or have a unit",
    "avoid_when": "Training must take less than seconds",
    "benchmark_refs": [],
    "benchmark_rank": {},
    "paper": {
        "id": "lipocc",
        "short": "Béthune & Serrurier, ML Safety Workshop, NeurIPS 2022",
    },
    "default_params": {"contamination": 0.1},
    "preprocessing_mode": "internal",
    "requires": ["torch"],
    "version_added": None,
}


def register(engine: ADEngine) -> None:
    """Make LipOCC known to an engine, which can then plan, build, run and explain it.

    PyOD's routing rules do not choose LipOCC: name it in ``engine.make_plan``.

    Parameters
    ----------
    engine : pyod.utils.ad_engine.ADEngine
        Changed in place; other engines stay as they are. Registering again changes nothing.

    Examples
    --------
    >>> import numpy as np
    >>> from pyod.utils.ad_engine import ADEngine
    >>> engine = ADEngine(random_state=0)
    >>> register(engine)
    >>> plan = engine.make_plan(["LipOCC"], params=[{"max_iter": 20}])
    >>> result = engine.run_detection(np.random.default_rng(0).normal(size=(100, 2)), plan)
    >>> result["n_anomalies"]
    10
    """
    engine.kb.algorithms["LipOCC"] = copy.deepcopy(_ENTRY)
