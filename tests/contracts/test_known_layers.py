"""Exactly the known layers have a bound: no subclass, no instance with another method."""

from __future__ import annotations

import copy
import math

import pytest
import torch
from layer_cases import CASES
from torch import nn
from torch.nn.utils import parametrize, prune

from pyod_lipocc import lipschitz
from pyod_lipocc.lipschitz import lipschitz_bound
from pyod_lipocc.lipschitz.proofs import Rounding, rounding_bound

LAYERS = {
    type(layer).__name__: layer
    for layer in (
        *(case.build(torch.Generator().manual_seed(0)) for case in CASES.values()),
        nn.Sequential(nn.Linear(3, 3)),
    )
}


@pytest.fixture(params=LAYERS.values(), ids=list(LAYERS))
def layer(request):
    """Return one instance of each class with a bound."""
    return copy.deepcopy(request.param)


def methods_of(layer):
    """Names of the methods that the class of a layer defines itself."""
    own = [kind for kind in type(layer).__mro__ if kind not in (nn.Module, object)]
    return sorted(
        name
        for kind in own
        for name, value in vars(kind).items()
        if callable(value) and not name.startswith("__")
    )


def test_a_subclass_has_none_whatever_it_overrides(layer):
    for name in (None, *methods_of(layer)):
        overridden = {} if name is None else {name: lambda *_, **__: 100.0}
        layer.__class__ = type("Mine", (type(layer),), overridden)
        assert lipschitz_bound(layer) == math.inf, name
        assert lipschitz_bound(nn.Sequential(layer)) == math.inf, name
        layer.__class__ = type(layer).__base__


def test_an_instance_with_another_method_has_none(layer):
    for name in (*methods_of(layer), "forward", "_call_impl"):
        setattr(layer, name, lambda *_, **__: 100.0)
        assert lipschitz_bound(layer) == math.inf, name
        delattr(layer, name)
    assert lipschitz_bound(layer) < math.inf


def test_a_jump_inside_a_network_is_not_overlooked():
    """A subclass that overrides a private method only: its function jumps by 100."""

    class Jumping(lipschitz.NearestSubspace):
        def _by_squares(self, x, coordinates, k):
            self.bias = nn.Parameter(100.0 * (x[0, 0] > 0).to(self.bias))
            return super()._by_squares(x, coordinates, k)

    network = lipschitz.Maximum(lipschitz.dense(3, hidden=(4,)), Jumping(3, 4))
    assert lipschitz_bound(network) == math.inf
    assert rounding_bound(network, 3) == Rounding(math.inf, math.inf)


def test_parametrised_and_pruned_layers_have_none():
    class Tenfold(nn.Module):
        def forward(self, weight):
            return 10 * weight

    layer = nn.Linear(3, 3)
    parametrize.register_parametrization(layer, "weight", Tenfold())
    assert lipschitz_bound(layer) == math.inf
    pruned = prune.identity(nn.Linear(3, 3), "weight")
    assert lipschitz_bound(pruned) == math.inf


class Thousandfold(torch.Tensor):
    """A weight of another class, which may compute anything."""

    @classmethod
    def __torch_function__(cls, function, types, arguments=(), keywords=None):
        result = super().__torch_function__(function, types, arguments, keywords or {})
        return 1000 * result if function is nn.functional.linear else result


def test_weights_of_another_class_are_not_believed():
    layer = nn.Linear(3, 3)
    layer.weight = nn.Parameter(layer.weight.detach().as_subclass(Thousandfold))
    assert lipschitz_bound(layer) == math.inf


@pytest.mark.parametrize("kind", ["forward_hook", "forward_pre_hook"])
@pytest.mark.parametrize("of_all", [True, False])
def test_hooks_are_not_believed(kind, of_all, layer):
    if of_all:
        register = getattr(nn.modules.module, f"register_module_{kind}")
    else:
        register = getattr(layer, f"register_{kind}")
    handle = register(lambda *_: None)
    try:
        assert lipschitz_bound(layer) == math.inf
        assert lipschitz_bound(nn.Sequential(layer)) == math.inf
    finally:
        handle.remove()
    assert lipschitz_bound(layer) < math.inf


@pytest.mark.parametrize(
    "layer",
    [
        nn.Flatten(0),
        nn.Flatten(-2),
        nn.Unflatten(0, (1, 2)),
        nn.Unflatten(-2, (1, 2)),
        lipschitz.GroupSort2(0),
        lipschitz.FullSort(-2),
    ],
    ids=str,
)
def test_layers_that_may_mix_rows_have_none(layer):
    assert lipschitz_bound(layer) == math.inf


def test_the_rounding_is_that_of_the_weights_not_of_what_a_layer_says_of_them():
    layer = nn.Linear(3, 3).double()
    expected = rounding_bound(layer, 3)
    layer.in_features = -10
    assert rounding_bound(layer, 3) == expected
