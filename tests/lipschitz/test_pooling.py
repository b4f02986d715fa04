from __future__ import annotations

import pytest
import torch
from conftest import ROUNDING
from deel import torchlip
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from torch import nn

from pyod_lipocc.lipschitz import (
    FullSort,
    GlobalL2NormPool2d,
    GroupSort2,
    InvertibleDownsampling2d,
    L2NormPool2d,
    ScaledAvgPool2d,
)
from pyod_lipocc.lipschitz.functional import full_sort, group_sort2

WINDOWED = [L2NormPool2d, ScaledAvgPool2d, InvertibleDownsampling2d]
IMAGES = hnp.arrays(
    float,
    st.tuples(*(st.integers(low, high) for low, high in ((1, 2), (1, 4), (2, 6), (2, 6)))),
    elements=st.floats(-1e3, 1e3),
).map(torch.from_numpy)
close = {"rtol": ROUNDING[torch.float64], "atol": ROUNDING[torch.float64]}


@given(IMAGES)
def test_l2_pooling_is_torchlips(x):
    oracle = torchlip.ScaledL2NormPool2d(2)
    torch.testing.assert_close(L2NormPool2d()(x), oracle(x), **close)


@given(IMAGES)
def test_global_l2_pooling_is_torchlips(x):
    oracle = torchlip.ScaledAdaptativeL2NormPool2d()
    torch.testing.assert_close(GlobalL2NormPool2d()(x), oracle(x).flatten(1), **close)


@given(IMAGES, st.integers(1, 2))
def test_average_pooling_is_torchlips(x, window):
    oracle = torchlip.ScaledAvgPool2d(window)
    torch.testing.assert_close(ScaledAvgPool2d(window)(x), oracle(x), **close)


def test_down_sampling_is_torchlips(generator):
    x = torch.randn(2, 3, 4, 6, generator=generator)
    assert torch.equal(InvertibleDownsampling2d()(x), torchlip.InvertibleDownSampling(2)(x))


@given(IMAGES)
def test_l2_pooling_keeps_the_norm_of_what_it_covers(x):
    covered = x[..., : x.shape[2] // 2 * 2, : x.shape[3] // 2 * 2]
    for pooled, source in ((L2NormPool2d()(x), covered), (GlobalL2NormPool2d()(x), x)):
        torch.testing.assert_close(pooled.norm(), source.norm(), **close)


def test_down_sampling_only_moves_pixels(generator):
    x = torch.randn(2, 3, 6, 4, generator=generator)
    out = InvertibleDownsampling2d()(x)
    assert torch.equal(nn.functional.pixel_shuffle(out, 2), x)


@pytest.mark.parametrize("module", [L2NormPool2d(), GlobalL2NormPool2d()], ids=["2x2", "global"])
@pytest.mark.parametrize("size", [0.0, 1e-300, 1e-160, 1e-150, 1.0, 1e150])
def test_gradient_of_a_norm_is_at_most_a_unit_vector(module, size):
    x = torch.full((1, 2, 2, 2), size, dtype=torch.float64, requires_grad=True)
    module(x).sum().backward()
    length = x.grad.flatten(2).norm(dim=2)
    assert torch.isfinite(x.grad).all()
    assert (length <= 1 + ROUNDING[torch.float64]).all()
    if size >= 1e-150:
        torch.testing.assert_close(length, torch.ones_like(length), **close)
    if size == 0:
        assert not length.any()


@pytest.mark.parametrize("shape", [(4, 6), (5, 7), (3, 3)])
@pytest.mark.parametrize("window", [1, 2, 3])
def test_derivatives_of_a_norm_of_both_orders(window, shape, generator):
    x = torch.randn(1, 2, *shape, generator=generator, dtype=torch.float64).requires_grad_()
    assert torch.autograd.gradcheck(L2NormPool2d(window), x)
    assert torch.autograd.gradgradcheck(lambda x: L2NormPool2d(window)(x) ** 3, x)


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
def test_pooling_keeps_the_memory_format(memory_format, generator):
    x = torch.randn(2, 3, 4, 4, generator=generator).to(memory_format=memory_format)
    x.requires_grad_()
    pooled = L2NormPool2d()(x)
    (gradient,) = torch.autograd.grad(pooled.sum(), x)
    assert pooled.is_contiguous(memory_format=memory_format)
    assert gradient.is_contiguous(memory_format=memory_format)


@given(IMAGES)
def test_channels_are_sorted_as_features_are(x):
    pixels = x.movedim(1, -1)
    rows = pixels.flatten(0, 2)
    for sort in (full_sort, group_sort2):
        assert torch.equal(sort(x, 1), sort(rows).view(pixels.shape).movedim(-1, 1))
    assert torch.equal(
        FullSort(dim=1)(x), torchlip.FullSort()(rows).view(pixels.shape).movedim(-1, 1)
    )


def test_sorts_name_a_dimension_that_is_not_the_last():
    assert [repr(FullSort()), repr(GroupSort2(dim=1))] == ["FullSort()", "GroupSort2(dim=1)"]


@pytest.mark.parametrize("layer", WINDOWED)
@pytest.mark.parametrize("window", [0, -1, 1.5, "2", None, True])
def test_refused_windows(layer, window):
    with pytest.raises(ValueError, match=rf"window must be an int >= 1, got {window!r}"):
        layer(window)


@pytest.mark.parametrize("layer", [L2NormPool2d, ScaledAvgPool2d])
def test_refused_images_smaller_than_a_window(layer):
    with pytest.raises(ValueError, match=r"window must be at most .* got 3 for images of 2 x 5"):
        layer(3)(torch.zeros(1, 1, 2, 5))


def test_refused_images_that_do_not_divide():
    with pytest.raises(ValueError, match=r"window must divide .* got 2 for images of 4 x 5"):
        InvertibleDownsampling2d()(torch.zeros(1, 1, 4, 5))
