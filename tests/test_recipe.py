"""What "auto" stands for."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy.spatial.distance import cdist

from pyod_lipocc import LipOCC
from pyod_lipocc.domains import Box
from pyod_lipocc.lipschitz import NearestBox, NearestSubspace, conv, dense, norm_preserving
from pyod_lipocc.negatives import uniform
from pyod_lipocc.recipe import Recipe
from pyod_lipocc.units import Scaling

MATRICES = hnp.arrays(
    float, hnp.array_shapes(min_dims=2, max_dims=2, max_side=12), elements=st.integers(-50, 50)
)
STANDARDIZE = pytest.mark.parametrize("standardize", [True, False])
SMALL = (2, 2)
UNITS = pytest.mark.parametrize("unit", [1e-12, 1e-6, 1.0, 1e6, 1e12])


@pytest.fixture(name="X")
def blob(rng):
    return rng.standard_normal((200, 3)) * [1.0, 5.0, 0.1] + [0.0, 3.0, -1.0]


def recipe(**parameters):
    return Recipe.of(LipOCC(**parameters).get_params())


def margin(X, *, standardize=True, seed=0, **parameters):
    scaling = Scaling.fit(X, standardize=standardize)
    return recipe(**parameters).margin(X, scaling, np.random.default_rng(seed))


class TestMargin:
    @STANDARDIZE
    def test_is_half_the_median_distance_to_the_nearest_other_row(self, X, standardize):
        Z = Scaling.fit(X, standardize=standardize).to_scores(X)
        distances = cdist(Z, Z)
        np.fill_diagonal(distances, np.inf)
        spacing = np.median(distances.min(axis=1))
        assert margin(X, standardize=standardize) == pytest.approx(spacing / 2)
        images = {"standardize": False, "image_shape": (1, X.shape[1])}
        assert margin(X, **images) == pytest.approx(margin(X, standardize=False) * 2 / 3)

    @UNITS
    def test_is_in_the_units_of_the_scores(self, X, unit):
        assert margin(unit * X) == pytest.approx(margin(X), rel=1e-6)
        raw = margin(X, standardize=False)
        assert margin(unit * X, standardize=False) == pytest.approx(unit * raw, rel=1e-6)

    def test_duplicates_do_not_count(self, X):
        twice = np.concatenate([X, X[:50]])
        scaling = Scaling.fit(X, standardize=False)
        Z = cdist(X, X)
        np.fill_diagonal(Z, np.inf)
        expected = np.median(Z.min(axis=1)[50:]) / 2
        found = recipe().margin(twice, scaling, np.random.default_rng(0))
        assert found == pytest.approx(expected)

    @pytest.mark.parametrize("n", [1, 2, 600])
    @STANDARDIZE
    def test_coincident_rows_have_the_papers(self, n, standardize):
        assert margin(np.full((n, 3), 7.0), standardize=standardize) == 0.05

    def test_of_a_sample_is_near_that_of_all(self, rng):
        X = rng.standard_normal((9000, 2))
        assert margin(X) == pytest.approx(margin(X, seed=1), rel=0.2)

    def test_reproducible(self, X, global_rngs_untouched):
        assert margin(X) == margin(X)

    def test_order_of_the_rows_does_not_matter_where_all_are_compared(self, X, rng):
        assert margin(X) == pytest.approx(margin(rng.permutation(X)))


class TestDomain:
    @STANDARDIZE
    @given(X=MATRICES, margin=st.sampled_from([0.1, 0.5, 3.0]))
    def test_ball_is_half_as_wide_again_as_the_data(self, standardize, X, margin):
        scaling = Scaling.fit(X, standardize=standardize)
        ball, Z = recipe().domain(X, scaling, margin), scaling.to_scores(X)
        center = np.zeros(X.shape[1]) if standardize else scaling.location
        farthest = np.linalg.norm(Z - center, axis=1).max()
        np.testing.assert_array_equal(ball.center.numpy(), center)
        assert float(ball.radius) == pytest.approx(1.5 * farthest + 2 * margin)
        assert ball.contains(torch.from_numpy(Z)).all()

    @STANDARDIZE
    def test_images_have_the_range_of_the_pixels(self, standardize, X):
        scaling = Scaling.fit(X, standardize=standardize, alike=True)
        box, Z = recipe(image_shape=(1, X.shape[1])).domain(X, scaling, 0.1), scaling.to_scores(X)
        np.testing.assert_array_equal(box.low.numpy(), np.full(X.shape[1], Z.min()))
        np.testing.assert_array_equal(box.high.numpy(), np.full(X.shape[1], Z.max()))

    @pytest.mark.parametrize("image_shape", [None, (1, 3)])
    @pytest.mark.parametrize("farthest", [0, 1000, -1])
    def test_reads_every_row(self, rng, image_shape, farthest):
        X = rng.standard_normal((2000, 3))
        X[farthest] *= 100
        scaling = Scaling.fit(X, standardize=True)
        domain = recipe(image_shape=image_shape).domain(X, scaling, 0.1)
        assert domain.contains(torch.from_numpy(scaling.to_scores(X))).all()


@pytest.mark.parametrize(
    ("n", "shape", "starts"), [(999, SMALL, False), (1060, SMALL, True), (9, None, True)]
)
def test_a_few_images_have_a_dense_network(n, shape, starts):
    X = np.random.default_rng(0).uniform(size=(n, 4))
    network = LipOCC(image_shape=shape, novelty=True, max_iter=1).fit(X).network_
    kinds = (NearestBox, NearestSubspace)
    assert any(isinstance(m, kinds) for m in network.modules()) == starts


def test_short_gradients_have_a_smaller_margin_unless_it_is_given():
    images = {"image_shape": (4, 4)}
    pooling = conv(16, width=2, depth=2, **images)
    other = norm_preserving(16, **images)
    assert recipe(**images).gain(pooling) < recipe(**images).gain(other) == 1.0
    assert recipe(margin=0.5, **images).gain(pooling) == 1.0


@pytest.mark.parametrize("network", [dense(16), NearestSubspace(16, 2)])
@pytest.mark.parametrize(("given", "steps"), [("auto", 0), (3, 3)])
def test_edited_images_stay_unmoved_unless_steps_are_asked_for(network, given, steps):
    chosen = recipe(image_shape=(4, 4), n_newton_steps=given)
    assert chosen.training(network, 0.1, Box(0.0, 1.0).expand(16)).n_newton_steps == steps


class TestNegatives:
    """What negatives="auto" stands for."""

    @pytest.mark.parametrize("novelty", [False, True])
    @pytest.mark.parametrize("network", [dense(16), NearestSubspace(16, 2)])
    @pytest.mark.parametrize("image_shape", [None, (2, 8), (4, 4)])
    def test_follow_from_the_data_not_from_the_network(self, novelty, network, image_shape):
        chosen = (
            recipe(novelty=novelty, image_shape=image_shape)
            .training(network, 0.1, Box(0.0, 1.0).expand(16))
            .negatives
        )
        mixed = image_shape == (4, 4) if image_shape else novelty
        assert (chosen is uniform) != mixed
