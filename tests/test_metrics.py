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
    certified_roc_auc_score,
    eikonal_error,
    sdf_rmse,
)

# multiples of 1/8 add and double exactly, and make ties frequent
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


@given(labelled_scores())
def test_no_attack_gives_the_auroc(data):
    y, scores = data
    assert certified_roc_auc_score(y, scores, 0.0) == pytest.approx(
        roc_auc_score(y, scores), abs=1e-12
    )


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


@given(labelled_scores(), st.lists(RADII, min_size=1, max_size=6))
def test_never_rises_with_the_radius(data, radii):
    y, scores = data
    certified = certified_roc_auc_score(y, scores, np.sort([0.0, *radii]))
    assert np.all(np.diff(certified) <= 0)
    assert np.all((certified >= 0) & (certified <= 1))


@given(labelled_scores(), RADII)
def test_only_radius_times_constant_counts(data, radius):
    y, scores = data
    assert certified_roc_auc_score(
        y, scores, radius, lipschitz_constant=2.0
    ) == certified_roc_auc_score(y, scores, 2.0 * radius)


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


@given(labelled_scores())
def test_best_accuracy_is_the_best_over_all_thresholds(data):
    y, scores = data
    thresholds = [-np.inf, *np.unique(scores)]
    best = max(accuracy_score(y, scores > t) for t in thresholds)
    assert best_threshold_accuracy(y, scores) == pytest.approx(best, abs=1e-12)


@given(labelled_scores())
def test_best_accuracy_depends_on_the_ranking_only(data):
    y, scores = data
    accuracy = best_threshold_accuracy(y, scores)
    assert accuracy == best_threshold_accuracy(y, np.exp(scores))
    assert accuracy == best_threshold_accuracy(y[::-1], scores[::-1])
    assert accuracy >= max(y.mean(), 1 - y.mean()) - 1e-12


def test_best_accuracy_closed_forms():
    assert best_threshold_accuracy([0, 0, 1, 1], [0, 1, 2, 3]) == 1.0
    assert best_threshold_accuracy([0, 0, 1, 1], [5, 5, 5, 5]) == 0.5
    assert best_threshold_accuracy([1, 1, 0], [0, 1, 2]) == pytest.approx(2 / 3)


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


@pytest.mark.parametrize(
    "metric", [lambda y, s: certified_roc_auc_score(y, s, 0.1), best_threshold_accuracy]
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
