from __future__ import annotations

import inspect
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from itertools import pairwise

import numpy as np
import pytest
import torch
from processes import FORKED
from sklearn.base import clone
from sklearn.model_selection import ParameterGrid
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks
from small import cloud, small

from pyod_lipocc import LipOCC

CAUSED_BY_PYOD = {
    "check_do_not_raise_errors_in_init_or_set_params": "PyOD's constructor refuses contamination",
    "check_outliers_fit_predict": "PyOD's labels are 0 and 1, not 1 and -1",
    "check_outliers_train": "PyOD's labels are 0 and 1, not 1 and -1",
}


@pytest.mark.filterwarnings("ignore:Function fit_predict is deprecated:FutureWarning")
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.SkipTestWarning")
@parametrize_with_checks(
    [LipOCC(max_iter=5, random_state=0)], expected_failed_checks=lambda estimator: CAUSED_BY_PYOD
)
def test_scikit_learn_contract(estimator, check):
    check(estimator)


def test_constructor_only_assigns():
    parameters = inspect.signature(LipOCC).parameters
    given = {name: object() for name in parameters}
    assert LipOCC(**given).get_params(deep=False) == given
    assert set(vars(LipOCC())) == set(parameters)


def test_repr_names_changed_parameters():
    assert "margin=0.25" in repr(small(margin=0.25))


def test_clone_has_the_parameters_and_nothing_fitted():
    detector = small(margin=0.3).fit(cloud())
    twin = clone(detector)
    assert set(vars(twin)) == set(detector.get_params())
    assert repr(twin) == repr(detector)


def test_clone_and_refit_give_the_same_bits():
    X = cloud()
    detector = small().fit(X)
    scores = detector.decision_function(X)
    np.testing.assert_array_equal(clone(detector).fit(X).decision_function(X), scores)
    np.testing.assert_array_equal(detector.fit(X).decision_function(X), scores)
    np.testing.assert_array_equal(detector.decision_scores_, scores)


def test_fit_leaves_the_parameters_as_given():
    detector = small(domain="auto", margin="auto", callbacks=None, n_newton_steps="auto")
    before = detector.get_params(deep=False)
    detector.fit(cloud()).partial_fit(cloud(seed=1))
    after = detector.get_params(deep=False)
    assert all(after[name] is before[name] for name in before)


def test_refit_rebuilds_for_data_of_another_width():
    detector = small().fit(cloud(n_features=3))
    detector.fit(cloud(n_features=5, n_rows=40))
    assert detector.n_features_in_ == 5
    assert detector.decision_scores_.shape == (40,)
    assert detector.decision_function(cloud(7, 5)).shape == (7,)


def test_refit_keeps_what_others_have_put_on_the_object():
    detector = small()
    detector.note = "mine"
    assert detector.fit(cloud()).fit(cloud()).note == "mine"


@pytest.mark.parametrize(
    "seed", [7, np.int64(7), np.random.RandomState(7), np.random.default_rng(7)]
)
def test_every_kind_of_seed_reproduces(seed):
    X = cloud()
    # clone copies a generator in its present state
    first, second = (clone(small(random_state=seed)).fit(X) for _ in range(2))
    np.testing.assert_array_equal(first.decision_scores_, second.decision_scores_)


def test_kinds_of_int_agree_and_other_seeds_differ():
    X = cloud()
    scores = [
        small(random_state=seed).fit(X).decision_scores_ for seed in (7, np.uint8(7), 8, None, None)
    ]
    np.testing.assert_array_equal(scores[0], scores[1])
    assert all((a != b).any() for a, b in pairwise(scores[1:]))


def test_a_generator_moves_on():
    detector = small(random_state=np.random.default_rng(0))
    first = detector.fit(cloud()).decision_scores_
    assert (detector.fit(cloud()).decision_scores_ != first).any()


@pytest.mark.parametrize("seed", [0, None])
@pytest.mark.parametrize(
    "network",
    [
        "dense",
        torch.nn.Sequential(torch.nn.Linear(3, 8), torch.nn.Dropout(), torch.nn.Linear(8, 1)),
        lambda n_features, generator: torch.nn.Linear(n_features, 1),
    ],
    ids=["dense", "dropout", "builder"],
)
@pytest.mark.usefixtures("global_rngs_untouched")
def test_global_generators_are_untouched(seed, network):
    small(random_state=seed, network=network, max_iter=3).fit(cloud()).predict(cloud(5))


@pytest.mark.parametrize(
    "network",
    [
        torch.nn.Sequential(torch.nn.Linear(3, 8), torch.nn.Dropout(), torch.nn.Linear(8, 1)),
        lambda n_features, generator: torch.nn.Linear(n_features, 1),
    ],
    ids=["dropout", "builder"],
)
def test_networks_that_draw_from_the_global_generator_reproduce(network):
    X = cloud()
    first, second = (small(network=network).fit(X).decision_scores_ for _ in range(2))
    np.testing.assert_array_equal(first, second)


def test_threads_score_to_the_same_bits():
    detector, X = small().fit(cloud()), cloud(500, seed=1)
    expected = detector.decision_function(X)
    with ThreadPoolExecutor(4) as pool:
        for scores in pool.map(detector.decision_function, [X] * 16):
            np.testing.assert_array_equal(scores, expected)


def test_a_pipeline_scores_as_its_last_step():
    X = cloud() * 100 + 7
    pipeline = make_pipeline(StandardScaler(), small(standardize=False)).fit(X)
    direct = small(standardize=False).fit(StandardScaler().fit_transform(X))
    np.testing.assert_array_equal(pipeline.decision_function(X), direct.decision_scores_)
    np.testing.assert_array_equal(pipeline.predict(X), direct.labels_)
    assert not hasattr(pipeline[-1], "_parent_callback_ctx")


def test_pipeline_set_params_reaches_the_detector():
    pipeline = make_pipeline(StandardScaler(), small())
    pipeline.set_params(lipocc__margin=0.5).fit(cloud())
    assert pipeline[-1].margin_ == 0.5


def test_every_point_of_a_grid_is_fitted():
    X = cloud()
    for parameters in ParameterGrid({"margin": [0.05, 0.5], "n_newton_steps": [0, 2]}):
        detector = clone(small()).set_params(**parameters).fit(X)
        assert detector.margin_ == parameters["margin"]
        assert np.isfinite(detector.decision_scores_).all()


def test_another_process_agrees_with_this_one():
    X = cloud()
    with ProcessPoolExecutor(1, FORKED) as process:
        there = process.submit(small().fit, X).result()
    np.testing.assert_allclose(
        there.decision_function(X), small().fit(X).decision_scores_, rtol=1e-6, atol=1e-6
    )
