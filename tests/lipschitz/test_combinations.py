from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from pyod_lipocc.lipschitz import (
    Maximum,
    Mean,
    Minimum,
    NearestSubspace,
    dense,
    lipschitz_bound,
    parameter_groups,
    polish,
)
from pyod_lipocc.lipschitz._combinations import Combination
from pyod_lipocc.stiefel import orthogonality_error

REDUCTIONS = {Mean: torch.mean, Minimum: torch.amin, Maximum: torch.amax}
every_combination = pytest.mark.parametrize("combination", REDUCTIONS)


def members(seed=0, d=4):
    generator = torch.Generator().manual_seed(seed)
    networks = (
        NearestSubspace(d, 7, n_nearest=2, generator=generator),
        NearestSubspace(d, 2, 2, generator=generator),
        dense(d, hidden=(8,), generator=generator),
    )
    return [network.double() for network in networks]


def rows(n, d=4, seed=1):
    return torch.randn(n, d, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def scaled(factor, d=4):
    """A linear map of a known Lipschitz constant."""
    layer = nn.Linear(d, 1, bias=False).double()
    nn.init.zeros_(layer.weight).data[0, 0] = factor
    return layer


@settings(max_examples=20)
@given(st.integers(0, 2**16), st.integers(1, 3), st.sampled_from(list(REDUCTIONS)))
def test_values(seed, n_networks, combination):
    networks, x = members(seed)[:n_networks], rows(20, seed=seed)
    values = torch.stack([network(x) for network in networks])
    assert torch.equal(combination(*networks)(x), REDUCTIONS[combination](values, 0))


def test_the_bound_of_a_mean_is_the_mean_of_the_bounds():
    network = Mean(scaled(2.0), scaled(0.5), scaled(0.5))
    assert lipschitz_bound(network) == pytest.approx(1.0, rel=1e-6)
    assert lipschitz_bound(network) >= 1


@every_combination
def test_the_bound_holds_and_is_no_more_than_the_largest(combination):
    factors = (0.5, 2.0, 1.0)
    network = combination(*(scaled(factor) for factor in factors))
    x = rows(200).requires_grad_()
    (slope,) = torch.autograd.grad(network(x).sum(), x)
    assert slope.norm(dim=1).max() <= lipschitz_bound(network) <= 2 * (1 + 1e-6)
    assert 1 <= lipschitz_bound(combination(*members())) <= 1 + 1e-6


@every_combination
def test_a_member_of_unknown_constant_makes_it_infinite(combination):
    assert lipschitz_bound(combination(*members(), nn.Bilinear(2, 2, 1))) == float("inf")


@every_combination
def test_combinations_nest(combination):
    network = nn.Sequential(combination(Minimum(*members()), Maximum(*members(1))))
    assert network(rows(5)).shape == (5, 1)
    assert 1 <= lipschitz_bound(network) <= 1 + 1e-6


def test_the_mean_teaches_all_and_the_extremes_one_for_each_row():
    x = rows(100)
    for combination in REDUCTIONS:
        networks = members()
        combination(*networks)(x).sum().backward()
        shares = [network.bias.grad.item() for network in networks[:2]]
        if combination is Mean:
            assert shares == pytest.approx([100 / 3, 100 / 3])
            assert all(weight.grad.any() for weight in networks[2].parameters())
        else:
            values = torch.cat([network(x) for network in networks], dim=1)
            best = values.argmin(1) if combination is Minimum else values.argmax(1)
            assert shares == torch.bincount(best, minlength=3)[:2].tolist()


@every_combination
def test_training_finds_the_weights_on_the_manifold(combination):
    network = combination(*members())
    constrained, free = parameter_groups(network)
    assert constrained["stiefel"]
    assert len(constrained["params"]) + len(free["params"]) == len(list(network.parameters()))
    with torch.no_grad():
        for weight in constrained["params"]:
            weight.mul_(1.001)
    polish(network)
    for weight in constrained["params"]:
        assert orthogonality_error(weight).max() < 1e-13


@every_combination
def test_none_is_too_few(combination):
    with pytest.raises(ValueError, match=r"networks must be at least one torch\.nn\.Module"):
        combination()


def test_own_combinations_need_only_a_reduction():
    class Median(Combination):
        def combine(self, values):
            return values.median(0).values

    network = Median(*members())
    assert network(rows(5)).shape == (5, 1)
    assert lipschitz_bound(network) == float("inf")
