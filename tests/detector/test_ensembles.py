from __future__ import annotations

import json

import joblib
import numpy as np
import pytest
from pyod.models import combination
from pyod.models.feature_bagging import FeatureBagging
from pyod.models.lof import LOF
from pyod.models.lscp import LSCP
from pyod.models.suod import SUOD
from pyod.utils.ad_engine import ADEngine
from pyod.utils.data import generate_data
from pyod.utils.utility import standardizer
from sklearn.metrics import roc_auc_score
from small import small

from pyod_lipocc import LipOCC
from pyod_lipocc.adengine import register


@pytest.fixture(scope="module")
def data():
    return generate_data(n_train=150, n_test=60, n_features=4, contamination=0.1, random_state=1)


def assert_detects(ensemble, data):
    X, X_test, _, y_test = data
    ensemble.fit(X)
    assert ensemble.decision_scores_.shape == (150,)
    assert set(ensemble.predict(X_test)) <= {0, 1}
    assert roc_auc_score(y_test, ensemble.decision_function(X_test)) > 0.8


def test_feature_bagging_detects(data):
    bagging = FeatureBagging(small(max_iter=60), n_estimators=3, random_state=0)
    assert_detects(bagging, data)
    widths = {member.n_features_in_ for member in bagging.estimators_}
    assert widths <= {2, 3, 4}
    assert len({member.random_state for member in bagging.estimators_}) == 3


@pytest.mark.filterwarnings("ignore:The number of histogram bins")
def test_lscp_detects(data):
    members = [small(max_iter=60, random_state=seed) for seed in range(2)]
    assert_detects(LSCP([*members, LOF()], random_state=0), data)


@pytest.mark.filterwarnings("ignore::UserWarning:suod")
@pytest.mark.parametrize("n_jobs", [1, 2])
def test_suod_detects(data, n_jobs, capsys):
    """Without processes of its own: `test_another_process_agrees_with_this_one` starts one."""
    members = [small(max_iter=60, random_state=seed) for seed in range(2)]
    suod = SUOD(base_estimators=[*members, LOF()], n_jobs=n_jobs, bps_flag=False, verbose=False)
    with joblib.parallel_config("threading"):
        assert_detects(suod, data)


def test_combined_scores_detect(data):
    X, X_test, _, y_test = data
    members = [small(max_iter=60, random_state=seed).fit(X) for seed in range(3)]
    train = np.column_stack([member.decision_scores_ for member in members])
    test = np.column_stack([member.decision_function(X_test) for member in members])
    _, scores = standardizer(train, test)
    for combine in (combination.average, combination.maximization, combination.median):
        assert roc_auc_score(y_test, combine(scores)) > 0.8
    labels = np.column_stack([member.predict(X_test) for member in members])
    assert set(combination.majority_vote(labels)) <= {0, 1}


@pytest.fixture
def engine():
    engine = ADEngine(random_state=0)
    register(engine)
    return engine


PARAMETERS = {"max_iter": 60, "contamination": 0.2}


def test_engine_runs_and_reports(engine, data):
    X, X_test, _, y_test = data
    plan = engine.make_plan(["LipOCC"], params=[PARAMETERS])
    result = engine.run_detection(X, plan, X_test=X_test)
    assert isinstance(result["detector"], LipOCC)
    assert result["detector"].random_state == 0
    assert result["n_anomalies"] == 30
    assert result["threshold"] == result["detector"].threshold_
    assert roc_auc_score(y_test, result["scores_test"]) > 0.8
    analysis = engine.analyze_results(result, X=X)
    assert engine.explain_findings(result, X=X)[0]["label"] == "anomaly"
    assert engine.suggest_next_step(result, analysis)["action"] == "done"
    assert "LipOCC" in engine.generate_report(result, analysis)
    assert json.loads(engine.generate_report(result, analysis, format="json"))["n_anomalies"] == 30


def test_engine_is_reproducible(engine, data):
    plan = engine.make_plan(["LipOCC"], params=[PARAMETERS])
    first, second = (engine.run_detection(data[0], plan)["scores_train"] for _ in range(2))
    np.testing.assert_array_equal(first, second)


def test_engine_investigates_beside_other_detectors(engine, data):
    state = engine.start(data[0])
    state = engine.plan(state)
    state.plans = [engine.make_plan(["LipOCC"], params=[PARAMETERS]), *state.plans[:1]]
    state = engine.analyze(engine.run(state))
    assert [result["status"] for result in state.results] == ["success", "success"]
    assert state.consensus["n_detectors"] == 2


def test_engine_knows_the_entry_as_it_knows_its_own(engine):
    own = engine.kb.get_algorithm("DeepSVDD")
    ours = engine.kb.get_algorithm("LipOCC")
    assert set(ours) == set(own)
    assert "LipOCC" in [entry["name"] for entry in engine.list_detectors(data_type="tabular")]
    assert engine.explain_detector("LipOCC")["full_name"] == ours["full_name"]
    available = engine.get_kb_for_routing({"data_type": "tabular"})["available_detectors"]
    assert "LipOCC" in [entry["name"] for entry in available]
    json.dumps(ours)


def test_default_parameters_of_the_entry_are_those_of_the_class(engine):
    for name, value in engine.kb.get_algorithm("LipOCC")["default_params"].items():
        assert getattr(LipOCC(), name) == value


def test_registering_changes_one_engine_only(engine):
    register(engine)
    assert ADEngine().kb.get_algorithm("LipOCC") is None
    engine.kb.get_algorithm("LipOCC")["status"] = "planned"
    other = ADEngine()
    register(other)
    assert other.kb.get_algorithm("LipOCC")["status"] == "shipped"
