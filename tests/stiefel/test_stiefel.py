from __future__ import annotations

import copy

import numpy as np
import pytest
import scipy.linalg
import scipy.stats
import torch
from conftest import ORTHOGONAL, ROUNDING, SIGNIFICANCE
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from stiefel_cases import (
    ANY_DTYPE,
    ANY_SEED,
    ANY_SHAPE,
    EVERY_SHAPE,
    GRADIENTS,
    OPTIMIZERS,
    STEPS,
    assert_quadratic,
    largest_deviation,
    point,
    powers_of_ten,
    randn,
    step,
    stiefel_weights,
)

from pyod_lipocc.stiefel import nearest_point, orthogonality_error, project_tangent, retract


@st.composite
def matrices(draw, dtype=np.float64):
    shape = draw(st.tuples(st.integers(1, 6), st.integers(1, 6)))
    width = 8 * np.dtype(dtype).itemsize
    exact = [float(dtype(value)) for value in (0.0, 1.0, -1.0, 2.0, 1e-20, 1e20)]
    entries = st.one_of(st.sampled_from(exact), st.floats(-4, 4, width=width))
    scale = draw(st.sampled_from([1e-20, 1e-6, 1.0, 1e6, 1e15]))
    return torch.tensor(draw(hnp.arrays(dtype, shape, elements=entries)) * dtype(scale))


def polar(matrix):
    """Polar factors of a batch of matrices, by scipy."""
    blocks = matrix.reshape(-1, *matrix.shape[-2:]).double().numpy()
    return np.stack([scipy.linalg.polar(block)[0] for block in blocks]).reshape(matrix.shape)


class TestRetract:
    @given(matrices(np.float64))
    def test_any_finite_matrix_in_double(self, matrix):
        assert largest_deviation(retract(matrix)) <= ORTHOGONAL[torch.float64]

    @given(matrices(np.float32))
    def test_any_finite_matrix_in_single(self, matrix):
        assert largest_deviation(retract(matrix)) <= ORTHOGONAL[torch.float32]

    @given(ANY_SHAPE, ANY_DTYPE, powers_of_ten(-30, 20), ANY_SEED)
    def test_any_scale(self, shape, dtype, scale, seed):
        matrix = scale * randn(*shape, seed=seed, dtype=dtype)
        assert largest_deviation(retract(matrix)) <= ORTHOGONAL[dtype]

    @given(st.sampled_from([(8, 5), (5, 8), (6, 6)]), st.integers(0, 3), ANY_SEED)
    def test_rank_deficient(self, shape, rank, seed):
        matrix = randn(shape[0], rank, seed=seed) @ randn(rank, shape[1], seed=seed + 1)
        assert largest_deviation(retract(matrix)) <= ORTHOGONAL[torch.float64]

    @given(powers_of_ten(-30, 0), st.floats(1.0, 1.5) | powers_of_ten(0, 3), ANY_DTYPE)
    def test_any_spectrum(self, smallest, largest, dtype):
        spectrum = torch.linspace(smallest, largest, 4, dtype=torch.float64)
        matrix = (point((6, 4)) * spectrum @ point((4, 4), seed=1)).to(dtype)
        assert largest_deviation(retract(matrix)) <= ORTHOGONAL[dtype]

    @pytest.mark.parametrize("shape", [(300, 300), (512, 512), (512, 64), (64, 512)])
    def test_wide_layers_in_single(self, shape):
        for share in (0.0, 1e-3, 1e-1, 10.0):
            matrix = point(shape, dtype=torch.float32)
            matrix = matrix + share * randn(*shape, dtype=torch.float32) / shape[0] ** 0.5
            assert largest_deviation(retract(matrix)) <= ORTHOGONAL[torch.float32]

    @given(ANY_SHAPE, ANY_DTYPE, ANY_SEED)
    def test_idempotent(self, shape, dtype, seed):
        once = retract(randn(*shape, seed=seed, dtype=dtype))
        torch.testing.assert_close(retract(once), once, rtol=0, atol=ROUNDING[dtype])

    @given(ANY_SHAPE, powers_of_ten(-12, -2), ANY_SEED)
    def test_polar_factor_near_the_manifold(self, shape, distance, seed):
        matrix = point(shape, seed) + distance * randn(*shape, seed=seed + 1)
        np.testing.assert_allclose(retract(matrix).numpy(), polar(matrix), rtol=0, atol=1e-13)

    @EVERY_SHAPE
    def test_follows_tangents_to_first_order(self, shape):
        weight = point(shape)
        tangent = project_tangent(weight, randn(*shape, seed=1))
        errors = [
            float((retract(weight + t * tangent) - weight - t * tangent).norm()) for t in STEPS
        ]
        assert_quadratic(errors)

    @EVERY_SHAPE
    def test_follows_the_tangent_part_of_any_direction(self, shape):
        weight, direction = point(shape), randn(*shape, seed=1)
        tangent = project_tangent(weight, direction)
        assert_quadratic(
            [
                float((retract(weight + t * direction) - retract(weight + t * tangent)).norm())
                for t in STEPS
            ]
        )

    @pytest.mark.parametrize("onto_manifold", [retract, nearest_point])
    @given(ANY_SHAPE, st.sampled_from([float("nan"), float("inf"), -float("inf")]))
    def test_not_finite_is_named(self, onto_manifold, shape, value):
        matrix = randn(*shape)
        matrix.view(-1)[-1] = value
        with pytest.raises(FloatingPointError, match=r"weight must be finite.*nan or inf"):
            onto_manifold(matrix)

    def test_far_matrices_of_a_batch_leave_the_near_ones_alone(self):
        near_by, far = point((4, 3)) + 1e-4 * randn(4, 3), 10 * randn(4, 3, seed=1)
        both = retract(torch.stack((near_by, far)))
        torch.testing.assert_close(both[0], retract(near_by), rtol=0, atol=1e-14)
        torch.testing.assert_close(both[1], retract(far), rtol=0, atol=1e-14)

    def test_leaves_its_input_alone(self):
        matrix = randn(4, 3)
        before = matrix.clone()
        retract(matrix)
        assert torch.equal(matrix, before)


class TestNearestPoint:
    @given(matrices())
    def test_is_on_the_manifold_and_none_is_nearer(self, matrix):
        nearest = nearest_point(matrix)
        assert largest_deviation(nearest) <= ORTHOGONAL[torch.float64]
        for seed in range(3):
            other = point(matrix.shape, seed)
            # |W - Q|^2 is |W|^2 + k - 2 <W, Q>: the nearest has the largest product.
            ours, theirs = ((matrix * q).sum() for q in (nearest, other))
            assert ours >= theirs - 1e-12 * matrix.abs().sum()

    @given(ANY_SHAPE, ANY_DTYPE, ANY_SEED)
    def test_is_the_polar_factor_however_far(self, shape, dtype, seed):
        matrix = 100 * point(shape, seed, dtype) + randn(*shape, seed=seed + 1, dtype=dtype)
        nearest = nearest_point(matrix).numpy()
        np.testing.assert_allclose(nearest, polar(matrix), rtol=0, atol=ROUNDING[dtype])


class TestProjectTangent:
    @given(ANY_SHAPE, ANY_SEED)
    def test_idempotent(self, shape, seed):
        weight, direction = point(shape, seed), randn(*shape, seed=seed + 1)
        tangent = project_tangent(weight, direction)
        torch.testing.assert_close(project_tangent(weight, tangent), tangent, rtol=0, atol=1e-13)

    @given(ANY_SHAPE, ANY_SEED)
    def test_self_adjoint(self, shape, seed):
        weight = point(shape, seed)
        a, b = randn(*shape, seed=seed + 1), randn(*shape, seed=seed + 2)
        left, right = (project_tangent(weight, a) * b).sum(), (a * project_tangent(weight, b)).sum()
        torch.testing.assert_close(left, right, rtol=1e-12, atol=1e-12)

    @given(ANY_SHAPE, ANY_SEED)
    def test_residual_is_normal_to_every_tangent(self, shape, seed):
        weight = point(shape, seed)
        a, b = randn(*shape, seed=seed + 1), randn(*shape, seed=seed + 2)
        normal = a - project_tangent(weight, a)
        assert abs(float((normal * project_tangent(weight, b)).sum())) < 1e-12

    @given(ANY_SHAPE, ANY_SEED)
    def test_steps_keep_singular_values_to_first_order(self, shape, seed):
        weight = point(shape, seed)
        tangent = project_tangent(weight, randn(*shape, seed=seed + 1))
        assert_quadratic([largest_deviation(weight + t * tangent) for t in STEPS])


@given(ANY_SHAPE | st.sampled_from([(256, 9), (7, 300), (300, 300)]), ANY_SEED)
@settings(max_examples=20)
def test_orthogonality_error_bounds_the_singular_values(shape, seed):
    matrix = point(shape, seed) + 0.1 * randn(*shape, seed=seed + 1)
    sigma = torch.linalg.svdvals(matrix)
    error = orthogonality_error(matrix)
    assert error.shape == shape[:-2]
    torch.testing.assert_close(error, torch.linalg.vector_norm(sigma**2 - 1, dim=-1))
    assert ((sigma**2 - 1).abs() <= error.unsqueeze(-1) + 1e-14).all()


class TestSample:
    """Haar measure: the only one that every rotation leaves as it is."""

    @given(ANY_SHAPE, ANY_DTYPE, ANY_SEED)
    def test_on_the_manifold(self, shape, dtype, seed):
        sampled = point(shape, seed, dtype)
        assert sampled.shape == shape
        assert sampled.dtype == dtype
        assert largest_deviation(sampled) <= ORTHOGONAL[dtype]

    @pytest.mark.parametrize("shape", [(4, 4), (5, 2), (2, 5), (1, 5), (5, 1)])
    def test_entries_have_the_law_of_a_unit_vectors_entry(self, shape):
        longer = max(shape)
        sampled = point((4000, *shape))
        law = scipy.stats.beta(0.5, (longer - 1) / 2)
        for i, j in {(0, 0), (shape[0] - 1, shape[1] - 1)}:
            entry = sampled[:, i, j].numpy()
            assert scipy.stats.kstest(entry**2, law.cdf).pvalue > SIGNIFICANCE
            assert abs(np.sign(entry).mean()) < 4 / 4000**0.5

    def test_rotations_do_not_change_the_law(self):
        left, right, sampled = point((4, 4), seed=1), point((3, 3), seed=2), point((4000, 4, 3))
        rotated = left @ point((4000, 4, 3), seed=3) @ right
        for statistic in (lambda w: w[:, 0, 0], lambda w: w[:, 0, 0] + w[:, 1, 1] - w[:, 3, 2]):
            pvalue = scipy.stats.ks_2samp(statistic(sampled), statistic(rotated)).pvalue
            assert pvalue > SIGNIFICANCE

    def test_moments_of_the_trace(self):
        trace = point((8000, 3, 3)).diagonal(dim1=-2, dim2=-1).sum(-1)
        assert abs(float(trace.mean())) < 0.05
        assert abs(float(trace.square().mean()) - 1) < 0.07

    def test_both_orientations(self):
        orientation = torch.linalg.det(point((2000, 3, 3))).sign().mean()
        assert abs(float(orientation)) < 4 / 2000**0.5

    def test_reproducible(self, global_rngs_untouched):
        assert torch.equal(point((5, 3)), point((5, 3)))
        assert not torch.equal(point((5, 3)), point((5, 3), seed=1))


@OPTIMIZERS
class TestOptimizers:
    @pytest.mark.parametrize("gradient", GRADIENTS.values(), ids=GRADIENTS)
    def test_on_the_manifold_after_every_step(self, optimizer_class, gradient):
        for lr in (1e-4, 1e-1, 1e3, 1e10):
            weights = stiefel_weights()
            optimizer = optimizer_class([{"params": weights, "stiefel": True}], lr=lr)
            for iteration in range(6):
                step(optimizer, weights, gradient, iteration)
                assert max(map(largest_deviation, weights)) <= ORTHOGONAL[torch.float32]

    @pytest.mark.parametrize(
        "options",
        [{"weight_decay": 0.1}, {"maximize": True}, {"foreach": True}, {"foreach": False}],
        ids=str,
    )
    def test_on_the_manifold_with_torchs_options(self, optimizer_class, options):
        weights = stiefel_weights()
        optimizer = optimizer_class([{"params": weights, "stiefel": True}], lr=0.1, **options)
        for iteration in range(5):
            step(optimizer, weights, GRADIENTS["random"], iteration)
            assert max(map(largest_deviation, weights)) <= ORTHOGONAL[torch.float32]

    def test_a_closure_is_followed_on_the_manifold(self, optimizer_class):
        target = randn(5, 3)
        by_closure, by_hand = (torch.nn.Parameter(point((5, 3))) for _ in range(2))

        def train(weight, with_closure):
            optimizer = optimizer_class([{"params": [weight], "stiefel": True}], lr=0.1)

            def closure():
                optimizer.zero_grad()
                loss = (weight - target).square().sum()
                loss.backward()
                return loss

            for _ in range(3):
                if not with_closure:
                    closure()
                loss = optimizer.step(closure if with_closure else None)
                assert largest_deviation(weight) <= ORTHOGONAL[torch.float64]
            return loss

        assert train(by_closure, True) is not None
        train(by_hand, False)
        assert torch.equal(by_closure, by_hand)

    def test_free_parameters_are_updated_as_by_torch(self, optimizer_class):
        torchs = optimizer_class.__bases__[-1]
        free, alone = (torch.nn.Parameter(randn(4, 3, dtype=torch.float32)) for _ in range(2))
        weights = stiefel_weights()
        ours = optimizer_class([{"params": weights, "stiefel": True}, {"params": [free]}], lr=0.03)
        plain = torchs([alone], lr=0.03)
        for iteration in range(10):
            step(ours, [*weights, free], GRADIENTS["random"], iteration)
            step(plain, [alone], GRADIENTS["random"], iteration)
            torch.testing.assert_close(free, alone, rtol=1e-5, atol=1e-6)

    def test_without_gradient_nothing_moves(self, optimizer_class):
        weights = stiefel_weights()
        before = [weight.detach().clone() for weight in weights]
        optimizer_class([{"params": weights, "stiefel": True}], lr=0.1).step()
        assert all(map(torch.equal, weights, before))

    @pytest.mark.parametrize("value", [float("nan"), float("inf")])
    def test_gradients_that_are_not_finite_are_named(self, optimizer_class, value):
        weights = stiefel_weights()
        optimizer = optimizer_class([{"params": weights, "stiefel": True}], lr=0.1)
        with pytest.raises(FloatingPointError, match="must be finite"):
            step(optimizer, weights, lambda weight, _: torch.full_like(weight, value), 0)

    def test_state_round_trip(self, optimizer_class):
        weights = stiefel_weights()
        optimizer = optimizer_class([{"params": weights, "stiefel": True}], lr=0.05)
        for iteration in range(3):
            step(optimizer, weights, GRADIENTS["random"], iteration)
        copies = copy.deepcopy(weights)
        resumed = optimizer_class([{"params": copies, "stiefel": True}], lr=1.0)
        resumed.load_state_dict(copy.deepcopy(optimizer.state_dict()))
        for iteration in range(3, 6):
            step(optimizer, weights, GRADIENTS["random"], iteration)
            step(resumed, copies, GRADIENTS["random"], iteration)
        assert all(map(torch.equal, weights, copies))

    @pytest.mark.parametrize("shape", [(6, 6), (9, 4), (4, 9), (1, 7)])
    def test_finds_the_nearest_point_to_a_target(self, optimizer_class, shape):
        target = point(shape) + 0.1 * randn(*shape, seed=1)
        weight = torch.nn.Parameter(point(shape) if shape[0] != shape[1] else near(point(shape)))
        optimizer = optimizer_class([{"params": [weight], "stiefel": True}])
        for iteration in range(300):
            for group in optimizer.param_groups:
                group["lr"] = 0.05 * 0.97**iteration
            optimizer.zero_grad()
            (weight - target).square().sum().backward()
            optimizer.step()
        polar, _ = scipy.linalg.polar(target.numpy())
        np.testing.assert_allclose(weight.detach().numpy(), polar, rtol=0, atol=1e-3)


def near(weight):
    """Move a little on the component of O(n) in which a weight lies."""
    return retract(weight + 0.1 * randn(*weight.shape, seed=3))
