"""Gradients by tangent coordinates: those brought from the Euclidean ones, and only in training."""

from __future__ import annotations

import copy
import pickle
from concurrent.futures import ThreadPoolExecutor
from unittest.mock import Mock

import pytest
import torch
from conftest import ROUNDING
from stiefel_cases import OPTIMIZERS, randn
from torch import nn

from pyod_lipocc.lipschitz import GroupSort2, OrthogonalLinear, frozen, parameter_groups, polish
from pyod_lipocc.stiefel import StiefelAdam
from pyod_lipocc.stiefel.gradients import gradient_by_coordinates
from pyod_lipocc.stiefel.optimizers import tangent_gradients

WIDTHS = {
    "square": (6, 6),
    "tall": (4, 9),
    "wide": (9, 4),
    "row": (7, 1),
    "column": (1, 7),
    "scalar": (1, 1),
}


def build(*widths, bias=True, dtype=torch.float64, optimizer_class=StiefelAdam):
    """Return a layer with a bias that is not 0, and an optimiser of it."""
    generator = torch.Generator().manual_seed(0)
    layer = OrthogonalLinear(*widths, bias=bias, generator=generator).to(dtype)
    polish(layer)
    if bias:
        layer.bias.data = randn(widths[1], seed=1, dtype=dtype)
    return layer, optimizer_class(parameter_groups(layer))


def gradients(layer, loss, optimizer=None):
    """Return the gradient by the coordinates and those by the input and the bias.

    Without an optimiser the first is brought from the Euclidean one.
    """
    layer.zero_grad()
    x = randn(5, layer.in_features, seed=2, dtype=layer.weight.dtype).requires_grad_()
    with tangent_gradients(optimizer or torch.optim.SGD(layer.parameters())), torch.enable_grad():
        loss(layer, x).backward()
        coordinates = gradient_by_coordinates(layer.weight).detach()
    return coordinates, x.grad, None if layer.bias is None else layer.bias.grad


def assert_same(layer, loss, optimizer, atol=1e-12):
    ours, theirs = gradients(layer, loss, optimizer), gradients(layer, loss)
    torch.testing.assert_close(ours, theirs, rtol=atol, atol=atol)


def penalised(layer, x):
    f = layer(x).sin().sum()
    (gradient,) = torch.autograd.grad(f, x, create_graph=True)
    return f + gradient.square().sum()


LOSSES = {
    "once": lambda layer, x: layer(x).sin().sum(),
    "one row": lambda layer, x: layer(x[0]).sin().sum(),
    "more dimensions": lambda layer, x: layer(x.expand(2, 3, *x.shape)).sin().sum(),
    "no rows": lambda layer, x: layer(x[:0]).sum(),
    "twice": lambda layer, x: (layer(x).sin() * layer(x + 1).cos()).sum(),
    "besides the layer": lambda layer, x: layer(x).sin().sum() + layer.weight.exp().sum(),
    "gradient penalty": penalised,
    "vmap": lambda layer, x: torch.func.vmap(layer)(x).sin().sum(),
}


@pytest.mark.parametrize("widths", WIDTHS.values(), ids=WIDTHS)
@pytest.mark.parametrize("bias", [True, False], ids=["bias", "no bias"])
class TestCoordinates:
    @pytest.mark.parametrize("loss", LOSSES.values(), ids=LOSSES)
    def test_are_those_of_the_euclidean_gradient(self, widths, bias, loss):
        layer, optimizer = build(*widths, bias=bias)
        assert_same(layer, loss, optimizer)

    def test_in_single_precision(self, widths, bias):
        layer, optimizer = build(*widths, bias=bias, dtype=torch.float32)
        assert_same(layer, LOSSES["once"], optimizer, atol=10 * ROUNDING[torch.float32])

    def test_are_formed_without_the_euclidean_gradient(self, widths, bias):
        layer, optimizer = build(*widths, bias=bias)
        gradients(layer, LOSSES["once"], optimizer)
        assert layer.weight.grad is None

    @OPTIMIZERS
    def test_the_step_is_that_of_the_euclidean_gradient(self, optimizer_class, widths, bias):
        layer, optimizer = build(*widths, bias=bias, optimizer_class=optimizer_class)
        other = copy.deepcopy(layer)
        others = optimizer_class(parameter_groups(other))
        for seed in range(3):
            x = randn(5, widths[0], seed=seed)
            for stepping in (optimizer, others):
                stepping.zero_grad()
            other(x).sin().sum().backward()
            others.step()
            with tangent_gradients(optimizer):
                layer(x).sin().sum().backward()
                optimizer.step()
        # Adaptive scaling blows rounding up where an entry of the gradient is almost 0.
        torch.testing.assert_close(layer.weight, other.weight, rtol=0, atol=1e-8)


def watched_by_a_step(layer):
    optimizer = StiefelAdam(parameter_groups(layer))
    optimizer.register_step_pre_hook(lambda *_: None)
    return optimizer


def watched_by_a_hook(layer):
    layer.weight.register_hook(lambda gradient: gradient.clamp(-1, 1))
    return StiefelAdam(parameter_groups(layer))


def watched_after_accumulation(layer):
    layer.weight.register_post_accumulate_grad_hook(lambda weight: None)
    return StiefelAdam(parameter_groups(layer))


class Clipping(StiefelAdam):
    """What users write who want to see the gradients first."""


class TestScope:
    """Everywhere else a gradient is the Euclidean one."""

    @pytest.fixture
    def layer(self):
        return build(4, 4)[0]

    @pytest.fixture
    def optimizer(self, layer):
        return StiefelAdam(parameter_groups(layer))

    def is_euclidean(self, layer):
        """Tell whether a backward pass leaves torch's gradient at the weight."""
        layer.zero_grad()
        x = randn(3, 4)
        layer(x).sum().backward()
        gradient = layer.weight.grad
        return gradient is not None and torch.allclose(gradient, x.sum(dim=0).expand(4, 4))

    def test_ends_with_the_context(self, layer, optimizer):
        assert self.is_euclidean(layer)
        with tangent_gradients(optimizer):
            assert not self.is_euclidean(layer)
        assert self.is_euclidean(layer)

    @pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
    def test_ends_with_an_error(self, layer, optimizer, error):
        layer.register_forward_hook(Mock(side_effect=[error, None]))
        with pytest.raises(error), tangent_gradients(optimizer):
            layer(randn(3, 4))
        assert self.is_euclidean(layer)

    @pytest.mark.parametrize(
        "build_optimizer",
        [
            lambda layer: torch.optim.Adam(layer.parameters()),
            lambda layer: torch.optim.SGD(parameter_groups(layer)),
            lambda layer: StiefelAdam(layer.parameters()),
            lambda layer: Clipping(parameter_groups(layer)),
            watched_by_a_step,
            watched_by_a_hook,
            watched_after_accumulation,
        ],
        ids=["adam", "marked", "not marked", "subclass", "step hook", "hook", "accumulation hook"],
    )
    def test_others_find_euclidean_gradients(self, layer, build_optimizer):
        x = 0.1 * randn(3, 4)
        with tangent_gradients(build_optimizer(layer)):
            layer(x).sum().backward()
            torch.testing.assert_close(layer.weight.grad, x.sum(dim=0).expand(4, 4))

    def test_not_the_layers_of_another_network(self, layer):
        with tangent_gradients(build(4, 4)[1]):
            assert self.is_euclidean(layer)

    @pytest.mark.parametrize("travel", [copy.deepcopy, lambda x: pickle.loads(pickle.dumps(x))])
    def test_copies_do_not_carry_it(self, layer, optimizer, travel):
        with tangent_gradients(optimizer):
            layer(randn(3, 4)).sum().backward()
            assert self.is_euclidean(travel(layer))

    def test_another_thread_does_not_see_it(self, layer, optimizer):
        with tangent_gradients(optimizer), ThreadPoolExecutor(1) as pool:
            assert pool.submit(self.is_euclidean, layer).result()

    def test_the_optimiser_within_is_the_one_that_counts(self, layer, optimizer):
        other, others = build(4, 4)
        with tangent_gradients(optimizer):
            with tangent_gradients(others):
                assert self.is_euclidean(layer)
                assert not self.is_euclidean(other)
            assert not self.is_euclidean(layer)

    def test_frozen_weights_are_torchs(self, layer, optimizer):
        x = randn(3, 4).requires_grad_()
        with tangent_gradients(optimizer), frozen(layer):
            ours = layer(x)
        torchs = nn.functional.linear(x, layer.weight.detach(), layer.bias.detach())
        assert ours.grad_fn.name() == torchs.grad_fn.name()

    @OPTIMIZERS
    @pytest.mark.parametrize("widths", WIDTHS.values(), ids=WIDTHS)
    def test_a_step_leaves_the_gradient(self, optimizer_class, widths):
        layer, optimizer = build(*widths, optimizer_class=optimizer_class)
        layer(randn(3, widths[0])).sum().backward()
        before = layer.weight.grad.clone()
        optimizer.step()
        assert torch.equal(layer.weight.grad, before)

    def test_torch_compiles_the_layer(self, layer):
        network = nn.Sequential(layer, GroupSort2())
        compiled = torch.compile(network, backend="eager", fullgraph=True)
        torch.testing.assert_close(compiled(randn(3, 4)), network(randn(3, 4)))
