from __future__ import annotations

import copy
import itertools

import numpy as np
import pytest
import scipy.linalg
import scipy.stats
import torch
from conftest import ORTHOGONAL, ROUNDING, SIGNIFICANCE
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from pyod_lipocc.stiefel import (
    StiefelAdam,
    StiefelRMSprop,
    nearest_point,
    orthogonality_error,
    project_tangent,
    retract,
    sample_stiefel,
)

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


def largest_deviation(weight):
    """Largest |sigma - 1|, computed in float64."""
    return float((torch.linalg.svdvals(weight.detach().double()) - 1).abs().max())


def randn(*shape, seed=0, dtype=torch.float64):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def point(shape, seed=0, dtype=torch.float64):
    return sample_stiefel(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


@st.composite
def matrices(draw, dtype=np.float64):
    shape = draw(st.tuples(st.integers(1, 6), st.integers(1, 6)))
    width = 8 * np.dtype(dtype).itemsize
    exact = [float(dtype(value)) for value in (0.0, 1.0, -1.0, 2.0, 1e-20, 1e20)]
    entries = st.one_of(st.sampled_from(exact), st.floats(-4, 4, width=width))
    scale = draw(st.sampled_from([1e-20, 1e-6, 1.0, 1e6, 1e15]))
    return torch.tensor(draw(hnp.arrays(dtype, shape, elements=entries)) * dtype(scale))


class TestRetract:
    @given(matrices(np.float64))
    def test_any_finite_matrix_in_double(self, matrix):
        assert largest_deviation(retract(matrix)) <= ORTHOGONAL[torch.float64]

    @given(matrices(np.float32))
    def test_any_finite_matrix_in_single(self, matrix):
        assert largest_deviation(retract(matrix)) <= ORTHOGONAL[torch.float32]

    @EVERY_SHAPE
    @pytest.mark.parametrize("scale", [0.0, 1e-20, 1e-10, 1e-3, 1.0, 1e3, 1e10, 1e20])
    @pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
    def test_any_scale(self, shape, scale, dtype):
        matrix = scale * randn(*shape, dtype=dtype)
        assert largest_deviation(retract(matrix)) <= ORTHOGONAL[dtype]

    @pytest.mark.parametrize("rank", [0, 1, 3])
    @pytest.mark.parametrize("shape", [(8, 5), (5, 8), (6, 6)])
    def test_rank_deficient(self, shape, rank):
        matrix = randn(shape[0], rank) @ randn(rank, shape[1], seed=1)
        assert largest_deviation(retract(matrix)) <= ORTHOGONAL[torch.float64]

    @pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
    @pytest.mark.parametrize("smallest", [1e-30, 1e-8, 1e-3, 0.1, 0.5, 0.9, 0.999])
    @pytest.mark.parametrize("largest", [1.0, 1.1, 1.4, 10.0])
    def test_any_spectrum(self, smallest, largest, dtype):
        spectrum = torch.linspace(smallest, largest, 4, dtype=torch.float64)
        matrix = (point((6, 4)) * spectrum @ point((4, 4), seed=1)).to(dtype)
        assert largest_deviation(retract(matrix)) <= ORTHOGONAL[dtype]

    @pytest.mark.parametrize("shape", [(512, 512), (512, 64), (64, 512)])
    def test_wide_layers_in_single(self, shape):
        for step in (0.0, 1e-3, 1e-1, 10.0):
            matrix = point(shape, dtype=torch.float32)
            matrix = matrix + step * randn(*shape, dtype=torch.float32) / shape[0] ** 0.5
            assert largest_deviation(retract(matrix)) <= ORTHOGONAL[torch.float32]

    @EVERY_SHAPE
    @pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
    def test_idempotent(self, shape, dtype):
        once = retract(randn(*shape, dtype=dtype))
        torch.testing.assert_close(retract(once), once, rtol=0, atol=ROUNDING[dtype])

    @pytest.mark.parametrize("shape", [(6, 6), (9, 4), (4, 9), (1, 7), (7, 1), (1, 1)])
    @pytest.mark.parametrize("distance", [1e-12, 1e-6, 1e-3, 1e-2])
    def test_polar_factor_near_the_manifold(self, shape, distance):
        matrix = point(shape) + distance * randn(*shape, seed=1)
        polar, _ = scipy.linalg.polar(matrix.numpy())
        np.testing.assert_allclose(retract(matrix).numpy(), polar, rtol=0, atol=1e-13)

    @EVERY_SHAPE
    def test_follows_tangents_to_first_order(self, shape):
        weight = point(shape)
        tangent = project_tangent(weight, randn(*shape, seed=1))
        errors = [
            float((retract(weight + t * tangent) - weight - t * tangent).norm()) for t in STEPS
        ]
        assert_quadratic(errors)

    @EVERY_SHAPE
    @pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
    @pytest.mark.parametrize("onto_manifold", [retract, nearest_point])
    def test_not_finite_is_named(self, onto_manifold, shape, value):
        matrix = randn(*shape)
        matrix.view(-1)[-1] = value
        with pytest.raises(FloatingPointError, match=r"weight must be finite.*nan or inf"):
            onto_manifold(matrix)

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

    @EVERY_SHAPE
    @pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
    def test_is_the_polar_factor_however_far(self, shape, dtype):
        matrix = 100 * randn(*shape, dtype=dtype)
        blocks = matrix.reshape(-1, *shape[-2:]).double().numpy()
        polar = np.stack([scipy.linalg.polar(block)[0] for block in blocks]).reshape(shape)
        np.testing.assert_allclose(
            nearest_point(matrix).numpy(), polar, rtol=0, atol=100 * ROUNDING[dtype]
        )


STEPS = (1e-2, 1e-3, 1e-4)


def assert_quadratic(errors):
    """Errors at the steps of STEPS fall with the square of the step, or are rounding already."""
    for before, after in itertools.pairwise(errors):
        assert after <= before / 50 or after < 1e-12


@EVERY_SHAPE
class TestProjectTangent:
    def test_idempotent(self, shape):
        weight, direction = point(shape), randn(*shape, seed=1)
        tangent = project_tangent(weight, direction)
        torch.testing.assert_close(project_tangent(weight, tangent), tangent, rtol=0, atol=1e-13)

    def test_self_adjoint(self, shape):
        weight, a, b = point(shape), randn(*shape, seed=1), randn(*shape, seed=2)
        left, right = (project_tangent(weight, a) * b).sum(), (a * project_tangent(weight, b)).sum()
        torch.testing.assert_close(left, right, rtol=1e-12, atol=1e-13)

    def test_residual_is_normal_to_every_tangent(self, shape):
        weight, a, b = point(shape), randn(*shape, seed=1), randn(*shape, seed=2)
        normal = a - project_tangent(weight, a)
        assert abs(float((normal * project_tangent(weight, b)).sum())) < 1e-12

    def test_steps_keep_singular_values_to_first_order(self, shape):
        weight = point(shape)
        tangent = project_tangent(weight, randn(*shape, seed=1))
        assert_quadratic([largest_deviation(weight + t * tangent) for t in STEPS])


@EVERY_SHAPE
def test_orthogonality_error_bounds_the_singular_values(shape):
    matrix = point(shape) + 0.1 * randn(*shape, seed=1)
    sigma = torch.linalg.svdvals(matrix)
    error = orthogonality_error(matrix)
    assert error.shape == shape[:-2]
    torch.testing.assert_close(error, torch.linalg.vector_norm(sigma**2 - 1, dim=-1))
    assert ((sigma**2 - 1).abs() <= error.unsqueeze(-1) + 1e-14).all()


class TestSample:
    """Haar measure: the only one that every rotation leaves as it is."""

    @EVERY_SHAPE
    @pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
    def test_on_the_manifold(self, shape, dtype):
        sampled = point(shape, dtype=dtype)
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


@OPTIMIZERS
class TestOptimizers:
    @pytest.mark.parametrize("gradient", GRADIENTS.values(), ids=GRADIENTS)
    @pytest.mark.parametrize("lr", [1e-4, 1e-2, 1e-1])
    def test_on_the_manifold_after_every_step(self, optimizer_class, lr, gradient):
        weights = stiefel_weights()
        optimizer = optimizer_class([{"params": weights, "stiefel": True}], lr=lr)
        for iteration in range(12):
            step(optimizer, weights, gradient, iteration)
            for weight in weights:
                assert largest_deviation(weight) <= ORTHOGONAL[torch.float32]

    @pytest.mark.parametrize("lr", [1.0, 1e3, 1e10])
    def test_even_at_absurd_learning_rates(self, optimizer_class, lr):
        weights = stiefel_weights()
        optimizer = optimizer_class([{"params": weights, "stiefel": True}], lr=lr)
        for iteration in range(5):
            step(optimizer, weights, GRADIENTS["random"], iteration)
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
