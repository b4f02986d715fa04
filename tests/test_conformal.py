from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import betabinom, binomtest

from pyod_lipocc.conformal import (
    conformal_p_values,
    conformal_threshold,
    minimum_calibration,
)

ALPHAS = st.sampled_from([0.01, 0.05, 0.1, 0.29, 0.3, 0.5, 0.7, 0.9])
SCORES = st.lists(st.integers(-50, 50), min_size=100, max_size=150).map(
    lambda eighths: np.array(eighths) / 8
)
REPETITIONS = 200
CERTAIN = 1e-3
"""Level of the binomial tests: with fixed seeds they pass or fail for good."""


@given(SCORES, ALPHAS)
def test_of_n_plus_1_exchangeable_scores_at_most_a_share_alpha_exceeds(scores, alpha):
    """The proof itself: leave each of the n + 1 out in turn."""
    alarms = sum(
        left_out > conformal_threshold(np.delete(scores, i), alpha)
        for i, left_out in enumerate(scores)
    )
    assert alarms <= Fraction(repr(alpha)) * len(scores)


@given(SCORES, ALPHAS)
def test_no_smaller_threshold_would_do(scores, alpha):
    scores = np.unique(scores)
    allowed = math.floor(Fraction(repr(alpha)) * (len(scores) + 1))
    if allowed:
        assert (scores >= conformal_threshold(scores, alpha)).sum() == allowed


@given(SCORES, ALPHAS, st.integers(0, 8).map(lambda k: k / 8), st.sampled_from([0.0, 0.5, 4.0]))
def test_p_values_and_threshold_say_the_same(scores, alpha, radius, constant):
    rows = np.arange(-60, 120) / 8
    attack = {"radius": radius, "lipschitz_constant": constant}
    labels = rows > conformal_threshold(scores, alpha, **attack)
    p_values = conformal_p_values(scores, rows, **attack)
    counts = np.round(p_values * (len(scores) + 1)).astype(int)
    assert np.array_equal(labels, counts <= Fraction(repr(alpha)) * (len(scores) + 1))


@given(SCORES)
def test_p_values_are_ranks(scores):
    rows = np.linspace(-9, 9, 41)
    p_values = conformal_p_values(scores, rows)
    counted = [(1 + np.sum(scores >= row)) / (len(scores) + 1) for row in rows]
    np.testing.assert_allclose(p_values, counted, rtol=1e-15)
    assert np.all(np.diff(p_values) <= 0)


@given(SCORES, ALPHAS, st.floats(0, 10), st.floats(0, 10))
def test_the_robust_threshold_is_the_clean_one_and_the_attack(scores, alpha, radius, constant):
    clean = conformal_threshold(scores, alpha)
    robust = conformal_threshold(scores, alpha, radius=radius, lipschitz_constant=constant)
    assert robust == clean + radius * constant


def distance_to_origin(x):
    return np.linalg.norm(x, axis=-1)


def pushed_outwards(x, radius):
    """The strongest attack on a distance: it gains the whole radius."""
    return x * (1 + radius / np.linalg.norm(x, axis=-1, keepdims=True))


@pytest.mark.parametrize("attack", [0.0, 0.5])
@pytest.mark.parametrize("alpha", [0.05, 0.1, 0.3])
def test_false_alarms_over_200_repetitions(rng, alpha, attack):
    n_calibration, n_rows = 99, 50
    first, all_alarms = 0, 0
    for _ in range(REPETITIONS):
        calibration = distance_to_origin(rng.normal(size=(n_calibration, 3)))
        threshold = conformal_threshold(calibration, alpha, radius=attack)
        rows = pushed_outwards(rng.normal(size=(n_rows, 3)), attack)
        alarms = distance_to_origin(rows) > threshold
        first, all_alarms = first + int(alarms[0]), all_alarms + int(alarms.sum())
    # alpha (n + 1) is whole, so the rate is alpha exactly, clean and under the strongest attack
    assert binomtest(first, REPETITIONS, alpha).pvalue > CERTAIN
    allowed = round(alpha * (n_calibration + 1))
    # rows of one repetition share a threshold: beta-binomial, not binomial
    law = betabinom(n_rows, allowed, n_calibration + 1 - allowed)
    error = np.sqrt(law.var() / REPETITIONS)
    assert abs(all_alarms / REPETITIONS - law.mean()) < 3.3 * error


def test_a_clean_threshold_does_not_survive_the_attack(rng):
    calibration = distance_to_origin(rng.normal(size=(999, 3)))
    rows = pushed_outwards(rng.normal(size=(5000, 3)), 0.5)
    rates = [
        np.mean(distance_to_origin(rows) > conformal_threshold(calibration, 0.1, radius=radius))
        for radius in (0.0, 0.5)
    ]
    assert rates[0] > 0.15
    assert rates[1] < 0.13


def test_p_values_of_normal_rows_are_uniform_or_larger(rng):
    p_values = [
        conformal_p_values(rng.exponential(size=19), rng.exponential(size=1))[0]
        for _ in range(REPETITIONS)
    ]
    for alpha in (0.05, 0.2, 0.5):
        alarms = int(np.sum(np.array(p_values) <= alpha))
        assert binomtest(alarms, REPETITIONS, alpha).pvalue > CERTAIN


@pytest.mark.parametrize(("alpha", "needed"), [(0.1, 9), (0.05, 19), (0.01, 99), (0.3, 3)])
def test_too_few_scores_say_how_many_are_needed(alpha, needed):
    with pytest.raises(ValueError, match=rf"at least {needed} .* got {needed - 1}$"):
        conformal_threshold(np.arange(needed - 1.0), alpha)
    assert conformal_threshold(np.arange(float(needed)), alpha) == needed - 1
    assert minimum_calibration(alpha) == needed


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (([1.0, 2.0], 0.0), "alpha must be a finite number between 0 and 1, both excluded, got 0"),
        (([1.0, 2.0], 1), "alpha must be .* got 1"),
        (([1.0, 2.0], math.nan), "alpha must be .* got nan"),
        (([], 0.5), r"scores must not be empty, got the shape \(0,\)"),
        (([[1.0]], 0.5), r"scores must have 1 dimensions, got the shape \(1, 1\)"),
        ((["a"], 0.5), "scores must hold real numbers, got dtype <U1"),
        (([1.0, math.inf], 0.5), "scores must be finite"),
    ],
)
def test_errors_say_what_is_accepted(arguments, message):
    with pytest.raises(ValueError, match=message):
        conformal_threshold(*arguments)


@pytest.mark.parametrize("value", [-1.0, math.inf, math.nan])
@pytest.mark.parametrize("name", ["radius", "lipschitz_constant"])
def test_attacks_are_finite(name, value):
    message = rf"{name} must be a finite number >= 0, got {value}"
    with pytest.raises(ValueError, match=message):
        conformal_threshold([1.0, 2.0], 0.5, **{name: value})
    with pytest.raises(ValueError, match=message):
        conformal_p_values([1.0], [1.0], **{name: value})
