"""Matrices, directions and steps that all tests of the Stiefel manifold share."""

from __future__ import annotations

import itertools

import pytest
import torch
from hypothesis import strategies as st

from pyod_lipocc.stiefel import StiefelAdam, StiefelRMSprop, sample_stiefel

SHAPES = {
    "square": (6, 6),
    "tall": (9, 4),
    "wide": (4, 9),
    "row": (1, 7),
    "column": (7, 1),
    "scalar": (1, 1),
    "batched tall": (3, 5, 2),
    "batched wide": (2, 3, 2, 5),
}
EVERY_SHAPE = pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
OPTIMIZERS = pytest.mark.parametrize("optimizer_class", [StiefelAdam, StiefelRMSprop])
ANY_SHAPE = st.sampled_from(list(SHAPES.values()))
ANY_DTYPE = st.sampled_from([torch.float32, torch.float64])
ANY_SEED = st.integers(0, 2**16)

STEPS = (1e-2, 1e-3, 1e-4)


def powers_of_ten(low, high):
    """Draw numbers whose logarithms are spread evenly."""
    return st.floats(low, high).map(lambda exponent: 10.0**exponent)


def largest_deviation(weight):
    """Largest |sigma - 1|, computed in float64."""
    return float((torch.linalg.svdvals(weight.detach().double()) - 1).abs().max())


def randn(*shape, seed=0, dtype=torch.float64):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def point(shape, seed=0, dtype=torch.float64):
    return sample_stiefel(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def assert_quadratic(errors):
    """Errors at the steps of STEPS fall with the square of the step, or are rounding already."""
    for before, after in itertools.pairwise(errors):
        assert after <= before / 50 or after < 1e-12


GRADIENTS = {
    "random": lambda weight, step: randn(*weight.shape, seed=step),
    "huge": lambda weight, step: 1e6 * randn(*weight.shape, seed=step),
    "tiny": lambda weight, step: 1e-30 * randn(*weight.shape, seed=step),
    "zero": lambda weight, step: torch.zeros_like(weight),
    "mixed": lambda weight, step: 10.0 ** (12 * (step % 3) - 12) * randn(*weight.shape, seed=step),
    "one entry": lambda weight, step: (
        torch.ones_like(weight)
        * (torch.arange(weight.numel()) == 0).reshape(weight.shape).to(weight)
    ),
    "steady": lambda weight, step: randn(*weight.shape),
    "along the weight": lambda weight, step: weight.detach() * 5,
}


def step(optimizer, weights, gradient, iteration):
    for weight in weights:
        weight.grad = gradient(weight, iteration).to(weight)
    optimizer.step()


def stiefel_weights(dtype=torch.float32):
    return [
        torch.nn.Parameter(point(shape, seed=seed, dtype=dtype))
        for seed, shape in enumerate(SHAPES.values())
    ]
