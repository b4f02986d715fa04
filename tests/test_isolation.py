"""No answer depends on the settings of torch and numpy that surround a call."""

from __future__ import annotations

import copy
import os
import pickle
import signal
import subprocess
import sys
import threading
import warnings
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from itertools import repeat

import numpy as np
import pytest
import sklearn
import torch
from small import cloud, small
from torch import nn

from pyod_lipocc import LipOCC, attacks, explanations, metrics, synthesis
from pyod_lipocc._isolation import isolated, one_thread
from pyod_lipocc._random import global_seed
from pyod_lipocc.certificates import Certificate
from pyod_lipocc.conformal import conformal_threshold
from pyod_lipocc.counterfactuals import counterfactual
from pyod_lipocc.domains import Ball
from pyod_lipocc.lipschitz import Maximum, NearestSubspace, dense, fold, lipschitz_bound
from pyod_lipocc.lipschitz.proofs import rounding_bound
from pyod_lipocc.losses import hkr
from pyod_lipocc.negatives import LocalNoise, shuffled_marginals, uniform
from pyod_lipocc.sampler import newton_raphson
from pyod_lipocc.starts import inscribed_balls, nearest_subspace
from pyod_lipocc.stiefel import StiefelAdam, retract
from pyod_lipocc.training import Callback, train


@contextmanager
def setting(read, write, value):
    before = read()
    write(value)
    try:
        yield
    finally:
        write(before)


@contextmanager
def other_settings():
    with (
        torch.no_grad(),
        torch.autocast("cpu", dtype=torch.bfloat16),
        setting(torch.get_default_dtype, torch.set_default_dtype, torch.float64),
        torch.device("meta"),
        np.errstate(all="raise"),
        sklearn.config_context(transform_output="pandas"),
        setting(torch.get_float32_matmul_precision, torch.set_float32_matmul_precision, "medium"),
    ):
        yield


SURROUNDINGS = {"inference_mode": torch.inference_mode, "other settings": other_settings}

X = cloud() * [1.0, 1e-160, 1e3]
"""A column whose squares underflow: numpy may be told to raise."""

IMAGES = np.random.default_rng(3).uniform(size=(60, 16))


@pytest.fixture(params=SURROUNDINGS.values(), ids=SURROUNDINGS)
def surroundings(request):
    return request.param


@pytest.fixture(scope="module")
def detector():
    return fitted()


def fitted(**parameters):
    return LipOCC(max_iter=3, random_state=0, **parameters).fit(X)


def rows():
    generator = torch.Generator("cpu").manual_seed(0)
    return torch.randn(6, 3, generator=generator, dtype=torch.float32, device="cpu")


def seeded():
    return torch.Generator("cpu").manual_seed(0)


def domain():
    return Ball(9.0).expand(3).to(torch.float32)


NETWORK = dense(3, hidden=(16, 16), generator=torch.Generator().manual_seed(0))


def union(n_features, generator):
    balls = NearestSubspace(n_features, 4, generator=generator)
    return Maximum(balls, dense(n_features, hidden=(8,), generator=generator))


def trained():
    with torch.inference_mode(False):
        network = copy.deepcopy(NETWORK)
    history = train(
        network,
        repeat(rows()),
        domain=domain(),
        margin=0.1,
        loss=partial(hkr, margin=0.1, regularization=10.0),
        optimizer=StiefelAdam([{"params": [*network.parameters()]}]),
        schedule=lambda progress: 1e-2,
        max_iter=3,
        generator=seeded(),
    )
    return history.loss


def read_back(detector, folder):
    detector.save(folder / "detector")
    return LipOCC.load(folder / "detector").decision_function(X)


OF_DETECTORS = {
    "decision_function": lambda d, _: d.decision_function(X),
    "predict": lambda d, _: d.predict(X, return_confidence=True)[1],
    "predict_proba": lambda d, _: d.predict_proba(X, method="unify"),
    "statistics": lambda d, _: np.array(d.compute_rejection_stats(T=5)),
    "signed_distance": lambda d, _: d.signed_distance(X),
    "certified_radius": lambda d, _: d.certified_radius(X),
    "sample": lambda d, _: d.sample(2, random_state=0),
    "counterfactual": lambda d, _: d.counterfactual(X[:1]),
    "explain": lambda d, _: d.explain(X[:1]),
    "set_threshold": lambda d, _: copy.copy(d).set_threshold(contamination=0.2).labels_,
    "save and load": read_back,
    "to_torch": lambda d, _: d.to_torch()(torch.tensor(X, device="cpu")).numpy(),
    "partial_fit": lambda d, _: copy.deepcopy(d).partial_fit(X).decision_scores_,
}

OF_FUNCTIONS = {
    "fit": lambda: fitted().decision_scores_,
    "fit clean": lambda: fitted(novelty=True).decision_scores_,
    "fit dense": lambda: fitted(network="dense").decision_scores_,
    "fit union": lambda: fitted(network=union).decision_scores_,
    "fit module": lambda: fitted(network=NETWORK).explain(X[:1]),
    "fit balls": lambda: fitted(network="inscribed-balls").decision_scores_,
    "fit images": lambda: (
        LipOCC(image_shape=(4, 4), max_iter=3, random_state=0).fit(IMAGES).decision_scores_
    ),
    "newton_raphson": lambda: newton_raphson(
        NETWORK, rows(), domain=domain(), margin=0.1, n_steps=3, generator=seeded()
    ),
    "sample": lambda: synthesis.sample(NETWORK, rows(), domain=domain(), margin=0.1, n_steps=3),
    "counterfactual": lambda: counterfactual(NETWORK, rows(), anchors=rows()).points,
    "explain": lambda: explanations.explain(NETWORK, rows()),
    "pgd_l2": lambda: attacks.pgd_l2(NETWORK, rows(), 0.5, n_steps=3, random_state=0),
    "nes_l2": lambda: attacks.nes_l2(NETWORK, rows(), 0.5, n_steps=3, random_state=0),
    "train": trained,
    "nearest_subspace": lambda: (
        nearest_subspace(3, rows=rows(), contamination=0.1, generator=seeded())[0].networks[1].basis
    ),
    "inscribed_balls": lambda: inscribed_balls(3, rows=rows(), generator=seeded()).offset,
    "negatives": lambda: shuffled_marginals(rows(), domain(), seeded()),
    "noise": lambda: LocalNoise(0.1, 1.0)(rows(), domain(), seeded()),
    "uniform": lambda: uniform(rows(), domain(), seeded()),
    "fold": lambda: fold(NETWORK)[2].weight,
    "lipschitz_bound": lambda: np.array(lipschitz_bound(NETWORK)),
    "rounding_bound": lambda: np.array(rounding_bound(NETWORK, 3).slope),
    "conformal": lambda: np.array(conformal_threshold(np.arange(99.0) * 1e-320, 0.1)),
    "eikonal_error": lambda: np.array(metrics.eikonal_error(np.full((3, 2), 1e-200))),
}


def as_array(answer):
    return answer.detach().numpy() if isinstance(answer, torch.Tensor) else answer


@pytest.mark.parametrize("name", OF_DETECTORS)
def test_no_surroundings_change_an_answer_of_a_detector(detector, name, tmp_path):
    answer = OF_DETECTORS[name]
    expected = answer(detector, tmp_path)
    for surroundings in SURROUNDINGS.values():
        with surroundings():
            found = answer(detector, tmp_path)
        np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("name", OF_FUNCTIONS)
def test_no_surroundings_change_an_answer_of_a_function(name):
    expected = as_array(OF_FUNCTIONS[name]())
    for surroundings in SURROUNDINGS.values():
        with surroundings():
            found = OF_FUNCTIONS[name]()
        np.testing.assert_array_equal(as_array(found), expected)


def test_a_detector_fitted_anywhere_answers_anywhere(surroundings, detector):
    """Nothing that a fit, a copy or a loaded file leaves belongs to the surroundings."""
    expected = detector.sample(2, random_state=0)
    with surroundings():
        others = [fitted(), copy.deepcopy(detector), pickle.loads(pickle.dumps(detector))]
        inside = [other.sample(2, random_state=0) for other in others]
    for other, answer in zip(others, inside, strict=True):
        np.testing.assert_array_equal(answer, expected)
        np.testing.assert_array_equal(other.sample(2, random_state=0), expected)
        other.partial_fit(X)


def test_the_surroundings_are_as_they_were(surroundings, detector):
    def present():
        return (
            torch.get_default_dtype(),
            torch.get_num_threads(),
            torch.is_grad_enabled(),
            torch.is_inference_mode_enabled(),
            torch.is_autocast_enabled("cpu"),
            torch.get_float32_matmul_precision(),
            torch.empty(0).device,
            np.geterr(),
        )

    with surroundings():
        before = present()
        fitted().explain(X[:1])
        with pytest.raises(ValueError, match="margin"):
            fitted(margin=-1.0)
        assert present() == before


def test_buffers_made_in_inference_mode_change_no_answer(detector):
    other = copy.deepcopy(detector)
    other.network_.register_buffer("note", torch.ones(1))
    expected = other.explain(X[:1])
    with torch.inference_mode():
        other.network_.note = torch.ones(1)
    np.testing.assert_array_equal(other.explain(X[:1]), expected)


class Dropout(nn.Module):
    """Nearest subspaces behind a dropout: training changes both."""

    def __init__(self, n_features, generator):
        super().__init__()
        self.dropout = nn.Dropout(0.5)
        self.balls = NearestSubspace(n_features, 9, leave_one_out=True, generator=generator)

    def forward(self, x):
        return self.balls(self.dropout(x))


@pytest.mark.parametrize("network", ["auto", Dropout], ids=["auto", "dropout"])
def test_a_parent_in_training_mode_changes_no_answer(network, tmp_path):
    unproven = {"certified_radius"} if network == Dropout else set()
    names = {*OF_DETECTORS} - {"save and load"} - unproven
    detector = fitted(network=network)
    expected = {name: OF_DETECTORS[name](detector, tmp_path) for name in sorted(names)}
    parent = nn.Sequential(detector.network_).train()
    for name, answer in expected.items():
        np.testing.assert_array_equal(OF_DETECTORS[name](detector, tmp_path), answer)
        assert all(module.training for module in parent.modules())


def test_training_takes_place_in_training_mode_and_leaves_the_modes_as_they_were():
    seen = []
    network = nn.Sequential(nn.Linear(3, 4), nn.Dropout(0.5), nn.Linear(4, 1))
    network[1].register_forward_hook(lambda module, *_: seen.append(module.training))
    network[2].train(), network[1].eval()
    modes = [module.training for module in network.modules()]
    train(
        network,
        repeat(rows()),
        domain=domain(),
        margin=0.1,
        loss=partial(hkr, margin=0.1, regularization=10.0),
        optimizer=torch.optim.SGD(network.parameters(), lr=0.1),
        schedule=lambda progress: 1e-2,
        max_iter=2,
        generator=seeded(),
    )
    assert all(seen)
    assert [module.training for module in network.modules()] == modes


def test_a_step_of_the_optimiser_keeps_orthogonality_under_autocast():
    network = dense(3, hidden=(16, 16), generator=torch.Generator().manual_seed(0))
    optimizer = StiefelAdam([{"params": [network[2].weight], "stiefel": True}], lr=0.1)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        network(rows()).sum().backward()
        optimizer.step()
    weight = network[2].weight.detach()
    torch.testing.assert_close(retract(weight), weight, rtol=0, atol=1e-5)


class TestThreads:
    """Fits at the same time share torch's generators: they take turns."""

    @staticmethod
    def builder(n_features, generator):
        return nn.Sequential(nn.Linear(n_features, 8), nn.Dropout(0.1), nn.Linear(8, 1))

    @pytest.mark.usefixtures("global_rngs_untouched")
    def test_concurrent_fits_are_those_of_one_after_the_other(self):
        def fit(seed):
            return LipOCC(network=self.builder, max_iter=3, random_state=seed).fit(X)

        expected = [fit(seed).decision_scores_ for seed in range(3)]
        with ThreadPoolExecutor(6) as pool:
            found = [fitted.decision_scores_ for fitted in pool.map(fit, [*range(3)] * 4)]
        for scores, others in zip(found, expected * 4, strict=True):
            np.testing.assert_array_equal(scores, others)

    def test_answers_do_not_wait_for_a_fit(self, detector):
        with global_seed(0), ThreadPoolExecutor(1) as pool:
            for answer in (lambda: detector.explain(X[:1]), lambda: detector.sample(1)):
                pool.submit(answer).result(timeout=20)

    @pytest.mark.skipif(not hasattr(os, "fork"), reason="forks of POSIX")
    def test_a_fork_while_another_thread_fits_can_fit(self):
        started, leave = threading.Event(), threading.Event()

        class Wait(Callback):
            def begin(self, max_iter, network):
                started.set()
                leave.wait(30)

            def __copy__(self):
                return self

        parameters = {"max_iter": 1, "random_state": 0, "callbacks": [Wait()]}
        thread = threading.Thread(target=LipOCC(**parameters).fit, args=(X,))
        thread.start()
        started.wait(30)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # of forks beside threads
            child = os.fork()
        if not child:
            signal.alarm(20)
            fitted()
            os._exit(0)
        status = os.waitpid(child, 0)[1]
        leave.set()
        thread.join()
        assert status == 0


class TestSharedSettings:
    """Threads that compute at the same time share the settings of the process."""

    def test_the_last_thread_that_leaves_restores_them(self):
        inside, leave = threading.Barrier(3), [threading.Event(), threading.Event()]
        seen = []

        def compute(number):
            with isolated(), one_thread:
                inside.wait()
                leave[number].wait()
                seen.append((torch.get_default_dtype(), torch.get_num_threads()))

        threads_before = torch.get_num_threads()
        threads = [threading.Thread(target=compute, args=(number,)) for number in range(2)]
        with other_settings():
            for thread in threads:
                thread.start()
            inside.wait()
            for number, thread in enumerate(threads):
                leave[number].set()
                thread.join()
            assert seen == [(torch.float32, 1)] * 2
            assert torch.get_default_dtype() == torch.float64
        assert torch.get_num_threads() == threads_before

    def test_blas_has_one_thread_until_the_last_thread_leaves(self):
        """In a process of its own: OpenBLAS forgets its number of threads at a fork."""
        script = """
import threading
from threadpoolctl import threadpool_info, threadpool_limits
from pyod_lipocc._isolation import one_blas_thread

def counts():
    return {pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"}

with threadpool_limits(2):
    one_blas_thread.__enter__()
    other = threading.Thread(target=one_blas_thread.__enter__)
    other.start()
    other.join()
    one_blas_thread.__exit__()
    print(counts())
    one_blas_thread.__exit__()
    print(counts())
"""
        command = [sys.executable, "-c", script]
        printed = subprocess.run(command, check=True, capture_output=True, text=True).stdout
        assert printed.split() == ["{1}", "{2}"]

    def test_a_fit_gives_the_same_bits_with_any_number_of_threads(self, detector):
        with setting(torch.get_num_threads, torch.set_num_threads, 2):
            found = fitted().decision_scores_
            assert torch.get_num_threads() == 2
        np.testing.assert_array_equal(found, detector.decision_scores_)


def test_certificates_are_proven_in_any_surroundings(surroundings, detector):
    network, scaling = detector.network_, detector.scaling_
    expected = Certificate.of(network, scaling, 0.1)
    with surroundings():
        assert Certificate.of(network, scaling, 0.1) == expected


def test_small_networks_train_in_one_thread_and_large_ones_in_all():
    seen = {}

    class Watching(nn.Linear):
        def forward(self, x):
            seen[self.in_features] = torch.get_num_threads()
            return super().forward(x)

    def builder(width, n_features, generator):
        return nn.Sequential(
            nn.Linear(n_features, width), Watching(width, width), nn.Linear(width, 1)
        )

    with setting(torch.get_num_threads, torch.set_num_threads, 2):
        for width in (8, 768):
            small(network=partial(builder, width), max_iter=1).fit(cloud(20))
    assert seen == {8: 1, 768: 2}
