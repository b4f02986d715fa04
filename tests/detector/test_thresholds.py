"""New thresholds on a fitted detector."""

from __future__ import annotations

import copy

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyod.models.base import BaseDetector
from pythresh.thresholds.iqr import IQR
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from small import assert_untouched, cloud, fitted_state, small

from pyod_lipocc import LipOCC
from pyod_lipocc.conformal import conformal_threshold

X, Z = cloud(200), 2 * cloud(50, seed=1)


@pytest.fixture(scope="module")
def fitted():
    return small(max_iter=5).fit(X)


@pytest.fixture
def detector(fitted):
    return copy.deepcopy(fitted)


def assert_consistent(detector):
    """Labels and predictions are the scores above the threshold."""
    scores, threshold = detector.decision_scores_, detector.threshold_
    np.testing.assert_array_equal(detector.labels_, scores > threshold)
    np.testing.assert_array_equal(detector.predict(Z), detector.decision_function(Z) > threshold)
    radius = detector.certified_radius(Z)
    gap = np.abs(detector.decision_function(Z) - threshold)
    np.testing.assert_allclose(radius, gap / detector.lipschitz_constant_, atol=1e-9, rtol=1e-4)


@given(st.floats(0.005, 0.5))
def test_by_contamination_is_as_pyod_would_have_set_it(fitted, contamination):
    detector = copy.copy(fitted).set_threshold(contamination=contamination)
    expected = copy.copy(fitted)
    expected.contamination = contamination
    BaseDetector._process_decision_scores(expected)
    assert detector.threshold_ == expected.threshold_
    np.testing.assert_array_equal(detector.labels_, expected.labels_)
    np.testing.assert_array_equal(
        detector.predict_confidence(Z), BaseDetector.predict_confidence(expected, Z)
    )
    assert detector.compute_rejection_stats(T=5) == BaseDetector.compute_rejection_stats(
        expected, T=5
    )
    assert_consistent(detector)


def test_the_boundary_is_at_zero(detector):
    assert detector.set_threshold("boundary") is detector
    assert detector.threshold_ == 0
    np.testing.assert_array_equal(detector.predict(Z), detector.signed_distance(Z) < 0)
    assert_consistent(detector)


@given(st.floats(-10, 10))
def test_a_number_is_the_threshold(fitted, threshold):
    detector = copy.copy(fitted).set_threshold(threshold)
    assert detector.threshold_ == threshold
    assert detector.contamination_ == np.mean(fitted.decision_scores_ > threshold)
    assert_consistent(detector)


@pytest.mark.parametrize("threshold", ["contamination", "boundary", 0.3, np.float64(0.3), 1])
def test_the_rule_of_the_parameters_comes_back(detector, threshold):
    before = copy.deepcopy(detector)
    detector.set_threshold(threshold).set_threshold()
    assert detector.threshold_ == before.threshold_
    np.testing.assert_array_equal(detector.labels_, before.labels_)
    np.testing.assert_array_equal(detector.predict_confidence(Z), before.predict_confidence(Z))


def test_a_threshold_object_labels_the_training_rows(detector):
    before = detector.predict(Z)
    detector.set_threshold(contamination=IQR())
    assert detector.labels_.sum() > 0
    assert detector.contamination_ == detector.labels_.mean()
    assert_consistent(detector)
    np.testing.assert_array_equal(detector.labels_, detector.decision_scores_ > detector.threshold_)
    np.testing.assert_array_equal(detector.set_threshold().predict(Z), before)


def test_of_a_detector_whose_parameter_is_an_object():
    detector = small(max_iter=5, contamination=IQR()).fit(X)
    by_object = detector.predict(Z)
    detector.set_threshold("boundary")
    assert_consistent(detector)
    np.testing.assert_array_equal(detector.set_threshold().predict(Z), by_object)


def test_statistics_of_rejection_need_an_outlier(detector):
    detector.set_threshold(9.0)
    with pytest.raises(ValueError, match=r"label 1, got contamination_=0"):
        detector.compute_rejection_stats()


@pytest.fixture(scope="module")
def calibrated():
    return small(max_iter=5, threshold="conformal").fit(cloud(400))


class TestConformal:
    @pytest.mark.parametrize("alpha", [0.02, 0.05, 0.3])
    @pytest.mark.parametrize("radius", [0.0, 0.5])
    def test_with_other_rates(self, calibrated, alpha, radius):
        detector = copy.copy(calibrated).set_threshold(
            "conformal", alpha=alpha, attack_radius=radius
        )
        refitted = clone(calibrated).set_params(alpha=alpha, attack_radius=radius)
        refitted.fit(cloud(400))
        assert detector.threshold_ == refitted.threshold_
        assert_consistent(detector)

    def test_from_any_rule_and_back(self, calibrated):
        detector = copy.copy(calibrated)
        detector.set_threshold("boundary").set_threshold(0.7).set_threshold("conformal")
        assert detector.threshold_ == calibrated.threshold_

    def test_where_rows_were_held_out_for_the_training_scores(self):
        detector = small(max_iter=5).fit(cloud(1200))
        assert detector.calibration_scores_.shape == (60,)
        detector.set_threshold("conformal", alpha=0.1)
        assert detector.threshold_ == conformal_threshold(detector.calibration_scores_, 0.1)

    def test_too_few_rows_are_said(self, calibrated, detector):
        for one, alpha in ((copy.copy(calibrated), 0.001), (detector, 0.05)):
            before = fitted_state(one)
            with pytest.raises(
                ValueError, match=r"alpha=.* needs at least \d+ rows held out of training, got \d"
            ):
                one.set_threshold("conformal", alpha=alpha)
            assert_untouched(one, before)


def test_parameters_and_the_next_fit_stay(detector):
    parameters = detector.get_params()
    expected = copy.deepcopy(detector)
    detector.set_threshold(0.3)
    assert detector.get_params() == parameters
    detector.fit(X)
    assert detector.threshold_ == expected.threshold_


def test_it_survives_a_file_and_a_pickle(detector, tmp_path):
    detector.set_threshold(0.3).save(tmp_path / "detector")
    for other in (LipOCC.load(tmp_path / "detector"), copy.deepcopy(detector)):
        assert other.threshold_ == 0.3
        np.testing.assert_array_equal(other.labels_, detector.labels_)
        np.testing.assert_array_equal(other.predict_confidence(Z), detector.predict_confidence(Z))


@pytest.mark.parametrize("threshold", ["percentile", None, np.nan, np.inf, True, [0.3], "0.3"])
def test_other_thresholds_are_refused(detector, threshold):
    before = fitted_state(detector)
    with pytest.raises(ValueError, match=r"threshold must be .*, got"):
        detector.set_threshold(threshold)
    assert_untouched(detector, before)


@pytest.mark.parametrize(
    ("name", "value"),
    [("contamination", 0.7), ("contamination", "auto"), ("alpha", 1.0), ("attack_radius", -1.0)],
)
def test_options_out_of_range_are_refused(detector, name, value):
    before = fitted_state(detector)
    with pytest.raises(ValueError, match=f"{name}.*{value}"):
        detector.set_threshold("conformal", **{name: value})
    assert_untouched(detector, before)


@pytest.mark.parametrize(
    ("threshold", "options"),
    [
        ("boundary", {"contamination": 0.3}),
        (0.5, {"alpha": 0.1}),
        ("contamination", {"attack_radius": 1.0}),
    ],
)
def test_options_of_another_rule_are_refused(detector, threshold, options):
    before = fitted_state(detector)
    with pytest.raises(ValueError, match=r"must be None unless threshold='.*', got"):
        detector.set_threshold(threshold, **options)
    assert_untouched(detector, before)


def test_a_threshold_object_that_changes_the_scores_it_sees(detector):
    class Shifting(IQR):
        def fit(self, X):
            X += 1.0
            return super().fit(X)

    scores = detector.decision_scores_.copy()
    detector.set_threshold(contamination=Shifting())
    np.testing.assert_array_equal(detector.decision_scores_, scores)


def test_there_is_none_before_fit():
    with pytest.raises(NotFittedError):
        small().set_threshold("boundary")


def test_unknown_shares_of_outliers_point_to_other_thresholds():
    with pytest.raises(ValueError, match=r"contamination must .* got 'auto'.*threshold='boundary'"):
        small(contamination="auto").fit(X)
