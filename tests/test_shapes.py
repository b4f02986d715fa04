from __future__ import annotations

import numpy as np
import pytest
from conftest import SIGNIFICANCE
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial import cKDTree
from scipy.stats import ks_2samp

from pyod_lipocc.metrics import eikonal_error
from pyod_lipocc.shapes import Cuboid, Shells, Surface, Torus, unit_shapes

SHAPES = [
    *(
        pytest.param(shape, id=f"{name}-{d}")
        for d in (2, 3, 5, 10)
        for name, shape in unit_shapes(d).items()
    ),
    pytest.param(Cuboid([0.5, 1.0, 2.0], n_bounded=2), id="prism"),
    pytest.param(Shells([[0.0], [2.2]], outer=1.0, inner=0.9), id="two-shells-1"),
    pytest.param(Torus(0.5, 0.45), id="narrow-torus"),
]
LOW_DIMENSIONAL = [case for case in SHAPES if case.values[0].n_features <= 3]


def uniform_in_window(shape, n, rng):
    return rng.uniform(*shape.window, (n, shape.n_features))


def same_distribution(first, second):
    columns = zip(first.T, second.T, strict=True)
    return all(ks_2samp(a, b).pvalue > SIGNIFICANCE for a, b in columns)


@pytest.mark.parametrize("shape", SHAPES)
def test_samples_lie_inside_and_in_the_window(shape, rng):
    X = shape.sample(500, rng)
    low, high = shape.window
    assert X.shape == (500, shape.n_features)
    assert X.dtype == np.float64
    assert shape.signed_distance(X).min() >= -1e-12
    np.testing.assert_array_equal(np.clip(X, low, high), X)


@pytest.mark.parametrize("shape", LOW_DIMENSIONAL)
def test_samples_are_uniform(shape, rng):
    candidates = uniform_in_window(shape, 40_000, rng)
    accepted = candidates[shape.signed_distance(candidates) > 0]
    X = shape.sample(5000, rng)
    assert same_distribution(X, accepted)
    assert same_distribution(
        shape.signed_distance(X)[:, None], shape.signed_distance(accepted)[:, None]
    )


@pytest.mark.parametrize("shape", [case for case in LOW_DIMENSIONAL if case.id != "narrow-torus"])
def test_surface_samples_are_uniform(shape, rng):
    candidates = uniform_in_window(shape, 400_000, rng)
    layer = candidates[np.abs(shape.signed_distance(candidates)) < 0.01]
    points, normals = shape.sample_surface(3000, rng)
    assert same_distribution(points + rng.uniform(-0.01, 0.01, (3000, 1)) * normals, layer[:3000])


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("step", [1e-6, 0.04])
def test_normals_lead_out_of_the_surface(shape, step, rng):
    points, normals = shape.sample_surface(500, rng)
    np.testing.assert_allclose(np.linalg.norm(normals, axis=1), 1.0)
    np.testing.assert_allclose(shape.signed_distance(points), 0.0, atol=1e-12)
    np.testing.assert_allclose(shape.signed_distance(points + step * normals), -step, atol=1e-12)
    # inside, a point near an edge is nearer to another face
    depth = shape.signed_distance(points - step * normals)
    assert np.all((depth > -1e-12) & (depth <= step + 1e-12))


@pytest.mark.parametrize("shape", LOW_DIMENSIONAL)
def test_distance_is_that_of_the_nearest_surface_point(shape, rng):
    X = uniform_in_window(shape, 300, rng)
    nearest = cKDTree(shape.sample_surface(60_000, rng)[0]).query(X)[0]
    distance = np.abs(shape.signed_distance(X))
    assert np.all(distance <= nearest + 1e-12)
    assert np.percentile(nearest - distance, 95) < 0.01


@pytest.mark.parametrize("shape", SHAPES)
def test_distance_solves_the_eikonal_equation(shape, rng):
    X, h = uniform_in_window(shape, 300, rng), 1e-6
    steps = h * np.eye(shape.n_features)
    gradients = [shape.signed_distance(X + e) - shape.signed_distance(X - e) for e in steps]
    assert eikonal_error(np.stack(gradients, axis=1) / (2 * h)) < 1e-2


@given(st.sampled_from([case.values[0] for case in SHAPES]), st.integers(0, 2**32 - 1))
def test_distance_is_1_lipschitz(shape, seed):
    rng = np.random.default_rng(seed)
    x, y = uniform_in_window(shape, 50, rng), uniform_in_window(shape, 50, rng)
    change = np.abs(shape.signed_distance(x) - shape.signed_distance(y))
    assert np.all(change <= np.linalg.norm(x - y, axis=1) + 1e-12)


def test_a_slab_has_no_ends():
    slab = Cuboid([0.5, 1.0], n_bounded=1)
    np.testing.assert_allclose(slab.signed_distance([[0.0, 99.0], [2.0, -99.0]]), [0.5, -1.5])
    assert slab.window[1].tolist() == [2.0, 1.0]


def test_a_surface_is_the_boundary_without_the_inside(rng):
    torus = Torus()
    surface = Surface(torus)
    X = uniform_in_window(surface, 200, rng)
    np.testing.assert_array_equal(surface.signed_distance(X), -np.abs(torus.signed_distance(X)))
    np.testing.assert_allclose(torus.signed_distance(surface.sample(200, rng)), 0, atol=1e-12)
    points, normals = surface.sample_surface(200, rng)
    np.testing.assert_allclose(surface.signed_distance(points - 0.04 * normals), -0.04)


def test_the_generator_alone_decides(global_rngs_untouched):
    for shape in unit_shapes(3).values():
        first, second = (shape.sample(5, np.random.default_rng(7)) for _ in range(2))
        np.testing.assert_array_equal(first, second)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: Shells([0.0, 1.0]), r"centers must be .* got the shape \(2,\)"),
        (lambda: Shells([[0.0, np.nan]]), "centers must be finite"),
        (lambda: Shells([[0.0], [2.0]]), "centers must be more than 2.0 apart, got 2"),
        (lambda: Shells([[0.0]], inner=1.0), "inner and outer must .* got inner=1.0"),
        (lambda: Shells([[0.0]], outer=np.inf), "inner and outer must be finite"),
        (lambda: Cuboid([1.0, 0.0]), r"half_widths must be d finite numbers > 0, got \[1.0, 0.0\]"),
        (lambda: Cuboid([[1.0]]), "half_widths must be d finite"),
        (lambda: Cuboid([1.0, 1.0], n_bounded=3), "n_bounded must be an int from 1 to 2, got 3"),
        (lambda: Torus(0.3, 0.7), "minor and major must .* got minor=0.7 and major=0.3"),
        (lambda: unit_shapes(1), "n_features must be an int >= 2, got 1"),
        (lambda: Torus().sample(0, np.random.default_rng(0)), "n_samples must .* >= 1, got 0"),
        (lambda: Torus().sample_surface(1.5, np.random.default_rng(0)), "n_samples .* got 1.5"),
        (lambda: Torus().signed_distance([[1.0, 2.0]]), r"shape \(n, 3\), got \(1, 2\)"),
    ],
)
def test_bad_values_are_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()
