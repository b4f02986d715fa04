from __future__ import annotations

import numpy as np
import pytest
import torch
from conftest import ORTHOGONAL, ROUNDING
from hypothesis import given
from hypothesis import strategies as st
from layer_cases import boxes

from pyod_lipocc.lipschitz import NearestBox, NearestSubspace, lipschitz_bound, parameter_groups
from pyod_lipocc.stiefel import StiefelAdam, orthogonality_error

ATOL = ROUNDING[torch.float64]
SHAPES = {  # d, K, q
    "one point": (3, 1, 0),
    "balls": (5, 12, 0),
    "segments": (2, 6, 1),
    "flat boxes": (6, 8, 3),
    "boxes of the whole space": (3, 4, 3),
    "intervals": (1, 3, 1),
}
SHAPE = st.sampled_from(list(SHAPES.values()))
SEED = st.integers(0, 2**16)


def drawn(shape, seed=0):
    network = boxes(*shape, generator=torch.Generator().manual_seed(seed)).double()
    network.assign(centers=2 * network.centers)
    half_width = network.half_width.detach().clone()
    network.polish()
    network.assign(half_width=half_width)
    return network


def points(n, d, seed=1):
    return 4 * torch.randn(n, d, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@given(SHAPE, SEED)
def test_f_is_the_least_distance_to_a_box(shape, seed):
    """The nearest point of a box is in it, and no other point of it is nearer."""
    network, x = drawn(shape, seed), points(5, shape[0], seed + 1)
    centers, basis, offset = network.centers, network.basis, network.offset
    reach = network.half_width.clamp(min=0)
    along = torch.einsum("kqd,nkd->nkq", basis, x[:, None] - centers)
    some = (2 * torch.rand(200, 1, *reach.shape, dtype=x.dtype) - 1) * reach
    nearest, others = (
        (x[:, None] - centers - torch.einsum("...kq,kqd->...kd", inside, basis)).norm(dim=-1)
        for inside in (along.clamp(-reach, reach), some)
    )
    assert (others >= nearest - ATOL).all()
    least = (nearest + offset).amin(1, keepdim=True)
    torch.testing.assert_close(network(x), network.bias - least, rtol=1e-10, atol=1e-10)


@given(SHAPE, SEED)
def test_1_lipschitz_with_a_unit_gradient_outside(shape, seed):
    network, x = drawn(shape, seed), points(64, shape[0], seed).requires_grad_()
    y = points(64, shape[0], seed + 1)
    f = network(x)
    assert ((f - network(y)).abs().squeeze(1) <= (x - y).norm(dim=1) * (1 + ATOL) + ATOL).all()
    (gradient,) = torch.autograd.grad(f.sum(), x)
    norms = gradient.norm(dim=1)
    inside = norms < 1e-9
    np.testing.assert_allclose(norms[~inside].numpy(), 1.0, atol=1e-9)
    assert not inside.any() or shape[2] == shape[0]
    assert 1 <= lipschitz_bound(network) <= 1 + 1e-6


@given(SEED)
def test_balls_are_points_with_a_radius(seed):
    network, x = drawn((5, 12, 0), seed), points(20, 5, seed + 1)
    same = NearestSubspace(5, 12).double()
    names = ("centers", "offset", "bias")
    same.assign(**{name: getattr(network, name).detach() for name in names})
    torch.testing.assert_close(network(x), same(x), rtol=ATOL, atol=ATOL)


def test_wide_boxes_are_subspaces():
    network, x = drawn((6, 8, 3)), points(20, 6)
    network.assign(half_width=torch.full((8, 3), 1e6))
    same = NearestSubspace(6, 8, 3).double()
    names = ("centers", "basis", "offset", "bias")
    same.assign(**{name: getattr(network, name).detach() for name in names})
    torch.testing.assert_close(network(x), same(x), rtol=1e-10, atol=1e-10)


def test_training_keeps_the_axes_orthonormal_and_moves_every_parameter():
    network = drawn((6, 8, 3))
    before = {name: value.detach().clone() for name, value in network.named_parameters()}
    optimizer = StiefelAdam(parameter_groups(network), lr=0.05)
    for seed in range(20):
        optimizer.zero_grad()
        (network(points(64, 6, seed)) ** 2).mean().backward()
        optimizer.step()
    assert orthogonality_error(network.basis).max() <= 10 * ORTHOGONAL[torch.float64]
    assert all((value != before[name]).any() for name, value in network.named_parameters())
    network.polish()
    assert (network.half_width >= 0).all()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((0, 1), "n_features must be an int >= 1, got 0"),
        ((2, 0), "n_boxes must be an int >= 1, got 0"),
        ((2, 1, 3), "n_directions must be an int from 0 to 2, got 3"),
    ],
)
def test_errors_name_the_parameter(arguments, message):
    with pytest.raises(ValueError, match=message):
        NearestBox(*arguments)
