from __future__ import annotations

import pickle
from functools import partial

import dask
import numpy as np
import pandas as pd
import pytest
from sklearn.exceptions import NotFittedError
from small import cloud

from pyod_lipocc import LipOCC as Local
from pyod_lipocc._chunks import chunk_size
from pyod_lipocc.domains import Ball
from pyod_lipocc.lipschitz import dense

pytest.importorskip("distributed")
import cloudpickle
import dask.array as da
import dask.dataframe as dd
from partitions import NAMES, array, cut, frame

from pyod_lipocc.dask import LipOCC

N = 1500
X = cloud(N, 3) * [1.0, 5.0, 0.1] + [0.0, 3.0, -1.0]
UNEQUAL = (400, 0, 7, 1093)
CHUNKS = cloud(3 * N, 3)  # more rows than are handled at once
WIDE = cloud(N, 70)  # so wide that fewer are
QUICK = {"max_iter": 10, "random_state": 0}
NARROW = partial(dense, hidden=(16, 16))
LAZY = ("decision_function", "signed_distance", "predict", "certified_radius", "predict_proba")

CONFIGURATIONS = {
    "auto": {},
    "clean": {"novelty": True},
    "held out": {"network": NARROW},
    "conformal": {"network": NARROW, "threshold": "conformal", "novelty": True},
    "units of X": {"threshold": "boundary", "standardize": False},
    "domain": {"domain": Ball(40.0), "contamination": 0.2},
    "images": {"image_shape": (1, 3), "network": NARROW},
}


def bits(detector):
    """Return everything that must not depend on the partitions."""
    scaling = detector.scaling_
    numbers = (detector.margin_, detector.threshold_, detector.contamination_, scaling.unit)
    domain = [value.numpy() for value in vars(detector.domain_).values()]
    weights = [weight.numpy() for weight in detector.network_.state_dict().values()]
    rows = dask.compute(detector.decision_scores_, detector.labels_)
    parts = (numbers, scaling.location, scaling.scale, *domain, *weights, *rows)
    return [np.asarray(part).tobytes() for part in (*parts, detector.calibration_scores_)]


@pytest.fixture(scope="module")
def detector():
    return LipOCC(network=NARROW, **QUICK).fit(array(X, UNEQUAL))


@pytest.fixture(scope="module")
def of_frames():
    return LipOCC(network=NARROW, **QUICK).fit(frame(X, UNEQUAL))


@pytest.mark.parametrize("name", CONFIGURATIONS)
def test_a_fit_has_the_bits_of_a_fit_in_memory(name):
    parameters = QUICK | CONFIGURATIONS[name]
    expected = bits(Local(**parameters).fit(X))
    assert bits(LipOCC(**parameters).fit(array(X, UNEQUAL))) == expected


def test_a_fit_on_several_chunks_has_the_bits_of_a_fit_in_memory():
    assert chunk_size(WIDE.shape[1]) < N
    expected = bits(Local(network=NARROW, **QUICK).fit(WIDE))
    assert bits(LipOCC(network=NARROW, **QUICK).fit(array(WIDE, UNEQUAL))) == expected


def test_a_random_network_draws_as_in_memory():
    """Builders and modules of users may draw from torch's global generator."""
    import torch

    def builder(n_features, generator):
        return torch.nn.Linear(n_features, 1)

    fits = (kind(network=builder, **QUICK) for kind in (Local, LipOCC))
    first, second = (fit.fit(rows) for fit, rows in zip(fits, (X, array(X, UNEQUAL)), strict=True))
    assert bits(first) == bits(second)


class TestLazyMethods:
    def test_nothing_is_computed_before_compute(self, detector):
        def fail(block):
            raise AssertionError("computed")

        rows = da.from_array(X, chunks=(500, 3)).map_blocks(
            fail, dtype=float, meta=np.empty((0, 0))
        )
        for name in (*LAZY, "explain", "predict_confidence"):
            lazy = getattr(detector, name)(rows)
            assert lazy.chunks[0] == rows.chunks[0]
            with pytest.raises(AssertionError, match="computed"):
                lazy.compute()

    @pytest.mark.parametrize("name", LAZY)
    def test_answers_are_those_of_the_local_detector(self, detector, of_frames, name):
        lengths = (chunk_size(3), 0, len(CHUNKS) - chunk_size(3))
        expected = getattr(detector.to_local(), name)(CHUNKS)
        np.testing.assert_array_equal(getattr(detector, name)(array(CHUNKS, lengths)), expected)
        np.testing.assert_array_equal(getattr(detector, name)(CHUNKS), expected)
        rows = frame(CHUNKS, lengths)
        found = getattr(of_frames, name)(rows).compute()
        np.testing.assert_array_equal(found.to_numpy(), expected)
        assert (found.index == rows.compute().index).all()

    def test_explanations_have_a_column_for_each_feature(self, detector, of_frames):
        # Rows that are explained together are anchors of each other.
        expected = np.concatenate([*map(detector.to_local().explain, (X[:4], X[4:6]))])
        np.testing.assert_array_equal(detector.explain(array(X[:6], (4, 2))), expected)
        found = of_frames.explain(frame(X[:6], (4, 0, 2)))
        assert [*found.columns] == NAMES
        np.testing.assert_array_equal(found.compute().to_numpy(), expected)

    def test_confidence_comes_with_labels(self, detector):
        rows, local = array(X, UNEQUAL), detector.to_local()
        for name in ("predict", "predict_proba"):
            for found, expected in zip(
                dask.compute(*getattr(detector, name)(rows, return_confidence=True)),
                getattr(local, name)(X, return_confidence=True),
                strict=True,
            ):
                np.testing.assert_allclose(found, expected, rtol=1e-9)

    def test_what_is_not_lazy_says_so(self, detector):
        for method in (partial(detector.predict_with_rejection, c_r=0.1), detector.counterfactual):
            with pytest.raises(TypeError, match="in memory"):
                method(array(X, UNEQUAL))
        labels = detector.predict_with_rejection(X[:9], c_r=0.1)
        np.testing.assert_array_equal(
            labels, detector.to_local().predict_with_rejection(X[:9], c_r=0.1)
        )

    def test_the_model_is_in_the_graph_once(self, detector):
        def size(n_blocks):
            lazy = detector.decision_function(da.zeros((n_blocks * 10, 3), chunks=(10, 3)))
            return sum(len(cloudpickle.dumps(task)) for task in dict(lazy.dask).values())

        model = len(pickle.dumps(detector.to_local()))
        assert size(4) > model
        assert (size(24) - size(4)) / 20 < model / 5

    def test_the_same_question_has_the_same_key(self, detector):
        rows = array(X, UNEQUAL)
        assert detector.predict(rows).name == detector.predict(rows).name
        assert detector.predict(rows).name != detector.decision_function(rows).name


class TestColumns:
    def test_names_are_kept_and_checked(self, of_frames):
        assert [*of_frames.feature_names_in_] == NAMES
        assert of_frames.to_local().predict(pd.DataFrame(X[:2], columns=NAMES)).shape == (2,)
        rows = frame(X, UNEQUAL)
        for other in (rows[NAMES[::-1]], rows[NAMES[:2]]):
            with pytest.raises(ValueError, match="feature names"):
                of_frames.predict(other)

    def test_widths_are_checked(self, detector):
        with pytest.raises(ValueError, match="2 features"):
            detector.predict(array(X[:, :2], (N,)))
        with pytest.raises(ValueError, match="matrix"):
            LipOCC().fit(da.zeros(5))

    @pytest.mark.parametrize("kind", [array, frame])
    @pytest.mark.parametrize("wrong", [np.nan, np.inf])
    def test_errors_name_the_partition(self, detector, kind, wrong):
        bad = X.copy()
        bad[450, 1] = wrong
        rows = kind(bad, (400, 100, 1000))
        with pytest.raises(ValueError, match=r"partition 1 of X: .*(NaN|infinity) in column"):
            LipOCC().fit(rows)
        unnamed = rows if kind is array else rows.to_dask_array(lengths=True)
        with pytest.raises(ValueError, match=r"partition 1 of X: "):
            detector.predict(unnamed).compute()


class TestThreshold:
    def test_another_threshold_is_that_of_a_fit_in_memory(self, detector):
        local = Local(network=NARROW, **QUICK).fit(X)
        fresh = LipOCC(network=NARROW, **QUICK).fit(array(X, UNEQUAL))
        for options in ({"contamination": 0.03}, {"threshold": "boundary"}, {"threshold": 0.25}):
            for each in (local, fresh):
                each.set_threshold(**options)
            assert fresh.threshold_ == local.threshold_
            assert fresh.contamination_ == local.contamination_
            np.testing.assert_array_equal(fresh.labels_, local.labels_)

    def test_threshold_objects_are_refused_with_the_reason(self):
        class Filter:
            def fit(self, scores): ...
            def predict(self, scores): ...

        with pytest.raises(TypeError, match="reads all scores at once"):
            LipOCC(contamination=Filter()).fit(array(X, UNEQUAL))


class TestLocalDetector:
    def test_it_is_ordinary_and_small(self, detector, tmp_path):
        local = detector.to_local()
        assert type(local) is Local
        detector.save(tmp_path / "detector")
        restored = Local.load(tmp_path / "detector")
        unpickled = pickle.loads(pickle.dumps(detector))
        for other in (local, restored, unpickled):
            np.testing.assert_array_equal(other.decision_function(X), detector.decision_function(X))
            assert other.threshold_ == detector.threshold_
            assert not hasattr(other, "decision_scores_")

    def test_it_continues_on_a_stream_of_partitions(self, detector):
        local = detector.to_local()
        for part in cut(X, (1000, 500)):
            local.partial_fit(part)
        assert local.decision_scores_.shape == (500,)
        with pytest.raises(TypeError, match="to_local"):
            detector.partial_fit(X)


def test_failures_leave_the_detector_as_it_was(detector):
    before = vars(detector).copy()
    with pytest.raises(TypeError, match=r"pyod_lipocc\.LipOCC"):
        detector.fit(X)
    with pytest.raises(ValueError, match="at least one row"):
        detector.fit(array(X, UNEQUAL)[array(X, UNEQUAL)[:, 0] > np.inf])
    assert vars(detector) == before
    with pytest.raises(NotFittedError):
        LipOCC().predict(array(X, UNEQUAL))


def test_dataframes_have_the_bits_of_rows_in_memory(of_frames):
    assert isinstance(frame(X, UNEQUAL), dd.DataFrame)
    assert bits(of_frames) == bits(Local(network=NARROW, **QUICK).fit(X))
