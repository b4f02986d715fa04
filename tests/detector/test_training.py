from __future__ import annotations

import logging
import math
import time
from functools import partial

import numpy as np
import pytest
import torch
from small import assert_untouched, cloud, fitted_state, small
from torch import nn

from pyod_lipocc import LipOCC
from pyod_lipocc.domains import Ball
from pyod_lipocc.lipschitz import (
    NearestSubspace,
    OrthogonalConv2d,
    conv,
    conv_deep,
    dense,
    lipschitz_bound,
)
from pyod_lipocc.negatives import uniform
from pyod_lipocc.recipe import build
from pyod_lipocc.sampler import newton_raphson
from pyod_lipocc.starts import clusters, inscribed_balls, nearest_subspace
from pyod_lipocc.stiefel import StiefelAdam
from pyod_lipocc.training import Callback, EarlyStopping, LinearDecay, WeightAveraging, train

X = cloud()
IMAGE = {"image_shape": (8, 8), "domain": Ball(50.0)}


class Watch(Callback):
    def __init__(self, stop_at=None):
        self.stop_at = stop_at
        self.begun, self.iterations, self.losses, self.ended = [], [], [], []

    def begin(self, max_iter, network):
        self.begun.append(max_iter)

    def step(self, iteration, metrics):
        self.iterations.append(iteration)
        self.losses.append(float(metrics["loss"]))
        return iteration == self.stop_at

    def end(self):
        self.ended.append(True)


# history and callbacks


def test_history_has_every_step():
    detector = small(max_iter=17).fit(X)
    assert detector.n_iter_ == len(detector.history_) == 17
    assert all(len(column) == 17 for column in vars(detector.history_).values())
    assert np.isfinite(detector.history_.loss).all()
    with pytest.raises(ValueError, match="read-only"):
        detector.history_.loss[0] = 0.0


def test_callbacks_see_every_step():
    watch = Watch()
    detector = small(callbacks=(watch,)).fit(X)
    assert watch.begun == [30]
    assert watch.iterations == list(range(1, 31))
    assert watch.ended == [True]
    np.testing.assert_allclose(watch.losses, detector.history_.loss)


def test_callbacks_do_not_change_the_training():
    np.testing.assert_array_equal(
        small(callbacks=[Watch()]).fit(X).decision_scores_, small().fit(X).decision_scores_
    )


def test_a_callback_may_stop_the_training():
    others = Watch()
    detector = small(callbacks=[Watch(stop_at=4), others]).fit(X)
    assert detector.n_iter_ == len(detector.history_) == 4
    assert others.iterations == [1, 2, 3, 4]


def test_early_stopping_starts_afresh_at_each_fit():
    stopping = EarlyStopping(patience=5, min_delta=1e9)
    detector = small(callbacks=[stopping])
    first, second = (detector.fit(X).n_iter_ for _ in range(2))
    assert 5 <= first == second < 30
    assert vars(stopping) == vars(EarlyStopping(patience=5, min_delta=1e9))


def test_early_stopping_lets_an_improving_training_go_on():
    assert small(max_iter=60, callbacks=[EarlyStopping(patience=40)]).fit(X).n_iter_ > 40


@pytest.mark.parametrize(
    "parameters",
    [
        {"network": partial(dense, hidden=(16, 16)), "optimizer": "rmsprop"},
        {"network": "nearest-subspace"},
        {"network": partial(conv, width=6, depth=2), **IMAGE},
        {"network": partial(conv, width=6, depth=2, convolution=OrthogonalConv2d), **IMAGE},
    ],
    ids=["dense", "nearest-subspace", "conv", "orthogonal conv"],
)
def test_averaged_weights_are_certified_like_any_others(parameters):
    rows = cloud(60, 64)
    detector = small(max_iter=8, learning_rate=1e-2, random_state=1, **parameters)
    last = detector.fit(rows).decision_scores_
    detector.set_params(callbacks=[WeightAveraging(0.5)])
    first, second = (detector.fit(rows).decision_scores_ for _ in range(2))
    np.testing.assert_array_equal(first, second)
    assert np.abs(first - last).max() > 1e-6
    assert lipschitz_bound(detector.network_) <= 1 + 1e-9


def test_quiet_by_default(capfd):
    small().fit(X).partial_fit(X).predict(X)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("verbose", [1, True])
def test_verbose_draws_a_bar_on_stderr(capfd, verbose):
    small(verbose=verbose).fit(X).predict(X)
    out, err = capfd.readouterr()
    assert out == ""
    for phase in ("scaling", "trimming", "start", "training"):
        assert f"{phase}:" in err
    assert "30/30" in err
    assert "loss=" in err
    assert "scores" not in err


@pytest.mark.parametrize("method", ["fit", "partial_fit"])
def test_phases_are_logged_and_change_nothing(caplog, capfd, method):
    expected = getattr(small().fit(X), method)(X).decision_scores_
    detector = small().fit(X)
    with caplog.at_level(logging.DEBUG, "pyod_lipocc"):
        logged = getattr(detector, method)(X).decision_scores_
    np.testing.assert_array_equal(logged, expected)
    of_fit = ["scaling", "trimming", "start", "training", "scores"]
    told = [r.message.partition(":")[0] for r in caplog.records if r.levelno == logging.INFO]
    assert told == (of_fit if method == "fit" else ["training", "scores"])
    assert any("look normal" in record.message for record in caplog.records) == (method == "fit")
    assert capfd.readouterr() == ("", "")


def test_each_training_of_contaminated_images_is_logged(caplog):
    with caplog.at_level(logging.INFO, "pyod_lipocc"):
        small(image_shape=(8, 8), max_iter=2).fit(cloud(60, 64))
    told = [record.message.partition(":")[0] for record in caplog.records]
    training = ["trimming", "start", "training"]
    assert told == ["scaling", *(told.count("training") * training), "scores"]
    assert told.count("training") > 1


class Slow(nn.Linear):
    seconds = 0.0

    def forward(self, x):
        time.sleep(self.seconds)
        return super().forward(x)


def test_verbose_draws_a_bar_where_scoring_takes_long(capfd, monkeypatch):
    detector = small(network=Slow(3, 1), max_iter=1).fit(X)
    monkeypatch.setattr(Slow, "seconds", 1.1)
    detector.set_params(verbose=1).predict(X)
    assert f"scores: 100%|██████████| {len(X)}/{len(X)}" in capfd.readouterr().err


# partial_fit


def test_first_partial_fit_is_fit():
    first = small().partial_fit(X)
    np.testing.assert_array_equal(first.decision_scores_, small().fit(X).decision_scores_)


@pytest.mark.parametrize("n_rows", [1, 31, 32, 33, 100])
def test_partial_fit_makes_one_pass(n_rows):
    watch = Watch()
    detector = small(batch_size=32, callbacks=[watch]).fit(X)
    before = detector.history_
    new = cloud(n_rows, seed=1)
    assert detector.partial_fit(new) is detector
    steps = math.ceil(n_rows / 32)
    assert watch.begun == [30, steps]
    assert detector.n_iter_ == len(detector.history_) == 30 + steps
    np.testing.assert_array_equal(detector.history_.loss[:30], before.loss)
    assert not detector.history_.loss.flags.writeable
    assert detector.decision_scores_.shape == detector.labels_.shape == (n_rows,)
    np.testing.assert_array_equal(detector.decision_function(new), detector.decision_scores_)


def test_partial_fit_keeps_the_scaling_and_widens_the_domain():
    detector = small().fit(X)
    scaling, margin, domain = detector.scaling_, detector.margin_, detector.domain_
    far = X + 50
    detector.partial_fit(far)
    assert detector.scaling_ is scaling
    assert detector.margin_ == margin
    rows = torch.from_numpy(scaling.to_scores(np.r_[X, far]))
    assert detector.domain_.contains(rows).all()
    assert detector.domain_.radius > domain.radius
    assert detector.lipschitz_constant_ == pytest.approx(1 / scaling.scale.min(), rel=1e-9)


def test_partial_fit_learns_the_new_rows():
    detector = small().fit(X)
    far = X + 10
    before = detector.decision_function(far).mean()
    for _ in range(30):
        detector.partial_fit(far)
    assert detector.decision_function(far).mean() < before / 2


def test_partial_fit_reproduces():
    first, second = (small().fit(X).partial_fit(cloud(seed=1)) for _ in range(2))
    np.testing.assert_array_equal(first.decision_scores_, second.decision_scores_)


def test_partial_fit_refuses_other_widths():
    detector = small().fit(X)
    before = fitted_state(detector)
    with pytest.raises(ValueError, match=r"4 features.*expecting 3"):
        detector.partial_fit(cloud(n_features=4))
    assert_untouched(detector, before)


# the Lipschitz bound


def largest_slope(detector, center, generator):
    """Of random pairs near and far, each with as much change in every feature as it has spread."""
    a = center + 3 * center.std(axis=0) * generator.normal(size=center.shape)
    size = 10.0 ** generator.uniform(-4, 1, size=(len(a), 1))
    directions = generator.normal(size=a.shape) / center.std(axis=0) ** generator.integers(0, 2)
    b = a + size * directions * center.std(axis=0).min()
    change = np.abs(detector.decision_function(a) - detector.decision_function(b))
    return (change / np.linalg.norm(a - b, axis=1)).max()


NETWORKS = {
    "dense": "dense",
    "torch": nn.Sequential(nn.Flatten(), nn.Linear(3, 16), nn.ReLU(), nn.Linear(16, 1)),
    "nested": nn.Sequential(
        nn.Sequential(nn.Linear(3, 16), nn.Tanh()), nn.Identity(), nn.Linear(16, 1)
    ),
    "no bias": nn.Linear(3, 1, bias=False),
}


@pytest.mark.parametrize("standardize", [True, False])
@pytest.mark.parametrize("spread", [(1.0, 1.0, 1.0), (1e-3, 1.0, 1e3)])
@pytest.mark.parametrize("network", NETWORKS.values(), ids=NETWORKS)
def test_no_pair_of_rows_exceeds_the_bound(network, spread, standardize):
    rows = X * np.array(spread)
    detector = small(network=network, standardize=standardize).fit(rows)
    slopes = [largest_slope(detector, rows, np.random.default_rng(seed)) for seed in range(5)]
    assert 0 < max(slopes) <= detector.lipschitz_constant_ * (1 + 1e-6)


def test_bound_of_orthogonal_networks_is_one_over_the_smallest_scale():
    rows = X * [1e-3, 1.0, 1e3]
    assert small(standardize=False).fit(rows).lipschitz_constant_ == pytest.approx(1, rel=1e-12)
    expected = 1 / rows.std(axis=0).min()
    assert small().fit(rows).lipschitz_constant_ == pytest.approx(expected, rel=1e-12)


class Doubling(nn.Sequential):
    def forward(self, x):
        return 2 * super().forward(x)


class Cube(nn.ReLU):
    def forward(self, x):
        return x**3


class Unknown(nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(3, 1)

    def forward(self, x):
        return self.linear(x)


@pytest.mark.parametrize(
    "network",
    [
        Unknown(),
        Doubling(nn.Linear(3, 1)),
        nn.Sequential(nn.Linear(3, 4), Cube(), nn.Linear(4, 1)),
        nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 1)),
    ],
    ids=[
        "module",
        "sequence with its own forward",
        "activation with its own forward",
        "batch norm",
    ],
)
def test_nothing_is_claimed_of_unknown_modules(network):
    assert small(network=network).fit(X).lipschitz_constant_ == np.inf


# what a user may bring


def test_modules_are_copied():
    network = nn.Sequential(nn.Linear(3, 8), nn.BatchNorm1d(8), nn.Linear(8, 1)).double().eval()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    detector = small(network=network).fit(X).partial_fit(X)
    assert detector.network is network
    assert not network.training
    assert all(weight.requires_grad for weight in network.parameters())
    assert network.state_dict().keys() == before.keys()
    for name, value in network.state_dict().items():
        assert value.dtype == before[name].dtype
        assert torch.equal(value, before[name])


@pytest.mark.parametrize("squeeze", [True, False])
def test_outputs_have_one_or_two_dimensions(squeeze):
    layers = [nn.Linear(3, 8), nn.ReLU(), nn.Linear(8, 1)] + [nn.Flatten(0)] * squeeze
    with torch.random.fork_rng():
        torch.manual_seed(0)
        [layer.reset_parameters() for layer in layers if isinstance(layer, nn.Linear)]
    detector = small(network=nn.Sequential(*layers)).fit(X)
    assert detector.decision_scores_.shape == (100,)
    assert detector.decision_function(X[:1]).shape == (1,)


def test_builders_get_the_width_and_a_generator():
    seen = []

    def build(n_features, *, generator):
        seen.append((n_features, type(generator)))
        return nn.Linear(n_features, 1)

    small(network=build).fit(X)
    assert seen == [(3, torch.Generator)]


def test_frozen_weights_stay_frozen():
    network = nn.Sequential(nn.Linear(3, 8), nn.ReLU(), nn.Linear(8, 1))
    network[0].requires_grad_(False)
    detector = small(network=network).fit(X).partial_fit(X)
    assert torch.equal(detector.network_[0].weight, network[0].weight.double())


def test_steps_of_the_algorithm_can_be_replaced():
    calls = []

    def negatives(x, domain, generator):
        calls.append("negatives")
        return uniform(x, domain, generator)

    def sampler(score, proposals, **options):
        calls.append(("sampler", options["n_steps"]))
        return newton_raphson(score, proposals, **options)

    def learning_rate(progress):
        calls.append(("rate", progress))
        return 1e-3

    def optimizer(groups):
        calls.append("optimizer")
        assert groups[0]["stiefel"]
        return StiefelAdam(groups)

    small(
        max_iter=2,
        n_warmup_steps=1,
        n_newton_steps=3,
        negatives=negatives,
        sampler=sampler,
        learning_rate=learning_rate,
        optimizer=optimizer,
    ).fit(X)
    assert calls == [
        "optimizer",
        *["negatives", ("sampler", 0), ("rate", 0.0)],
        *["negatives", ("sampler", 3), ("rate", 0.5)],
    ]


@pytest.mark.parametrize(
    "parameters",
    [
        {"optimizer": "rmsprop"},
        {"learning_rate": 1e-3},
        {"learning_rate": LinearDecay(1e-2, 1e-4)},
        {"n_newton_steps": 0},
        {"batch_size": 1},
        {"batch_size": 1000},
        {"max_iter": 1},
        {"domain": Ball(20.0)},
        {"device": "cpu"},
        {"device": torch.device("cpu")},
        {"network": "auto"},
    ],
    ids=str,
)
def test_other_parameters_keep_the_bound(parameters):
    detector = small(**parameters).fit(X)
    assert np.isfinite(detector.decision_scores_).all()
    assert detector.lipschitz_constant_ == pytest.approx(1 / X.std(axis=0).min(), rel=1e-9)


@pytest.mark.parametrize(("n", "d", "centers"), [(4500, 2, 4500), (4500, 64, 4096)])
def test_tables_start_from_as_many_rows_as_distances_are_cheap(n, d, centers) -> None:
    X = np.random.default_rng(0).normal(size=(n, d))
    detector = LipOCC(network="nearest-subspace", novelty=True, max_iter=1, random_state=0).fit(X)
    assert len(detector.network_[-1].centers) == centers


class TestNamesAndBuilders:
    """A builder gives the detector of its name, whoever passes it."""

    @pytest.mark.parametrize(
        ("name", "builders", "n_rows"),
        [
            ("nearest-subspace", [nearest_subspace, partial(nearest_subspace)], 1200),
            ("clusters", [clusters, partial(clusters)], 1200),
            ("dense", [dense, partial(dense), partial(partial(dense))], 1200),
            ("inscribed-balls", [inscribed_balls, partial(inscribed_balls)], 200),
        ],
    )
    @pytest.mark.parametrize("novelty", [True, False])
    def test_of_tables(self, name, builders, n_rows, novelty):
        first, *others = (
            LipOCC(network=network, novelty=novelty, max_iter=2, random_state=0).fit(cloud(n_rows))
            for network in (name, *builders)
        )
        for other in others:
            np.testing.assert_array_equal(other.decision_scores_, first.decision_scores_)
            assert str(other.network_) == str(first.network_)

    def test_of_images(self):
        X = np.random.default_rng(0).uniform(size=(1100, 16))
        first, second = (
            LipOCC(network=network, image_shape=(4, 4), max_iter=2, random_state=0).fit(X)
            for network in ("nearest-subspace", nearest_subspace)
        )
        np.testing.assert_array_equal(second.decision_scores_, first.decision_scores_)
        assert len(first.calibration_scores_) == 55

    @pytest.mark.parametrize(("name", "builder"), [("conv", conv), ("conv-deep", conv_deep)])
    def test_of_convolutions(self, name, builder):
        first, second = (
            build(network, 64, torch.Generator().manual_seed(0), image_shape=(8, 8))
            for network in (name, builder)
        )
        assert str(first) == str(second)
        for weight, other in zip(first.parameters(), second.parameters(), strict=True):
            assert torch.equal(weight, other)

    def test_subspaces_of_tables_hold_rows_out(self):
        network = partial(nearest_subspace, n_components=4)
        detector = LipOCC(network=network, max_iter=2, random_state=0).fit(cloud(1200))
        assert len(detector.calibration_scores_) == 60


class TestWrappersForSeveralDevices:
    @pytest.fixture
    def group(self, tmp_path):
        distributed = torch.distributed
        store = distributed.FileStore(str(tmp_path / "store"), 1)
        distributed.init_process_group("gloo", store=store, rank=0, world_size=1)
        yield
        distributed.destroy_process_group()

    @pytest.fixture(params=["DistributedDataParallel", "DataParallel"])
    def wrap(self, request, group):
        return getattr(nn.parallel, request.param)

    def test_are_refused_with_the_reason(self, wrap):
        wrapped = wrap(dense(3, hidden=(8,)))
        for network in (
            wrapped,
            nn.Sequential(nn.Identity(), wrapped),
            lambda n_features, generator: wrap(dense(n_features, hidden=(8,))),
        ):
            with pytest.raises(ValueError, match=r"network must.*Parallel.*network\.module"):
                small(network=network).fit(X)

    def test_are_refused_by_the_training_itself(self, wrap):
        network = wrap(dense(3, hidden=(8,)))
        with pytest.raises(ValueError, match=r"network must.*Parallel"):
            train(
                network,
                [torch.zeros(4, 3)],
                domain=Ball(5.0).expand(3).to(torch.float32),
                margin=0.1,
                loss=torch.relu,
                optimizer=torch.optim.SGD(network.parameters(), lr=0.1),
                schedule=lambda progress: 0.1,
                max_iter=1,
                generator=torch.Generator(),
            )


class TestTrainingScoresOfRowsThatWereSeen:
    """A network that remembers its rows: without care each new row would be an alarm."""

    @staticmethod
    def remembering(n_features, rows, generator):
        network = NearestSubspace(n_features, len(rows), generator=generator)
        network.assign(centers=rows)
        return network

    @pytest.fixture(scope="class")
    @classmethod
    def detector(cls):
        return LipOCC(
            network=cls.remembering, novelty=True, max_iter=1, random_state=0, n_newton_steps=0
        ).fit(cloud(2000))

    def test_held_out_rows_raise_the_others_to_their_level(self, detector):
        raised = detector.decision_scores_ - detector.decision_function(cloud(2000))
        amounts = np.unique(raised.round(9))
        assert amounts.shape == (2,)
        assert amounts[0] == 0
        held_out = raised.round(9) == 0
        assert held_out.sum() == 100
        np.testing.assert_array_equal(
            np.sort(detector.decision_scores_[held_out]), np.sort(detector.calibration_scores_)
        )
        scores = detector.decision_scores_
        # New rows exceed the 90th of 99 rows in a tenth of all cases: that is Weibull's quantile.
        level = np.quantile(scores[held_out], 0.9, method="weibull")
        assert np.quantile(scores[~held_out], 0.9) == pytest.approx(level, rel=1e-9)

    def test_so_the_rate_of_alarms_is_the_contamination(self, detector):
        rate = detector.predict(cloud(3000, seed=9)).mean()
        sampling = np.sqrt(0.1 * 0.9 / 100)
        assert abs(rate - 0.1) < 3.3 * sampling
