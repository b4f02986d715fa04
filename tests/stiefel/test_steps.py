"""The steps of the optimisers: turns of square weights, projected and retracted steps of others."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.linalg
import torch
from conftest import ORTHOGONAL
from hypothesis import given
from hypothesis import strategies as st
from stiefel_cases import (
    ANY_DTYPE,
    ANY_SEED,
    ANY_SHAPE,
    GRADIENTS,
    OPTIMIZERS,
    STEPS,
    assert_quadratic,
    largest_deviation,
    point,
    powers_of_ten,
    randn,
    step,
)

from pyod_lipocc.stiefel import project_tangent, retract
from pyod_lipocc.stiefel._manifold import step_unseen, turn


def skew(n, norm, seed=0, dtype=torch.float64):
    """A random skew matrix of given spectral norm."""
    matrix = randn(n, n, seed=seed, dtype=torch.float64)
    matrix = matrix - matrix.mT
    return (norm * matrix / torch.linalg.matrix_norm(matrix, ord=2)).to(dtype)


class TestTurn:
    """Square weights: W p(X) with polynomials p that are known to be nearly orthogonal."""

    @given(st.integers(2, 40), st.just(0.0) | powers_of_ten(-8, 3), ANY_DTYPE, ANY_SEED)
    def test_departs_by_no_more_than_it_says(self, n, norm, dtype, seed):
        turned, departure = turn(point((n, n), seed, dtype), skew(n, norm, seed + 1, dtype))
        sigma = torch.linalg.svdvals(turned.double())
        rounding = 8 * n * torch.finfo(dtype).eps
        assert ((sigma.square() - 1).abs() <= departure + rounding).all()
        assert departure <= 8 * torch.finfo(dtype).eps

    @given(st.integers(2, 4), st.floats(0.5, 2.0), ANY_DTYPE, ANY_SEED)
    def test_about_where_two_powers_are_no_longer_enough(self, n, share, dtype, seed):
        eps = torch.finfo(dtype).eps
        x = skew(n, share * (16 * eps) ** 0.25, seed + 1, dtype)
        turned, departure = turn(point((n, n), seed, dtype), x)
        sigma = torch.linalg.svdvals(turned.double())
        assert ((sigma.square() - 1).abs() <= departure + 3 * n * eps).all()

    @given(powers_of_ten(-5, -1), ANY_SEED)
    def test_follows_the_exponential_to_order_two(self, norm, seed):
        weight, x = point((6, 6), seed), skew(6, norm, seed + 1)
        turned, _ = turn(weight, x)
        exact = weight.numpy() @ scipy.linalg.expm(x.numpy())
        assert np.linalg.norm(turned.numpy() - exact, 2) <= norm**3 / 2 + 1e-14


@OPTIMIZERS
@pytest.mark.parametrize("shape", [(9, 4), (4, 9), (1, 7), (3, 5, 2)])
class TestStep:
    """Weights that are not square: the update, which is no tangent, is projected and retracted."""

    def error(self, optimizer_class, shape, lr):
        """Norm of the difference to torch's optimiser between two projections."""
        weight = torch.nn.Parameter(point(shape))
        update = torch.nn.Parameter(torch.zeros_like(weight))
        ours = optimizer_class([{"params": [weight], "stiefel": True}], lr=lr)
        torchs = optimizer_class.__bases__[-1]([update], lr=lr)
        for seed in range(3):
            origin, gradient = weight.detach().clone(), randn(*shape, seed=seed)
            weight.grad, update.grad = gradient, project_tangent(origin, gradient)
            ours.step()
            update.detach().zero_()
            torchs.step()
        expected = retract(origin + project_tangent(origin, update.detach()))
        return float((weight.detach() - expected).norm())

    def test_short_ones_to_second_order(self, optimizer_class, shape):
        assert_quadratic([self.error(optimizer_class, shape, t / 100) for t in STEPS])

    def test_long_ones_exactly(self, optimizer_class, shape):
        assert self.error(optimizer_class, shape, 1.0) < 1e-13


class TestStepUnseen:
    """The step for devices from which no number is read back, here on the CPU."""

    @given(ANY_SHAPE, st.just(0.0) | powers_of_ten(-30, 8), ANY_DTYPE, ANY_SEED)
    def test_on_the_manifold_after_a_step_of_any_length(self, shape, length, dtype, seed):
        weight = point(shape, seed, dtype)
        tangent = project_tangent(weight, randn(*shape, seed=seed + 1, dtype=dtype))
        moved = step_unseen(weight, length * tangent)
        assert largest_deviation(moved) <= ORTHOGONAL[dtype]

    @given(ANY_SHAPE, ANY_SEED)
    def test_short_steps_are_those_of_the_retraction(self, shape, seed):
        weight = point(shape, seed)
        tangent = 0.05 * project_tangent(weight, randn(*shape, seed=seed + 1))
        moved = step_unseen(weight, tangent)
        torch.testing.assert_close(moved, retract(weight + tangent), rtol=0, atol=1e-12)


@OPTIMIZERS
def test_rounding_does_not_add_up_over_many_steps(optimizer_class):
    weights = [
        torch.nn.Parameter(point(shape, dtype=torch.float32))
        for shape in [(64, 64), (3, 16, 16), (48, 64)]
    ]
    optimizer = optimizer_class([{"params": weights, "stiefel": True}], lr=1e-3)
    for iteration in range(300):
        step(optimizer, weights, GRADIENTS["random"], iteration)
        assert iteration % 10 or max(map(largest_deviation, weights)) <= ORTHOGONAL[torch.float32]


@OPTIMIZERS
@pytest.mark.parametrize("shape", [(5, 20, 30), (4, 6, 6), (3, 9, 2)])
def test_matrices_of_a_batch_move_each_on_its_own_manifold(optimizer_class, shape):
    together = torch.nn.Parameter(point(shape))
    alone = [torch.nn.Parameter(matrix.clone()) for matrix in together.detach()]
    optimizers = [
        optimizer_class([{"params": w, "stiefel": True}], lr=0.01) for w in ([together], alone)
    ]
    for iteration in range(10):
        gradient = randn(*shape, seed=iteration)
        together.grad = gradient
        for weight, part in zip(alone, gradient, strict=True):
            weight.grad = part.clone()
        for optimizer in optimizers:
            optimizer.step()
    # The accuracy is decided for all at once: beyond it they differ.
    torch.testing.assert_close(
        together.detach(), torch.stack(list(alone)).detach(), atol=1e-12, rtol=0
    )
