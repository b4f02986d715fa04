"""The detector that the tests of the detector share: small, quick and seeded."""

from __future__ import annotations

from functools import partial

import numpy as np

from pyod_lipocc import LipOCC
from pyod_lipocc.lipschitz import dense


def small(**parameters):
    quick = {"max_iter": 30, "network": partial(dense, hidden=(16, 16)), "random_state": 0}
    return LipOCC(**(quick | parameters))


def cloud(n_rows=100, n_features=3, seed=0):
    return np.random.default_rng(seed).normal(size=(n_rows, n_features))


def fitted_state(detector):
    """Everything a failed call must leave alone: the names on the object and what it answers."""
    answers = detector.decision_function(cloud(20)) if hasattr(detector, "network_") else None
    return sorted(vars(detector)), answers


def assert_untouched(detector, before):
    names, answers = fitted_state(detector)
    assert names == before[0]
    np.testing.assert_array_equal(answers, before[1])
