from __future__ import annotations

import tracemalloc

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.base import clone
from small import cloud, small

from pyod_lipocc.domains import Ball, Box

STANDARDIZE = pytest.mark.parametrize("standardize", [True, False])


def assert_sound(detector, X):
    scores = detector.decision_function(X)
    np.testing.assert_array_equal(scores, detector.decision_scores_)
    assert scores.shape == (len(X),)
    assert np.isfinite(scores).all()
    assert np.isfinite(detector.lipschitz_constant_)
    assert 0 < detector.margin_ < np.inf
    np.testing.assert_array_equal(detector.signed_distance(X), -scores)


CONSTANT = np.array([7.3, -1e15, 0.0])
SHAPES = {
    "one row": cloud(1),
    "two rows": cloud(2),
    "one feature": cloud(n_features=1),
    "one number": cloud(1, 1),
    "more features than rows": cloud(20, 300),
    "constant columns": np.c_[cloud(), np.tile(CONSTANT, (100, 1))],
    "constant": np.tile(CONSTANT, (50, 1)),
    "pairs of duplicates": np.repeat(cloud(50), 2, axis=0),
    "two values": np.repeat([[0.0, 1.0], [1.0, 0.0]], 50, axis=0),
    "one row apart": np.r_[np.zeros((99, 2)), [[1e9, 1e-9]]],
    "features of all sizes": cloud(n_features=4) * [1e-12, 1.0, 1e6, 1e12],
    "offset": cloud() + 1e6,
    "large offset": cloud() + 1e15,
    "bool": cloud() > 0,
}


@STANDARDIZE
@pytest.mark.parametrize("X", SHAPES.values(), ids=SHAPES)
def test_any_finite_data_are_scored(X, standardize):
    assert_sound(small(standardize=standardize).fit(X), X)


@pytest.fixture(scope="module", params=[True, False], ids=["standardised", "raw"])
def of_unit_scale(request):
    return small(standardize=request.param, max_iter=10).fit(cloud())


@settings(max_examples=10, deadline=None)
@given(exponent=st.floats(-12, 12))
def test_scores_scale_with_the_data(of_unit_scale, exponent):
    c = 10.0**exponent
    detector = clone(of_unit_scale).fit(c * cloud())
    factor = 1.0 if detector.standardize else c
    expected = of_unit_scale.decision_function(cloud(20, seed=1))
    actual = detector.decision_function(c * cloud(20, seed=1)) / factor
    # one rounding of X may reach float32 in training
    np.testing.assert_allclose(actual, expected, rtol=1e-4, atol=1e-4)
    assert detector.margin_ == pytest.approx(factor * of_unit_scale.margin_)
    assert detector.lipschitz_constant_ * c == pytest.approx(
        factor * of_unit_scale.lipschitz_constant_
    )


@pytest.mark.parametrize("c", [2.0**-40, 2.0**40])
def test_scores_scale_exactly_with_powers_of_two(c):
    expected = small(standardize=False).fit(cloud()).decision_scores_
    actual = small(standardize=False).fit(c * cloud()).decision_scores_
    np.testing.assert_allclose(actual, c * expected, rtol=1e-12, atol=1e-12 * c)


@STANDARDIZE
@pytest.mark.parametrize("scale", [1e-12, 1.0, 1e12])
def test_no_finite_row_is_too_far(standardize, scale):
    detector = small(standardize=standardize, max_iter=2).fit(scale * cloud())
    for far in (1e12, 1e100, 1e300, np.finfo(np.float64).max):
        rows = np.array([[far, -far, far], [-far, 0.0, far]])
        assert np.isfinite(detector.decision_function(rows)).all()


def strided(X):
    wide = np.full((200, 8), np.nan)
    wide[::2, ::2] = X
    return wide[::2, ::2]


def read_only(X):
    X = X.copy()
    X.setflags(write=False)
    return X


def frame(X):
    return pd.DataFrame(X, columns=list("abcd"))


PLAIN = cloud(100, 4).astype(np.float32).astype(np.float64)
CONTAINERS = {
    "Fortran": np.asfortranarray,
    "strided": strided,
    "reversed": lambda X: X[::-1].copy()[::-1],
    "read-only": read_only,
    "big-endian": lambda X: X.astype(">f8"),
    "list": np.ndarray.tolist,
    "frame": frame,
    "frame of mixed types": lambda X: frame(X).astype({"a": np.float32, "b": object}),
    "object": lambda X: X.astype(object),
    "float32": lambda X: X.astype(np.float32),
    "long double": lambda X: X.astype(np.longdouble),
}


@pytest.fixture(scope="module")
def plain():
    return small().fit(PLAIN)


def assert_equal_bits(X, plain):
    detector = small().fit(X)
    np.testing.assert_array_equal(detector.decision_scores_, plain.decision_scores_)
    np.testing.assert_array_equal(detector.predict(X), plain.predict(PLAIN))


@pytest.mark.parametrize("contain", CONTAINERS.values(), ids=CONTAINERS)
def test_equal_values_give_equal_bits_in_any_container(contain, plain):
    assert_equal_bits(contain(PLAIN), plain)


def test_equal_values_give_equal_bits_in_a_read_only_memory_map(plain, tmp_path):
    np.save(tmp_path / "X.npy", PLAIN)
    assert_equal_bits(np.load(tmp_path / "X.npy", mmap_mode="r"), plain)


@pytest.mark.parametrize("dtype", [np.int8, np.uint8, np.int64, np.float16, bool])
def test_equal_values_give_equal_bits_in_any_type(dtype):
    X = (3 * np.abs(cloud())).astype(dtype)
    expected = small().fit(X.astype(np.float64)).decision_scores_
    np.testing.assert_array_equal(small().fit(X).decision_scores_, expected)


def test_data_are_left_as_they_are():
    X = cloud()
    small().fit(X).predict(X)
    np.testing.assert_array_equal(X, cloud())


def test_names_of_frames_are_kept():
    X = frame(cloud(100, 4))
    detector = small().fit(X)
    assert list(detector.feature_names_in_) == list("abcd")
    assert detector.decision_function(X).shape == (100,)
    assert not hasattr(detector.fit(cloud()), "feature_names_in_")


@settings(max_examples=20, deadline=None)
@given(data=st.data())
def test_a_score_depends_on_its_row_only(of_unit_scale, data):
    X = cloud(60, seed=1)
    rows = data.draw(st.permutations(range(60)))[: data.draw(st.integers(1, 60))]
    np.testing.assert_allclose(
        of_unit_scale.decision_function(X[rows]),
        of_unit_scale.decision_function(X)[rows],
        rtol=1e-12,
        atol=1e-12,
    )


@pytest.mark.parametrize("n_parts", [2, 3, 40])
def test_many_rows_are_scored_as_a_few_are(of_unit_scale, n_parts):
    X = cloud(1500, seed=1)
    score = of_unit_scale.decision_function
    parts = [score(part) for part in np.array_split(X, n_parts)]
    np.testing.assert_allclose(score(X), np.concatenate(parts), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.uint8])
def test_memory_of_scoring_is_bounded(tmp_path, dtype):
    detector = small(max_iter=2).fit(cloud(n_features=10))
    n_rows = 100_000
    X = np.lib.format.open_memmap(tmp_path / "X.npy", "w+", dtype, (n_rows, 10))
    X[:] = 1
    X.flush()
    X = np.load(tmp_path / "X.npy", mmap_mode="r")
    tracemalloc.start()
    try:
        scores = detector.decision_function(X)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 3 * scores.nbytes + 1_000_000


@STANDARDIZE
def test_domains_are_in_the_units_of_the_scores(standardize):
    X = 1e3 * cloud()
    scale = 1.0 if standardize else 1e3
    for domain in (Ball(9.0 * scale), Box(-9.0 * scale, 9.0 * scale)):
        detector = small(standardize=standardize, domain=domain).fit(X)
        assert detector.domain_.n_features == 3
        assert isinstance(detector.domain_, type(domain))
        assert_sound(detector, X)


@STANDARDIZE
def test_margin_is_in_the_units_of_the_scores(standardize):
    given_margin = small(standardize=standardize, margin=0.25).fit(cloud())
    assert given_margin.margin_ == 0.25
    grid = np.stack(np.meshgrid(np.arange(8.0), np.arange(8.0)), axis=-1).reshape(-1, 2) * 5
    detector = small(standardize=standardize).fit(grid)
    spacing = 5 / grid[:, 0].std() if standardize else 5
    assert detector.margin_ == pytest.approx(spacing / 2)


def test_images_are_rows():
    detector = small(image_shape=(4, 4)).fit(cloud(50, 16))
    assert detector.decision_scores_.shape == (50,)
    assert small(image_shape=(1, 4, 4)).fit(cloud(50, 16)).decision_scores_.shape == (50,)


@pytest.mark.parametrize(
    ("module", "way"),
    [
        ("dask.array.core", r"pyod_lipocc\.dask\.LipOCC"),
        ("dask.dataframe.dask_expr._collection", r"pyod_lipocc\.dask\.LipOCC"),
        ("pyspark.sql.classic.dataframe", "mapInPandas"),
        ("polars.lazyframe.frame", "collect"),
        ("ray.data.dataset", "map_batches"),
    ],
)
def test_rows_that_are_not_in_memory_are_refused_with_the_way(module, way):
    rows = type("Rows", (), {"__module__": module})()
    detector = small().fit(cloud())
    for method in (small().fit, detector.partial_fit, detector.decision_function, detector.explain):
        with pytest.raises(TypeError, match=rf"X must be in memory, got {module}\.Rows.*{way}"):
            method(rows)
