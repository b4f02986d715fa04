from __future__ import annotations

import pickle

import joblib
import numpy as np
import pandas as pd
import pytest
from pyod.models.base import BaseDetector
from pyod.utils import persistence
from pyod.utils.data import generate_data
from pythresh.thresholds.clf import CLF
from pythresh.thresholds.filter import FILTER
from pythresh.thresholds.iqr import IQR
from scipy.stats import rankdata
from sklearn.base import clone
from sklearn.metrics import roc_auc_score
from small import cloud, small

from pyod_lipocc import SignedDistance

N_TRAIN, N_TEST, CONTAMINATION = 200, 100, 0.1


@pytest.fixture(scope="module")
def data():
    return generate_data(
        n_train=N_TRAIN, n_test=N_TEST, contamination=CONTAMINATION, random_state=42
    )


@pytest.fixture(scope="module")
def detector(data):
    return small(contamination=CONTAMINATION, max_iter=120).fit(data[0])


def test_fit_leaves_what_pyod_asks_for(detector):
    assert detector.decision_scores_.shape == (N_TRAIN,)
    assert detector.labels_.shape == (N_TRAIN,)
    assert np.isfinite(detector.threshold_)
    assert detector._classes == 2
    assert detector._mu == detector.decision_scores_.mean()
    assert detector._sigma == detector.decision_scores_.std()


def test_labels_are_the_scores_above_the_threshold(detector, data):
    assert set(detector.labels_) == {0, 1}
    assert detector.labels_.sum() == CONTAMINATION * N_TRAIN
    for scores, labels in (
        (detector.decision_scores_, detector.labels_),
        (detector.decision_function(data[1]), detector.predict(data[1])),
    ):
        np.testing.assert_array_equal(labels, scores > detector.threshold_)


def test_scores_rank_outliers_higher(detector, data):
    _, X_test, _, y_test = data
    scores = detector.decision_function(X_test)
    assert scores.shape == (N_TEST,)
    assert scores.dtype == np.float64
    assert roc_auc_score(y_test, scores) > 0.9


def test_training_scores_are_those_of_scoring(detector, data):
    np.testing.assert_array_equal(detector.decision_function(data[0]), detector.decision_scores_)


@pytest.mark.parametrize("method", ["linear", "unify"])
def test_probabilities_rise_with_the_score(detector, data, method):
    probabilities = detector.predict_proba(data[1], method=method)
    assert probabilities.shape == (N_TEST, 2)
    assert probabilities.min() >= 0
    np.testing.assert_allclose(probabilities.sum(axis=1), 1)
    order = np.argsort(detector.decision_function(data[1]))
    assert (np.diff(probabilities[order, 1]) >= 0).all()


def test_probabilities_are_linear_by_default(detector, data):
    default, linear = (
        detector.predict_proba(data[1]),
        detector.predict_proba(data[1], method="linear"),
    )
    np.testing.assert_array_equal(default, linear)


def test_unknown_probability_methods_are_refused(detector, data):
    with pytest.raises(ValueError, match="probability conversion"):
        detector.predict_proba(data[1], method="something")


def test_lists_have_the_probabilities_of_arrays(detector, data):
    expected = detector.predict_proba(data[1])
    np.testing.assert_array_equal(detector.predict_proba(data[1].tolist()), expected)


def test_every_method_gives_the_same_confidence(detector, data):
    labels, confidence = detector.predict(data[1], return_confidence=True)
    np.testing.assert_array_equal(labels, detector.predict(data[1]))
    np.testing.assert_array_equal(confidence, detector.predict_confidence(data[1]))
    _, with_probability = detector.predict_proba(data[1], return_confidence=True)
    np.testing.assert_array_equal(confidence, with_probability)
    assert confidence.shape == (N_TEST,)
    assert confidence.min() >= 0
    assert confidence.max() <= 1


@pytest.fixture(scope="module", params=[0.1, 0.3, IQR()], ids=str)
def tied(request):
    """A detector of rows that coincide: their scores are tied."""
    X = np.random.default_rng(0).integers(3, size=(150, 2)).astype(float)
    return small(contamination=request.param, max_iter=5).fit(X), X


AS_PYOD = {
    "predict": lambda base, d, X: base.predict(d, X, return_confidence=True),
    "predict_confidence": lambda base, d, X: [base.predict_confidence(d, X)],
    "linear": lambda base, d, X: base.predict_proba(d, X, "linear", return_confidence=True),
    "unify": lambda base, d, X: base.predict_proba(d, X, "unify", return_confidence=True),
    "rejection": lambda base, d, X: [base.predict_with_rejection(d, X, T=3, c_r=0.1)],
}


@pytest.mark.parametrize("name", AS_PYOD)
def test_answers_are_those_of_pyod(tied, name):
    """At once for all rows, but in the same bits."""
    detector, X = tied
    queries = np.concatenate((X, X + 0.1, 3 * X))
    expected = AS_PYOD[name](BaseDetector, detector, queries)
    for ours, theirs in zip(
        AS_PYOD[name](type(detector), detector, queries), expected, strict=True
    ):
        np.testing.assert_array_equal(ours, theirs)


def test_confidence_scores_the_rows_once(detector, data, monkeypatch):
    calls = []
    scores = SignedDistance.scores

    def counted(self, X, **options):
        calls.append(len(X))
        return scores(self, X, **options)

    monkeypatch.setattr(SignedDistance, "scores", counted)
    for answer in (
        lambda: detector.predict(data[1], return_confidence=True),
        lambda: detector.predict_proba(data[1], return_confidence=True),
        lambda: detector.predict_confidence(data[1]),
        lambda: detector.predict_with_rejection(data[1], c_r=0.1),
    ):
        calls.clear()
        answer()
        assert calls == [N_TEST]


@pytest.mark.filterwarnings("ignore:The cost of rejection must be positive")
def test_rejected_rows_have_a_label_of_their_own(detector, data):
    labels, statistics = detector.predict_with_rejection(data[1], T=32, return_stats=True)
    assert set(labels) <= {-2, 0, 1}
    assert len(statistics) == 3
    assert all(np.isfinite(figure) for figure in statistics)
    expected_rate, bound, cost = detector.compute_rejection_stats(T=32)
    assert 0 <= expected_rate <= 1
    assert bound >= 0
    assert cost >= 0


@pytest.mark.filterwarnings("ignore:Function fit_predict:FutureWarning")
def test_fit_predict_returns_the_labels(data, capsys):
    X, _, y, _ = data
    detector = small()
    np.testing.assert_array_equal(detector.fit_predict(X), detector.labels_)
    for scoring in ("roc_auc_score", "prc_n_score"):
        assert 0 <= detector.fit_predict_score(X, y, scoring=scoring) <= 1
    with pytest.raises(NotImplementedError):
        detector.fit_predict_score(X, y, scoring="something")
    assert "roc_auc_score" in capsys.readouterr().out


def test_ranks_follow_the_scores(detector, data):
    ranks = detector._predict_rank(data[1])
    order = rankdata(detector.decision_function(data[1]))
    assert ranks.min() >= 0
    assert ranks.max() <= N_TRAIN
    assert np.corrcoef(rankdata(ranks), order)[0, 1] > 0.9
    assert detector._predict_rank(data[1], normalized=True).max() == 1


def saved_by_pyod(detector, path):
    persistence.save(detector, path)
    return persistence.load(path, trusted=True)


def saved_by_joblib(detector, path):
    joblib.dump(detector, path)
    return joblib.load(path)


def saved_by_pickle(detector, path):
    path.write_bytes(pickle.dumps(detector))
    return pickle.loads(path.read_bytes())


@pytest.mark.parametrize("save_and_load", [saved_by_pyod, saved_by_joblib, saved_by_pickle])
def test_pickles_answer_and_refit_alike(detector, data, tmp_path, save_and_load):
    twin = save_and_load(detector, tmp_path / "detector")
    for answer in ("decision_function", "predict_proba", "predict_confidence", "predict"):
        ours, theirs = getattr(detector, answer)(data[1]), getattr(twin, answer)(data[1])
        np.testing.assert_allclose(theirs, ours, rtol=1e-12, atol=1e-12)
    assert len(twin.history_) == twin.n_iter_ == detector.n_iter_
    assert twin.margin_ == detector.margin_
    np.testing.assert_array_equal(
        clone(twin).fit(data[0]).decision_scores_, detector.decision_scores_
    )


def test_saved_history_stays_read_only(detector, tmp_path):
    history = saved_by_pickle(detector, tmp_path / "detector").history_
    with pytest.raises(ValueError, match="read-only"):
        history.loss[0] = 0.0


def test_pickling_leaves_the_network_in_place(detector):
    network = detector.network_
    pickle.dumps(detector)
    assert detector.network_ is network


def test_frames_pass_without_warnings(data):
    frame = pd.DataFrame(data[0], columns=[f"f{i}" for i in range(data[0].shape[1])])
    on_frame = small().fit(frame)
    np.testing.assert_array_equal(on_frame.decision_scores_, small().fit(data[0]).decision_scores_)
    np.testing.assert_array_equal(on_frame.predict(frame), on_frame.labels_)
    assert on_frame.predict_proba(frame).shape == (N_TRAIN, 2)


def test_random_state_instances_are_accepted(data):
    detector = small(random_state=np.random.RandomState(42)).fit(data[0])
    assert detector.decision_scores_.shape == (N_TRAIN,)


@pytest.fixture(scope="module")
def bounded(data):
    return small(threshold="boundary", max_iter=120).fit(data[0])


def test_boundary_is_where_the_distance_is_zero(bounded, data):
    assert bounded.threshold_ == 0
    np.testing.assert_array_equal(bounded.labels_, bounded.decision_scores_ > 0)
    np.testing.assert_array_equal(bounded.predict(data[1]), bounded.signed_distance(data[1]) < 0)


def test_confidence_is_high_far_from_the_boundary(bounded, data):
    labels, confidence = bounded.predict(data[1], return_confidence=True)
    np.testing.assert_array_equal(labels, bounded.predict(data[1]))
    assert confidence.min() >= 0
    assert confidence.max() <= 1
    # other training rows would hardly change the labels of the two extremes
    training = bounded.predict_confidence(data[0])
    assert training[np.argmin(bounded.decision_scores_)] > 0.5
    assert training[np.argmax(bounded.decision_scores_)] > 0.5


def test_boundary_outweighs_a_threshold_object(data):
    detector = small(threshold="boundary", contamination=IQR()).fit(data[0])
    assert detector.threshold_ == 0
    np.testing.assert_array_equal(detector.labels_, detector.decision_scores_ > 0)
    labels, confidence = detector.predict(data[0], return_confidence=True)
    np.testing.assert_array_equal(labels, detector.labels_)
    assert confidence.shape == (N_TRAIN,)


class FixedThreshold:
    """The least a threshold object of PyThresh has."""

    def __init__(self, thresh=0.0):
        self.thresh = thresh

    def fit(self, scores):
        self.thresh_ = self.thresh
        self.labels_ = self.predict(scores)
        return self

    def predict(self, scores):
        return (np.asarray(scores) > self.thresh_).astype(int)


@pytest.mark.parametrize("thresh", [0.0, 0.25])
def test_threshold_object_in_the_units_of_the_scores(data, thresh):
    detector = small(contamination=FixedThreshold(thresh)).fit(data[0])
    assert detector.threshold_ == thresh
    np.testing.assert_array_equal(detector.labels_, detector.decision_scores_ > thresh)
    np.testing.assert_array_equal(detector.predict(data[0]), detector.labels_)


@pytest.mark.parametrize("threshold", [IQR, FILTER])
def test_threshold_of_pythresh_is_in_the_units_of_the_scores(data, threshold):
    # PyThresh brings the scores to [0, 1] first, and its thresh_ is in those units
    detector = small(contamination=threshold(), max_iter=120).fit(data[0])
    assert 0 < detector.labels_.sum() < N_TRAIN
    np.testing.assert_array_equal(detector.labels_, detector.decision_scores_ > detector.threshold_)
    np.testing.assert_array_equal(detector.predict(data[0]), detector.labels_)
    labels, confidence = detector.predict(data[1], return_confidence=True)
    assert labels.shape == confidence.shape == (N_TEST,)


def test_threshold_objects_without_a_threshold_give_their_labels(data):
    detector = small(contamination=CLF(), max_iter=120).fit(data[0])
    assert np.isfinite(detector.threshold_)
    np.testing.assert_array_equal(detector.labels_, detector.contamination.labels_)
    np.testing.assert_array_equal(detector.predict(data[0]), detector.labels_)


def test_threshold_objects_survive_clone_and_pickle(data, tmp_path):
    detector = small(contamination=IQR()).fit(data[0])
    twin = saved_by_pickle(detector, tmp_path / "detector")
    np.testing.assert_array_equal(twin.predict(data[1]), detector.predict(data[1]))
    np.testing.assert_array_equal(clone(detector).fit(data[0]).labels_, detector.labels_)


def test_contamination_sets_the_share_of_outliers():
    X = cloud(200)
    for share in (0.05, 0.25, 0.5):
        assert small(contamination=share).fit(X).labels_.sum() == 200 * share
