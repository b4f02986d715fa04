from __future__ import annotations

import copy
import pickle
import sys

import numpy as np
import pytest
from small import cloud, small

from pyod_lipocc import LipOCC, SignedDistance


@pytest.fixture(scope="module")
def detector():
    return small().fit(cloud(2000))


def of(value):
    return value, value.distance_


def test_the_size_is_that_of_arrays_and_weights(detector):
    for value in of(detector):
        weights = sum(weight.nbytes for weight in detector.network_.parameters())
        assert sys.getsizeof(value) > weights
    rows = detector.decision_scores_.nbytes + detector.labels_.nbytes
    assert sys.getsizeof(detector) - sys.getsizeof(detector.for_scoring()) == rows


def test_the_token_is_that_of_the_content(detector):
    for value in of(detector):
        token = value.__dask_tokenize__()
        assert token == value.__dask_tokenize__() == copy.copy(value).__dask_tokenize__()
    for name, value in {"threshold_": 0.5, "decision_scores_": np.zeros(3), "alpha": 0.01}.items():
        other = copy.copy(detector)
        setattr(other, name, value)
        assert other.__dask_tokenize__() != detector.__dask_tokenize__()
    other = copy.deepcopy(detector)
    next(other.network_.parameters()).data += 1e-9
    for first, second in zip(of(other), of(detector), strict=True):
        assert first.__dask_tokenize__() != second.__dask_tokenize__()


def test_no_two_values_share_a_token_where_pickle_refuses():
    first, second = (LipOCC(callbacks=[lambda: None]) for _ in range(2))
    assert first.__dask_tokenize__() != second.__dask_tokenize__()


def test_a_detector_for_scoring_does_not_grow_with_the_rows(tmp_path):
    sizes, files = [], []
    for n in (20_000, 40_000):
        detector = small(max_iter=1).fit(cloud(n)).for_scoring()
        detector.save(tmp_path / str(n))
        sizes.append(len(pickle.dumps(detector)))
        files.append((tmp_path / str(n)).stat().st_size)
    for small_one, large_one in (sizes, files):
        assert large_one < small_one + 1000


@pytest.fixture(scope="module")
def scoring(detector):
    return detector.for_scoring()


class TestForScoring:
    def test_it_answers_as_the_detector(self, detector, scoring, tmp_path):
        scoring.save(tmp_path / "detector")
        X = cloud(50, seed=1)
        for other in (scoring, LipOCC.load(tmp_path / "detector"), scoring.for_scoring()):
            assert not hasattr(other, "decision_scores_")
            assert not hasattr(other, "labels_")
            for name in ("predict", "predict_confidence"):
                np.testing.assert_array_equal(getattr(other, name)(X), getattr(detector, name)(X))
            for method in ("linear", "unify"):
                found = other.predict_proba(X, method=method)
                np.testing.assert_array_equal(found, detector.predict_proba(X, method=method))
            statistics = other.compute_rejection_stats(c_r=0.1)
            assert statistics == detector.compute_rejection_stats(c_r=0.1)

    def test_it_takes_thresholds_that_need_no_scores(self, detector, scoring):
        for threshold in ("boundary", 0.1, "conformal"):
            whole = copy.copy(detector).set_threshold(threshold)
            part = copy.copy(scoring).set_threshold(threshold)
            assert part.threshold_ == whole.threshold_
            assert part.contamination_ == pytest.approx(whole.contamination_, abs=1e-12)
        with pytest.raises(ValueError, match="before `for_scoring`"):
            scoring.set_threshold("contamination")

    def test_of_many_scores_confidences_are_interpolated(self):
        detector = small(max_iter=1).fit(cloud(30_000))
        X = cloud(500, seed=1)
        found = detector.predict_confidence(X)
        # PyOD counts all training scores.
        expected = super(LipOCC, detector).predict_confidence(X)
        np.testing.assert_allclose(found, expected, atol=0.02)

    def test_it_continues_to_learn(self, scoring):
        continued = copy.copy(scoring).partial_fit(cloud(60))
        assert continued.decision_scores_.shape == (60,)
        assert isinstance(continued.distance_, SignedDistance)
