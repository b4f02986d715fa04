"""Laws of every layer and network with a proven bound, in float64."""

from __future__ import annotations

import copy
import math
import pickle

import pytest
import torch
from conftest import ORTHOGONAL, ROUNDING
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from layer_cases import CASES, fresh, in_double, randn, trained
from small import small
from torch import nn

from pyod_lipocc import LipOCC, lipschitz
from pyod_lipocc.lipschitz import OrthogonalLinear, fold, lipschitz_bound, parameter_groups, polish
from pyod_lipocc.lipschitz.proofs import rounding_bound

ROUNDED = 1 + ROUNDING[torch.float64]
FLOAT32 = 1 + 1e-6
"""Constants that are fixed in float32, such as those of a blur, exceed 1 by less."""


@pytest.fixture(scope="module", params=CASES.values(), ids=list(CASES))
def case(request):
    return request.param


@pytest.fixture(scope="module")
def layer(case):
    return trained(case)


@pytest.fixture(scope="module")
def bound(layer):
    return lipschitz_bound(layer)


def jacobian(layer, x):
    """Jacobian at one point, as a matrix (outputs, inputs)."""
    by_output = torch.autograd.functional.jacobian(lambda x: layer(x[None])[0], x)
    return by_output.reshape(-1, x.numel())


def points(case):
    return hnp.arrays(float, case.shape, elements=st.floats(-10, 10)).map(torch.from_numpy)


def between_flat_rows(case, layer):
    """Let a layer read rows (n, d) and write rows, as a network of a detector does."""
    return nn.Sequential(nn.Unflatten(1, case.shape), layer, nn.Flatten())


def test_every_public_layer_has_a_case():
    public = {
        value
        for name in lipschitz.__all__
        if isinstance(value := getattr(lipschitz, name), type) and issubclass(value, nn.Module)
    }
    assert public <= {type(fresh(case)) for case in CASES.values()}


@settings(max_examples=10)
@given(data=st.data())
def test_outputs_are_no_farther_apart_than_the_bound_says(case, layer, bound, data):
    x, y = data.draw(points(case)), data.draw(points(case))
    with torch.no_grad():
        moved = (layer(x[None]) - layer(y[None])).norm()
    assert moved <= bound * ROUNDED * (x - y).norm() + 1e-13


@settings(max_examples=5)
@given(data=st.data(), length=st.floats(1e-3, 10.0))
def test_nor_along_the_steepest_direction(case, layer, bound, data, length):
    x = data.draw(points(case))
    steepest = torch.linalg.svd(jacobian(layer, x)).Vh[0].reshape(x.shape)
    with torch.no_grad():
        moved = (layer((x + length * steepest)[None]) - layer(x[None])).norm()
    assert moved <= bound * ROUNDED * length + 1e-13


@pytest.mark.parametrize("state", [fresh, trained])
def test_the_bound_is_proven_and_tight(case, state):
    layer = state(case)
    bound = lipschitz_bound(layer)
    sigma = torch.cat(
        [torch.linalg.svdvals(jacobian(layer, randn(*case.shape, seed=seed))) for seed in range(3)]
    )
    assert (sigma <= bound * ROUNDED).all()
    if case.orthogonal:
        assert ((sigma - 1).abs() <= ROUNDING[torch.float64]).all()
    if type(layer).__module__.startswith("pyod_lipocc."):
        assert bound <= FLOAT32
    assert bound < math.inf


def test_single_precision_is_off_by_less_than_its_bound(case, layer):
    network = between_flat_rows(case, copy.deepcopy(layer).float())
    rows = randn(40, math.prod(case.shape), dtype=torch.float32)
    x = torch.cat([size * rows for size in (0.0, 1e-30, 1.0, 1e6)])
    with torch.no_grad():
        error = (network(x).double() - in_double(network)(x.double())).norm(dim=1)
    bound = rounding_bound(network, x.shape[1]).at(x.double().norm(dim=1).numpy())
    assert (error.numpy() <= bound).all()
    assert (bound < math.inf).all()


def test_the_folded_layer_is_the_same(case, layer, bound):
    x, folded = randn(6, *case.shape), fold(layer)
    with torch.no_grad():
        torch.testing.assert_close(folded(x), layer(x), rtol=1e-12, atol=1e-12)
    # A convolution of torch does not tell that its kernel is an orthogonal matrix of patches.
    assert lipschitz_bound(folded) <= 1.05 * bound


def test_rows_do_not_mix(case, layer):
    x = randn(6, *case.shape)
    with torch.no_grad():
        alone = torch.cat([layer(row[None]) for row in x])
        torch.testing.assert_close(layer(x), alone)
        assert layer(x[:0]).shape == (0, *alone.shape[1:])


def test_is_deterministic_and_leaves_its_input_alone(case, layer):
    x = randn(6, *case.shape)
    before = x.clone()
    with torch.no_grad():
        assert torch.equal(layer(x), layer(x))
    assert torch.equal(x, before)


def test_gradients_reach_the_input_and_every_parameter(case):
    layer, x = fresh(case), (3 * randn(64, *case.shape)).requires_grad_()
    outputs = layer(x)
    (outputs * randn(*outputs.shape, seed=1)).sum().backward()
    for tensor in (x, *(weight for weight in layer.parameters() if weight.numel())):
        assert torch.isfinite(tensor.grad).all()
        assert (tensor.grad != 0).any()


def test_survives_travel(case, layer):
    x = randn(6, *case.shape)
    for traveller in (pickle.loads(pickle.dumps(layer)), copy.deepcopy(layer)):
        assert torch.equal(traveller(x), layer(x))
        assert repr(traveller) == repr(layer)


def test_survives_its_state(case, layer):
    other = fresh(case, seed=1)
    other.load_state_dict(layer.state_dict())
    x = randn(6, *case.shape)
    assert torch.equal(other(x), layer(x))


def test_single_precision_survives_double(case, layer):
    single = copy.deepcopy(layer).float()
    back = copy.deepcopy(single).double().float()
    x = randn(6, *case.shape, dtype=torch.float32)
    assert single(x).dtype == torch.float32
    assert torch.equal(back(x), single(x))
    torch.testing.assert_close(single(x).double(), layer(x.double()), rtol=1e-5, atol=1e-5)


def test_polish_removes_rounding(case, layer):
    rounded = copy.deepcopy(layer).float().double()
    polish(rounded)
    for group in parameter_groups(rounded):
        if group.get("stiefel"):
            for weight in group["params"]:
                sigma = torch.linalg.svdvals(weight.detach())
                assert ((sigma - 1).abs() < ORTHOGONAL[torch.float64]).all()
    x = randn(6, *case.shape)
    torch.testing.assert_close(rounded(x), layer(x), rtol=1e-5, atol=1e-5)


@pytest.fixture(scope="module")
def rows(case):
    return randn(40, math.prod(case.shape)).numpy()


@pytest.fixture(scope="module")
def detector(case, layer, rows):
    """Return a detector whose network the layer is a part of."""
    body = between_flat_rows(case, copy.deepcopy(layer).float())
    width = body(torch.zeros(1, rows.shape[1])).shape[1]
    head = OrthogonalLinear(width, 1, generator=torch.Generator().manual_seed(1))
    return small(network=nn.Sequential(body, head), max_iter=1).fit(rows)


class TestInADetector:
    """A layer inside the network of a detector: certified, saved, exported."""

    def test_is_certified(self, detector, rows):
        assert detector.lipschitz_constant_ < math.inf
        assert (detector.certified_radius(rows) > 0).any()

    def test_comes_back_from_a_file(self, detector, rows, tmp_path):
        detector.save(tmp_path / "detector")
        loaded = LipOCC.load(tmp_path / "detector")
        assert (loaded.decision_function(rows) == detector.decision_function(rows)).all()
        assert loaded.lipschitz_constant_ == detector.lipschitz_constant_

    @pytest.mark.parametrize(
        ("dtype", "tolerance"), [(torch.float64, 1e-10), (torch.float32, 1e-5)], ids=str
    )
    def test_runs_elsewhere(self, detector, rows, dtype, tolerance, tmp_path):
        pytest.importorskip("onnx", reason='needs the extra "onnx"')
        runtime = pytest.importorskip("onnxruntime", reason='needs the extra "onnx"')
        detector.to_onnx(tmp_path / "model.onnx", dtype)
        session = runtime.InferenceSession(
            tmp_path / "model.onnx", providers=["CPUExecutionProvider"]
        )
        rows = rows.astype(str(dtype).removeprefix("torch."))
        (scores,) = session.run(["scores"], {"X": rows})
        assert scores == pytest.approx(
            detector.decision_function(rows), rel=tolerance, abs=tolerance
        )
