from __future__ import annotations

from functools import partial

import hypothesis.extra.numpy as hnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial import cKDTree
from scipy.stats import kstest

from pyod_lipocc import datasets

# The circles (centre, radius) that bound each shape, and membership, written out afresh.
BOUNDARY = {
    "disc": [((0, 0), 1.0)],
    "ring": [((0, 0), 0.5), ((0, 0), 1.0)],
    "two-discs": [((-1.5, 0), 1.0), ((1.5, 0), 1.0)],
}
CONTAINS = {
    "disc": lambda x: np.hypot(*x.T) < 1,
    "ring": lambda x: (np.hypot(*x.T) < 1) & (np.hypot(*x.T) > 0.5),
    "two-discs": lambda x: np.hypot(np.abs(x[:, 0]) - 1.5, x[:, 1]) < 1,
}


@pytest.mark.parametrize("name", datasets.TOY_NAMES)
@pytest.mark.parametrize("n_samples", [1, 2, 101])
def test_toy_shape_and_seed(name, n_samples):
    X = datasets.load_toy(name, n_samples, random_state=3)
    assert X.shape == (n_samples, 2)
    assert X.dtype == np.float64
    assert np.isfinite(X).all()
    np.testing.assert_array_equal(X, datasets.load_toy(name, n_samples, random_state=3))
    assert not np.array_equal(X, datasets.load_toy(name, n_samples, random_state=4))


@pytest.mark.parametrize("name", datasets.TOY_NAMES)
@pytest.mark.parametrize("source", [lambda: None, lambda: 0, lambda: np.random.RandomState(0)])
def test_toy_leaves_the_global_generators_alone(name, source, global_rngs_untouched):
    datasets.load_toy(name, 50, random_state=source())


@pytest.mark.parametrize("make", [np.random.RandomState, np.random.default_rng])
def test_toy_draws_from_the_generator_given(make):
    generator = make(0)
    first, second = (datasets.load_toy("ring", 9, random_state=generator) for _ in range(2))
    np.testing.assert_array_equal(first, datasets.load_toy("ring", 9, random_state=make(0)))
    assert not np.array_equal(first, second)


def test_figure_1_sets_are_what_they_are_called():
    load = partial(datasets.load_toy, n_samples=4000, random_state=0)
    cloud = load("one-cloud")
    np.testing.assert_allclose(np.cov(cloud.T), 0.25 * np.eye(2), atol=0.02)
    np.testing.assert_allclose(cloud.mean(axis=0), 0.0, atol=0.05)
    radius = np.hypot(*load("two-circles").T)
    assert np.abs(radius[radius > 0.75] - 1.0).max() < 0.25
    assert np.abs(radius[radius < 0.75] - 0.5).max() < 0.25
    for name, upper_spread, lower_spread in [("two-blobs", 0.5, 0.5), ("blob-and-cloud", 0.3, 1.5)]:
        X = load(name)
        upper, lower = X[X.sum(axis=1) > 2.0], X[X.sum(axis=1) < -4.0]
        np.testing.assert_allclose(np.median(upper, axis=0), 2.0, atol=0.05)
        np.testing.assert_allclose(np.quantile(upper, 0.8413, axis=0) - 2.0, upper_spread, rtol=0.1)
        assert np.sqrt(np.mean((lower + 2.0) ** 2)) == pytest.approx(lower_spread, rel=0.1)
    moons = load("two-moons")
    arcs = [np.linalg.norm(moons - center, axis=1) for center in ([0, 0], [1, 0.5])]
    assert np.min(np.abs(np.array(arcs) - 1), axis=0).max() < 0.25


@pytest.mark.parametrize("name", datasets.SHAPE_NAMES)
def test_shape_samples_are_uniform_on_the_shape(name):
    X = datasets.load_toy(name, 4000, random_state=0)
    assert datasets.toy_signed_distance(name, X).min() >= -1e-12
    if name == "two-discs":
        assert np.mean(X[:, 0] > 0) == pytest.approx(0.5, abs=0.03)
        X = X - 1.5 * np.sign(X[:, :1]) * [1, 0]
    least = 0.25 if name == "ring" else 0.0
    assert kstest((np.sum(X**2, axis=1) - least) / (1 - least), "uniform").pvalue > 0.01
    assert kstest(np.arctan2(*X.T) / (2 * np.pi) + 0.5, "uniform").pvalue > 0.01


@pytest.mark.parametrize("name", datasets.SHAPE_NAMES)
@given(X=hnp.arrays(np.float64, (20, 2), elements=st.floats(-4.0, 4.0)))
def test_signed_distance_is_that_to_the_nearest_boundary_point(name, X):
    angle = np.linspace(0, 2 * np.pi, 4001)
    circle = np.column_stack([np.cos(angle), np.sin(angle)])
    boundary = np.concatenate([np.asarray(c) + r * circle for c, r in BOUNDARY[name]])
    nearest, _ = cKDTree(boundary).query(X)
    signed = datasets.toy_signed_distance(name, X)
    np.testing.assert_allclose(np.abs(signed), nearest, atol=1e-3)
    clear = nearest > 1e-3
    np.testing.assert_array_equal(signed[clear] > 0, CONTAINS[name](X)[clear])


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: datasets.load_toy("moons"), "name must be one of one-cloud, .*, got 'moons'"),
        (lambda: datasets.load_toy("disc", 0), "n_samples must be an int >= 1, got 0"),
        (lambda: datasets.load_toy("disc", 1.5), "n_samples must be an int >= 1, got 1.5"),
        (lambda: datasets.load_toy("disc", random_state="a"), "random_state must be"),
        (lambda: datasets.toy_signed_distance("two-moons", [[0, 0]]), "disc, ring, two-discs, got"),
        (lambda: datasets.toy_signed_distance("disc", [[0, 0, 0]]), r"\(n, 2\), got \(1, 3\)"),
    ],
)
def test_bad_values_are_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()
