from __future__ import annotations

import copy
import math
from functools import partial

import pytest
import torch
from conftest import ROUNDING
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from pyod_lipocc.lipschitz import (
    FullSort,
    Mean,
    NearestSubspace,
    OrthogonalConv2d,
    OrthogonalLinear,
    ReshapedConv2d,
    conv,
    conv_deep,
    dense,
    fold,
    frozen,
    lipschitz_bound,
    parameter_groups,
    polish,
)
from pyod_lipocc.stiefel import StiefelAdam

KINDS = [ReshapedConv2d, OrthogonalConv2d]
IMAGES = {"image_shape": (2, 4, 6)}
NETWORKS = {
    "dense": partial(dense, 48, hidden=(9, 9, 4)),
    "dense fullsort": partial(dense, 48, hidden=(8,), activation=FullSort),
    "conv": partial(conv, 48, width=6, depth=2, **IMAGES),
    "conv orthogonal": partial(conv, 48, width=6, depth=2, convolution=OrthogonalConv2d, **IMAGES),
    "conv deep": partial(conv_deep, 48, stages=((1, 3), (2, 4)), **IMAGES),
}


def randn(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.fixture(scope="module", params=NETWORKS.values(), ids=list(NETWORKS))
def moved(request):
    """Return a network that ten steps moved away from its start, biases included."""
    built = request.param(generator=torch.Generator().manual_seed(0)).double()
    optimizer = StiefelAdam(parameter_groups(built), lr=3e-2)
    for seed in range(10):
        optimizer.zero_grad()
        (built(randn(8, 48, seed=seed)) - 1).square().mean().backward()
        optimizer.step()
    polish(built)
    return built


@pytest.fixture
def network(moved):
    return copy.deepcopy(moved)


class TestFold:
    def test_is_made_of_plain_layers(self, network):
        kinds = {type(module) for module in fold(network).modules()}
        assert not kinds & {OrthogonalLinear, ReshapedConv2d, OrthogonalConv2d}

    def test_is_frozen_and_leaves_the_network_alone(self, network, global_rngs_untouched):
        before = copy.deepcopy(network.state_dict())
        folded = fold(network.train())
        assert not folded.training
        assert network.training
        assert not any(weight.requires_grad for weight in folded.parameters())
        assert all(weight.requires_grad for weight in network.parameters())
        for weight in folded.parameters():
            weight.fill_(7.0)
        assert all(torch.equal(before[k], v) for k, v in network.state_dict().items())

    @pytest.mark.parametrize("kind", KINDS)
    @settings(max_examples=20)
    @given(
        kernel_size=st.integers(1, 7),
        stride=st.integers(1, 2),
        padding_mode=st.sampled_from(["zeros", "circular"]),
        bias=st.booleans(),
    )
    def test_every_convolution(self, kind, kernel_size, stride, padding_mode, bias):
        kernel_size = max(kernel_size, stride)
        options = {"stride": stride, "padding_mode": padding_mode, "bias": bias}
        generator = torch.Generator().manual_seed(0)
        layer = kind(2, 3, kernel_size, generator=generator, **options).double()
        if bias:
            nn.init.normal_(layer.bias, generator=generator)
        polish(layer)
        x = randn(4, 2, 8, 6)
        folded = fold(layer)
        torch.testing.assert_close(folded(x), layer(x).detach(), rtol=1e-12, atol=1e-13)
        assert lipschitz_bound(folded) <= 1 + ROUNDING[torch.float64]
        assert layer.training
        assert all(weight.requires_grad for weight in layer.parameters())

    def test_passes_over_no_component(self):
        generator = torch.Generator().manual_seed(0)
        points = NearestSubspace(3, 9, leave_one_out=True, generator=generator).double()
        network = nn.Sequential(nn.Identity(), Mean(points, OrthogonalLinear(3, 1).double()))
        x = randn(5, 3)
        expected = network.eval()(x).detach()
        for mode in (False, True):
            assert torch.equal(fold(network).train(mode)(x), expected)
        assert not torch.equal(network.train()(x), expected)

    def test_keeps_what_it_does_not_know(self):
        class Doubled(OrthogonalLinear):
            def forward(self, x):
                return 2 * super().forward(x)

        hooked = OrthogonalLinear(3, 3)
        hooked.register_forward_hook(lambda module, inputs, output: 3 * output)
        network = nn.Sequential(Doubled(4, 3), nn.Softplus(), nn.Sequential(hooked)).double()
        folded = fold(network)
        x = randn(5, 4)
        assert isinstance(folded[0], Doubled)
        assert torch.equal(folded(x), network(x).detach())
        assert lipschitz_bound(folded) == math.inf

    @pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
    def test_keeps_precision(self, network, dtype):
        folded = fold(network.to(dtype))
        assert {weight.dtype for weight in folded.parameters()} == {dtype}


class TestFrozen:
    def test_values_and_gradients_are_the_same(self, network):
        x = randn(6, 48).requires_grad_()
        (gradient,) = torch.autograd.grad(network(x).sum(), x)
        with frozen(network):
            f = network(x)
            torch.testing.assert_close(torch.autograd.grad(f.sum(), x)[0], gradient)
        torch.testing.assert_close(network(x), f)

    def test_no_weight_is_differentiated_and_thereafter_as_before(self, network):
        next(network.parameters()).requires_grad_(False)
        with frozen(network):
            assert not network(randn(2, 48)).requires_grad
        trainable = [weight.requires_grad for weight in network.parameters()]
        assert trainable == [False] + [True] * (len(trainable) - 1)

    @pytest.mark.parametrize("kind", KINDS)
    def test_builds_a_kernel_once(self, kind, monkeypatch):
        built = []
        kernel = kind.kernel
        monkeypatch.setattr(kind, "kernel", lambda self: built.append(self) or kernel(self))
        layer = kind(2, 2, 3)
        with frozen(layer):
            for _ in range(3):
                layer(torch.ones(1, 2, 4, 4))
        assert len(built) == 1
        layer(torch.ones(1, 2, 4, 4))
        assert len(built) == 2

    @pytest.mark.parametrize("kind", KINDS)
    @pytest.mark.parametrize(
        "change",
        [
            lambda layer: layer.weight.data.neg_(),
            lambda layer: layer.load_state_dict({k: -v for k, v in layer.state_dict().items()}),
            lambda layer: setattr(layer, "weight", nn.Parameter(-layer.weight.detach())),
            lambda layer: layer.float(),
        ],
        ids=["data", "state", "parameter", "precision"],
    )
    def test_nothing_is_stale_after_it(self, kind, change):
        layer = kind(2, 2, 3).double()
        x = torch.ones(1, 2, 4, 4, dtype=torch.float64)
        with frozen(layer):
            layer(x)
        change(layer)
        anew = kind(2, 2, 3).to(layer.weight.dtype)
        anew.load_state_dict(layer.state_dict())
        x = x.to(layer.weight.dtype)
        assert torch.equal(layer(x), anew(x))

    def test_thaws_after_an_error(self, network):
        with pytest.raises(KeyboardInterrupt), frozen(network):
            raise KeyboardInterrupt
        assert all(weight.requires_grad for weight in network.parameters())
        assert network(randn(2, 48)).requires_grad
