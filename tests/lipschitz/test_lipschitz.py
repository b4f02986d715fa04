from __future__ import annotations

import math

import pytest
import torch
from conftest import ORTHOGONAL
from deel.torchlip import functional as torchlip
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from torch import nn

from pyod_lipocc.lipschitz import (
    FullSort,
    GroupSort2,
    OrthogonalLinear,
    dense,
    lipschitz_bound,
    parameter_groups,
    polish,
)
from pyod_lipocc.lipschitz.functional import full_sort, group_sort2

ROWS = hnp.arrays(
    float, hnp.array_shapes(min_dims=2, max_dims=2, max_side=9), elements=st.floats(-1e3, 1e3)
).map(torch.from_numpy)
# the difference of two numbers of this size rounds by no more
ATOL = 2e3 * torch.finfo(torch.float64).eps
LAYOUTS = {
    "one point": lambda x: x[0],
    "no rows": lambda x: x[:0],
    "three dimensions": lambda x: x.reshape(2, 2, -1),
    "strided": lambda x: x.repeat_interleave(2, dim=1)[:, ::2],
    "transposed": lambda x: x.T.contiguous().T,
}


class TestSorting:
    @given(ROWS)
    def test_group_sort2_sorts_partners_half_a_width_apart(self, x):
        half = x.shape[1] // 2
        out = group_sort2(x)
        first, second = x[:, :half], x[:, half : 2 * half]
        torch.testing.assert_close(out[:, :half], torch.maximum(first, second), rtol=0, atol=ATOL)
        smaller = out[:, half : 2 * half]
        torch.testing.assert_close(smaller, torch.minimum(first, second), rtol=0, atol=ATOL)
        assert torch.equal(out[:, 2 * half :], x[:, 2 * half :])

    @given(ROWS.filter(lambda x: x.shape[1] % 2 == 0))
    def test_group_sort2_is_torchlips_up_to_the_order_of_features(self, x):
        neighbours = torch.stack(x.chunk(2, dim=1), dim=2).reshape(x.shape)
        smaller, larger = torchlip.group_sort_2(neighbours).reshape(len(x), -1, 2).unbind(2)
        torch.testing.assert_close(
            group_sort2(x), torch.cat((larger, smaller), 1), rtol=0, atol=ATOL
        )

    @given(ROWS)
    def test_full_sort_is_torchlips(self, x):
        assert torch.equal(full_sort(x), torchlip.full_sort(x))

    @pytest.mark.parametrize("function", [group_sort2, full_sort])
    @given(x=ROWS)
    def test_permutes_its_input(self, function, x):
        torch.testing.assert_close(
            function(x).sort(dim=1).values, x.sort(dim=1).values, rtol=0, atol=ATOL
        )

    @pytest.mark.parametrize("function", [group_sort2, full_sort])
    @given(x=ROWS)
    def test_sorting_twice_is_sorting_once(self, function, x):
        once = function(x)
        torch.testing.assert_close(function(once), once, rtol=0, atol=ATOL)

    @pytest.mark.parametrize("module", [GroupSort2(), FullSort()], ids=["groupsort", "fullsort"])
    @pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS)
    def test_any_layout(self, module, layout, generator):
        x = layout(torch.randn(4, 6, generator=generator))
        expected = module(x.contiguous().reshape(-1, x.shape[-1])).reshape(x.shape)
        assert torch.equal(module(x), expected)

    @pytest.mark.parametrize("function", [group_sort2, full_sort])
    def test_gradient_keeps_its_norm_at_ties(self, function):
        x = torch.ones(1, 6, requires_grad=True)
        weights = torch.arange(1.0, 7.0)
        (function(x) * weights).sum().backward()
        assert torch.equal(x.grad.sort().values[0], weights)

    @pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
    @pytest.mark.parametrize("shape", [(5, 7), (3, 4, 2, 3), (0, 4), (2, 0), (3, 1)])
    @pytest.mark.parametrize("dim", [0, 1, -1])
    def test_full_sort_and_its_gradient_are_torchs(self, shape, dim, dtype, generator):
        x, weights = torch.randn(2, *shape, generator=generator, dtype=dtype)
        x.requires_grad_()
        values, expected = full_sort(x, dim), torch.sort(x, dim=dim).values
        assert values.dtype == dtype
        assert torch.equal(values, expected)
        assert torch.equal(full_sort(x.detach(), dim), expected)
        gradients = [
            torch.autograd.grad((values_ * weights).sum(), x)[0] for values_ in (values, expected)
        ]
        assert torch.equal(*gradients)

    @pytest.mark.parametrize("shape", [(600_000, 1), (3, 700, 200), (2, 2, 300_000)])
    def test_so_they_are_over_many_blocks_of_rows(self, shape, generator):
        x = torch.randn(shape, generator=generator, dtype=torch.float64, requires_grad=True)
        weights = torch.randn(x.shape, generator=generator, dtype=torch.float64)
        sorts = (full_sort, lambda x: torch.sort(x).values)
        values = [sort(x) for sort in sorts]
        assert torch.equal(*values)
        gradients = [torch.autograd.grad((value * weights).sum(), x)[0] for value in values]
        assert torch.equal(*gradients)

    def test_full_sort_in_half_precision(self, generator):
        x = torch.randn(3, 5, generator=generator).bfloat16()
        assert torch.equal(full_sort(x), x.sort().values)

    @pytest.mark.parametrize("function", [group_sort2, full_sort])
    @pytest.mark.parametrize("dim", [1, -1])
    def test_derivatives_of_both_orders(self, function, dim, generator):
        x = torch.randn(2, 5, 3, generator=generator, dtype=torch.float64).requires_grad_()
        assert torch.autograd.gradcheck(lambda x: function(x, dim), x)
        assert torch.autograd.gradgradcheck(lambda x: function(x, dim) ** 3, x)

    @pytest.mark.parametrize("module", [GroupSort2(), FullSort(dim=1)], ids=repr)
    def test_can_be_exported(self, module, generator):
        x = torch.randn(4, 5, generator=generator)
        assert torch.equal(torch.export.export(module, (x,)).module()(x), module(x))


class TestDense:
    def test_widths_and_activations(self):
        network = dense(3, hidden=(8, 5), activation=FullSort)
        linear, sorting = network[::2], network[1::2]
        assert [(m.in_features, m.out_features) for m in linear] == [(3, 8), (8, 5), (5, 1)]
        assert [type(module) for module in sorting] == [FullSort, FullSort]
        assert network(torch.zeros(4, 3)).shape == (4, 1)

    def test_default_widths(self):
        assert [m.out_features for m in dense(2)[::2]] == [128, 128, 128, 1]

    def test_reproducible(self, global_rngs_untouched):
        first, second, other = (
            dense(2, generator=torch.Generator().manual_seed(s)) for s in (0, 0, 1)
        )
        x = torch.ones(1, 2)
        assert torch.equal(first(x), second(x))
        assert not torch.equal(first(x), other(x))

    def test_biases_start_at_zero(self, generator):
        network = dense(2, generator=generator)
        assert torch.equal(network(torch.zeros(1, 2)), torch.zeros(1, 1))

    @pytest.mark.parametrize(
        ("name", "widths"), [("in_features", (0, 3)), ("out_features", (3, -1))]
    )
    def test_widths_out_of_range(self, name, widths):
        with pytest.raises(ValueError, match=rf"{name} must be an int >= 1, got {min(widths)}"):
            OrthogonalLinear(*widths)

    def test_single_precision_starts_on_the_manifold(self, generator):
        for module in dense(2, hidden=(512, 512), generator=generator)[::2]:
            sigma = torch.linalg.svdvals(module.weight.detach().double())
            assert ((sigma - 1).abs() <= ORTHOGONAL[torch.float32]).all()


class TestParameterGroups:
    def test_every_parameter_is_in_one_group(self, generator):
        network = nn.Sequential(dense(2, hidden=(4,), generator=generator), nn.Linear(1, 1))
        constrained, free = parameter_groups(network)
        assert constrained["stiefel"] is True
        assert not free.get("stiefel", False)
        assert [id(p) for p in constrained["params"]] == [id(m.weight) for m in network[0][::2]]
        together = [id(p) for group in (constrained, free) for p in group["params"]]
        assert sorted(together) == sorted(id(p) for p in network.parameters())

    def test_empty_groups_are_left_out(self):
        assert [g["stiefel"] for g in parameter_groups(OrthogonalLinear(2, 2, bias=False))] == [
            True
        ]
        assert [g.get("stiefel", False) for g in parameter_groups(nn.Linear(2, 2))] == [False]
        assert parameter_groups(GroupSort2()) == []

    def test_a_layer_used_twice_counts_once(self):
        layer = OrthogonalLinear(3, 3)
        constrained, free = parameter_groups(nn.Sequential(layer, GroupSort2(), layer))
        assert len(constrained["params"]) == len(free["params"]) == 1


def _stretching(factor: float) -> nn.Linear:
    layer = nn.Linear(3, 3)
    nn.init.eye_(layer.weight).data.mul_(factor)
    return layer


class _Residual(nn.Sequential):
    def forward(self, x):
        return x + super().forward(x)


class _Doubled(OrthogonalLinear):
    def forward(self, x):
        return 2 * super().forward(x)


class TestLipschitzBound:
    def test_multiplies_the_norms_of_a_sequence(self):
        network = nn.Sequential(
            _stretching(3.0), nn.ReLU(), nn.Sequential(_stretching(0.5), nn.Tanh()), GroupSort2()
        )
        assert lipschitz_bound(network) == pytest.approx(1.5)

    def test_a_linear_layer_has_its_spectral_norm(self, generator):
        layer = nn.Linear(4, 6)
        layer.weight.data = torch.randn(6, 4, generator=generator)
        steepest = torch.linalg.svdvals(layer.weight.double())[0].item()
        assert lipschitz_bound(layer) == pytest.approx(steepest, rel=1e-12)

    def test_an_orthogonal_layer_off_the_manifold_is_not_believed(self):
        layer = OrthogonalLinear(3, 3)
        layer.weight.data.mul_(2.0)
        assert lipschitz_bound(layer) == pytest.approx(2.0)
        polish(layer)
        assert lipschitz_bound(layer) == pytest.approx(1.0)

    @pytest.mark.parametrize(
        "unknown",
        [
            nn.Bilinear(2, 2, 1),
            nn.BatchNorm1d(3),
            nn.GELU(),
            nn.Sequential(nn.Identity(), nn.GELU()),
            _Residual(nn.Identity()),
            _Doubled(3, 3),
        ],
        ids=lambda module: type(module).__name__,
    )
    def test_is_infinite_for_what_it_does_not_know(self, unknown):
        assert lipschitz_bound(unknown) == math.inf

    def test_of_nothing_is_one(self):
        assert lipschitz_bound(nn.Sequential()) == 1.0
        assert lipschitz_bound(nn.Identity()) == 1.0
