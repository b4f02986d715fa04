from __future__ import annotations

import copy
import re

import numpy as np
import pandas as pd
import pytest
import scipy.sparse
import torch
from pythresh.thresholds.iqr import IQR
from sklearn.exceptions import NotFittedError
from small import assert_untouched, cloud, fitted_state, small
from torch import nn

from pyod_lipocc import LipOCC
from pyod_lipocc.domains import Ball, Box
from pyod_lipocc.training import Callback

X = cloud()


@pytest.fixture(scope="module")
def fitted():
    return small(max_iter=5).fit(X)


@pytest.fixture(params=["unfitted", "fitted"])
def detector(request, fitted):
    return copy.deepcopy(fitted) if request.param == "fitted" else small(max_iter=5)


NOT_A_NUMBER = [float("nan"), float("inf"), "many", None, [1.0], True]
NOT_A_COUNT = [1.5, "many", None, [1], True]
REFUSED = {
    "contamination": [0, -0.1, 0.51, float("nan"), 1, None, "auto", [0.1], True, np.float32(0.1)],
    "novelty": ["clean", None, 2],
    "network": ["conv2", None, 3, [8, 8]],
    "margin": [0, -1.0, *NOT_A_NUMBER],
    "regularization": [0, -1.0, "auto", *NOT_A_NUMBER],
    "n_newton_steps": [-1, *NOT_A_COUNT],
    "domain": ["ball", None, 5.0, (0, 1)],
    "negatives": ["normal", None, 3],
    "standardize": ["yes", None, 2],
    "threshold": ["percentile", None, 0.0],
    "alpha": [0.0, 1.0, -0.1, True, *NOT_A_NUMBER],
    "attack_radius": [-1.0, True, *NOT_A_NUMBER],
    "image_shape": [
        3,
        "13",
        (),
        (3,),
        (1, 1, 1, 3),
        (3, 0),
        (-1, -3),
        (1.0, 3.0),
        (True, 3),
        (2, 2),
    ],
    "max_iter": [0, -1, *NOT_A_COUNT],
    "batch_size": [0, -1, *NOT_A_COUNT],
    "learning_rate": [0, -1e-3, *NOT_A_NUMBER],
    "optimizer": ["sgd", None, 3],
    "sampler": ["langevin", None, 3],
    "n_warmup_steps": [-1, "auto", *NOT_A_COUNT],
    "callbacks": ["bar", 3, [3], [print], {}, [Callback]],
    "device": ["gpu", "", "meta", 3, torch.device("meta")],
    "process_group": ["gloo", 2, [0, 1]],
    "random_state": [-1, 1.5, "seed", [0], True, np.random],
    "verbose": [-1, 1.5, "yes", None],
}


def test_every_parameter_is_refused_something():
    assert set(REFUSED) == set(LipOCC().get_params())


@pytest.mark.parametrize(
    ("name", "value"), [(name, value) for name, values in REFUSED.items() for value in values]
)
def test_a_refused_value_is_named_with_its_parameter(name, value):
    detector = small(max_iter=5)
    before = fitted_state(detector)
    with pytest.raises((ValueError, TypeError)) as caught:
        detector.set_params(**{name: value}).fit(X)
    message = str(caught.value)
    assert name in message
    received = value[0] if name == "callbacks" and isinstance(value, list) else value
    assert repr(received) in message
    assert re.search("must|holds", message)
    assert_untouched(detector, before)


@pytest.mark.parametrize("method", ["fit", "partial_fit"])
@pytest.mark.parametrize(
    "name",
    [
        *("contamination", "novelty", "margin", "batch_size", "device", "image_shape"),
        *("threshold", "alpha", "attack_radius"),
    ],
)
def test_refused_values_leave_a_fitted_detector_as_it_was(name, method, fitted):
    detector = copy.deepcopy(fitted)
    before = fitted_state(detector)
    good = getattr(detector, name)
    with pytest.raises((ValueError, TypeError), match=name):
        getattr(detector.set_params(**{name: REFUSED[name][1]}), method)(X)
    assert_untouched(detector.set_params(**{name: good}), before)


@pytest.mark.skipif(torch.cuda.is_available(), reason="a GPU is present")
def test_an_absent_device_is_named(detector):
    with pytest.raises(ValueError, match=r"device must be .* got 'cuda'"):
        detector.set_params(device="cuda").fit(X)


def frame(**columns):
    return pd.DataFrame({"a": [0.0, 1.0], "b": [0.0, 1.0], "c": [0.0, 1.0]} | columns)


BAD_DATA = {
    "nan": (np.array([[0, 0, np.nan]]), "NaN"),
    "inf": (np.array([[0, 0, np.inf]]), "infinity"),
    "overflow": (np.array([[0, 0, "1e999"]], dtype=object), "infinity"),
    "text": ([["a", "b", "c"]], "could not convert|not compatible with arrays of .*strings"),
    "text frame": (frame(c=["x", "y"]), "could not convert"),
    "digits as text": ([["1", "2", "3"]], "strings"),
    "dates": (np.array([["2020", "2021", "2022"]], dtype="M8[D]"), "datetime64"),
    "missing": (frame(c=[None, 1.0]), "NaN"),
    "complex": (X + 1j, "omplex"),
    "one row as 1-D": (X[0], "2D"),
    "scalar": (3.0, "2D"),
    "3-D": (X[None], "dim"),
    "no rows": (X[:0], "0 sample"),
    "no columns": (X[:, :0], "0 feature"),
    "ragged": ([[1.0, 2.0], [3.0]], "inhomogeneous"),
    "none": (None, "2D"),
    "sparse": (scipy.sparse.csr_matrix(X), "[Ss]parse"),
    "sparse array": (scipy.sparse.coo_array(X), "[Ss]parse"),
}


@pytest.mark.filterwarnings("ignore:X has feature names")
@pytest.mark.parametrize(("data", "message"), BAD_DATA.values(), ids=BAD_DATA)
def test_refused_data_leave_the_detector_as_it_was(data, message, detector):
    before = fitted_state(detector)
    fits, scores = ("fit", "partial_fit"), ("decision_function", "predict")
    for method in (*fits, *scores) if hasattr(detector, "network_") else fits:
        with pytest.raises((ValueError, TypeError), match=message):
            getattr(detector, method)(data)
        assert_untouched(detector, before)


def test_variance_beyond_float64_is_refused(detector):
    before = fitted_state(detector)
    with pytest.raises(ValueError, match="variance that float64 can hold"):
        detector.fit(X * 1e200)
    assert_untouched(detector, before)


OF_ROWS = [
    *("decision_function", "predict", "predict_confidence", "predict_proba"),
    *("predict_with_rejection", "signed_distance", "certified_radius"),
    *("counterfactual", "explain"),
]


@pytest.mark.filterwarnings("ignore:The cost of rejection must be positive")
@pytest.mark.parametrize("method", ["partial_fit", *OF_ROWS])
def test_other_widths_than_in_fit_are_refused(method, fitted):
    for width in (1, 2, 4):
        with pytest.raises(ValueError, match=f"{width} features.*expecting 3"):
            getattr(fitted, method)(cloud(5, width))


@pytest.mark.filterwarnings("ignore:The cost of rejection must be positive")
@pytest.mark.parametrize("method", ["partial_fit", *OF_ROWS])
def test_other_columns_than_in_fit_are_refused(method):
    detector = small(max_iter=2).fit(pd.DataFrame(X, columns=["a", "b", "c"]))
    assert list(detector.feature_names_in_) == ["a", "b", "c"]
    for columns in (["b", "a", "c"], ["a", "b", "x"], ["a", "b"]):
        with pytest.raises(ValueError, match="feature names"):
            getattr(detector, method)(pd.DataFrame(X[:, : len(columns)], columns=columns))


@pytest.mark.parametrize("method", OF_ROWS)
@pytest.mark.parametrize("threshold", ["contamination", "boundary"])
def test_unfitted_detectors_say_so(method, threshold):
    with pytest.raises(NotFittedError, match="fit"):
        getattr(small(threshold=threshold), method)(X)


WRONG_NETWORKS = {
    "two outputs": nn.Linear(3, 2),
    "no outputs": nn.Flatten(0),
    "other width": nn.Linear(2, 1),
    "image network": nn.Conv2d(1, 1, 1),
    "built with two outputs": lambda n_features, generator: nn.Linear(n_features, 2),
    "built with other width": lambda n_features, generator: nn.Linear(n_features + 1, 1),
    "builds a function": lambda n_features, generator: torch.sum,
    "builds nothing": lambda n_features, generator: None,
    "without parameters": nn.Sequential(nn.AdaptiveMaxPool1d(1)),
}


@pytest.mark.parametrize("network", WRONG_NETWORKS.values(), ids=WRONG_NETWORKS)
def test_networks_that_do_not_fit_the_data_are_refused(detector, network):
    before = fitted_state(detector)
    with pytest.raises((ValueError, TypeError), match="network must"):
        detector.set_params(network=network).fit(X)
    assert_untouched(detector, before)


@pytest.mark.parametrize("standardize", [True, False])
@pytest.mark.parametrize("domain", [Ball(0.5), Box(-0.5, 0.5), Ball(9.0, center=[0, 0, 99.0])])
def test_domains_that_miss_rows_are_refused(detector, domain, standardize):
    before = fitted_state(detector)
    with pytest.raises(ValueError, match=r"domain must contain the data.*(Ball|Box).*rows"):
        detector.set_params(domain=domain, standardize=standardize).fit(X)
    assert_untouched(detector, before)


@pytest.mark.parametrize("domain", [Ball(99.0, center=[0, 0]), Box([-9.0] * 4, [9.0] * 4)])
def test_domains_of_another_width_are_refused(detector, domain):
    with pytest.raises(ValueError, match="domain must have 3 features"):
        detector.set_params(domain=domain).fit(X)


class Interrupt(Callback):
    def __init__(self, error):
        self.error = error
        self.ended = []

    def step(self, iteration, metrics):
        if iteration == 3:
            raise self.error

    def end(self):
        self.ended.append(True)


@pytest.mark.parametrize("method", ["fit", "partial_fit"])
@pytest.mark.parametrize("error", [KeyboardInterrupt(), RuntimeError("mine"), SystemExit()])
def test_interrupted_training_leaves_the_detector_as_it_was(detector, method, error):
    interrupt = Interrupt(error)
    before = fitted_state(detector)
    with pytest.raises(type(error)):
        getattr(detector.set_params(callbacks=[interrupt], batch_size=4), method)(X)
    assert interrupt.ended == [True]
    assert_untouched(detector, before)


def test_diverged_training_leaves_the_detector_as_it_was(detector):
    before = fitted_state(detector)
    network = nn.Sequential(nn.Linear(3, 8), nn.Linear(8, 1))
    with pytest.raises(FloatingPointError, match=r"diverged.*learning_rate.*got 1e\+30"):
        detector.set_params(network=network, learning_rate=1e30).fit(X)
    assert_untouched(detector, before)


def test_a_threshold_object_that_fails_leaves_the_detector_as_it_was(detector):
    class Failing(IQR):
        def eval(self, decision):
            raise RuntimeError("no threshold")

    before = fitted_state(detector)
    detector.set_params(contamination=Failing())
    with pytest.raises(RuntimeError, match="no threshold"):
        detector.fit(X)
    assert_untouched(detector.set_params(contamination=0.1), before)
