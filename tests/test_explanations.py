from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pyod_lipocc.counterfactuals import counterfactual
from pyod_lipocc.explanations import explain
from pyod_lipocc.lipschitz import dense, polish


def points(n, width, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return 2 * torch.randn(n, width, generator=generator, dtype=torch.float64)


def ball(z):
    return 1 - z.norm(dim=1)


def random_network(width, seed):
    generator = torch.Generator().manual_seed(seed)
    network = dense(width, hidden=(16, 16), generator=generator).double()
    polish(network)
    return network


def nearest_subspaces(z):
    """Distance to the nearer of a line and a point, with a kink between them."""
    line = z[:, 1:].norm(dim=1)
    return 0.7 - torch.minimum(line, (z - 3.0).norm(dim=1))


def assert_complete(contributions, difference):
    """Sums equal to rounding, relative to what is summed."""
    scale = 1 + contributions.abs().sum(1)
    assert ((contributions.sum(1) - difference).abs() <= 1e-13 * scale).all()


@settings(max_examples=5)
@given(width=st.integers(1, 10), seed=st.integers(0, 2**31))
def test_contributions_sum_to_the_signed_distance_of_a_network(width, seed):
    network, x = random_network(width, seed), points(20, width, seed)
    contributions = explain(network, x)
    found = ~contributions.isnan().any(1)
    with torch.no_grad():
        assert_complete(contributions[found], network(x[found]).squeeze(1))


@pytest.mark.parametrize("max_nodes", [8, 256])
@pytest.mark.parametrize("score", [ball, nearest_subspaces, random_network(4, 5)])
def test_contributions_sum_whatever_the_baseline_and_the_nodes(score, max_nodes):
    x, baseline = points(30, 4), points(30, 4, seed=1)
    contributions = explain(score, x, baseline, max_nodes=max_nodes)
    with torch.no_grad():
        assert_complete(contributions, (score(x) - score(baseline)).reshape(-1))


def test_of_a_distance_they_are_the_squares_of_the_way():
    x = points(50, 5)
    nearest = counterfactual(ball, x).points
    expected = (x - nearest) ** 2 / ball(x)[:, None]
    torch.testing.assert_close(explain(ball, x), expected, rtol=1e-6, atol=1e-9)


def test_quadrature_is_exact_where_the_score_is_smooth():
    """An integral in closed form, in which no gap hides the error."""

    def square(z):
        return (z**2).sum(1) - (z[:, 0] * z[:, 1])

    x, c = points(20, 3), points(20, 3, seed=1)
    middle = (x + c) / 2
    gradient = 2 * middle
    gradient[:, :2] -= middle[:, [1, 0]]
    contributions = explain(square, x, c)
    torch.testing.assert_close(contributions, (x - c) * gradient)
    assert_complete(contributions, square(x) - square(c))


def test_the_doubling_finds_the_kinks():
    """Against a midpoint rule with very many nodes."""
    network, x, c = random_network(4, 5), points(20, 4), points(20, 4, seed=1)
    shares = ((torch.arange(4000) + 0.5) / 4000).double()[:, None, None]
    way = torch.lerp(c, x, shares).reshape(-1, 4).requires_grad_(True)
    (gradients,) = torch.autograd.grad(network(way).sum(), way)
    integral = (x - c) * gradients.reshape(4000, 20, 4).mean(0)
    few, default, many = (
        float((explain(network, x, c, **limits) - integral).abs().mean())
        for limits in ({"max_nodes": 8}, {}, {"tolerance": 0.0})
    )
    assert many < 0.1 * few
    assert default < 0.01 * float(integral.abs().mean())


def test_features_that_agree_and_features_that_do_not_matter_get_nothing():
    x, c = points(10, 3), points(10, 3, seed=1)
    c[:, 0] = x[:, 0]
    assert (explain(ball, x, c)[:, 0] == 0).all()
    assert (explain(lambda z: ball(z[:, :2]), x)[:, 2].abs() < 1e-12).all()


def test_features_that_play_one_role_get_one_share():
    x = points(20, 4)
    order = torch.tensor([2, 0, 3, 1])
    torch.testing.assert_close(explain(ball, x[:, order]), explain(ball, x)[:, order])


def test_where_all_gradients_vanish_the_difference_is_spread_by_the_way():
    def steps(z):
        return torch.round(z.sum(1)) + 0 * z.sum(1)

    x = torch.tensor([[3.0, 1.0]], dtype=torch.float64)
    contributions = explain(steps, x, torch.zeros(2, dtype=torch.float64))
    torch.testing.assert_close(contributions, torch.tensor([[3.0, 1.0]]).double())


def test_rows_on_the_boundary_and_rows_without_one():
    on_it = torch.tensor([[1.0, 0.0]], dtype=torch.float64)
    assert torch.equal(explain(ball, on_it), torch.zeros_like(on_it))
    assert explain(lambda z: 1 + z.norm(dim=1), on_it).isnan().all()


def test_one_baseline_serves_all_rows_and_batches_change_nothing():
    x, c = points(30, 3), points(1, 3, seed=1)[0]
    contributions = explain(nearest_subspaces, x, c)
    torch.testing.assert_close(explain(nearest_subspaces, x, c.expand(30, 3)), contributions)
    torch.testing.assert_close(explain(nearest_subspaces, x, c, batch_size=7), contributions)


def test_parameters_of_the_network_get_no_gradient():
    network = random_network(3, 0)
    explain(network, points(5, 3))
    assert all(weight.grad is None for weight in network.parameters())


def test_errors_say_what_is_accepted():
    with pytest.raises(ValueError, match=r"X must be a floating-point tensor of shape \(n, d\)"):
        explain(ball, torch.zeros(3))
    with pytest.raises(ValueError, match=r"baseline must have the shape \(2, 3\) of X .* \(2,\)"):
        explain(ball, torch.zeros(2, 3), torch.zeros(2))
