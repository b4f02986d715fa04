"""The fitted value alone: no detector, no PyOD."""

from __future__ import annotations

import copy
import dataclasses
import pickle

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.testing import assert_array_equal
from small import cloud, small
from torch import nn

from pyod_lipocc import LipOCC, SignedDistance
from pyod_lipocc.domains import Ball
from pyod_lipocc.learning import learn
from pyod_lipocc.lipschitz import NearestSubspace, dense
from pyod_lipocc.recipe import Recipe
from pyod_lipocc.starts import prototypes
from pyod_lipocc.units import Scaling

X = cloud(60, 2)
SCALING = Scaling.fit(X, standardize=False)


def value(network, margin=0.2):
    return SignedDistance(network.double().eval(), SCALING, margin, Ball(9.0).expand(2))


@pytest.fixture(scope="module", name="distance")
def learned():
    return value(dense(2, hidden=(8, 8), generator=torch.Generator().manual_seed(0)))


def test_it_is_the_formula(distance):
    z = torch.from_numpy((X - SCALING.location) / SCALING.scale)
    with torch.no_grad():
        expected = SCALING.unit * distance.network(z).reshape(-1).numpy() - 0.2
    np.testing.assert_allclose(distance(X), expected, rtol=1e-12)
    assert_array_equal(distance.scores(X), -distance(X))
    assert_array_equal(distance.to_torch()(torch.from_numpy(X)), distance.scores(X))


def test_the_detector_gives_its_answers():
    detector = small(max_iter=5).fit(cloud())
    rows, distance = cloud(20, seed=1), detector.distance_
    assert_array_equal(distance(rows), detector.signed_distance(rows))
    assert_array_equal(
        distance.certified_radius(rows, detector.threshold_), detector.certified_radius(rows)
    )
    assert_array_equal(distance.counterfactual(rows), detector.counterfactual(rows))
    assert_array_equal(distance.explain(rows), detector.explain(rows))
    assert_array_equal(distance.sample(3, random_state=0), detector.sample(3, random_state=0))


def test_it_is_frozen(distance):
    with pytest.raises(dataclasses.FrozenInstanceError):
        distance.margin = 1.0


def test_one_certificate_is_proven(distance):
    assert distance.certificate is distance.certificate


def in_place(network):
    with torch.no_grad():
        network[-1].weight.mul_(2.0)


def behind_autograd(network):
    network[-1].weight.data.mul_(2.0)


def by_numpy(network):
    network[-1].weight.detach().numpy()[...] *= 2.0


def replaced(network):
    network[-1].weight.data = 2 * network[-1].weight.data


def fused(network):
    network[-1].weight.grad = -network[-1].weight.detach()
    torch.optim.SGD([network[-1].weight], lr=1.0, fused=True).step()


def hooked(network):
    network[-1].register_forward_hook(lambda module, args, output: 2 * output)


class Doubled(nn.Module):
    def forward(self, x):
        return 2 * x


def another_layer(network):
    network[1] = Doubled()


CHANGES = [in_place, behind_autograd, by_numpy, replaced, fused, hooked, another_layer]


@pytest.mark.parametrize("change", CHANGES)
def test_no_certificate_outlives_its_network(distance, change):
    changed = copy.deepcopy(distance)
    assert changed.lipschitz_constant == distance.lipschitz_constant
    change(changed.network)
    assert changed.lipschitz_constant > 1.9 * distance.lipschitz_constant


def test_no_threshold_is_not_a_number(distance):
    with pytest.raises(ValueError, match="threshold must be a finite number, got nan"):
        distance.certified_radius(X, float("nan"))


@given(
    hnp.arrays(float, (4, 2), elements=st.floats(-50, 50)),
    hnp.arrays(float, (4, 2), elements=st.floats(-50, 50)),
)
def test_no_pair_of_rows_exceeds_the_constant(distance, first, second):
    apart = np.linalg.norm(first - second, axis=1)
    assert (
        abs(distance(first) - distance(second)) <= distance.lipschitz_constant * apart + 1e-9
    ).all()


def test_rows_left_out_are_scored_by_the_others():
    z = torch.from_numpy(SCALING.to_network(X))
    distance = value(prototypes(z.float(), n_nearest=1))
    others = np.linalg.norm(z[:, None] - z[None], axis=2)
    np.fill_diagonal(others, np.inf)
    expected = SCALING.unit * others.min(axis=1) + 0.2
    np.testing.assert_allclose(distance.scores(X, leave_own_out=True), expected, rtol=1e-6)
    np.testing.assert_allclose(distance.scores(X), 0.2, atol=1e-6)
    assert not any(module.training for module in distance.network.modules())


@pytest.mark.parametrize("twin", [copy.deepcopy, lambda one: pickle.loads(pickle.dumps(one))])
def test_copies_answer_alike(distance, twin):
    other = twin(distance)
    assert_array_equal(other(X), distance(X))
    assert other.network is not distance.network


@pytest.mark.parametrize(
    ("rows", "received"),
    [
        (np.zeros(2), r"float64 of shape \(2,\)"),
        (np.zeros((1, 3)), r"float64 of shape \(1, 3\)"),
        ([["a", "b"]], r"<U1 of shape \(1, 2\)"),
        (np.empty((0, 2)), r"float64 of shape \(0, 2\)"),
        ([[0.0, np.nan]], "NaN or infinity"),
        ([[0.0, -np.inf]], "NaN or infinity"),
    ],
)
@pytest.mark.parametrize("method", ["scores", "certified_radius", "counterfactual", "explain"])
def test_other_rows_are_refused(distance, method, rows, received):
    with pytest.raises(ValueError, match=rf"X must hold .* in 2 columns, got {received}"):
        getattr(distance, method)(rows)


@pytest.mark.parametrize("network", ["auto", "dense"])
def test_learning_needs_no_detector(network, global_rngs_untouched):
    recipe = Recipe.of(LipOCC(network=network, max_iter=5).get_params())
    first, second = (learn(X, recipe, np.random.default_rng(0)) for _ in range(2))
    assert_array_equal(first.distance(X), second.distance(X))
    assert len(first.history) == 5
    starts = any(isinstance(m, NearestSubspace) for m in first.distance.network.modules())
    assert len(first.own) == (len(X) if starts else 0)
