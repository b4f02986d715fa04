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

from pyod_lipocc._chunks import chunk_size, chunks
from pyod_lipocc.domains import Ball, Box
from pyod_lipocc.units import Scaling

MATRICES = hnp.arrays(
    float, hnp.array_shapes(min_dims=2, max_dims=2, max_side=12), elements=st.integers(-50, 50)
)
STANDARDIZE = pytest.mark.parametrize("standardize", [True, False])
UNITS = pytest.mark.parametrize("unit", [1e-12, 1.0, 1e6])


def gain(scaling):
    """Return the largest change of a score per unit of X, for a network of constant 1."""
    return scaling.unit / scaling.scale.min()


@pytest.fixture(name="X")
def blob(rng):
    return rng.standard_normal((200, 3)) * [1.0, 5.0, 0.1] + [0.0, 3.0, -1.0]


@pytest.mark.parametrize("n", [1, 1000, 10_000])
@pytest.mark.parametrize("n_features", [1, 50, 3000])
def test_chunks_are_the_rows_in_order(n, n_features):
    X = np.broadcast_to(np.arange(n)[:, None], (n, n_features))
    parts = list(chunks(X))
    assert max(map(len, parts)) <= chunk_size(n_features)
    assert all(np.shares_memory(part, X) for part in parts)
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

    @given(MATRICES, st.booleans())
    def test_progress_counts_each_row_once(self, X, alike):
        told = []
        Scaling.fit(X, standardize=True, alike=alike, progress=told.append)
        assert sum(told) == len(X)

    def test_many_chunks_are_measured_as_one(self, rng):
        X = rng.standard_normal((3001, 3)) * [1.0, 5.0, 0.1] + [0.0, 3.0, -1.0]
        each, one = (Scaling.fit(X, standardize=s) for s in (True, False))
        np.testing.assert_allclose(each.location, X.mean(axis=0), rtol=1e-12, atol=1e-14)
        np.testing.assert_allclose(each.scale, X.std(axis=0), rtol=1e-12)
        assert one.unit == pytest.approx(np.sqrt(X.var(axis=0).mean()), rel=1e-12)

    @UNITS
    @STANDARDIZE
    def test_the_network_sees_no_units(self, X, unit, standardize):
        reference = Scaling.fit(X, standardize=standardize).to_network(X)
        scaled = Scaling.fit(unit * X, standardize=standardize).to_network(unit * X)
        np.testing.assert_allclose(scaled, reference, rtol=1e-9, atol=1e-12)

    @pytest.mark.parametrize("dtype", [np.float16, np.int32, bool])
    @STANDARDIZE
    def test_any_dtype_is_measured_in_double(self, rng, dtype, standardize):
        X = rng.integers(0, 2, (50, 2)).astype(dtype)
        narrow, wide = (Scaling.fit(a, standardize=standardize) for a in (X, X.astype(float)))
        np.testing.assert_array_equal(narrow.to_network(X), wide.to_network(X.astype(float)))
        assert narrow.to_network(X).dtype == np.float64

    @pytest.mark.parametrize("constant", [0.1, -1e12 - 0.1, 1e-12])
    @pytest.mark.parametrize("n", [1, 3001])
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
        assert change == pytest.approx(gain(scaling))
        scores = cdist(scaling.to_network(X), scaling.to_network(X)) * scaling.unit
        assert (scores <= gain(scaling) * cdist(X, X) * (1 + 1e-9) + 1e-12).all()

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
