from __future__ import annotations

import json
import sys
from functools import cache, partial

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.exceptions import NotFittedError
from small import cloud, small
from torch import nn

from pyod_lipocc.lipschitz import (
    FullSort,
    GroupSort2,
    InvertibleDownsampling2d,
    L2NormPool2d,
    Maximum,
    Mean,
    Minimum,
    NearestSubspace,
    OrthogonalConv2d,
    OrthogonalLinear,
    ReshapedConv2d,
    ScaledAvgPool2d,
    conv,
    conv_deep,
    dense,
)

onnx = pytest.importorskip("onnx", reason='needs the extra "onnx"')
onnxruntime = pytest.importorskip("onnxruntime", reason='needs the extra "onnx"')

N_FEATURES = 72
IMAGE = (2, 6, 6)
PARITY = {torch.float64: 1e-10, torch.float32: 1e-5}
"""Largest error of a score, relative to the score where that is greater than 1."""


def nearest_subspace(n_features, generator, *, n_components, n_directions, n_nearest):
    network = NearestSubspace(
        n_features, n_components, n_directions, n_nearest=n_nearest, generator=generator
    )
    network.assign(
        contraction=torch.rand(n_components, n_directions, generator=generator) * 1.2 - 0.1,
        offset=torch.randn(n_components, generator=generator),
        bias=torch.tensor(3.0),
    )
    return network


def subspaces(n_components, n_directions, n_nearest=1):
    sizes = {"n_components": n_components, "n_directions": n_directions, "n_nearest": n_nearest}
    return partial(nearest_subspace, **sizes)


PLANES = subspaces(3, 2)


def combined(kind):
    """Combine a dense network and two of subspaces, one of these inside another combination."""

    def build(n_features, generator):
        points, planes = (builder(n_features, generator) for builder in (subspaces(5, 0), PLANES))
        network = dense(n_features, hidden=(8,), generator=generator)
        return kind(points, nn.Sequential(Mean(planes, network)), points)

    return build


def of_images(*layers):
    """Build a network of layers between the unfolding and the flattening of images."""

    def build(n_features, generator):
        torch.manual_seed(0)
        body = nn.Sequential(nn.Unflatten(1, IMAGE), *(layer() for layer in layers), nn.Flatten())
        width = body(torch.zeros(1, n_features)).shape[1]
        return nn.Sequential(body, OrthogonalLinear(width, 1, generator=generator))

    return build


NETWORKS = {
    "dense": partial(dense, hidden=(16, 17, 16)),
    "dense-full-sort": partial(dense, hidden=(16, 17), activation=FullSort),
    "conv": partial(conv, image_shape=IMAGE, width=8, depth=3),
    "conv-orthogonal": partial(
        conv, image_shape=IMAGE, width=7, depth=2, convolution=OrthogonalConv2d
    ),
    "conv-deep": partial(conv_deep, image_shape=IMAGE, stages=((2, 6), (1, 8))),
    "nearest-point": subspaces(9, 0),
    "nearest-points": subspaces(9, 0, 4),
    "one-subspace": subspaces(1, 5),
    "nearest-subspace": subspaces(6, 3),
    "nearest-subspaces": subspaces(6, 3, 2),
    **{kind.__name__: combined(kind) for kind in (Maximum, Mean, Minimum)},
    "strided": of_images(partial(ReshapedConv2d, 2, 5, 3, stride=2), partial(GroupSort2, dim=1)),
    "even": of_images(partial(OrthogonalConv2d, 2, 4, 4, stride=2), partial(FullSort, dim=-3)),
    "even-circular": of_images(partial(OrthogonalConv2d, 2, 3, 2, padding_mode="circular")),
    "circular": of_images(
        partial(OrthogonalConv2d, 2, 3, 3, stride=2, padding_mode="circular", bias=False),
        partial(ReshapedConv2d, 3, 3, 3, padding_mode="circular"),
    ),
    "leftovers": of_images(partial(ScaledAvgPool2d, 4), partial(GroupSort2, dim=2)),
    "pools": of_images(
        partial(InvertibleDownsampling2d, 3), partial(L2NormPool2d, 2), partial(FullSort, dim=1)
    ),
    "without-an-axis": nn.Sequential(nn.Linear(N_FEATURES, 1), nn.Flatten(0)),
    "torch": of_images(
        partial(nn.Conv2d, 2, 3, (3, 2), stride=(2, 1), padding=(1, 2), dilation=(1, 2)),
        *(nn.ReLU, partial(nn.Linear, 8, 4, bias=False), nn.Tanh, nn.Identity, nn.Sigmoid),
    ),
}


@cache
def fitted(name):
    return fit(NETWORKS[name])


def fit(network, **parameters):
    X = cloud(60, N_FEATURES) * np.geomspace(1e-3, 1e3, N_FEATURES) + 7
    return small(network=network, max_iter=2, **parameters).fit(X), X


def run(path, X):
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    return session.run(["scores", "labels"], {"X": X})


@pytest.mark.parametrize("dtype", PARITY, ids=str)
@pytest.mark.parametrize("name", NETWORKS)
def test_onnx_runtime_gives_the_scores_and_labels_of_the_detector(name, dtype, tmp_path):
    detector, X = fitted(name)
    detector.to_onnx(tmp_path / "model.onnx", dtype)
    # rows that both precisions hold, near the data and far away
    rows = np.concatenate([X, 100 * X[:20]]).astype(np.float32)
    precision = np.dtype(str(dtype).removeprefix("torch."))
    scores, labels = run(tmp_path / "model.onnx", rows.astype(precision))
    expected = detector.decision_function(rows)
    assert scores.dtype == precision
    tolerance = PARITY[dtype] * np.maximum(1, abs(expected))
    assert (abs(scores - expected) <= tolerance).all()
    certain = abs(expected - detector.threshold_) > tolerance
    np.testing.assert_array_equal(labels[certain], detector.predict(rows)[certain])


@pytest.mark.parametrize("dtype", PARITY, ids=str)
@pytest.mark.parametrize("name", NETWORKS)
def test_torch_module_gives_the_scores_of_the_detector(name, dtype):
    detector, X = fitted(name)
    scorer = detector.to_torch(dtype)
    scores = scorer(torch.from_numpy(X))
    assert scores.dtype == dtype
    assert not scores.requires_grad
    expected = detector.decision_function(X)
    assert (abs(scores.numpy() - expected) <= PARITY[dtype] * np.maximum(1, abs(expected))).all()


no_rows = pytest.param(
    0,
    marks=pytest.mark.skipif(
        tuple(map(int, onnxruntime.__version__.split(".")[:2])) < (1, 32),
        reason="onnxruntime 1.23, the last for Python 3.10, divides by the number of rows",
    ),
)


@pytest.mark.parametrize("n_rows", [no_rows, 1, 2, 59])
@pytest.mark.parametrize("name", ["dense", "conv", "nearest-subspaces"])
def test_any_number_of_rows(name, n_rows, tmp_path):
    detector, X = fitted(name)
    detector.to_onnx(tmp_path / "model.onnx")
    scores, labels = run(tmp_path / "model.onnx", X[:n_rows])
    expected = detector.decision_function(X)[:n_rows]
    np.testing.assert_allclose(scores, expected, rtol=1e-10, atol=1e-10)
    np.testing.assert_array_equal(labels, detector.predict(X)[:n_rows])
    torch.testing.assert_close(detector.to_torch()(torch.from_numpy(X[:n_rows])).numpy(), scores)


@pytest.mark.parametrize("name", ["dense", "conv", "nearest-subspaces"])
def test_rows_that_the_detector_refuses_are_outliers_without_a_score(name, tmp_path):
    detector, X = fitted(name)
    rows = X[:4].copy()
    rows[[0, 1, 2], [3, 0, 71]] = np.nan, np.inf, -np.inf
    detector.to_onnx(tmp_path / "model.onnx")
    scores, labels = run(tmp_path / "model.onnx", rows)
    np.testing.assert_array_equal(np.isnan(scores), [True, True, True, False])
    np.testing.assert_array_equal(labels[:3], [1, 1, 1])
    np.testing.assert_array_equal(
        detector.to_torch()(torch.from_numpy(rows)).isnan(), [True, True, True, False]
    )


@pytest.mark.parametrize("name", ["dense", "conv", "nearest-subspaces"])
def test_the_farthest_rows_have_the_scores_of_the_detector(name, tmp_path):
    detector, X = fitted(name)
    rows = np.concatenate([X[:5] * 1e100, X[:5] * 1e300])
    expected = detector.decision_function(rows)
    detector.to_onnx(tmp_path / "model.onnx")
    np.testing.assert_allclose(run(tmp_path / "model.onnx", rows)[0], expected, rtol=1e-10)
    np.testing.assert_allclose(detector.to_torch()(torch.from_numpy(rows)), expected, rtol=1e-10)
    assert detector.to_torch(torch.float32)(torch.from_numpy(rows)).isfinite().all()


@pytest.mark.parametrize("parameters", [{"threshold": "boundary"}, {"standardize": False}], ids=str)
def test_parameters_that_change_scores_or_labels(parameters, tmp_path):
    detector, X = fit(NETWORKS["dense"], **parameters)
    detector.to_onnx(tmp_path / "model.onnx")
    scores, labels = run(tmp_path / "model.onnx", X)
    np.testing.assert_allclose(scores, detector.decision_function(X), rtol=1e-10, atol=1e-10)
    np.testing.assert_array_equal(labels, detector.predict(X))


def test_the_model_says_what_it_is(tmp_path):
    names = [f"feature {index}" for index in range(N_FEATURES)]
    detector = small(max_iter=1).fit(pd.DataFrame(cloud(20, N_FEATURES), columns=names))
    detector.to_onnx(tmp_path / "model.onnx")
    model = onnx.load(tmp_path / "model.onnx")
    said = {entry.key: json.loads(entry.value) for entry in model.metadata_props}
    assert said["threshold"] == detector.threshold_
    assert said["lipschitz_constant"] == detector.lipschitz_constant_
    assert said["feature_names"] == names
    shapes = [
        [side.dim_param or side.dim_value for side in value.type.tensor_type.shape.dim]
        for value in (*model.graph.input, *model.graph.output)
    ]
    assert shapes == [["n", N_FEATURES], ["n"], ["n"]]


def test_the_torch_module_is_a_copy_with_a_gradient_by_its_input():
    detector, X = fit(NETWORKS["dense"])
    scorer = detector.to_torch()
    x = torch.from_numpy(X[:5]).requires_grad_(True)
    scorer(x).sum().backward()
    norms = torch.linalg.vector_norm(x.grad, dim=1)
    assert (norms <= detector.lipschitz_constant_).all()
    before = scorer(x).detach()
    detector.partial_fit(X)
    torch.testing.assert_close(scorer(x).detach(), before, rtol=0, atol=0)


class Doubled(nn.Linear):
    def forward(self, x):
        return 2 * super().forward(x)


def hooked(n_features, generator):
    network = dense(n_features, hidden=(4,), generator=generator)
    network[0].register_forward_hook(lambda module, args, output: output / 2)
    return network


@pytest.mark.parametrize(
    "network",
    [
        Doubled(N_FEATURES, 1),
        hooked,
        of_images(partial(nn.Conv2d, 2, 4, 3, groups=2)),
        of_images(partial(nn.Conv2d, 2, 4, 3, padding="same")),
        of_images(partial(nn.Conv2d, 2, 4, 3, padding=1, padding_mode="reflect")),
        nn.Sequential(nn.Unflatten(0, (1, -1)), nn.Flatten(0, 1), nn.Linear(N_FEATURES, 1)),
    ],
    ids=["subclass", "hook", "groups", "same", "reflect", "rows"],
)
def test_what_cannot_be_said_exactly_is_refused(network, tmp_path):
    detector, _ = fit(network)
    (tmp_path / "model.onnx").write_text("as it was")
    with pytest.raises(ValueError, match="network cannot be exported, got"):
        detector.to_onnx(tmp_path / "model.onnx")
    assert (tmp_path / "model.onnx").read_text() == "as it was"


def test_unfitted_detectors_and_other_precisions_are_refused(tmp_path):
    with pytest.raises(NotFittedError):
        small().to_torch()
    with pytest.raises(NotFittedError):
        small().to_onnx(tmp_path / "model.onnx")
    detector = small(max_iter=1).fit(cloud())
    with pytest.raises(ValueError, match=r"dtype must be .*, got torch.float16"):
        detector.to_torch(torch.float16)
    with pytest.raises(ValueError, match=r"dtype must be .*, got 'float32'"):
        detector.to_onnx(tmp_path / "model.onnx", "float32")


def test_a_missing_onnx_is_answered_with_its_install_line(monkeypatch, tmp_path):
    detector = small(max_iter=1).fit(cloud())
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(ImportError, match=r'pip install "pyod_lipocc\[onnx\]"'):
        detector.to_onnx(tmp_path / "model.onnx")
