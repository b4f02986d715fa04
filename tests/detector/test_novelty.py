from __future__ import annotations

import pickle
from collections import Counter
from functools import partial

import numpy as np
import pytest
from pythresh.thresholds.iqr import IQR
from scipy.stats import binomtest
from sklearn.base import clone
from sklearn.metrics import roc_auc_score
from sklearn.neighbors import NearestNeighbors
from small import cloud, small

from pyod_lipocc import LipOCC
from pyod_lipocc.lipschitz import dense

CERTAIN = 1e-3
"""Level of the binomial tests: with fixed seeds they pass or fail for good."""

quick = partial(LipOCC, max_iter=10)


def blob(n_rows, seed):
    return cloud(n_rows, 5, seed)


def false_alarms(detector, seed):
    return int(detector.predict(blob(200, 1000 + seed)).sum())


class TestHonestScores:
    @pytest.mark.parametrize("n", [60, 500])
    def test_the_share_of_new_normal_rows_above_the_threshold_is_the_contamination(self, n):
        """Rows of one fit share a threshold, whose own error is that of a share of n rows."""
        n_new, seeds, alarms = 200, range(5), Counter()
        for seed in seeds:
            detector = quick(novelty=True, random_state=seed).fit(blob(n, seed))
            for share in (0.1, 0.3):
                detector.set_threshold("contamination", contamination=share)
                alarms[share] += false_alarms(detector, seed)
        for share, found in alarms.items():
            error = np.sqrt(share * (1 - share) * (1 / n + 1 / n_new) / len(seeds))
            assert abs(found / (n_new * len(seeds)) - share) < 3.3 * error

    def test_rows_of_a_fit_are_scored_as_new_ones_would_be(self):
        """Without the nearest other row the threshold would be that of distances to oneself."""
        X = blob(300, 0)
        detector = quick(novelty=True, network="nearest-subspace", random_state=0).fit(X)
        honest, own = detector.decision_scores_, detector.decision_function(X)
        new = detector.decision_function(blob(300, 1))
        assert (honest >= own - 1e-9).all()
        assert (honest > own + 1e-3).mean() > 0.9
        assert abs(np.median(honest) - np.median(new)) < 0.1 * (np.median(new) - np.median(own))

    def test_they_are_mean_distances_to_the_nearest_other_rows(self):
        X = blob(60, 0)
        untrained = LipOCC(
            network="nearest-subspace",
            novelty=True,
            standardize=False,
            random_state=0,
            max_iter=1,
            learning_rate=1e-12,
        ).fit(X)
        distances = NearestNeighbors(n_neighbors=2).fit(X).kneighbors()[0].mean(1)
        np.testing.assert_allclose(
            np.diff(untrained.decision_scores_), np.diff(distances), atol=1e-5
        )

    def test_duplicates_are_near_to_each_other(self):
        X = np.concatenate([blob(50, 0)] * 3)
        detector = quick(novelty=True, network="nearest-subspace", random_state=0).fit(X)
        assert np.isfinite(detector.decision_scores_).all()
        np.testing.assert_allclose(
            detector.decision_scores_, detector.decision_function(X), atol=0.2
        )

    def test_networks_that_hold_no_rows_score_theirs_as_any_other(self):
        X = blob(80, 0)
        detector = small(novelty=True).fit(X)
        np.testing.assert_array_equal(detector.decision_scores_, detector.decision_function(X))

    @pytest.mark.parametrize("novelty", [True, False])
    def test_the_network_scores_new_rows_after_fit(self, novelty):
        detector = quick(novelty=novelty, random_state=0).fit(blob(80, 0))
        assert not detector.network_.training


class TestPlantedOutliers:
    @staticmethod
    def planted(seed, radius):
        """Nine normal rows in ten, and a tenth in a clump, tight or wide, at distance 8."""
        draw = np.random.default_rng(seed)
        center = 8 * np.eye(5)[0]
        X = np.concatenate([blob(360, seed), center + radius * draw.normal(size=(40, 5))])
        return X, np.repeat([0, 1], [360, 40])

    @pytest.mark.parametrize("radius", [0.05, 1.0])
    @pytest.mark.parametrize("seed", range(2))
    def test_they_do_not_shape_the_support(self, seed, radius):
        X, y = self.planted(seed, radius)
        detector = quick(0.1, random_state=seed).fit(X)
        assert roc_auc_score(y, detector.decision_function(X)) > 0.9
        assert roc_auc_score(y, detector.decision_scores_) > 0.9
        assert (detector.signed_distance(X[y == 1]) < 0).all()

    def test_where_the_rows_are_said_to_be_clean_they_do(self):
        X, y = self.planted(0, 0.05)
        clean = quick(0.1, novelty=True, random_state=0).fit(X)
        assert (clean.signed_distance(X[y == 1]) > 0).mean() > 0.9

    def test_for_any_network(self):
        X, y = self.planted(0, 1.0)
        detector = small(max_iter=100).fit(X)
        assert roc_auc_score(y, detector.decision_function(X)) > 0.95

    def test_a_threshold_object_is_no_share(self):
        """An unknown share is taken for PyOD's default."""
        X, _ = self.planted(0, 1.0)
        share = quick(0.1, random_state=0).fit(X)
        scores = quick(IQR(), random_state=0).fit(X).decision_function(X)
        np.testing.assert_array_equal(scores, share.decision_function(X))


class TestConformal:
    @pytest.mark.parametrize(
        "network", ["auto", partial(dense, hidden=(8,))], ids=["auto", "dense"]
    )
    def test_false_alarms_are_at_most_alpha(self, network):
        """One new row for each fit: the guarantee is over both draws, so this is binomial."""
        n_fits, alarms = 40, Counter()
        for seed in range(n_fits):
            X = cloud(61, 2, seed)
            detector = LipOCC(
                network=network,
                novelty=True,
                threshold="conformal",
                alpha=0.05,
                max_iter=2,
                random_state=seed,
            ).fit(X[:60])
            for alpha in (0.05, 0.2):
                detector.set_threshold("conformal", alpha=alpha)
                alarms[alpha] += int(detector.predict(X[60:])[0])
        for alpha, found in alarms.items():
            assert binomtest(found, n_fits, alpha, alternative="greater").pvalue > CERTAIN

    def test_an_attack_of_the_radius_is_endured(self):
        X, new = blob(400, 0), blob(200, 1)
        radius, alpha = 0.2, 0.1
        clean = quick(threshold="conformal", alpha=alpha, random_state=0).fit(X)
        robust = quick(
            threshold="conformal", alpha=alpha, attack_radius=radius, random_state=0
        ).fit(X)
        assert robust.threshold_ == pytest.approx(
            clean.threshold_ + radius * clean.lipschitz_constant_
        )
        np.testing.assert_array_equal(robust.decision_function(new), clean.decision_function(new))
        # away from the mean, where scores rise
        attacked = new + radius * new / np.linalg.norm(new, axis=1, keepdims=True)
        assert (robust.predict(attacked) <= clean.predict(new)).all()
        assert robust.predict(attacked).mean() < clean.predict(attacked).mean()

    def test_the_threshold_is_of_rows_that_the_network_has_not_seen(self):
        X = blob(200, 0)
        detector = quick(
            network="nearest-subspace", novelty=True, threshold="conformal", random_state=0
        ).fit(X)
        centers = detector.network_[0].centers.detach().numpy()
        assert len(centers) == 150
        held_out = np.setdiff1d(
            np.arange(200),
            NearestNeighbors(n_neighbors=1)
            .fit(detector.scaling_.to_network(X))
            .kneighbors(centers)[1],
        )
        assert len(held_out) >= 50
        assert (detector.decision_scores_[held_out] > detector.threshold_).mean() <= 0.05

    def test_labels_follow_the_threshold(self):
        X = blob(100, 0)
        detector = small(threshold="conformal", alpha=0.1).fit(X)
        assert detector.labels_.shape == detector.decision_scores_.shape == (100,)
        np.testing.assert_array_equal(
            detector.labels_, detector.decision_scores_ > detector.threshold_
        )
        np.testing.assert_array_equal(
            detector.predict(X), detector.decision_function(X) > detector.threshold_
        )

    @pytest.mark.parametrize(("alpha", "least"), [(0.05, 20), (0.1, 10), (0.5, 2)])
    def test_too_few_rows_for_alpha_are_refused(self, alpha, least):
        detector = small(threshold="conformal", alpha=alpha)
        with pytest.raises(ValueError, match=rf"alpha={alpha} needs at least {least} rows"):
            detector.fit(blob(least - 1, 0))
        detector.fit(blob(least, 0))
        before = fitted_state_of(detector)
        with pytest.raises(ValueError, match="alpha"):
            detector.fit(blob(least - 1, 0))
        assert fitted_state_of(detector) == before


def fitted_state_of(detector):
    return sorted(vars(detector)), detector.decision_function(blob(5, 9)).tobytes()


CONFIGURATIONS = [
    {"novelty": True},
    {"novelty": False, "contamination": 0.2},
    {
        "network": "nearest-subspace",
        "threshold": "conformal",
        "alpha": 0.1,
        "attack_radius": 0.5,
    },
]
every_configuration = pytest.mark.parametrize("parameters", CONFIGURATIONS)


@every_configuration
def test_refits_are_equal_in_all_bits(parameters, global_rngs_untouched):
    X = blob(60, 0)
    detector = quick(random_state=0, **parameters).fit(X)
    first = fit_results(detector)
    assert fit_results(detector.fit(X)) == first
    assert fit_results(clone(detector).fit(X)) == first
    assert fit_results(clone(detector).set_params(random_state=1).fit(X)) != first


def fit_results(detector):
    answers = detector.decision_function(blob(20, 7))
    return detector.threshold_, detector.decision_scores_.tobytes(), answers.tobytes()


@every_configuration
def test_pickles_and_clones_answer_alike(parameters):
    detector = quick(random_state=0, **parameters).fit(blob(60, 0))
    assert fit_results(pickle.loads(pickle.dumps(detector))) == fit_results(detector)
    assert {name: clone(detector).get_params()[name] for name in parameters} == parameters


@every_configuration
def test_rows_of_partial_fit_are_scored_as_any_row(parameters):
    """The rows of a pass that continues are scored as any row is."""
    X, more = blob(60, 0), blob(60, 1)
    detector = quick(random_state=0, **parameters).fit(X).partial_fit(more)
    np.testing.assert_array_equal(detector.decision_scores_, detector.decision_function(more))
    assert len(detector.labels_) == 60
