from __future__ import annotations

import copy
import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.ndimage import gaussian_filter

from pyod_lipocc.lipschitz import GaussianBlur, lipschitz_bound

FLOAT32 = 1e-6
SHAPES = st.sampled_from([(1, 1), (7, 7), (4, 9), (9, 1), (3, 5, 4), (1, 6, 6)])
SIGMAS = st.sampled_from([0.1, 0.5, 0.7, 1.0, 2.5, 20.0])


def dense_matrix(blur, dtype=torch.float64):
    """The rows of the identity, blurred: the matrix of the linear map, transposed."""
    return copy.deepcopy(blur).to(dtype)(torch.eye(math.prod(blur.image_shape), dtype=dtype))


@given(SHAPES, SIGMAS)
def test_no_vector_grows(shape, sigma):
    """In float64 with the float32 weights that are used, so that no error of this test counts."""
    blur = GaussianBlur(shape, sigma)
    norm = torch.linalg.matrix_norm(dense_matrix(blur), 2)
    assert norm <= 1 + FLOAT32
    assert norm <= lipschitz_bound(blur) <= 1 + FLOAT32


@given(SHAPES, SIGMAS)
def test_symmetric(shape, sigma):
    matrix = dense_matrix(GaussianBlur(shape, sigma))
    torch.testing.assert_close(matrix, matrix.T, rtol=1e-12, atol=1e-12)


@given(SHAPES, SIGMAS)
def test_the_filter_of_scipy(shape, sigma):
    rng = np.random.default_rng(0)
    images = rng.normal(size=(5, *shape)).astype(np.float32)
    blurred = GaussianBlur(shape, sigma)(torch.from_numpy(images).flatten(1))
    # scipy's reach is rounded, ours is rounded upwards: the same kernel where 4 sigma is whole
    radius = math.ceil(4 * sigma)
    expected = [
        gaussian_filter(
            image,
            (0,) * (image.ndim - 2) + (sigma, sigma),
            mode="constant",
            truncate=radius / sigma,
        )
        for image in images.astype(np.float64)
    ]
    np.testing.assert_allclose(blurred, np.reshape(expected, (5, -1)), atol=FLOAT32)


@pytest.mark.parametrize("sigma", [0.25, 0.5, 1.0, 2.5])
def test_the_filter_of_scipy_with_its_own_reach(sigma, rng):
    image = rng.normal(size=(9, 11))
    blurred = GaussianBlur((9, 11), sigma).double()(torch.from_numpy(image).reshape(1, -1))
    expected = gaussian_filter(image, sigma, mode="constant", truncate=4)
    np.testing.assert_allclose(blurred.reshape(9, 11), expected, atol=FLOAT32)


@given(st.floats(0.05, 5.0), st.integers(1, 12), st.integers(1, 12))
def test_weights_are_shares(sigma, height, width):
    blur = GaussianBlur((height, width), sigma)
    for line in (blur.vertical, blur.horizontal):
        assert (line >= 0).all()
        assert (line.double().sum(1) <= 1 + FLOAT32).all()


def test_channels_do_not_mix():
    blur = GaussianBlur((3, 5, 5), 1.0)
    image = torch.zeros(1, 3, 5, 5)
    image[0, 1] = torch.rand(5, 5, generator=torch.Generator().manual_seed(0))
    blurred = blur(image.flatten(1)).view(3, 5, 5)
    assert not blurred[0].any()
    assert not blurred[2].any()
    alone = GaussianBlur((5, 5), 1.0)(image[:, 1].flatten(1))
    torch.testing.assert_close(blurred[1].flatten(), alone[0])


def test_nothing_to_train_and_the_dtype_follows():
    blur = GaussianBlur((4, 4), 1.0)
    assert not list(blur.parameters())
    assert blur.double()(torch.ones(2, 16, dtype=torch.float64)).dtype == torch.float64
    assert blur(torch.empty(0, 16, dtype=torch.float64)).shape == (0, 16)
    columns = torch.rand(16, 2, dtype=torch.float64)
    assert torch.equal(blur(columns.T), blur(columns.T.contiguous()))


def test_printed_form():
    assert repr(GaussianBlur((2, 4, 5), 0.8)) == "GaussianBlur((2, 4, 5), sigma=0.8)"


@pytest.mark.parametrize("sigma", [0.0, -1.0, math.inf, math.nan])
def test_sigma_is_positive_and_finite(sigma):
    with pytest.raises(ValueError, match=r"sigma must be a finite number > 0, got "):
        GaussianBlur((4, 4), sigma)
