"""Laws of every 1-Lipschitz layer and network, in float64: a new one is one line of CASES."""

from __future__ import annotations

import copy
import math
import pickle
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import pytest
import torch
from conftest import ORTHOGONAL, ROUNDING
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from torch import nn

from pyod_lipocc.lipschitz import (
    FullSort,
    GlobalL2NormPool2d,
    GroupSort2,
    InvertibleDownsampling2d,
    L2NormPool2d,
    OrthogonalConv2d,
    OrthogonalLinear,
    ReshapedConv2d,
    ScaledAvgPool2d,
    conv,
    conv_deep,
    dense,
    lipschitz_bound,
    parameter_groups,
    polish,
)
from pyod_lipocc.losses import hkr
from pyod_lipocc.stiefel import StiefelAdam
from pyod_lipocc.stiefel._optimizers import tangent_gradients

ROUNDED = 1 + ROUNDING[torch.float64]


class Case(NamedTuple):
    """A layer, the shape of one input, and whether all singular values of its Jacobian are 1."""

    build: Callable[[torch.Generator], nn.Module]
    shape: tuple[int, ...]
    orthogonal: bool = False


def _dense(width: int, hidden: tuple[int, ...], activation: Callable[[], nn.Module] = GroupSort2):
    return lambda generator: dense(width, hidden=hidden, activation=activation, generator=generator)


def _linear(*widths: int, bias: bool = True):
    return lambda generator: OrthogonalLinear(*widths, bias=bias, generator=generator)


def _conv(layer: type[nn.Module], *sizes: int, circular: bool = False, **keywords):
    padding_mode = "circular" if circular else "zeros"
    return lambda generator: layer(
        *sizes, padding_mode=padding_mode, generator=generator, **keywords
    )


def _network(build, image_shape: tuple[int, ...], generator: torch.Generator, **keywords):
    n_features = math.prod(image_shape)
    return build(n_features, image_shape=image_shape, generator=generator, **keywords)


CASES = {
    "linear square": Case(_linear(6, 6), (6,), True),
    "linear tall": Case(_linear(3, 7), (3,), True),
    "linear wide": Case(_linear(7, 3), (7,), True),
    "linear unit row": Case(_linear(7, 1), (7,), True),
    "linear column": Case(_linear(1, 7), (1,), True),
    "linear scalar": Case(_linear(1, 1), (1,), True),
    "linear without bias": Case(_linear(5, 4, bias=False), (5,), True),
    "groupsort even": Case(lambda _: GroupSort2(), (6,), True),
    "groupsort odd": Case(lambda _: GroupSort2(), (7,), True),
    "groupsort of one": Case(lambda _: GroupSort2(), (1,), True),
    "fullsort": Case(lambda _: FullSort(), (6,), True),
    "dense": Case(_dense(2, (16, 16)), (2,)),
    "dense linear": Case(_dense(4, ()), (4,), True),
    "dense on one feature": Case(_dense(1, (8, 8)), (1,)),
    "dense odd": Case(_dense(3, (9, 5, 7)), (3,)),
    "dense narrow": Case(_dense(9, (4, 2)), (9,)),
    "dense fullsort": Case(_dense(2, (8, 8), FullSort), (2,)),
    "groupsort channels": Case(lambda _: GroupSort2(dim=1), (5, 2, 3), True),
    "fullsort channels": Case(lambda _: FullSort(dim=1), (4, 2, 3), True),
    "l2 pooling": Case(lambda _: L2NormPool2d(), (2, 5, 4), True),
    "global l2 pooling": Case(lambda _: GlobalL2NormPool2d(), (3, 3, 2), True),
    "average pooling": Case(lambda _: ScaledAvgPool2d(3), (2, 3, 6), True),
    "down-sampling": Case(lambda _: InvertibleDownsampling2d(), (2, 2, 4), True),
    "reshaped": Case(_conv(ReshapedConv2d, 2, 3, 3), (2, 4, 4)),
    "reshaped strided": Case(_conv(ReshapedConv2d, 2, 3, 5, stride=2), (2, 5, 4)),
    "reshaped circular": Case(_conv(ReshapedConv2d, 3, 2, 2, circular=True), (3, 3, 4)),
    "reshaped without bias": Case(_conv(ReshapedConv2d, 1, 4, 3, bias=False), (1, 3, 3)),
    "reshaped pixel": Case(_conv(ReshapedConv2d, 4, 3, 1), (4, 2, 2), True),
    "orthogonal": Case(_conv(OrthogonalConv2d, 3, 3, 3), (3, 4, 3)),
    "orthogonal strided": Case(_conv(OrthogonalConv2d, 1, 5, 3, stride=2), (1, 5, 4)),
    "orthogonal circular": Case(_conv(OrthogonalConv2d, 2, 2, 3, circular=True), (2, 4, 3), True),
    "orthogonal up": Case(_conv(OrthogonalConv2d, 1, 4, 4, circular=True), (1, 4, 4), True),
    "orthogonal down": Case(_conv(OrthogonalConv2d, 4, 1, 3, circular=True), (4, 3, 3), True),
    "orthogonal circular strided": Case(
        _conv(OrthogonalConv2d, 2, 3, 3, stride=2, circular=True), (2, 4, 4), True
    ),
    "conv": Case(partial(_network, conv, (4, 4), width=4, depth=2), (16,)),
    "conv orthogonal": Case(
        partial(_network, conv, (2, 3, 3), width=3, depth=2, convolution=OrthogonalConv2d), (18,)
    ),
    "conv deep": Case(partial(_network, conv_deep, (4, 4), stages=((1, 3), (2, 4))), (16,)),
}


def _fresh(case: Case, seed: int = 0) -> nn.Module:
    layer = case.build(torch.Generator().manual_seed(seed)).double()
    polish(layer)
    return layer


def _randn(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def _trained(case: Case) -> nn.Module:
    """Take 200 steps of hKR on shifted blobs, through a head of one output."""
    layer = _fresh(case)
    width = layer(_randn(1, *case.shape)).flatten(1).shape[1]
    head = OrthogonalLinear(width, 1, generator=torch.Generator().manual_seed(1)).double()
    network = nn.Sequential(layer, nn.Flatten(), head)
    optimizer = StiefelAdam(parameter_groups(network), lr=1e-2)
    loss = partial(hkr, margin=0.1, regularization=10.0)
    for iteration in range(200):
        x, z = _randn(16, *case.shape, seed=iteration) / 4, _randn(16, *case.shape, seed=-iteration)
        optimizer.zero_grad()
        with tangent_gradients(optimizer):
            (loss(network(x)) + loss(-network(3 * z + 1))).mean().backward()
            optimizer.step()
    return layer


@pytest.fixture(scope="module", params=CASES.values(), ids=list(CASES))
def case(request) -> Case:
    return request.param


@pytest.fixture(scope="module", params=[_fresh, _trained], ids=["fresh", "trained"])
def layer(case, request) -> nn.Module:
    return request.param(case)


def _jacobian(layer: nn.Module, x: torch.Tensor) -> torch.Tensor:
    """Jacobian at one point, as a matrix (outputs, inputs)."""
    jacobian = torch.autograd.functional.jacobian(lambda x: layer(x[None])[0], x)
    return jacobian.reshape(-1, x.numel())


def _points(case: Case) -> st.SearchStrategy[torch.Tensor]:
    return hnp.arrays(float, case.shape, elements=st.floats(-10, 10)).map(torch.from_numpy)


@settings(max_examples=20)
@given(data=st.data())
def test_outputs_are_no_farther_apart_than_inputs(case, layer, data):
    x, y = data.draw(_points(case)), data.draw(_points(case))
    with torch.no_grad():
        moved = (layer(x[None]) - layer(y[None])).norm()
    assert moved <= ROUNDED * (x - y).norm() + 1e-13


@settings(max_examples=20)
@given(data=st.data(), length=st.floats(1e-3, 10.0))
def test_nor_along_the_steepest_direction(case, layer, data, length):
    x = data.draw(_points(case))
    steepest = torch.linalg.svd(_jacobian(layer, x)).Vh[0].reshape(x.shape)
    with torch.no_grad():
        moved = (layer((x + length * steepest)[None]) - layer(x[None])).norm()
    assert moved <= ROUNDED * length + 1e-13


def test_singular_values_of_the_jacobian(case, layer):
    for seed in range(5):
        sigma = torch.linalg.svdvals(_jacobian(layer, _randn(*case.shape, seed=seed)))
        assert (sigma <= ROUNDED).all()
        if case.orthogonal:
            assert ((sigma - 1).abs() <= ROUNDING[torch.float64]).all()


def test_bound_is_proven_and_tight(case, layer):
    bound = lipschitz_bound(layer)
    jacobians = (_jacobian(layer, _randn(*case.shape, seed=seed)) for seed in range(5))
    steepest = max(float(torch.linalg.matrix_norm(jacobian, ord=2)) for jacobian in jacobians)
    assert steepest <= bound * ROUNDED
    assert bound <= ROUNDED


def test_rows_do_not_mix(case, layer):
    x = _randn(6, *case.shape)
    with torch.no_grad():
        alone = torch.cat([layer(row[None]) for row in x])
        torch.testing.assert_close(layer(x), alone)
        assert layer(x[:0]).shape == (0, *alone.shape[1:])


def test_is_deterministic_and_leaves_its_input_alone(case, layer):
    x = _randn(6, *case.shape)
    before = x.clone()
    with torch.no_grad():
        assert torch.equal(layer(x), layer(x))
    assert torch.equal(x, before)


def test_gradients_reach_the_input_and_every_parameter(case, layer):
    layer = copy.deepcopy(layer)
    x = _randn(32, *case.shape).requires_grad_()
    outputs = layer(x)
    (outputs * _randn(*outputs.shape, seed=1)).sum().backward()
    for tensor in (x, *layer.parameters()):
        assert torch.isfinite(tensor.grad).all()
        assert (tensor.grad != 0).any()


@pytest.mark.parametrize(
    "travel",
    [lambda layer: pickle.loads(pickle.dumps(layer)), copy.deepcopy],
    ids=["pickle", "copy"],
)
def test_survives_travel(case, layer, travel):
    x = _randn(6, *case.shape)
    assert torch.equal(travel(layer)(x), layer(x))


def test_survives_its_state(case, layer):
    other = _fresh(case, seed=1)
    other.load_state_dict(layer.state_dict())
    x = _randn(6, *case.shape)
    assert torch.equal(other(x), layer(x))


def test_single_precision_survives_double(case, layer):
    single = copy.deepcopy(layer).float()
    back = copy.deepcopy(single).double().float()
    x = _randn(6, *case.shape).float()
    assert single(x).dtype == torch.float32
    assert torch.equal(back(x), single(x))
    torch.testing.assert_close(single(x).double(), layer(x.double()), rtol=1e-5, atol=1e-5)


def test_polish_removes_rounding(case, layer):
    rounded = copy.deepcopy(layer).float().double()
    polish(rounded)
    for group in parameter_groups(rounded):
        if group.get("stiefel"):
            for weight in group["params"]:
                sigma = torch.linalg.svdvals(weight.detach())
                assert ((sigma - 1).abs() < ORTHOGONAL[torch.float64]).all()
    x = _randn(6, *case.shape)
    torch.testing.assert_close(rounded(x), layer(x), rtol=1e-5, atol=1e-5)
