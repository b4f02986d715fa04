from __future__ import annotations

import copy
import inspect
import math
import pickle
from functools import partial

import numpy as np
import pytest
import torch
from conftest import ORTHOGONAL, ROUNDING
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.datasets import load_digits
from torch import nn

from pyod_lipocc import LipOCC
from pyod_lipocc.lipschitz import (
    FullSort,
    GroupSort2,
    OrthogonalConv2d,
    OrthogonalLinear,
    ReshapedConv2d,
    conv,
    conv_deep,
    lipschitz_bound,
    norm_preserving,
    parameter_groups,
    polish,
)
from pyod_lipocc.lipschitz.functional import convolution_bound
from pyod_lipocc.stiefel import StiefelAdam

KINDS = [ReshapedConv2d, OrthogonalConv2d]
PADDINGS = ["zeros", "circular"]
ROUNDED = 1 + ROUNDING[torch.float64]
IMAGE = (8, 6)
DIGITS = load_digits(return_X_y=True)


def _layer(kind, *sizes, **keywords):
    generator = torch.Generator().manual_seed(sum(sizes))
    layer = kind(*sizes, generator=generator, **keywords).double()
    polish(layer)
    return layer


@torch.no_grad()
def _matrix(layer, image=IMAGE):
    """Dense matrix of the linear part, from the images of the identity basis."""
    channels = layer.in_channels
    basis = torch.eye(channels * math.prod(image), dtype=torch.float64)
    basis = basis.view(-1, channels, *image)
    return (layer(basis) - layer(torch.zeros_like(basis))).flatten(1).T


def _train(layer, n_steps=30, size=IMAGE):
    """Take optimiser steps that pull the layer towards a random target."""
    generator = torch.Generator().manual_seed(0)
    optimizer = StiefelAdam(parameter_groups(layer), lr=3e-2)
    for _ in range(n_steps):
        x = torch.randn(4, layer.in_channels, *size, generator=generator, dtype=torch.float64)
        outputs = layer(x)
        optimizer.zero_grad()
        target = torch.randn(outputs.shape, generator=generator, dtype=torch.float64)
        (outputs - 2 * target).square().mean().backward()
        optimizer.step()
    return layer


def _assert_bounded(layer, image=IMAGE):
    sigma = torch.linalg.svdvals(_matrix(layer, image))
    bound = lipschitz_bound(layer)
    assert sigma.max() <= bound * ROUNDED
    if isinstance(layer, ReshapedConv2d):  # whose bound is the smaller of two
        assert sigma.max() <= convolution_bound(layer.kernel(), layer.stride) * ROUNDED
    assert bound <= ROUNDED
    if isinstance(layer, OrthogonalConv2d) and layer.padding_mode == "circular":
        assert sigma.min() >= 2 - ROUNDED


class TestFewChannels:
    """The layer that sees the image computes on patches, and is torch's convolution."""

    @settings(max_examples=30)
    @given(
        st.integers(1, 4),
        st.booleans(),
        st.integers(1, 5),
        st.integers(1, 2),
        st.sampled_from(PADDINGS),
    )
    def test_values_and_gradients_are_torchs(
        self, channels, bias, kernel_size, stride, padding_mode
    ):
        layer = _layer(
            *(ReshapedConv2d, channels, 5, kernel_size),
            **{"stride": stride, "padding_mode": padding_mode, "bias": bias},
        )
        generator = torch.Generator().manual_seed(0)
        x = torch.randn(2, channels, *IMAGE, generator=generator, dtype=torch.float64)
        before, after = (kernel_size - 1) // 2, kernel_size // 2
        mode = {"zeros": "constant"}.get(padding_mode, padding_mode)
        inputs = [x.requires_grad_(), *layer.parameters()]

        def expected():
            padded = nn.functional.pad(x, (before, after, before, after), mode=mode)
            return nn.functional.conv2d(padded, layer.kernel(), layer.bias, stride)

        close = {"rtol": 0.0, "atol": ROUNDING[torch.float64]}
        torch.testing.assert_close(layer(x), expected(), **close)
        gradients = [
            torch.autograd.grad(f().square().sum(), inputs) for f in (lambda: layer(x), expected)
        ]
        torch.testing.assert_close(*gradients, **close)

    def test_derivatives_of_both_orders(self, generator):
        layer = _layer(ReshapedConv2d, 1, 2, 3, stride=2)
        x = torch.randn(2, 1, 3, 4, generator=generator, dtype=torch.float64).requires_grad_()
        assert torch.autograd.gradcheck(lambda x, *_: layer(x), (x, *layer.parameters()))
        assert torch.autograd.gradgradcheck(
            lambda x, *_: layer(x).square(), (x, *layer.parameters())
        )


class TestOperatorNorm:
    @pytest.mark.parametrize("padding_mode", PADDINGS)
    @pytest.mark.parametrize("kind", KINDS)
    @settings(max_examples=20)
    @given(
        channels=st.tuples(st.integers(1, 3), st.integers(1, 5)),
        kernel_size=st.integers(1, 7),
        stride=st.integers(1, 2),
        windows=st.tuples(st.integers(1, 7), st.integers(1, 7)),
        n_steps=st.sampled_from([0, 3]),
    )
    def test_true_norm_is_below_the_bound_and_the_bound_below_one(
        self, kind, padding_mode, channels, kernel_size, stride, windows, n_steps
    ):
        image = [stride * side for side in windows] if padding_mode == "circular" else windows
        if padding_mode == "circular":  # torch wraps an image around once at most
            image = [max(side, stride * -(-kernel_size // 2 // stride)) for side in image]
        size = max(kernel_size, stride)
        layer = _layer(kind, *channels, size, stride=stride, padding_mode=padding_mode)
        _assert_bounded(_train(layer, n_steps, image), image)

    @pytest.mark.parametrize("kind", KINDS)
    def test_training_moves_all_weights(self, kind):
        layer = _layer(kind, 2, 3, 3)
        before = copy.deepcopy(layer)
        _assert_bounded(_train(layer))
        pairs = zip(before.parameters(), layer.parameters(), strict=True)
        assert all((old - new).norm() > 1e-2 for old, new in pairs)

    @pytest.mark.parametrize("image", [(3, 5), (5, 3), (9, 9)])
    def test_a_zero_padded_norm_is_at_most_the_circular_one_on_the_padded_grid(self, image):
        zeros = _layer(ReshapedConv2d, 2, 3, 3)
        circular = copy.deepcopy(zeros)
        circular.padding_mode = "circular"
        padded = tuple(side + 2 for side in image)
        norms = [
            torch.linalg.matrix_norm(_matrix(*a), 2) for a in ((zeros, image), (circular, padded))
        ]
        assert norms[0] <= norms[1] * ROUNDED
        assert norms[1] <= lipschitz_bound(zeros) * ROUNDED

    @pytest.mark.parametrize("shape", [(3, 2, 3, 3), (2, 3, 5, 5), (2, 2, 1, 4), (3, 3, 2, 2)])
    @pytest.mark.parametrize("stride", [1, 2])
    def test_the_bound_of_any_kernel_is_tight(self, shape, stride, generator):
        kernel = torch.randn(shape, generator=generator, dtype=torch.float64)
        bound = convolution_bound(kernel, stride)
        grid = torch.fft.fft2(kernel, s=(96, 96)).permute(2, 3, 0, 1)
        if stride == 2:  # the four aliases of a frequency are seen as one
            fold = grid.reshape(2, 48, 2, 48, *shape[:2]).permute(1, 3, 4, 0, 2, 5)
            grid = fold.reshape(48, 48, shape[0], -1) / 2
        norm = torch.linalg.matrix_norm(grid, ord=2).max()
        assert norm <= bound * ROUNDED
        assert bound <= 1.1 * norm

    def test_the_reshaped_bound_of_the_patches_is_never_exceeded(self):
        layer = ReshapedConv2d(1, 1, 3, bias=False).double()
        layer.weight.data.fill_(1 / 3)  # a constant kernel attains it as the image grows
        norms = [torch.linalg.matrix_norm(_matrix(layer, (n, n)), 2).item() for n in (4, 8, 16)]
        assert norms == sorted(norms)
        assert 0.95 < norms[-1] < 1
        assert lipschitz_bound(layer) == pytest.approx(1.0, abs=1e-12)

    @pytest.mark.parametrize("kind", KINDS)
    def test_weights_off_the_manifold_are_not_believed(self, kind):
        layer = _layer(kind, 2, 2, 3)
        for weight in layer.stiefel_weights():
            weight.data.mul_(1.5)
        assert torch.linalg.matrix_norm(_matrix(layer), 2) <= lipschitz_bound(layer)
        assert lipschitz_bound(layer) > lipschitz_bound(_layer(kind, 2, 2, 3))
        polish(layer)
        assert lipschitz_bound(layer) <= ROUNDED

    def test_reflecting_would_break_the_bound(self):
        layer = _layer(ReshapedConv2d, 1, 1, 3, bias=False)
        layer.weight.data.fill_(1 / 3)
        basis = torch.eye(36, dtype=torch.float64).view(-1, 1, 6, 6)
        reflected = nn.functional.pad(basis, (1, 1, 1, 1), mode="reflect")
        with torch.no_grad():
            matrix = nn.functional.conv2d(reflected, layer.kernel()).flatten(1)
        assert torch.linalg.matrix_norm(matrix, 2) > 1.01


class TestPairs:
    @pytest.mark.parametrize("padding_mode", PADDINGS)
    @pytest.mark.parametrize("kind", KINDS)
    def test_ratio_at_random_and_steepest_pairs(self, kind, padding_mode, generator):
        layer = _train(_layer(kind, 2, 3, 3, padding_mode=padding_mode), n_steps=5)
        x = torch.randn(16, 2, *IMAGE, generator=generator, dtype=torch.float64)
        noise = torch.randn(x.shape, generator=generator, dtype=torch.float64)
        x.requires_grad_()
        (steepest,) = torch.autograd.grad((layer(x) * layer(noise).detach()).sum(), x)
        with torch.no_grad():
            for move in (noise, steepest, 1e-3 * steepest):
                moved = (layer(x + move) - layer(x)).flatten(1).norm(dim=1)
                assert (moved <= ROUNDED * move.flatten(1).norm(dim=1)).all()

    def test_an_orthogonal_layer_keeps_white_noise_and_a_reshaped_one_does_not(self, generator):
        x = torch.randn(4, 8, 16, 16, generator=generator, dtype=torch.float64)
        reshaped, orthogonal = (
            (_layer(kind, 8, 8, 3)(x).norm() / x.norm()).item() for kind in KINDS
        )
        assert orthogonal > 0.9
        assert reshaped == pytest.approx(1 / 3, abs=0.03)


class TestLayer:
    @pytest.mark.parametrize("kind", KINDS)
    def test_one_interface(self, kind):
        names = "in_channels, out_channels, kernel_size, stride, padding_mode, bias, generator"
        assert ", ".join(inspect.signature(kind).parameters) == names

    @pytest.mark.parametrize("kind", KINDS)
    @pytest.mark.parametrize("padding_mode", PADDINGS)
    def test_is_torchs_convolution_with_its_kernel(self, kind, padding_mode, generator):
        layer = _layer(kind, 2, 3, 5, stride=2, padding_mode=padding_mode)
        nn.init.normal_(layer.bias, generator=generator)
        plain = nn.Conv2d(2, 3, 5, stride=2, padding=2, padding_mode=padding_mode).double()
        plain.load_state_dict({"weight": layer.kernel().detach(), "bias": layer.bias.detach()})
        x = torch.randn(3, 2, *IMAGE, generator=generator, dtype=torch.float64)
        torch.testing.assert_close(plain(x), layer(x))
        if padding_mode == "zeros":
            assert lipschitz_bound(plain) <= ROUNDED

    @pytest.mark.parametrize("kind", KINDS)
    @pytest.mark.parametrize("kernel_size", [1, 2, 3, 6])
    def test_gradients_reach_every_parameter(self, kind, kernel_size, generator):
        layer = _layer(kind, 2, 4, kernel_size)
        x = torch.randn(4, 2, 6, 6, generator=generator, dtype=torch.float64)
        layer(x).pow(3).sum().backward()
        for weight in layer.parameters():
            assert weight.grad.isfinite().all()
            assert weight.grad.reshape(len(weight), -1).ne(0).any(dim=1).all()

    def test_gradients_of_the_projectors_are_exact(self):
        layer = _layer(OrthogonalConv2d, 2, 3, 3, stride=2)
        names = [name for name, _ in layer.named_parameters()]
        x = torch.randn(1, 2, 4, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0))

        def output(*weights):
            named = dict(zip(names, weights, strict=True))
            return torch.func.functional_call(layer, named, (x,))

        assert torch.autograd.gradcheck(output, tuple(layer.parameters()))

    @pytest.mark.parametrize("kind", KINDS)
    def test_stays_on_the_manifold_in_single_precision(self, kind):
        layer = kind(2, 3, 3, generator=torch.Generator().manual_seed(0))
        optimizer = StiefelAdam(parameter_groups(layer), lr=1e-2)
        for _ in range(20):
            optimizer.zero_grad()
            layer(torch.ones(2, 2, 5, 5)).square().sum().backward()
            optimizer.step()
        for weight in layer.stiefel_weights():
            sigma = torch.linalg.svdvals(weight.detach().double())
            assert ((sigma - 1).abs() <= ORTHOGONAL[torch.float32]).all()

    @pytest.mark.parametrize("kind", KINDS)
    def test_nothing_is_stale_after_a_change_of_weights(self, kind):
        layer, other = _layer(kind, 2, 2, 3), kind(2, 2, 3).double()
        x = torch.ones(1, 2, 4, 4, dtype=torch.float64)
        layer(x)
        layer.load_state_dict(other.state_dict())
        assert torch.equal(layer(x), other(x))
        assert torch.equal(pickle.loads(pickle.dumps(layer))(x), layer(x))

    @pytest.mark.parametrize("kind", KINDS)
    def test_reproducible(self, kind, global_rngs_untouched):
        first, again, other = (
            kind(2, 3, 3, generator=torch.Generator().manual_seed(seed)) for seed in (0, 0, 1)
        )
        assert torch.equal(first.kernel(), again.kernel())
        assert not torch.equal(first.kernel(), other.kernel())

    def test_single_channels_have_no_projectors(self):
        assert OrthogonalConv2d(1, 1, 3).projectors is None
        assert OrthogonalConv2d(2, 2, 1).projectors is None
        assert OrthogonalConv2d(2, 3, 3).projectors.shape == (4, 3, 1)

    def test_printed_form(self):
        layer = ReshapedConv2d(1, 2, 3, stride=2, padding_mode="circular", bias=False)
        expected = (
            "ReshapedConv2d(1, 2, kernel_size=3, stride=2, padding_mode='circular', bias=False)"
        )
        assert repr(layer) == expected


class TestRefused:
    @pytest.mark.parametrize("kind", KINDS)
    @pytest.mark.parametrize(
        ("name", "value"),
        [
            ("in_channels", 0),
            ("in_channels", 1.0),
            ("out_channels", -1),
            ("out_channels", None),
            ("kernel_size", 0),
            ("kernel_size", 8),
            ("kernel_size", (3, 3)),
            ("stride", 0),
            ("stride", 3),
            ("stride", True),
            ("padding_mode", "replicate"),
            ("padding_mode", None),
        ],
    )
    def test_parameters_out_of_range(self, kind, name, value):
        good = {"in_channels": 2, "out_channels": 2, "kernel_size": 3}
        with pytest.raises(ValueError, match=rf"{name} must be .*got ") as caught:
            kind(**(good | {name: value}))
        assert repr(value) in str(caught.value)

    @pytest.mark.parametrize("kind", KINDS)
    def test_reflecting_padding_with_the_reason(self, kind):
        with pytest.raises(ValueError, match=r"got 'reflect': .* raises the operator norm"):
            kind(2, 2, 3, padding_mode="reflect")

    def test_an_orthogonal_kernel_smaller_than_its_stride(self):
        with pytest.raises(ValueError, match=r"kernel_size must be at least the stride, 2.* got 1"):
            OrthogonalConv2d(2, 2, 1, stride=2)

    @pytest.mark.parametrize("kind", KINDS)
    def test_circular_images_that_the_stride_does_not_divide(self, kind):
        with pytest.raises(ValueError, match=r"stride must divide .* got 2 for images of 4 x 5"):
            kind(1, 1, 3, stride=2, padding_mode="circular")(torch.zeros(1, 1, 4, 5))


class _OwnKernel(ReshapedConv2d):
    def kernel(self):
        return 9 * super().kernel()


class _OwnBound(OrthogonalConv2d):
    def lipschitz_bound(self):
        return 0.0


class TestLipschitzBound:
    @pytest.mark.parametrize(
        "unknown",
        [
            _OwnKernel(1, 1, 3),
            _OwnBound(1, 1, 3),
            nn.Conv2d(2, 2, 3, padding=1, padding_mode="reflect"),
            nn.Conv2d(2, 2, 3, padding=1, stride=2, padding_mode="circular"),
            nn.Conv2d(2, 2, 3, padding=2, padding_mode="circular"),
            nn.Conv2d(2, 2, 3, groups=2),
            nn.Conv2d(2, 2, 3, dilation=2),
            nn.Conv2d(2, 2, 3, stride=(1, 2)),
            nn.ConvTranspose2d(2, 2, 3),
        ],
        ids=repr,
    )
    def test_is_infinite_for_what_it_does_not_know(self, unknown):
        assert lipschitz_bound(unknown) == math.inf

    def test_multiplies_along_a_network(self, generator):
        network = conv(16, image_shape=(4, 4), width=4, depth=2, generator=generator).double()
        polish(network)
        product = math.prod(lipschitz_bound(layer) for layer in network)
        assert lipschitz_bound(network) == pytest.approx(product, rel=1e-12)
        assert lipschitz_bound(network) <= ROUNDED


class TestNetworks:
    def test_table_2_has_493_697_weights_not_the_872k_of_its_caption(self):
        network = conv(784, image_shape=(28, 28), width=128, convolution=ReshapedConv2d)
        assert sum(weight.numel() for weight in network.parameters()) == 493_697
        assert [(m.in_channels, m.out_channels, m.kernel_size) for m in network[1:11:3]] == [
            (1, 128, 3),
            *[(128, 128, 3)] * 3,
        ]
        assert [m.dim for m in network.modules() if isinstance(m, FullSort)] == [1] * 4 + [-1] * 3
        head = [m for m in network[-1] if isinstance(m, OrthogonalLinear)]
        assert [m.out_features for m in head] == [128, 128, 128, 1]

    def test_table_2_shrinks_28_pixels_to_14_7_and_3(self):
        x = torch.zeros(1, 784)
        sides = []
        for layer in conv(784, image_shape=(28, 28), width=2):
            x = layer(x)
            sides += [x.shape[-1]] if x.ndim == 4 else []
        assert sides == [28, 28, 28, 14, 14, 14, 7, 7, 7, 3, 3, 3]

    def test_the_follow_up_has_11_convolutions_of_64_to_256_channels(self):
        network = conv_deep(784, image_shape=(28, 28))
        layers = [m for m in network if isinstance(m, OrthogonalConv2d)]
        assert [m.out_channels for m in layers] == [64] * 3 + [128] * 4 + [256] * 4
        assert sum(isinstance(m, GroupSort2) for m in network) == 11
        assert network[-1].weight.shape == (1, 256 * 7 * 7)

    @pytest.mark.parametrize(
        "build",
        [partial(conv, depth=3), partial(conv_deep, stages=((1, 4), (1, 6))), norm_preserving],
    )
    @pytest.mark.parametrize("image_shape", [(9, 8), (3, 8, 9), (4, 12)])
    def test_reads_flat_rows_and_colours(self, build, image_shape):
        n_features = math.prod(image_shape)
        network = build(n_features, image_shape=image_shape)
        assert network(torch.zeros(5, n_features)).shape == (5, 1)

    @pytest.mark.parametrize("build", [conv, conv_deep, norm_preserving])
    @pytest.mark.parametrize("image_shape", [(4, 5), (16,), (1, 1, 4, 4), (-4, -4)])
    def test_refused_image_shapes(self, build, image_shape):
        with pytest.raises(ValueError, match="image_shape must "):
            build(16, image_shape=image_shape)

    def test_refused_depths(self):
        with pytest.raises(ValueError, match=r"sides of at least 8 .* use a smaller depth"):
            conv(16, image_shape=(4, 4))
        with pytest.raises(ValueError, match="depth must be an int >= 1, got 0"):
            conv(16, image_shape=(4, 4), depth=0)

    @pytest.mark.parametrize("image_shape", [(28, 28), (3, 16, 12)])
    def test_norm_preserving_keeps_the_norm_of_gradients(self, image_shape, generator):
        d = math.prod(image_shape)
        network = norm_preserving(d, image_shape=image_shape, hidden=(16,), generator=generator)
        x = torch.zeros(8, *image_shape)
        x[..., 2:-2, 2:-2] = torch.rand(x[..., 2:-2, 2:-2].shape, generator=generator)
        x = x.reshape(8, d).requires_grad_()
        (gradient,) = torch.autograd.grad(network(x).sum(), x)
        assert gradient.norm(dim=1).mean() > 0.75

    @pytest.mark.parametrize("convolution", KINDS)
    def test_the_slope_is_at_most_one_after_training(self, convolution, generator):
        network = conv(
            64, image_shape=(8, 8), width=6, depth=3, convolution=convolution, generator=generator
        ).double()
        optimizer = StiefelAdam(parameter_groups(network), lr=1e-2)
        x = torch.rand(16, 64, generator=generator, dtype=torch.float64)
        for _ in range(30):
            optimizer.zero_grad()
            (network(x / 2) - network(x.flip(1))).mean().backward()
            assert all(weight.grad.isfinite().all() for weight in network.parameters())
            optimizer.step()
        x.requires_grad_()
        (gradient,) = torch.autograd.grad(network(x).sum(), x)
        bound = lipschitz_bound(network)
        assert (gradient.norm(dim=1) <= bound * ROUNDED).all()
        assert bound <= ROUNDED


def _detector(**parameters):
    quick = {"max_iter": 5, "batch_size": 32, "standardize": False, "random_state": 0}
    return LipOCC(**(quick | parameters))


class TestDetector:
    X = DIGITS[0][DIGITS[1] == 0] / 16

    def _assert_fits(self, detector):
        detector.fit(self.X)
        assert detector.lipschitz_constant_ <= 1 + 1e-6
        assert len(np.unique(detector.decision_scores_)) > len(self.X) / 2
        moved = self.X[::-1]
        gap = np.abs(detector.decision_function(moved) - detector.decision_function(self.X))
        assert (gap <= detector.lipschitz_constant_ * np.linalg.norm(moved - self.X, axis=1)).all()

    def test_fits_digits_with_a_narrow_table_2(self):
        self._assert_fits(_detector(network=partial(conv, width=8), image_shape=(8, 8)))

    def test_fits_digits_with_the_follow_up(self):
        network = partial(conv_deep, stages=((2, 4), (1, 8)))
        self._assert_fits(_detector(network=network, image_shape=[1, 8, 8]))

    def test_a_builder_keeps_an_image_shape_of_its_own(self):
        self._assert_fits(_detector(network=partial(conv, image_shape=(8, 8), width=4)))

    @pytest.mark.parametrize("network", ["conv", "conv-deep", partial(conv, width=4)])
    def test_a_missing_image_shape_is_named(self, network):
        with pytest.raises(ValueError, match=r"image_shape must be .* got None"):
            _detector(network=network).fit(self.X)

    @pytest.mark.parametrize("image_shape", [(8, 9), (64,), (2, 4, 8)])
    def test_an_image_shape_that_does_not_fit(self, image_shape):
        with pytest.raises(ValueError, match="image_shape"):
            _detector(network="conv", image_shape=image_shape).fit(self.X)
