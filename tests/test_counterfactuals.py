from __future__ import annotations

import math
from functools import partial

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn.functional import normalize

from pyod_lipocc.counterfactuals import counterfactual
from pyod_lipocc.lipschitz import conv, dense, polish

TIGHT = 1e-9
"""Relative excess over a distance known in closed form: rounding and the secants' last step."""


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def points(n, width, seed=0, spread=2.0, dtype=torch.float64):
    return spread * torch.randn(n, width, generator=seeded(seed), dtype=dtype)


def ball(z):
    return 1 - z.norm(dim=1)


def half_space(z):
    return z.sum(1) / math.sqrt(z.shape[1]) - 0.3


def shell(z):
    return 0.25 - (z.norm(dim=1) - 1).abs()


def three_balls(z):
    """Disjoint: the maximum of the distances is the distance."""
    centers = torch.zeros(3, z.shape[1], dtype=z.dtype)
    centers[1, 0], centers[2, -1] = 4.0, -5.0
    return (torch.tensor([1.0, 0.5, 2.0], dtype=z.dtype) - torch.cdist(z, centers)).amax(1)


def nearest_subspaces(z):
    """Contracting, as components with singular values below 1 are, and kinked between the two."""
    line = torch.cat([0.3 * z[:, :1], z[:, 1:]], dim=1).norm(dim=1)
    return 0.7 - torch.minimum(line, (z - 3.0).norm(dim=1))


def random_network(width, seed, dtype=torch.float64):
    network = dense(width, hidden=(16, 16), generator=seeded(seed)).to(dtype)
    polish(network)
    return network


@pytest.mark.parametrize("distance", [ball, half_space, shell, three_balls])
@settings(max_examples=6)
@given(width=st.integers(2, 12), seed=st.integers(0, 2**31), spread=st.floats(0.1, 10.0))
def test_of_a_distance_the_nearest_point_is_found(distance, width, seed, spread):
    x = points(20, width, seed, spread)
    found = counterfactual(distance, x)
    torch.testing.assert_close(found.lower_bound, distance(x).abs())
    torch.testing.assert_close(found.distance, found.lower_bound, rtol=TIGHT, atol=TIGHT)
    assert (distance(found.points).abs() < TIGHT).all()


def test_the_point_is_at_the_level_or_beyond_as_computed():
    x = points(300, 5)
    found = counterfactual(half_space, x, batch_size=len(x))
    beyond = -half_space(x).sign() * half_space(found.points)
    assert (beyond >= -1e-15).all()
    torch.testing.assert_close(found.distance, (found.points - x).norm(dim=1))


@pytest.mark.parametrize("n_refinements", [0, 64])
def test_two_overlapping_balls_from_inside(n_refinements):
    """The nearest exit is a sphere or the ring where both spheres meet: a kink."""
    half, centers = 0.6, torch.tensor([[0.6, 0.0, 0.0], [-0.6, 0.0, 0.0]], dtype=torch.float64)
    x = points(300, 3, spread=0.5)

    def union(z):
        return (1 - torch.cdist(z, centers)).amax(1)

    x = x[union(x) > 0]
    true = torch.hypot(x[:, 0], x[:, 1:].norm(dim=1) - math.sqrt(1 - half**2))
    for center, other in zip(centers, centers.flip(0), strict=True):
        exits = center + normalize(x - center)
        free = (exits - other).norm(dim=1) >= 1
        true = torch.where(free, torch.minimum(true, (exits - x).norm(dim=1)), true)
    ratio = counterfactual(union, x, n_refinements=n_refinements).distance / true
    assert (ratio > 1 - TIGHT).all()
    assert ((ratio < 1 + 1e-4).all()) == (n_refinements > 0)


def test_an_ellipsoid_from_outside():
    """The score is a loose bound there; the refinement finds the nearest point all the same."""
    axes = torch.linspace(1, 3, 6, dtype=torch.float64)
    x = points(200, 6)
    x = x[(x / axes).norm(dim=1) > 1.05]
    low, high = torch.zeros(len(x), 1), torch.full((len(x), 1), 1e4)
    low, high = low.double(), high.double()
    for _ in range(80):  # Lagrange: c = a^2 x / (a^2 + t), with t such that c lies on the surface
        t = (low + high) / 2
        outside = (axes * x / (axes**2 + t)).norm(dim=1, keepdim=True) > 1
        low, high = torch.where(outside, t, low), torch.where(outside, high, t)
    true = (axes**2 * x / (axes**2 + low) - x).norm(dim=1)
    found = counterfactual(lambda z: 1 - (z / axes).norm(dim=1), x)
    torch.testing.assert_close(found.distance, true, rtol=1e-6, atol=0)
    assert (found.lower_bound < 0.99 * true).any()


def test_corners_of_a_box_from_outside():
    x = points(200, 3)
    x = x[x.abs().amax(1) > 1]
    true = (x - x.clamp(-1, 1)).norm(dim=1)
    found = counterfactual(lambda z: 1 - z.abs().amax(1), x)
    ratio = found.distance / true
    assert (ratio > 1 - TIGHT).all()
    assert ratio.median() < 1 + 1e-6
    assert (ratio < 1.02).all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@settings(max_examples=6)
@given(width=st.integers(1, 8), seed=st.integers(0, 2**31))
def test_no_1_lipschitz_network_is_crossed_within_the_certified_distance(dtype, width, seed):
    network = random_network(width, seed, dtype)
    x = points(30, width, seed, dtype=dtype)
    found = counterfactual(network, x)
    arrived = ~found.distance.isnan()
    rounding = 100 * torch.finfo(dtype).eps * (1 + x.norm(dim=1) + found.distance.nan_to_num())
    assert (found.distance >= found.lower_bound - rounding)[arrived].all()
    with torch.no_grad():
        beyond = -(network(x).sign() * network(found.points)).squeeze(1)
    assert (beyond >= -rounding)[arrived].all()
    assert (beyond <= rounding)[arrived].all()


def test_components_that_contract():
    x = points(300, 4)
    found = counterfactual(nearest_subspaces, x)
    assert (found.distance >= found.lower_bound * (1 - TIGHT)).all()
    assert (nearest_subspaces(found.points).abs() < TIGHT).all()
    # outside, the nearer of the two is entered on its own
    ellipsoid = counterfactual(lambda z: 0.7 - (z * torch.tensor([0.3, 1, 1, 1])).norm(dim=1), x)
    true = torch.minimum(ellipsoid.distance, (x - 3.0).norm(dim=1) - 0.7)
    outside = nearest_subspaces(x) < 0
    ratio = (found.distance / true)[outside]
    assert (ratio > 1 - 1e-6).all()
    assert ratio.median() < 1 + 1e-6


def test_convolutional_networks_too():
    network = conv(64, image_shape=(8, 8), width=8, depth=2, generator=seeded()).double()
    polish(network)
    x = points(20, 64)
    with torch.no_grad():
        level = float(network(x).median())
    found = counterfactual(network, x, level=level)
    assert not found.points.isnan().any()
    assert (found.distance >= found.lower_bound - 1e-12).all()
    with torch.no_grad():
        torch.testing.assert_close(network(found.points), torch.full((20, 1), level).double())
    assert all(weight.grad is None for weight in network.parameters())


def test_refinement_never_lengthens_the_way():
    network, x = random_network(4, 3), points(200, 4)
    rough, fine = (counterfactual(network, x, n_refinements=n).distance for n in (0, 64))
    assert (fine <= rough * (1 + TIGHT)).all()
    assert (fine < 0.999 * rough).any()


def test_where_the_gradient_vanishes():
    x = torch.zeros(3, 4, dtype=torch.float64)
    found = counterfactual(ball, x)
    torch.testing.assert_close(found.distance, torch.ones(3).double(), rtol=TIGHT, atol=0)


def test_where_the_score_is_flat():
    """A plateau of radius 1 around the origin, on which no gradient tells the way."""
    x = points(50, 3, spread=0.2)
    found = counterfactual(lambda z: 0.5 - (z.norm(dim=1) - 1).clamp(min=0), x)
    assert (found.distance >= 1.5 - x.norm(dim=1) - TIGHT).all()
    torch.testing.assert_close(found.points.norm(dim=1), torch.full((50,), 1.5).double())


def test_rows_at_the_level_are_their_own():
    x = torch.tensor([[1.0, 0.0], [3.0, 0.0]], dtype=torch.float64)
    found = counterfactual(ball, x)
    assert torch.equal(found.points[0], x[0])
    assert found.distance[0] == found.lower_bound[0] == 0


@pytest.mark.parametrize("gap", [1e-14, 1e-9, 1e-4])
def test_rows_close_to_the_level(gap):
    x = (1 + gap) * normalize(points(50, 3))
    found = counterfactual(ball, x)
    torch.testing.assert_close(found.distance, found.lower_bound, rtol=1e-6, atol=1e-15)


def test_any_level_of_any_slope():
    x, slope = points(50, 3), 7.0
    found = counterfactual(lambda z: slope * ball(z), x, level=-slope, lipschitz_constant=slope)
    torch.testing.assert_close(found.points.norm(dim=1), torch.full((50,), 2.0).double())
    torch.testing.assert_close(found.distance, found.lower_bound, rtol=TIGHT, atol=TIGHT)


def test_without_a_bound_nothing_is_certified():
    found = counterfactual(ball, points(20, 3), lipschitz_constant=math.inf)
    torch.testing.assert_close(found.points.norm(dim=1), torch.ones(20).double())
    assert (found.lower_bound == 0).all()


def test_a_level_out_of_reach_gives_nan():
    x = points(5, 2)
    found = counterfactual(lambda z: 1 + z.norm(dim=1), x)
    assert found.points.isnan().all()
    assert found.distance.isnan().all()
    torch.testing.assert_close(found.lower_bound, 1 + x.norm(dim=1))


def test_anchors_where_newton_does_not_arrive():
    """A small hole in a plateau far away: neither a gradient nor a random direction leads there."""
    hole = torch.full((1, 10), 7.0, dtype=torch.float64)

    def plateau(z):
        return ((z - hole).norm(dim=1) - 0.5).clamp(max=0.1)

    x = points(20, 10, spread=0.1)
    assert counterfactual(plateau, x).points.isnan().all()
    found = counterfactual(plateau, x, anchors=torch.cat([x[:3], hole]))
    torch.testing.assert_close(found.distance, (x - hole).norm(dim=1) - 0.5)
    only_this_side = counterfactual(plateau, x, anchors=x[:3])
    assert only_this_side.points.isnan().all()


def test_batches_and_repetition():
    x = points(40, 3)
    again = partial(counterfactual, random_network(3, 0), x)
    assert torch.equal(again().points, again().points)
    found, batched = counterfactual(three_balls, x), counterfactual(three_balls, x, batch_size=7)
    torch.testing.assert_close(batched.points, found.points)


@pytest.mark.parametrize("score", [random_network(3, 1), nearest_subspaces, shell])
def test_rows_do_not_lead_each_other(score):
    """Alone, a row gets the point that it gets beside others, up to the rounding of products."""
    x = points(30, 3)
    found = counterfactual(score, x).points
    alone = torch.cat([counterfactual(score, row).points for row in x.split(1)])
    backwards = counterfactual(score, x.flip(0)).points.flip(0)
    for other in (alone, backwards):
        torch.testing.assert_close(other, found, rtol=0, atol=1e-4, equal_nan=True)


def test_errors_say_what_is_accepted():
    with pytest.raises(ValueError, match=r"floating-point tensor of shape \(n, d\), got torch.int"):
        counterfactual(ball, torch.zeros(2, 2, dtype=torch.int64))
    with pytest.raises(ValueError, match=r"lipschitz_constant must be > 0, got 0"):
        counterfactual(ball, torch.zeros(2, 2), lipschitz_constant=0)


@pytest.mark.usefixtures("global_rngs_untouched")
def test_the_global_generators_stay():
    counterfactual(ball, torch.zeros(2, 2, dtype=torch.float64))
