from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import norm
from sklearn.metrics import accuracy_score, roc_auc_score

from pyod_lipocc.metrics import (
    best_threshold_accuracy,
    certified_accuracy_score,
    certified_error_rates,
    certified_roc_auc_curve,
    certified_roc_auc_score,
    chamfer_distance,
    eikonal_error,
    hausdorff_distance,
    sdf_rmse,
)

# Multiples of 1/8 add and double exactly, and make ties frequent.
EIGHTHS = st.integers(-16, 16).map(lambda k: k / 8)
RADII = st.integers(0, 16).map(lambda k: k / 8)


@st.composite
def labelled_scores(draw, max_size=30):
    y = draw(
        st.lists(st.integers(0, 1), min_size=2, max_size=max_size).filter(
            lambda y: 0 < sum(y) < len(y)
        )
    )
    return np.array(y), np.array(draw(st.lists(EIGHTHS, min_size=len(y), max_size=len(y))))


@given(labelled_scores(), RADII, st.sampled_from([0.0, 0.5, 1.0, 4.0]))
def test_attack_is_a_shift_of_the_classes_against_each_other(data, radius, constant):
    y, scores = data
    certified = certified_roc_auc_score(y, scores, radius, lipschitz_constant=constant)
    attacked = scores + constant * radius * (1 - 2 * y)
    assert certified == pytest.approx(roc_auc_score(y, attacked), abs=1e-12)


@given(labelled_scores(max_size=5), RADII)
def test_equals_the_worst_of_all_attacks(data, radius):
    y, scores = data
    moves = itertools.product([-radius, 0.0, radius / 2, radius], repeat=len(y))
    attacked = scores + np.array(list(moves))
    gaps = attacked[:, y == 1][:, :, None] - attacked[:, y == 0][:, None, :]
    worst = (0.5 * (np.sign(gaps) + 1)).mean(axis=(1, 2)).min()
    assert certified_roc_auc_score(y, scores, radius) == pytest.approx(worst, abs=1e-12)


def test_radius_keeps_its_shape():
    y, scores = [0, 1, 1], [0.0, 1.0, 2.0]
    assert isinstance(certified_roc_auc_score(y, scores, 1), float)
    grid = certified_roc_auc_score(y, scores, [[0.0, 0.25, 0.5], [0.75, 1.0, 9.0]])
    np.testing.assert_array_equal(grid, [[1.0, 1.0, 0.75], [0.5, 0.25, 0.0]])


def test_gaussian_scores_have_the_closed_form():
    quantiles = np.linspace(0, 1, 2002)[1:-1]
    z = norm.ppf(quantiles)
    y = np.repeat([0, 1], len(z))
    certified = certified_roc_auc_score(y, np.concatenate([z, z + 2.0]), [0.0, 0.5, 1.0, 1.5])
    expected = norm.cdf((2.0 - 2.0 * np.array([0.0, 0.5, 1.0, 1.5])) / np.sqrt(2))
    np.testing.assert_allclose(certified, expected, atol=1e-3)


@given(labelled_scores(), st.sampled_from([0.5, 1.0, 4.0]), st.integers(2, 9))
def test_curve_runs_from_the_auroc_to_where_no_pair_is_certain(data, constant, n_radii):
    y, scores = data
    radii, auroc = certified_roc_auc_curve(y, scores, n_radii=n_radii, lipschitz_constant=constant)
    assert len(radii) == len(auroc) == n_radii
    assert radii[0] == 0
    assert auroc[0] == certified_roc_auc_score(y, scores, 0.0)
    gaps = scores[y == 1][:, None] - scores[y == 0]
    assert 2 * constant * radii[-1] == pytest.approx(max(0.0, gaps.max()))
    beyond = radii[-1] + 1e-9
    assert certified_roc_auc_score(y, scores, beyond, lipschitz_constant=constant) == 0


@given(labelled_scores(max_size=5), RADII, EIGHTHS)
def test_rates_are_the_worst_of_all_attacks(data, radius, threshold):
    y, scores = data
    moves = itertools.product([-radius, 0.0, radius], repeat=len(y))
    labels = scores + np.array(list(moves)) > threshold
    false_alarms, misses = certified_error_rates(y, scores, radius, threshold=threshold)
    assert false_alarms == labels[:, y == 0].mean(axis=1).max()
    assert misses == (~labels[:, y == 1]).mean(axis=1).max()
    accuracy = certified_accuracy_score(y, scores, radius, threshold=threshold)
    assert accuracy == pytest.approx((labels == y).mean(axis=1).min(), abs=1e-12)


@given(labelled_scores(), RADII, EIGHTHS)
def test_rates_know_only_radius_times_constant_and_score_minus_threshold(data, radius, threshold):
    y, scores = data
    rates = certified_error_rates(y, scores, 2 * radius, threshold=threshold)
    assert rates == certified_error_rates(y, scores - threshold, radius, lipschitz_constant=2.0)


def test_accuracy_and_rates_keep_the_shape_of_the_radius():
    y, scores, radii = [0, 1, 1], [-1.0, 1.0, 2.0], [[0.0, 0.5, 0.99], [1.0, 2.0, 9.0]]
    np.testing.assert_allclose(
        certified_accuracy_score(y, scores, radii), [[1, 1, 1], [2 / 3, 0, 0]]
    )
    false_alarms, misses = certified_error_rates(y, scores, radii)
    np.testing.assert_array_equal(false_alarms, [[0, 0, 0], [0, 1, 1]])
    np.testing.assert_array_equal(misses, [[0, 0, 0], [0.5, 1, 1]])
    assert isinstance(certified_accuracy_score(y, scores, 1), float)


@given(labelled_scores())
def test_best_accuracy_is_the_best_over_all_thresholds(data):
    y, scores = data
    thresholds = [-np.inf, *np.unique(scores)]
    best = max(accuracy_score(y, scores > t) for t in thresholds)
    assert best_threshold_accuracy(y, scores) == pytest.approx(best, abs=1e-12)


@given(st.floats(0.0, 10.0), st.integers(1, 20))
def test_eikonal_error_of_gradients_of_one_length(length, d):
    directions = np.random.default_rng(d).normal(size=(7, d))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    assert eikonal_error(length * directions) == pytest.approx(abs(1.0 - length), abs=1e-12)


def test_eikonal_error_does_not_let_short_and_long_cancel():
    assert eikonal_error(np.array([[0.5], [1.5]], dtype=np.float32)) == 0.5


@given(st.lists(EIGHTHS, min_size=1, max_size=20), st.floats(-5.0, 5.0))
def test_sdf_rmse_of_a_constant_offset(true, offset):
    assert sdf_rmse(np.array(true) + offset, true) == pytest.approx(abs(offset), abs=1e-12)


def test_sdf_rmse_counts_only_the_band():
    true = np.array([[-2.0, -0.1], [0.0, 0.1]])
    predicted = true + np.array([[9.0, 3.0], [4.0, 0.0]])
    assert sdf_rmse(predicted, true, band=0.1) == pytest.approx(5 / np.sqrt(3))
    assert sdf_rmse(predicted, true, band=0) == 4.0
    assert sdf_rmse(predicted, true, band=2.0) == sdf_rmse(predicted, true)


@st.composite
def point_sets(draw):
    d, sizes = draw(st.integers(1, 4)), draw(st.tuples(st.integers(1, 8), st.integers(1, 8)))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    return [rng.normal(size=(n, d)) for n in sizes]


@given(point_sets())
def test_set_distances_are_those_of_all_pairs(sets):
    a, b = sets
    pairs = np.linalg.norm(a[:, None] - b, axis=2)
    forth, back = pairs.min(axis=1), pairs.min(axis=0)
    assert chamfer_distance(a, b) == pytest.approx((forth.mean() + back.mean()) / 2)
    assert hausdorff_distance(a, b) == pytest.approx(max(forth.max(), back.max()))


@pytest.mark.parametrize(
    "metric",
    [
        lambda y, s: certified_roc_auc_score(y, s, 0.1),
        certified_roc_auc_curve,
        lambda y, s: certified_error_rates(y, s, 0.1),
        lambda y, s: certified_accuracy_score(y, s, 0.1),
        best_threshold_accuracy,
    ],
)
@pytest.mark.parametrize(
    ("y", "scores", "message"),
    [
        ([0, 1], [0.0, 1.0, 2.0], "one length, got 2 and 3"),
        ([0, 0], [0.0, 1.0], r"both 0 \(normal\) and 1 \(outlier\)"),
        ([-1, 1], [0.0, 1.0], r"nothing else, got \[-1"),
        ([0, 1], [0.0, np.nan], "scores must be finite"),
        ([0, 1], [0.0, np.inf], "scores must be finite"),
        ([0, np.nan], [0.0, 1.0], "y_true must be finite"),
        ([0, 1], [[0.0], [1.0]], r"scores must have 1 dimensions, got the shape \(2, 1\)"),
        ([], [], "y_true must not be empty"),
        (["a", "b"], [0.0, 1.0], "y_true must hold real numbers"),
        ([0, 1], [0j, 1j], "scores must hold real numbers, got dtype complex128"),
    ],
)
def test_bad_labels_and_scores_are_named(metric, y, scores, message):
    with pytest.raises(ValueError, match=message):
        metric(y, scores)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: certified_roc_auc_score([0, 1], [0, 1], -0.1), "radius must be >= 0, got -0.1"),
        (lambda: certified_roc_auc_score([0, 1], [0, 1], [0.1, np.inf]), "radius must be finite"),
        (lambda: certified_roc_auc_score([0, 1], [0, 1], []), "radius must not be empty"),
        (
            lambda: certified_roc_auc_score([0, 1], [0, 1], 0.1, lipschitz_constant=-1.0),
            "lipschitz_constant must be >= 0, got -1.0",
        ),
        (lambda: certified_error_rates([0, 1], [0, 1], -0.1), "radius must be >= 0, got -0.1"),
        (
            lambda: certified_error_rates([0, 1], [0, 1], 0.1, threshold=np.nan),
            "threshold must be finite",
        ),
        (
            lambda: certified_roc_auc_curve([0, 1], [0, 1], lipschitz_constant=0),
            "lipschitz_constant must be > 0",
        ),
        (
            lambda: certified_roc_auc_curve([0, 1], [0, 1], n_radii=1),
            "n_radii must be an int >= 2, got 1",
        ),
        (lambda: chamfer_distance([0.0], [[0.0]]), "first must have 2 dimensions"),
        (lambda: hausdorff_distance([[0.0]], np.empty((0, 1))), "second must not be empty"),
        (lambda: chamfer_distance([[0.0]], [[0.0, 1.0]]), r"one width, got \(1, 1\) and \(1, 2\)"),
        (lambda: eikonal_error([1.0, 0.0]), "gradients must have 2 dimensions"),
        (lambda: eikonal_error(np.empty((0, 2))), "gradients must not be empty"),
        (lambda: eikonal_error([[np.nan]]), "gradients must be finite"),
        (lambda: sdf_rmse([1.0], [1.0, 2.0]), r"one shape, got \(1,\) and \(2,\)"),
        (lambda: sdf_rmse([1.0], [1.0], band=-0.1), "band must be >= 0, got -0.1"),
        (lambda: sdf_rmse([1.0], [1.0], band=0.5), "band must be >= 1.0, the least .* got 0.5"),
        (lambda: sdf_rmse([], []), "predicted must not be empty"),
    ],
)
def test_bad_values_are_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()
