"""What all tests share: tolerances by name, seeded generators, a deterministic hypothesis."""

from __future__ import annotations

import gc
import random

import numpy as np
import pytest
import torch
from hypothesis import settings

settings.register_profile(
    "deterministic", derandomize=True, deadline=None, database=None, max_examples=50
)
settings.load_profile("deterministic")
# The tensors are small: a second thread costs more than it brings, above all under pytest-xdist.
torch.set_num_threads(1)

ORTHOGONAL = {torch.float32: 1e-5, torch.float64: 1e-14}
"""Largest distance of a singular value from 1 after every step, and after a polish."""

ROUNDING = {torch.float32: 1e-5, torch.float64: 1e-12}
"""Relative error left by a few hundred roundings."""

SIGNIFICANCE = 1e-3
"""Level of the Kolmogorov-Smirnov tests: with fixed seeds they pass or fail for good."""


def pytest_collection_finish():
    """Tests collect garbage often: leave out the objects of the imports, which are many."""
    gc.freeze()


def random_states() -> tuple[object, ...]:
    """Return the states of the three global random number generators, in comparable form."""
    name, keys, *rest = np.random.get_state()  # noqa: NPY002
    return random.getstate(), name, keys.tobytes(), *rest, torch.get_rng_state().numpy().tobytes()


@pytest.fixture
def global_rngs_untouched():
    """Fail the test if it moves a global random number generator."""
    before = random_states()
    yield
    assert random_states() == before


@pytest.fixture
def rng() -> np.random.Generator:
    """Return a NumPy generator with a fixed seed."""
    return np.random.default_rng(0)


@pytest.fixture
def generator() -> torch.Generator:
    """Return a torch generator with a fixed seed."""
    return torch.Generator().manual_seed(0)
