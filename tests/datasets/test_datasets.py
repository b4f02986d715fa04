from __future__ import annotations

import gzip
import hashlib
import os
from functools import partial
from io import BytesIO
from pathlib import Path

import hypothesis.extra.numpy as hnp
import numpy as np
import pytest
import scipy.io
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial import cKDTree
from scipy.stats import kstest
from sklearn.datasets import load_digits

from pyod_lipocc import datasets
from pyod_lipocc.datasets._registry import ADBENCH, MNIST, ODDS, Collection

POINTS = hnp.arrays(np.float64, (20, 2), elements=st.floats(-4.0, 4.0))

# circles that bound each shape (centre, radius), and membership, written out afresh
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


# ---------------------------------------------------------------------------------------- toy sets


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
@pytest.mark.parametrize(
    "source",
    [lambda: None, lambda: 0, lambda: np.random.RandomState(0), lambda: np.random.default_rng(0)],
)
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
@given(X=POINTS)
def test_signed_distance_is_that_to_the_nearest_boundary_point(name, X):
    angle = np.linspace(0, 2 * np.pi, 4001)
    circle = np.column_stack([np.cos(angle), np.sin(angle)])
    boundary = np.concatenate([np.asarray(c) + r * circle for c, r in BOUNDARY[name]])
    nearest, _ = cKDTree(boundary).query(X)
    signed = datasets.toy_signed_distance(name, X)
    np.testing.assert_allclose(np.abs(signed), nearest, atol=1e-3)
    clear = nearest > 1e-3
    np.testing.assert_array_equal(signed[clear] > 0, CONTAINS[name](X)[clear])


@pytest.mark.parametrize("name", datasets.SHAPE_NAMES)
@given(X=POINTS, Z=POINTS)
def test_signed_distance_is_1_lipschitz(name, X, Z):
    gap = np.abs(datasets.toy_signed_distance(name, X) - datasets.toy_signed_distance(name, Z))
    assert np.all(gap <= np.linalg.norm(X - Z, axis=1) + 1e-12)


@pytest.mark.parametrize("name", datasets.SHAPE_NAMES)
def test_signed_distance_solves_the_eikonal_equation(name):
    X, h = np.random.default_rng(0).uniform(-4, 4, (5000, 2)), 1e-5
    sdf = partial(datasets.toy_signed_distance, name)
    slope = [(sdf(X + h * e) - sdf(X - h * e)) / (2 * h) for e in np.eye(2)]
    # all but the points within h of the ridge where nearest boundary points change
    assert np.mean(np.abs(np.hypot(*slope) - 1.0) < 1e-6) > 0.999


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: datasets.load_toy("moons"), "name must be one of one-cloud, .*, got 'moons'"),
        (lambda: datasets.load_toy("disc", 0), "n_samples must be an int >= 1, got 0"),
        (lambda: datasets.load_toy("disc", 1.5), "n_samples must be an int >= 1, got 1.5"),
        (lambda: datasets.load_toy("disc", random_state="a"), "random_state must be"),
        (
            lambda: datasets.toy_signed_distance("two-moons", [[0, 0]]),
            "one of disc, ring, two-discs",
        ),
        (lambda: datasets.toy_signed_distance("disc", [[0, 0, 0]]), r"\(n, 2\), got \(1, 3\)"),
        (lambda: datasets.load_odds("annthyroid"), "name must be one of arrhythmia, "),
        (lambda: datasets.load_adbench("99_none"), "name must be one of 1_ALOI, .*, got '99_none'"),
    ],
)
def test_bad_values_are_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()


# ------------------------------------------------------------------------------------ digits, MNIST


@pytest.mark.parametrize("load", [datasets.load_digits_one_class, datasets.load_mnist])
@pytest.mark.parametrize("one_class", [-1, 10, 1.0, "1", True, None])
def test_one_class_is_a_digit(load, one_class):
    with pytest.raises(ValueError, match="one_class must be an int from 0 to 9, got"):
        load(one_class)


def test_digits_split_once_and_for_all(global_rngs_untouched):
    sets = [datasets.load_digits_one_class(c) for c in range(10)]
    for c, digits in enumerate(sets):
        assert digits.name == f"digits-{c}"
        assert digits.X_train.dtype == digits.X_test.dtype == np.float32
        assert digits.image_shape == (1, 8, 8)
        assert (digits.X_train.min(), digits.X_train.max()) == (0.0, 1.0)
        np.testing.assert_array_equal(digits.X_test, sets[0].X_test)
    # each test row belongs to one class, and training and test rows make up the whole set
    np.testing.assert_array_equal(sum(digits.y_test for digits in sets), np.full(599, 9))
    rows = np.concatenate([sets[0].X_test, *(digits.X_train for digits in sets)])
    everything = load_digits().data / 16
    np.testing.assert_array_equal(np.sort(rows, axis=0), np.sort(everything, axis=0))


# --------------------------------------------------------------------------------- registered sets


@pytest.fixture
def put(tmp_path, monkeypatch):
    """Register small files in place of a collection's and put them into LIPOCC_DATA."""
    monkeypatch.setenv("LIPOCC_DATA", str(tmp_path))

    def register(attribute, contents):
        real = getattr(datasets, attribute)
        hashes = {name: hashlib.sha256(content).hexdigest() for name, content in contents.items()}
        small = Collection(real.folder, real.suffix, real.origins, hashes)
        monkeypatch.setattr(datasets, attribute, small)
        (tmp_path / real.folder).mkdir()
        for name, content in contents.items():
            content = gzip.compress(content) if real.suffix == ".gz" else content
            (tmp_path / real.folder / f"{name}{real.suffix}").write_bytes(content)

    return register


X_SMALL = np.array([[0, 1], [2, 3], [4, 5]], dtype=np.int16)
Y_SMALL = np.array([0, 0, 1], dtype=np.uint8)


def check_small(dataset, name):
    assert dataset.name == name
    assert (dataset.X.dtype, dataset.y.dtype) == (np.float64, np.int64)
    np.testing.assert_array_equal(dataset.X, X_SMALL)
    np.testing.assert_array_equal(dataset.y, Y_SMALL)
    assert (dataset.feature_names, dataset.label_name) == (None, "y")


def test_names():
    assert len(datasets.ODDS_NAMES) == 17
    assert [int(name.split("_")[0]) for name in datasets.ADBENCH_NAMES] == list(range(1, 48))


def test_odds_columns_of_labels_become_flat(put):
    file = BytesIO()
    scipy.io.savemat(file, {"X": X_SMALL, "y": Y_SMALL[:, None]})
    put("ODDS", {"satimage-2": file.getvalue()})
    check_small(datasets.load_odds("satimage-2"), "satimage-2")


@pytest.mark.parametrize("name", ["magic.gamma", "22_magic.gamma"])
def test_adbench_takes_names_with_and_without_number(put, name):
    file = BytesIO()
    np.savez(file, X=X_SMALL, y=Y_SMALL)
    put("ADBENCH", {"22_magic.gamma": file.getvalue()})
    check_small(datasets.load_adbench(name), "22_magic.gamma")


def test_mnist_is_split_by_class(put):
    generator, contents, images = np.random.default_rng(0), {}, {}
    for part, digits in {"train": [0, 1, 1, 2, 1], "t10k": [1, 0, 1]}.items():
        images[part] = generator.integers(0, 256, (len(digits), 784), dtype=np.uint8)
        header = np.array([2051, len(digits), 28, 28], dtype=">i4").tobytes()
        contents[f"{part}-images-idx3-ubyte"] = header + images[part].tobytes()
        header = np.array([2049, len(digits)], dtype=">i4").tobytes()
        contents[f"{part}-labels-idx1-ubyte"] = header + bytes(digits)
    put("MNIST", contents)
    mnist = datasets.load_mnist(1)
    assert (mnist.name, mnist.image_shape) == ("mnist-1", (1, 28, 28))
    assert mnist.X_train.dtype == mnist.X_test.dtype == np.float32
    np.testing.assert_allclose(mnist.X_train, images["train"][[1, 2, 4]] / 255, rtol=1e-6)
    np.testing.assert_allclose(mnist.X_test, images["t10k"] / 255, rtol=1e-6)
    np.testing.assert_array_equal(mnist.y_test, [0, 1, 0])


# ------------------------------------------------------------------------------------ the real sets


def real(collection, name):
    root = os.environ.get("LIPOCC_DATA")
    if not root:
        pytest.skip("LIPOCC_DATA names no folder of real data sets")
    if not (Path(root) / collection.folder / f"{name}{collection.suffix}").is_file():
        pytest.skip(f"LIPOCC_DATA has no {collection.folder}/{name}{collection.suffix}")


@pytest.mark.parametrize("name", datasets.ODDS_NAMES)
def test_odds(name):
    real(ODDS, name)
    dataset = datasets.load_odds(name)
    assert dataset.X.shape[0] == len(dataset.y) >= 100
    assert np.isfinite(dataset.X).all()
    assert 0.01 < dataset.y.mean() < 0.4
    if name == "cardio":
        assert (*dataset.X.shape, dataset.y.sum()) == (1831, 21, 176)


@pytest.mark.parametrize("name", datasets.ADBENCH_NAMES)
def test_adbench(name):
    real(ADBENCH, name)
    dataset = datasets.load_adbench(name)
    assert dataset.X.shape[0] == len(dataset.y) >= 80
    assert np.isfinite(dataset.X).all()
    assert 0.0 < dataset.y.mean() < 0.5


def test_mnist():
    for name in MNIST.hashes:
        real(MNIST, name)
    zero, eight = datasets.load_mnist(0), datasets.load_mnist(8)
    assert (zero.X_train.shape, eight.X_train.shape) == ((5923, 784), (5851, 784))
    assert zero.X_test.shape == (10_000, 784)
    assert (np.sum(zero.y_test == 0), np.sum(eight.y_test == 0)) == (980, 974)
    assert (zero.X_train.min(), zero.X_train.max()) == (0.0, 1.0)
