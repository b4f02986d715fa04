"""Edits of images mean the same in every unit, and leave the rest of an image alone."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose
from sklearn.datasets import load_digits

from pyod_lipocc import LipOCC
from pyod_lipocc.domains import Box
from pyod_lipocc.negatives import (
    CutPaste,
    Erase,
    ImageAugmentation,
    Overlay,
    PatchShuffle,
    Rotate,
    Warp,
)
from pyod_lipocc.units import Scaling

EDITS = [CutPaste, Erase, ImageAugmentation, Overlay, PatchShuffle, Rotate, Warp]
SHAPES = [(8, 8), (7, 10), (3, 8, 9)]
# From [0, 1] to [0, 255], to [-1, 1], inverted, and to the deviations from a mean.
UNITS = [(255.0, 0.0), (2.0, -1.0), (-1.0, 1.0), (3.1, -0.4)]


def draw(edit, x, seed=0):
    domain = Box(-1e6, 1e6).expand(x.shape[1]).to(x.dtype)
    return edit(x, domain, torch.Generator().manual_seed(seed))


def pictures(shape, n=6, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(n, math.prod(shape), generator=generator, dtype=torch.float64)


def strokes(shape, n=5, ground=0.0, ink=1.0):
    """Images of a square of ink in the middle of the ground."""
    image = torch.full(shape, ground, dtype=torch.float64)
    height, width = shape[-2:]
    image[..., height // 3 : -(height // 3), width // 3 : -(width // 3)] = ink
    return image.reshape(1, -1).repeat(n, 1)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("edit", EDITS)
class TestUnits:
    @pytest.mark.parametrize(("factor", "shift"), UNITS)
    def test_an_edit_is_the_same_in_every_unit(self, edit, shape, factor, shift):
        x, edits = pictures(shape), edit(shape)
        expected = factor * draw(edits, x) + shift
        torch.testing.assert_close(draw(edits, factor * x + shift), expected)

    @pytest.mark.parametrize("standardize", [True, False])
    def test_an_edit_is_the_same_in_pixels_and_in_the_network(self, edit, shape, standardize):
        x, edits = pictures(shape, n=9), edit(shape)
        scaling = Scaling.fit(x.numpy(), standardize=standardize, alike=True)
        z = torch.from_numpy(scaling.to_network(x.numpy()))
        assert_allclose(scaling.to_input(draw(edits, z).numpy()), draw(edits, x), atol=1e-9)


@pytest.mark.parametrize(("factor", "shift"), [(255.0, 0.0), (2.0, -1.0), (1e-3, 7.0)])
def test_a_detector_of_images_does_not_depend_on_the_unit_of_the_pixels(factor, shift):
    X = load_digits().data[:120] / 16.0
    first, second = (
        LipOCC(novelty=True, image_shape=(8, 8), max_iter=3, random_state=0).fit(rows)
        for rows in (X, factor * X + shift)
    )
    scores = first.decision_function(1 - X)
    assert_allclose(
        second.decision_function(factor * (1 - X) + shift), scores, rtol=1e-4, atol=1e-4
    )


def test_pixels_have_one_location_and_one_scale():
    X = load_digits().data[:90]
    detector = LipOCC(novelty=True, image_shape=(8, 8), max_iter=1).fit(X)
    assert_allclose(detector.scaling_.location, X.mean())
    assert_allclose(detector.scaling_.scale, X.std())


@pytest.mark.parametrize(("ground", "ink"), [(0.0, 1.0), (1.0, 0.0), (0.3, -2.0)])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
class TestBackground:
    def test_a_rotated_or_warped_image_has_no_other_colours(self, shape, ground, ink):
        x = strokes(shape, ground=ground, ink=ink)
        for edit in (Rotate(shape), Warp(shape)):
            z = draw(edit, x)
            assert z.min() >= min(ground, ink) - 1e-9
            assert z.max() <= max(ground, ink) + 1e-9
            # Corners that an image has left show the ground.
            assert (z.reshape(5, *shape)[..., 0, 0] - ground).abs().max() < 0.5 * abs(ink - ground)

    def test_erasing_all_leaves_the_ground(self, shape, ground, ink):
        erase = Erase(shape, share=(1.0, 1.0))
        z = draw(erase, strokes(shape, ground=ground, ink=ink))
        torch.testing.assert_close(z, torch.full_like(z, ground))

    def test_an_overlay_keeps_the_ink_of_both(self, shape, ground, ink):
        x = strokes(shape, n=2, ground=ground, ink=ink)
        x[1] = x[1].reshape(shape).roll(2, -1).flatten()
        overlay = Overlay(shape, share=(1.0, 1.0), shift=0.0)
        both = ((x - ground).abs() > 1e-9).any(0)
        torch.testing.assert_close(draw(overlay, x)[0], torch.where(both, ink, ground).double())


@settings(max_examples=20)
@given(st.sampled_from(SHAPES), st.floats(0.2, 0.9), st.integers(0, 50))
def test_rectangles_have_the_share_asked_for(shape, share, seed):
    x = torch.ones(4, math.prod(shape), dtype=torch.float64)
    x[0, 0] = 0.5
    erased = draw(Erase(shape, share=(share, share)), pictures(shape, 4) + 5.0, seed)
    changed = (erased - (pictures(shape, 4) + 5.0)).abs() > 1e-12
    height, width = shape[-2:]
    area = max(int(share * height), 1) * max(int(share * width), 1)
    per_image = changed.reshape(4, -1, height * width).any(1).sum(1)
    assert (per_image <= area).all()
    assert (per_image >= area - 1).all()


@pytest.mark.parametrize("turns", [1, 2, 3])
def test_quarter_turns_are_exact(turns):
    x = pictures((3, 6, 6))
    z = draw(Rotate((3, 6, 6), degrees=(90.0 * turns, 90.0 * turns)), x)
    expected = x.reshape(-1, 3, 6, 6).rot90(turns, (-2, -1)).flatten(1)
    torch.testing.assert_close(z, expected, atol=1e-9, rtol=0)


def test_a_warp_of_nothing_is_the_image():
    x = pictures((7, 10))
    still = Warp((7, 10), degrees=0.0, scale=(1.0, 1.0), displacement=(0.0, 0.0))
    torch.testing.assert_close(draw(still, x), x, atol=1e-9, rtol=0)


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: Rotate((4, 4), degrees=(9.0, 1.0)), "degrees must be two numbers"),
        (lambda: Warp((4, 4), degrees=-1.0), "degrees must be a finite number >= 0"),
        (lambda: Warp((4, 4), scale=(0.0, 1.0)), "scale must be two numbers"),
        (lambda: Warp((4, 4), displacement=(-0.1, 1.0)), "displacement must be two numbers"),
        (lambda: Warp((4, 4), n_knots=1), "n_knots must be an int >= 2"),
        (lambda: Erase((4, 4), share=(0.0, 1.0)), "share must be two numbers"),
        (lambda: Overlay((4, 4), shift=1.0), "shift must be a finite number"),
        (lambda: Overlay((1, 1)), "image_shape must have more than one pixel"),
    ],
)
def test_refused_parameters(build, message):
    with pytest.raises(ValueError, match=message):
        build()


def test_new_images_of_a_class_are_called_outliers_as_often_as_asked():
    digits = load_digits()
    alarms = []
    for digit in range(10):
        # The writers of the set come one after another.
        X = np.random.default_rng(0).permutation(digits.data[digits.target == digit] / 16.0)
        detector = LipOCC(novelty=True, image_shape=(8, 8), max_iter=40, random_state=digit)
        alarms.append(detector.fit(X[:120]).predict(X[120:]).mean())
        assert len(detector.calibration_scores_) == 12
    # A threshold that rests on 12 images has an error of its own: .09 for each digit.
    assert abs(np.mean(alarms) - 0.1) < 3 * 0.1 / np.sqrt(10)


def test_training_against_edits_teaches():
    """The network of the paper's kind tells digits that it has not seen from its class."""
    digits = load_digits()
    X, y = digits.data / 16.0, digits.target
    seen, others = X[y == 3][:120], X[y != 3]
    images = {"novelty": True, "image_shape": (8, 8)}
    detector = LipOCC(network="dense", max_iter=300, random_state=0, **images).fit(seen)
    normal = detector.decision_function(X[y == 3][120:])
    assert np.mean(normal[:, None] < detector.decision_function(others)) > 0.95
