from __future__ import annotations

import numpy as np
import pytest
import scipy.linalg
import torch
from conftest import ORTHOGONAL
from test_stiefel import (
    EVERY_SHAPE,
    GRADIENTS,
    OPTIMIZERS,
    STEPS,
    assert_quadratic,
    largest_deviation,
    point,
    randn,
    step,
)

from pyod_lipocc.stiefel import _manifold, project_tangent, retract
from pyod_lipocc.stiefel._manifold import (
    _CUBIC,
    _QUARTIC,
    _symmetric_product,
    step_unseen,
    turn,
)


def skew(n, norm, seed=0, dtype=torch.float64):
    """A random skew matrix of given spectral norm."""
    matrix = randn(n, n, seed=seed, dtype=torch.float64)
    matrix = matrix - matrix.mT
    return (norm * matrix / torch.linalg.matrix_norm(matrix, ord=2)).to(dtype)


class TestTurn:
    """Square weights: W p(X) with polynomials p that are known to be nearly orthogonal."""

    @pytest.mark.parametrize("n", [2, 3, 7, 40])
    @pytest.mark.parametrize("norm", [0.0, 1e-8, 1e-4, 1e-3, 1e-2, 0.1, 0.5, 1.0, 3.0, 1e3])
    @pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
    def test_departs_by_no_more_than_it_says(self, n, norm, dtype):
        turned, departure = turn(point((n, n), dtype=dtype), skew(n, norm, dtype=dtype))
        sigma = torch.linalg.svdvals(turned.double())
        rounding = 8 * n * torch.finfo(dtype).eps
        assert ((sigma.square() - 1).abs() <= departure + rounding).all()
        assert departure <= 8 * torch.finfo(dtype).eps

    @pytest.mark.parametrize("norm", [1e-4, 1e-3, 1e-2, 3e-2, 0.1])
    def test_follows_the_exponential_to_order_two(self, norm):
        weight, x = point((6, 6)), skew(6, norm)
        turned, _ = turn(weight, x)
        exact = weight.numpy() @ scipy.linalg.expm(x.numpy())
        assert np.linalg.norm(turned.numpy() - exact, 2) <= norm**3 / 2 + 1e-14

    def test_the_quartic_is_orthogonal_up_to_the_eighth_power(self):
        x, identity = skew(6, 1.0), torch.eye(6, dtype=torch.float64)
        quartic = _QUARTIC
        p = identity + x + x @ x / 2 + _CUBIC * x @ x @ x + quartic * x @ x @ x @ x
        expected = identity + quartic**2 * torch.linalg.matrix_power(x, 8)
        torch.testing.assert_close(p.mT @ p, expected, rtol=0, atol=1e-14)


@pytest.mark.parametrize("shape", [(6, 4), (4, 6), (1, 7), (7, 1), (5, 5)])
@pytest.mark.parametrize("order", [1, 2, 4])
@pytest.mark.parametrize("square", [0.5, 0.9, 1.1, 1.5])
def test_an_iteration_leaves_no_more_than_the_bound(monkeypatch, shape, order, square):
    k = min(shape)
    spectrum = torch.ones(k, dtype=torch.float64)
    spectrum[0] = square**0.5
    matrix = point((shape[0], k)) * spectrum @ point((k, shape[1]), seed=1)
    bound = abs(square - 1) ** (order + 1)
    # So much is allowed that this order is enough, and no lower one.
    monkeypatch.setattr(_manifold, "tolerance_of", lambda weight: bound * (1 + 1e-9))
    left = float((torch.linalg.svdvals(retract(matrix)).square() - 1).abs().max())
    assert bound / 8 <= left <= bound


@EVERY_SHAPE
def test_the_polar_factor_follows_the_tangent_part_of_any_direction(shape):
    weight, direction = point(shape), randn(*shape, seed=1)
    tangent = project_tangent(weight, direction)
    assert_quadratic(
        [
            float((retract(weight + t * direction) - retract(weight + t * tangent)).norm())
            for t in STEPS
        ]
    )


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

    @EVERY_SHAPE
    @pytest.mark.parametrize("length", [0.0, 1e-30, 1e-8, 1e-3, 0.1, 1.0, 10.0, 1e8])
    @pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
    def test_on_the_manifold_after_a_step_of_any_length(self, shape, length, dtype):
        weight = point(shape, dtype=dtype)
        tangent = project_tangent(weight, randn(*shape, seed=1, dtype=dtype))
        moved = step_unseen(weight, length * tangent)
        assert largest_deviation(moved) <= ORTHOGONAL[dtype]

    @EVERY_SHAPE
    def test_short_steps_are_those_of_the_retraction(self, shape):
        weight = point(shape)
        tangent = 0.05 * project_tangent(weight, randn(*shape, seed=1))
        moved = step_unseen(weight, tangent)
        torch.testing.assert_close(moved, retract(weight + tangent), rtol=0, atol=1e-12)


@pytest.mark.parametrize("n", [5, 256, 300, 512])
def test_symmetric_products_are_products(n):
    matrix = randn(n, 9)
    product = _symmetric_product(matrix, matrix.mT)
    torch.testing.assert_close(product, matrix @ matrix.mT, rtol=1e-12, atol=1e-12)


@OPTIMIZERS
def test_rounding_does_not_add_up_over_many_steps(optimizer_class):
    weights = [
        torch.nn.Parameter(point(shape, dtype=torch.float32))
        for shape in [(64, 64), (3, 16, 16), (48, 64)]
    ]
    optimizer = optimizer_class([{"params": weights, "stiefel": True}], lr=1e-3)
    for iteration in range(500):
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


def test_far_matrices_of_a_batch_leave_the_near_ones_alone():
    near_by, far = point((4, 3)) + 1e-4 * randn(4, 3), 10 * randn(4, 3, seed=1)
    both = retract(torch.stack((near_by, far)))
    torch.testing.assert_close(both[0], retract(near_by), rtol=0, atol=1e-14)
    torch.testing.assert_close(both[1], retract(far), rtol=0, atol=1e-14)
