from __future__ import annotations

import re

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy.spatial.distance import cdist, pdist
from sklearn.preprocessing import StandardScaler

from pyod_lipocc import _chunks
from pyod_lipocc._auto import resolve_domain, resolve_margin
from pyod_lipocc._chunks import CHUNK, chunks
from pyod_lipocc.domains import Ball, Box
from pyod_lipocc.units import Scaling

MATRICES = hnp.arrays(
    float, hnp.array_shapes(min_dims=2, max_dims=2, max_side=12), elements=st.integers(-50, 50)
)
STANDARDIZE = pytest.mark.parametrize("standardize", [True, False])
UNITS = pytest.mark.parametrize("unit", [1e-12, 1e-6, 1.0, 1e6, 1e12])


@pytest.fixture(name="X")
def blob(rng):
    return rng.standard_normal((200, 3)) * [1.0, 5.0, 0.1] + [0.0, 3.0, -1.0]


@pytest.mark.parametrize("n", [1, CHUNK, CHUNK + 1, 3 * CHUNK - 1])
def test_chunks_are_the_rows_in_order(n):
    X = np.arange(n)[:, None]
    parts = list(chunks(X))
    assert max(map(len, parts)) <= CHUNK
    assert all(part.base is X or part is X or part.base is X.base for part in parts)
    np.testing.assert_array_equal(np.concatenate(parts), X)


class TestFit:
    @given(MATRICES)
    def test_standardised_is_scikit_learns_scaler(self, X):
        scaling, scaler = Scaling.fit(X, standardize=True), StandardScaler().fit(X)
        np.testing.assert_allclose(scaling.to_network(X), scaler.transform(X), atol=1e-12)
        assert scaling.unit == 1.0

    @given(MATRICES)
    def test_one_scale_is_the_root_mean_square_deviation(self, X):
        scaling = Scaling.fit(X, standardize=False)
        expected = np.sqrt(X.var(axis=0).mean()) or 1.0
        assert scaling.unit == pytest.approx(expected)
        np.testing.assert_allclose(scaling.scale, expected)
        np.testing.assert_allclose(scaling.location, X.mean(axis=0), atol=1e-12)

    @STANDARDIZE
    @pytest.mark.parametrize("size", [1, 7, 199])
    def test_streaming_changes_nothing(self, X, monkeypatch, standardize, size):
        whole = Scaling.fit(X, standardize=standardize)
        monkeypatch.setattr(_chunks, "CHUNK", size)
        streamed = Scaling.fit(X, standardize=standardize)
        np.testing.assert_allclose(streamed.location, whole.location, rtol=1e-12, atol=1e-14)
        np.testing.assert_allclose(streamed.scale, whole.scale, rtol=1e-12)
        assert streamed.unit == pytest.approx(whole.unit, rel=1e-12)

    @UNITS
    @STANDARDIZE
    def test_the_network_sees_no_units(self, X, unit, standardize):
        reference = Scaling.fit(X, standardize=standardize).to_network(X)
        scaled = Scaling.fit(unit * X, standardize=standardize).to_network(unit * X)
        np.testing.assert_allclose(scaled, reference, rtol=1e-9, atol=1e-12)

    @pytest.mark.parametrize("dtype", [np.float16, np.float32, np.int32, np.uint8, bool])
    @STANDARDIZE
    def test_any_dtype_is_measured_in_double(self, rng, dtype, standardize):
        X = rng.integers(0, 2, (50, 2)).astype(dtype)
        narrow, wide = (Scaling.fit(a, standardize=standardize) for a in (X, X.astype(float)))
        np.testing.assert_array_equal(narrow.to_network(X), wide.to_network(X.astype(float)))
        assert narrow.to_network(X).dtype == np.float64

    @pytest.mark.parametrize("constant", [0.0, 0.1, -1e12 - 0.1, 1e-12])
    @pytest.mark.parametrize("n", [1, 3, 2 * CHUNK + 5])
    def test_constant_columns_have_scale_one(self, constant, n):
        scaling = Scaling.fit(np.full((n, 2), constant), standardize=True)
        np.testing.assert_array_equal(scaling.scale, [1.0, 1.0])
        one = Scaling.fit(np.full((n, 2), constant), standardize=False)
        assert one.unit == 1.0
        np.testing.assert_allclose(one.location, constant, rtol=1e-12)

    def test_a_constant_column_beside_another(self, rng):
        X = np.column_stack([rng.standard_normal(100) * 1e-9, np.full(100, 0.1)])
        each, one = (Scaling.fit(X, standardize=s) for s in (True, False))
        np.testing.assert_allclose(each.scale, [X[:, 0].std(), 1.0])
        assert one.unit == pytest.approx(X[:, 0].std() / np.sqrt(2))

    @STANDARDIZE
    @pytest.mark.parametrize("magnitude", [1e160, 1e300])
    def test_overflow_is_named(self, standardize, magnitude):
        X = np.array([[magnitude, 0.0], [-magnitude, 1.0]])
        with pytest.raises(
            ValueError, match=rf"X must have a variance .*{re.escape(f'{magnitude:.0e}')}"
        ):
            Scaling.fit(X, standardize=standardize)

    def test_many_features_do_not_overflow_where_each_does_not(self):
        X = np.array([[-1.0], [1.0]]) * np.full(30, 0.9e154)
        assert Scaling.fit(X, standardize=False).unit == pytest.approx(0.9e154)


class TestUnits:
    @STANDARDIZE
    @UNITS
    def test_scores_are_distances_of_the_network_times_unit(self, X, standardize, unit):
        scaling = Scaling.fit(unit * X, standardize=standardize)
        in_network = pdist(scaling.to_network(unit * X))
        in_scores = pdist(scaling.to_scores(unit * X))
        np.testing.assert_allclose(in_network * scaling.unit, in_scores, rtol=1e-9)

    def test_without_standardising_scores_are_in_the_units_of_the_data(self, X):
        scaling = Scaling.fit(X, standardize=False)
        np.testing.assert_array_equal(scaling.to_scores(X), X)
        # a similarity: every distance is multiplied by the same number
        np.testing.assert_allclose(pdist(scaling.to_network(X)), pdist(X) / scaling.unit)

    @STANDARDIZE
    @given(X=MATRICES)
    def test_gain_is_the_largest_change_of_a_score(self, standardize, X):
        scaling = Scaling.fit(X, standardize=standardize)
        steepest = np.eye(X.shape[1])[np.argmin(scaling.scale)]
        moved = scaling.to_network(np.stack([0 * steepest, steepest]))
        change = scaling.unit * np.linalg.norm(moved[1] - moved[0])
        assert change == pytest.approx(scaling.gain)
        scores = cdist(scaling.to_network(X), scaling.to_network(X)) * scaling.unit
        assert (scores <= scaling.gain * cdist(X, X) * (1 + 1e-9) + 1e-12).all()

    @STANDARDIZE
    @pytest.mark.parametrize(
        "domain", [Ball(2.0, [0.0, 3.0, -1.0]), Box(-1.0, [1.0, 5.0, 0.0])], ids=["ball", "box"]
    )
    def test_domains_follow_their_rows(self, X, standardize, domain):
        scaling = Scaling.fit(X, standardize=standardize)
        inside = domain.contains(torch.from_numpy(scaling.to_scores(X)))
        image = scaling.domain_to_network(domain)
        assert torch.equal(image.contains(torch.from_numpy(scaling.to_network(X))), inside)
        assert inside.any()
        assert not inside.all()

    @STANDARDIZE
    def test_rows_are_mapped_alone(self, X, standardize):
        scaling = Scaling.fit(X, standardize=standardize)
        for map_rows in (scaling.to_network, scaling.to_scores):
            np.testing.assert_array_equal(map_rows(X)[5:6], map_rows(X[5:6]))


def margin(X, *, standardize=True, seed=0):
    scaling = Scaling.fit(X, standardize=standardize)
    return resolve_margin("auto", X, scaling, np.random.default_rng(seed))


class TestMargin:
    @STANDARDIZE
    def test_is_half_the_median_distance_to_the_nearest_other_row(self, X, standardize):
        Z = Scaling.fit(X, standardize=standardize).to_scores(X)
        distances = cdist(Z, Z)
        np.fill_diagonal(distances, np.inf)
        expected = np.median(distances.min(axis=1)) / 2
        assert margin(X, standardize=standardize) == pytest.approx(expected)

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
        found = resolve_margin("auto", twice, scaling, np.random.default_rng(0))
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
        ball, Z = resolve_domain("auto", X, scaling, margin, None), scaling.to_scores(X)
        center = np.zeros(X.shape[1]) if standardize else scaling.location
        farthest = np.linalg.norm(Z - center, axis=1).max()
        np.testing.assert_array_equal(ball.center.numpy(), center)
        assert float(ball.radius) == pytest.approx(1.5 * farthest + 2 * margin)
        assert ball.contains(torch.from_numpy(Z)).all()

    @STANDARDIZE
    def test_images_have_the_range_of_the_pixels(self, standardize, X):
        scaling = Scaling.fit(X, standardize=standardize)
        box, Z = resolve_domain("auto", X, scaling, 0.1, (1, X.shape[1])), scaling.to_scores(X)
        np.testing.assert_array_equal(box.low.numpy(), np.full(X.shape[1], Z.min()))
        np.testing.assert_array_equal(box.high.numpy(), np.full(X.shape[1], Z.max()))

    @pytest.mark.parametrize("image_shape", [None, (1, 3)])
    def test_reads_every_chunk(self, rng, image_shape, monkeypatch):
        X = rng.standard_normal((60, 3))
        scaling = Scaling.fit(X, standardize=True)
        whole = resolve_domain("auto", X, scaling, 0.1, image_shape)
        monkeypatch.setattr(_chunks, "CHUNK", 11)
        assert repr(resolve_domain("auto", X, scaling, 0.1, image_shape)) == repr(whole)
