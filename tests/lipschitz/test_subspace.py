from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from conftest import ORTHOGONAL, ROUNDING
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.decomposition import PCA
from sklearn.neighbors import NearestNeighbors
from torch.overrides import TorchFunctionMode

from pyod_lipocc.lipschitz import (
    NearestSubspace,
    lipschitz_bound,
    parameter_groups,
    polish,
)
from pyod_lipocc.stiefel import StiefelAdam, orthogonality_error

ATOL = ROUNDING[torch.float64]
FLOAT32 = 1e-6
"""Largest error of a float32 score, in lengths of the longest row."""

SHAPES = {  # d, K, q, j
    "one point": (3, 1, 0, 1),
    "one subspace": (4, 1, 2, 1),
    "points": (5, 12, 0, 3),
    "lines": (2, 6, 1, 1),
    "subspaces": (6, 8, 3, 2),
    "whole space": (3, 4, 3, 1),
    "all components": (4, 5, 1, 5),
    "one feature": (1, 3, 1, 2),
}
SHAPE = st.sampled_from(list(SHAPES.values()))
SEED = st.integers(0, 2**16)
every_shape = pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES.keys())


def random_network(shape, seed=0, *, contraction=(-0.5, 1.5), dtype=torch.float64, **options):
    """A network whose parameters are all drawn; contractions uniform in an interval."""
    d, K, q, j = shape
    generator = torch.Generator().manual_seed(seed)
    network = NearestSubspace(d, K, q, n_nearest=j, generator=generator, **options).to(dtype)
    low, high = contraction
    network.assign(
        centers=2 * torch.randn(K, d, generator=generator, dtype=dtype),
        contraction=low + (high - low) * torch.rand(K, q, generator=generator, dtype=dtype),
        offset=torch.randn(K, generator=generator, dtype=dtype),
        bias=torch.randn((), generator=generator, dtype=dtype),
    )
    polish_only_the_basis(network)
    return network


def polish_only_the_basis(network):
    contraction = network.contraction.detach().clone()
    network.polish()
    network.assign(contraction=contraction)


def rows(n, d, seed=1, dtype=torch.float64):
    return 4 * torch.randn(n, d, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def by_definition(network, x):
    """f by its formula, with the matrices A_k written out."""
    kept = network.contraction.detach().clamp(0, 1)
    U = network.basis.detach()
    A = torch.eye(x.shape[1], dtype=x.dtype) - U.mT @ ((1 - kept)[..., None] * U)
    v = x[:, None] - network.centers.detach()
    heights = torch.einsum("kij,nkj->nki", A, v).norm(dim=2) + network.offset.detach()
    nearest = heights.sort(dim=1).values[:, : network.n_nearest]
    return network.bias.detach() - nearest.mean(1, keepdim=True)


def gradients(network, x):
    x = x.detach().requires_grad_()
    return torch.autograd.grad(network(x).sum(), x)[0]


def trained(network, steps=50):
    """Take real optimiser steps that pull data up and push noise down."""
    dtype = network.centers.dtype
    generator = torch.Generator().manual_seed(7)
    optimizer = StiefelAdam(parameter_groups(network), lr=0.05)
    d = network.centers.shape[1]
    for _ in range(steps):
        x = torch.randn(16, d, generator=generator, dtype=dtype)
        noise = 4 * torch.randn(16, d, generator=generator, dtype=dtype)
        optimizer.zero_grad()
        (network(noise).mean() - network(x).mean()).backward()
        optimizer.step()
    return network


def assert_1_lipschitz(network, seed):
    d = network.centers.shape[1]
    x = rows(64, d, seed)
    step = rows(64, d, seed + 1)
    with torch.no_grad():
        for share in (1.0, 1e-3, 1e-6):
            y = x + share * step
            change = (network(x) - network(y)).abs().squeeze(1)
            assert (change <= (x - y).norm(dim=1) * (1 + ATOL) + ATOL).all()
    assert (gradients(network, x).norm(dim=1) <= 1 + ATOL).all()


@given(SHAPE, SEED, st.sampled_from([(0.0, 1.0), (-0.5, 1.5), (-1e9, 1e9), (0.0, 0.0)]))
def test_f_is_its_formula(shape, seed, contraction):
    network = random_network(shape, seed, contraction=contraction)
    x = rows(20, shape[0], seed + 1)
    torch.testing.assert_close(
        network(x).detach(), by_definition(network, x), rtol=ATOL, atol=10 * ATOL
    )


@given(SHAPE, SEED, st.sampled_from([(0.0, 1.0), (-0.5, 1.5), (-1e9, 1e9)]))
def test_1_lipschitz_for_all_parameters(shape, seed, contraction):
    network = random_network(shape, seed, contraction=contraction)
    assert_1_lipschitz(network, seed)
    assert 1 <= lipschitz_bound(network) <= 1 + 1e-6


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_a_contraction_outside_the_interval_acts_as_the_nearer_end(value):
    network = random_network((3, 2, 2, 1))
    network.assign(contraction=torch.full((2, 2), value, dtype=torch.float64))
    assert torch.equal(network.shrinkage(), 1 - network.contraction.clamp(0, 1))


@every_shape
def test_1_lipschitz_after_training(shape):
    network = trained(random_network(shape))
    if shape[2]:
        assert orthogonality_error(network.basis).max() <= 10 * ORTHOGONAL[torch.float64]
    assert_1_lipschitz(network, seed=3)
    polish(network)
    assert ((network.contraction >= 0) & (network.contraction <= 1)).all()
    assert_1_lipschitz(network, seed=4)
    assert 1 <= lipschitz_bound(network) <= 1 + 1e-6


def test_bases_stay_orthonormal_in_float32():
    network = trained(random_network((6, 8, 3, 2), dtype=torch.float32))
    assert orthogonality_error(network.basis).max() <= ORTHOGONAL[torch.float32]
    polish(network.double())
    assert orthogonality_error(network.basis).max() <= ORTHOGONAL[torch.float64]


@every_shape
def test_training_moves_every_parameter(shape):
    d, _, q, _ = shape
    network = random_network(shape, contraction=(0.2, 0.8))
    (network(rows(400, d)) ** 2).mean().backward()
    for name, parameter in network.named_parameters():
        # f does not depend on parameters of no numbers, nor, much, on the axes of all of space.
        if parameter.numel() and not (name == "basis" and q == d):
            assert parameter.grad.isfinite().all()
            assert parameter.grad.any(), name


def test_contractions_come_back_from_above_their_interval():
    network = random_network((6, 8, 3, 2), contraction=(1.5, 2.0))
    (-network(rows(400, 6))).mean().backward()
    assert (network.contraction.grad > 0).all()


def test_at_a_centre_the_gradient_is_finite():
    network = random_network((4, 5, 2, 1))
    assert gradients(network, network.centers).isfinite().all()
    network(network.centers.detach()).sum().backward()
    assert all(parameter.grad.isfinite().all() for parameter in network.parameters())


class TestClosedForms:
    @given(SEED)
    def test_one_point(self, seed):
        network = random_network((3, 1, 0, 1), seed)
        x = rows(10, 3, seed + 1)
        distance = (x - network.centers).norm(dim=1, keepdim=True)
        torch.testing.assert_close(network(x), network.bias - network.offset - distance)

    def test_one_subspace_is_the_residual_of_pca(self, rng):
        X = rng.normal(size=(80, 6)) @ rng.normal(size=(6, 6)) + 5
        pca = PCA(3).fit(X)
        network = NearestSubspace(6, 1, 3).double()
        network.assign(
            centers=torch.from_numpy(pca.mean_[None]),
            basis=torch.from_numpy(pca.components_[None]),
        )
        residual = np.linalg.norm(X - pca.inverse_transform(pca.transform(X)), axis=1)
        f = network(torch.from_numpy(X)).detach().numpy()[:, 0]
        np.testing.assert_allclose(-f, residual, atol=1e-12)

    @pytest.mark.parametrize("j", range(1, 6))
    def test_rows_as_centres_are_nearest_neighbours(self, j, rng):
        X, queries = rng.normal(size=(60, 4)), rng.normal(size=(30, 4))
        network = NearestSubspace(4, 60, n_nearest=j).double()
        network.assign(centers=torch.from_numpy(X))
        mean = NearestNeighbors(n_neighbors=j).fit(X).kneighbors(queries)[0].mean(1)
        f = network(torch.from_numpy(queries)).detach().numpy()[:, 0]
        np.testing.assert_allclose(-f, mean, rtol=1e-12)

    @given(SEED)
    def test_k_subspaces_are_the_least_residual(self, seed):
        network = random_network((6, 5, 2, 1), seed, contraction=(0.0, 0.0))
        x = rows(20, 6, seed + 1)
        v = x[:, None] - network.centers
        along = torch.einsum("kqd,nkd->nkq", network.basis, v)
        residual = v - torch.einsum("nkq,kqd->nkd", along, network.basis)
        least = (residual.norm(dim=2) + network.offset).amin(1, keepdim=True)
        torch.testing.assert_close(network(x), network.bias - least, rtol=1e-10, atol=1e-10)

    def test_kept_directions_are_a_capped_mahalanobis_distance(self):
        network = NearestSubspace(2, 1, 1).double()
        network.assign(
            centers=torch.zeros(1, 2),
            basis=torch.tensor([[[1.0, 0.0]]]),
            contraction=torch.tensor([[0.5]]),
        )
        x = torch.tensor([[6.0, 4.0]], dtype=torch.float64)
        torch.testing.assert_close(network(x).item(), -5.0)

    def test_a_large_offset_switches_a_component_off(self):
        shape = (3, 4, 1, 1)
        network, x = random_network(shape), rows(50, 3)
        others = random_network((3, 3, 1, 1))
        others.assign(
            **{name: getattr(network, name)[1:] for name in ("centers", "basis", "contraction")},
            offset=network.offset[1:],
            bias=network.bias,
        )
        network.assign(offset=torch.cat([torch.tensor([1e6]), network.offset[1:]]))
        torch.testing.assert_close(network(x), others(x), rtol=ATOL, atol=ATOL)


@given(SEED, st.sampled_from([(3, 1, 0, 1), (2, 6, 1, 1), (6, 8, 3, 1)]), st.floats(0.01, 0.9))
def test_where_nothing_is_kept_f_is_a_distance(seed, shape, share):
    network = random_network(shape, seed, contraction=(0.0, 0.0))
    x = rows(20, shape[0], seed + 1)
    f, slope = network(x).detach(), gradients(network, x)
    torch.testing.assert_close(slope.norm(dim=1), torch.ones(20, dtype=torch.float64))
    # From a row to its component, no other one comes nearer: one Newton step lands on the level.
    heights = network.bias - f - network.offset.min()
    level = f + share * (heights - (network.offset.max() - network.offset.min())).clamp(min=0)
    landed = x + (level - f) * slope
    torch.testing.assert_close(network(landed).detach(), level.detach(), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("distance", [1e-5, 1e-2, 1.0])
@pytest.mark.parametrize("shape", [(5, 40, 0, 1), (5, 40, 0, 3), (8, 6, 3, 1), (8, 6, 3, 2)])
@pytest.mark.parametrize(("away", "spread"), [(0.0, 1.0), (1e3, 100.0)])
def test_float32_scores_are_those_of_float64(away, spread, shape, distance):
    d, K, q, _ = shape
    network = random_network(shape, contraction=(0.0, 1.0), dtype=torch.float32)
    network.assign(
        centers=spread * network.centers + away, offset=torch.zeros(K), bias=torch.zeros(())
    )
    steps = rows(10, q + d, dtype=torch.float32)
    along = torch.einsum("nq,kqd->nkd", steps[:, :q], network.basis)
    x = (network.centers + along + distance * steps[:, None, q:]).detach().reshape(-1, d)
    with torch.no_grad():
        single, double = network(x), copy.deepcopy(network).double()(x.double())
    assert (single - double).abs().max() <= FLOAT32 * x.norm(dim=1).max()


class TestLeaveOneOut:
    @staticmethod
    def of_rows(X, j, **options):
        network = NearestSubspace(X.shape[1], len(X), n_nearest=j, **options).double()
        network.assign(centers=X)
        return network

    @pytest.mark.parametrize("j", [1, 2, 4])
    @pytest.mark.parametrize("copies", [1, 2, 3])
    def test_a_row_is_scored_as_if_it_were_not_there(self, j, copies):
        X = rows(12, 3).repeat(copies, 1)
        f = self.of_rows(X, j, leave_one_out=True).train()(X).detach()
        without = [
            self.of_rows(torch.cat([X[:i], X[i + 1 :]]), j)(X[i : i + 1]).detach()
            for i in range(len(X))
        ]
        torch.testing.assert_close(f, torch.cat(without), rtol=ATOL, atol=ATOL)

    def test_only_in_training(self):
        X = rows(12, 3)
        network = self.of_rows(X, 1, leave_one_out=True).eval()
        assert not network(X).any()
        assert (network.train()(X) < 0).all()

    def test_1_lipschitz_in_training_too(self):
        network = random_network((4, 9, 2, 3), leave_one_out=True).train()
        assert_1_lipschitz(network, seed=2)


def test_a_generator_decides_and_the_global_one_stays(global_rngs_untouched):
    first, second = (
        NearestSubspace(4, 3, 2, generator=torch.Generator().manual_seed(5)) for _ in range(2)
    )
    for name, value in first.state_dict().items():
        assert torch.equal(value, second.state_dict()[name])


def test_no_rows():
    assert random_network((4, 5, 2, 1))(torch.empty(0, 4, dtype=torch.float64)).shape == (0, 1)


@pytest.mark.parametrize(
    ("arguments", "options", "message"),
    [
        ((0, 1), {}, "n_features must be an int >= 1, got 0"),
        ((2, 0), {}, "n_components must be an int >= 1, got 0"),
        ((2, 1, 3), {}, "n_directions must be an int from 0 to 2, got 3"),
        ((2, 1, -1), {}, "n_directions must be an int from 0 to 2, got -1"),
        ((2, 3), {"n_nearest": 4}, "n_nearest must be an int from 1 to 3, got 4"),
        ((2, 3), {"n_nearest": 0}, "n_nearest must be an int from 1 to 3, got 0"),
        ((2, 3), {"n_nearest": 3, "leave_one_out": True}, "n_nearest must be an int from 1 to 2"),
    ],
)
def test_errors_name_the_parameter(arguments, options, message):
    with pytest.raises(ValueError, match=message):
        NearestSubspace(*arguments, **options)


def test_values_must_fit_their_parameter():
    network = NearestSubspace(2, 3)
    with pytest.raises(ValueError, match=r"centers must have shape \(3, 2\), got \(2, 3\)"):
        network.assign(centers=torch.zeros(2, 3))


@settings(max_examples=100)
@given(
    d=st.integers(1, 5),
    n_components=st.sampled_from([40, 300, 599, 2048, 2500]),
    n_nearest=st.integers(1, 5) | st.integers(1, 39),
    leave_one_out=st.booleans(),
    n_copies=st.sampled_from([1, 4]),
    spread=st.sampled_from([0.0, 1e-3, 1.0]),
    scale=st.sampled_from([1e-100, 1e-30, 1e-12, 1.0, 1e12, 1e30, 1e100]),
    far=st.sampled_from([1.0, 1e5, 1e20]),
    away=st.sampled_from([0.0, 1e2, 1e4, 1e6]),
    seed=st.integers(0, 999),
)
def test_points_are_chosen_as_their_differences_say(
    d, n_components, n_nearest, leave_one_out, n_copies, spread, scale, far, away, seed
):
    """A tree of points, single precision and groups speed the search up: none shows."""
    network = NearestSubspace(
        d, n_components, n_nearest=n_nearest, leave_one_out=leave_one_out
    ).double()
    centers = scale * (rows(-(-n_components // n_copies), d, seed) + away)
    network.assign(
        centers=centers.repeat(n_copies, 1)[:n_components],
        offset=spread * scale * rows(n_components, 1, seed + 1)[:, 0],
    )
    x = scale * (rows(40, d, seed + 2) + away)
    x[::2] *= far
    x[0] = network.centers[0]
    with torch.no_grad():
        heights = (x[:, None] - network.centers).norm(dim=2) + network.offset
        heights = heights.sort(dim=1).values
        size = x.norm(dim=1) + network.centers.norm(dim=1).max() + network.offset.abs().max()
        for training in (False, True):
            skipped = int(training and leave_one_out)
            mean = heights[:, skipped : skipped + n_nearest].mean(1)
            error = (network.train(training)(x).squeeze(1) + mean).abs()
            # squares in double precision are off by the root of its roundoff
            assert (error <= 1e-7 * size).all()
            assert network(torch.full_like(x, torch.nan)).isnan().all()


@pytest.mark.parametrize("d", [1, 2, 3])
@pytest.mark.parametrize("j", [1, 4])
def test_points_that_a_tree_does_not_propose_are_higher(d, j):
    n_points = 800
    network = NearestSubspace(d, n_points, n_nearest=j).double()
    apart = n_points ** (-1 / d)
    network.assign(
        centers=torch.rand(n_points, d, generator=torch.Generator().manual_seed(0)),
        offset=apart * torch.rand(n_points, generator=torch.Generator().manual_seed(1)) * 0.9,
    )
    x = torch.rand(500, d, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    torch.testing.assert_close(network(x).detach(), by_definition(network, x), rtol=1e-12, atol=0)


@pytest.mark.skipif(
    not hasattr(torch.backends.mkldnn, "matmul"), reason="a setting of torch 2.9 and later"
)
def test_single_precision_is_left_alone_where_it_means_less():
    network, x = random_network((16, 4096, 0, 5)), rows(50, 16)
    assert precisions_of_products(network, x) == {torch.float32}
    torch.backends.mkldnn.matmul.fp32_precision = "bf16"
    try:
        assert precisions_of_products(network, x) == {torch.float64}
    finally:
        torch.backends.mkldnn.matmul.fp32_precision = "none"


def precisions_of_products(network, x):
    """Return the precisions in which products with the centres are computed."""
    found = set()

    class Watching(TorchFunctionMode):
        def __torch_function__(self, function, types, arguments=(), keywords=None):
            result = function(*arguments, **(keywords or {}))
            if function is torch.addmm and result.shape[1]:
                found.add(result.dtype)
            return result

    with Watching(), torch.no_grad():
        network(x)
    return found
