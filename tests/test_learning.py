from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits

from pyod_lipocc import LipOCC
from pyod_lipocc.callbacks import Callback
from pyod_lipocc.lipschitz import Mean, NearestSubspace, dense
from pyod_lipocc.starts import nearest_subspace


class Builder:
    """Builds networks; keeps the normal rows of each training, and f of the one before on all."""

    def __init__(self, build):
        self.build = build
        self.network = None
        self.normal, self.f = [], []

    @torch.no_grad()
    def __call__(self, n_features, *, generator, rows, normal):
        if self.network is not None:
            self.f.append(self.network(rows.double()).flatten())
        self.normal.append(normal)
        of_rows = {} if self.build is dense else {"rows": rows, "normal": normal}
        self.network = self.build(n_features, generator=generator, **of_rows)
        return self.network


@pytest.fixture(scope="module")
def images():
    return load_digits().data[:200]


def built(X, build=dense, **parameters):
    builder = Builder(build)
    LipOCC(network=builder, random_state=0, **parameters).fit(X)
    return builder


@pytest.mark.parametrize("contamination", [0.05, 0.2])
def test_each_training_on_contaminated_images_chooses_the_rows_of_the_next(images, contamination):
    builder = built(images, image_shape=(8, 8), max_iter=5, contamination=contamination)
    assert len(builder.normal) == 3
    for normal, f in zip(builder.normal[1:], builder.f, strict=True):
        assert len(normal) - normal.sum() == int(2 * contamination * len(normal))
        assert f[normal].min() >= f[~normal].max()


def test_other_rows_are_trained_on_once(images):
    shape = {"image_shape": (8, 8), "max_iter": 2}
    assert len(built(images, max_iter=2).normal) == 1
    assert len(built(images, novelty=True, **shape).normal) == 1
    assert len(built(images, nearest_subspace, **shape).normal) == 1


def test_the_history_is_that_of_the_last_training(images):
    detector = LipOCC(image_shape=(8, 8), max_iter=3).fit(images)
    assert detector.n_iter_ == len(detector.history_) == 3
    assert not np.isnan(detector.decision_scores_).any()


class Trainings(Callback):
    """Keeps the steps and the network of each training, and stops it at once."""

    def __init__(self):
        self.seen = []

    def begin(self, max_iter, network):
        self.seen.append((max_iter, network))

    def step(self, iteration, metrics):
        return True


def planes_and_dense(n_features, *, generator):
    return Mean(
        NearestSubspace(n_features, 5, 2, generator=generator),
        dense(n_features, hidden=(8,), generator=generator),
    )


@pytest.mark.parametrize("network", ["auto", planes_and_dense])
def test_of_a_mean_a_network_that_starts_from_rows_and_another_train_by_their_own_rules(network):
    X = np.random.default_rng(0).uniform(size=(1200, 16))

    def trained(network):
        trainings = Trainings()
        detector = LipOCC(network=network, novelty=True, image_shape=(4, 4), callbacks=[trainings])
        return detector.fit(X), trainings.seen

    detector, seen = trained(network)
    assert [part for _, part in seen] == list(detector.network_.networks)
    alone = [trained(name)[1][0][0] for name in ("nearest-subspace", "dense")]
    assert [steps for steps, _ in seen] == alone
    assert alone[0] < alone[1]
    assert detector.n_iter_ == 2
    detector.partial_fit(X)
    assert [steps for steps, _ in detector.callbacks[0].seen[2:]] == [5, 18]  # of 1,140 rows
