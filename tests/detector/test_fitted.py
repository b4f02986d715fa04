from __future__ import annotations

from functools import partial

import numpy as np
import pytest
import torch
from sklearn.exceptions import NotFittedError
from small import cloud, small

from pyod_lipocc.lipschitz import Maximum, NearestSubspace, dense

ROUNDING = 1e-9
"""Largest error of a float64 distance, in units of the scores of rows near the data."""

SCALES = np.array([1e-3, 1.0, 1e3])


def union():
    """A module of a user: two combined."""
    generator = torch.Generator().manual_seed(3)
    balls = NearestSubspace(3, 5, generator=generator)
    return Maximum(balls, dense(3, hidden=(8,), generator=generator))


NETWORKS = {"auto": "auto", "dense": partial(dense, hidden=(16, 16)), "union": union()}


def fit(network="auto", *, X=None, **parameters):
    return small(network=NETWORKS[network], **parameters).fit(cloud() * SCALES if X is None else X)


@pytest.fixture(scope="module")
def of_unit_scale():
    """Return a detector whose scores are in the units of X."""
    return fit("dense", X=cloud(), standardize=False)


CASES = [("auto", True), ("dense", False), ("union", True)]


@pytest.fixture(scope="module", params=CASES, ids=str)
def detector(request):
    network, standardize = request.param
    return fit(network, standardize=standardize)


QUERIES = 2 * cloud(6, seed=9) * SCALES


def in_score_units(detector, X):
    return detector.scaling_.to_scores(X) if detector.standardize else X


METHODS = {
    "signed_distance": lambda detector: detector.signed_distance(QUERIES),
    "certified_radius": lambda detector: detector.certified_radius(QUERIES),
    "sample": lambda detector: detector.sample(2),
    "counterfactual": lambda detector: detector.counterfactual(QUERIES),
    "explain": lambda detector: detector.explain(QUERIES),
    "save": lambda detector: detector.save("never-written.lipocc"),
    "to_torch": lambda detector: detector.to_torch(),
    "to_onnx": lambda detector: detector.to_onnx("never-written.onnx"),
}


@pytest.mark.parametrize("method", METHODS.values(), ids=METHODS.keys())
def test_nothing_before_fit(method, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(NotFittedError):
        method(small())
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "method", ["signed_distance", "certified_radius", "counterfactual", "explain"]
)
@pytest.mark.parametrize("rows", [[[1.0, 2.0]], [[np.nan, 0.0, 0.0]], [1.0, 2.0, 3.0]])
def test_rows_are_validated(of_unit_scale, method, rows):
    with pytest.raises(ValueError, match=r"X|NaN|array"):
        getattr(of_unit_scale, method)(rows)


def test_the_signed_distance_is_minus_the_score(detector):
    np.testing.assert_array_equal(
        detector.signed_distance(QUERIES), -detector.decision_function(QUERIES)
    )


def test_no_method_moves_the_global_generators_or_the_detector(detector, global_rngs_untouched):
    before = detector.decision_function(QUERIES)
    for weight in detector.network_.parameters():
        weight.grad = None
    detector.explain(QUERIES[:1])  # which calls for counterfactuals
    detector.sample(2, random_state=0)
    detector.certified_radius(QUERIES)
    np.testing.assert_array_equal(detector.decision_function(QUERIES), before)
    assert not detector.network_.training
    for weight in detector.network_.parameters():
        assert weight.grad is None
        assert weight.requires_grad


class TestCertifiedRadius:
    @staticmethod
    def assert_no_move_changes_a_label(detector, radius, scale, rng):
        labels = detector.predict(QUERIES)
        assert (radius >= 0).all()
        assert np.median(radius) > 0
        for _ in range(20):
            steps = rng.normal(size=QUERIES.shape)
            steps *= radius[:, None] / np.linalg.norm(steps, axis=1, keepdims=True)
            np.testing.assert_array_equal(detector.predict(QUERIES + scale * steps), labels)

    def test_no_move_within_it_changes_a_label(self, detector, rng):
        radius = detector.certified_radius(QUERIES)
        self.assert_no_move_changes_a_label(detector, radius, 1.0, rng)

    def test_no_move_in_the_units_of_the_scores_either(self, detector, rng):
        radius = detector.certified_radius(QUERIES, units="scaled")
        scale = detector.scaling_.scale if detector.standardize else 1.0
        self.assert_no_move_changes_a_label(detector, radius, scale, rng)

    @pytest.mark.parametrize(
        "options", [{"threshold": "boundary"}, {"threshold": "conformal", "attack_radius": 0.1}]
    )
    def test_of_every_threshold(self, options, rng):
        detector = fit("dense", **options)
        radius = detector.certified_radius(QUERIES)
        self.assert_no_move_changes_a_label(detector, radius, 1.0, rng)

    def test_it_is_the_gap_over_the_constant(self, detector):
        gap = np.abs(detector.decision_function(QUERIES) - detector.threshold_)
        expected = gap / detector.lipschitz_constant_
        radius = detector.certified_radius(QUERIES)
        assert (radius <= expected * (1 + ROUNDING)).all()
        np.testing.assert_allclose(radius, expected, atol=1e-5 * expected.max(), rtol=1e-4)

    def test_units_are_checked(self, detector):
        with pytest.raises(ValueError, match="units"):
            detector.certified_radius(QUERIES, units="furlongs")


class TestCounterfactual:
    def test_points_are_where_the_label_changes_at_the_distance_told(self, detector):
        level, unit = -detector.threshold_, detector.scaling_.unit
        points, distance, bound = detector.counterfactual(
            QUERIES, level=level, return_distance=True
        )
        assert points.shape == QUERIES.shape
        assert np.isfinite(points).all()
        np.testing.assert_allclose(
            detector.signed_distance(points), level, atol=ROUNDING * unit, rtol=0
        )
        apart = in_score_units(detector, points) - in_score_units(detector, QUERIES)
        achieved = np.linalg.norm(apart, axis=1)
        np.testing.assert_allclose(achieved, distance, atol=ROUNDING * unit)
        assert (distance >= bound - ROUNDING * unit).all()
        gap = np.abs(detector.signed_distance(QUERIES) - level)
        np.testing.assert_allclose(bound, gap, rtol=1e-6, atol=ROUNDING * unit)
        # so the ball in which the label is proven ends before the point at which it changes
        moved = np.linalg.norm(points - QUERIES, axis=1)
        assert (detector.certified_radius(QUERIES) <= moved * (1 + ROUNDING)).all()

    def test_only_the_points_unless_asked_and_the_boundary_unless_told(self, of_unit_scale):
        X = cloud(3, seed=3)
        alone = of_unit_scale.counterfactual(X)
        both = of_unit_scale.counterfactual(X, level=0.0, return_distance=True)
        np.testing.assert_array_equal(alone, both[0])
        np.testing.assert_allclose(of_unit_scale.signed_distance(alone), 0.0, atol=ROUNDING)

    def test_a_level_out_of_reach_gives_nan(self):
        """No point is deeper than the bias of a nearest-subspace network."""
        detector = fit("auto", X=cloud(20))
        points, distance, bound = detector.counterfactual(cloud(2), level=1e6, return_distance=True)
        assert np.isnan(points).all()
        assert np.isnan(distance).all()
        assert (bound > 9e5).all()


class TestExplain:
    def test_contributions_sum_to_the_signed_distance(self, detector):
        X = QUERIES[:3]
        contributions = detector.explain(X)
        assert contributions.shape == X.shape
        np.testing.assert_allclose(
            contributions.sum(1),
            detector.signed_distance(X),
            atol=ROUNDING * detector.scaling_.unit,
        )

    def test_a_feature_that_is_off_gets_the_blame(self):
        detector = fit("auto", X=cloud(40))
        contributions = detector.explain([[0.0, 9.0, 0.0]])[0]
        assert contributions.argmin() == 1
        assert contributions[1] < 0.9 * contributions.sum() < 0


class TestSample:
    def test_members_of_the_domain_and_mostly_of_the_class(self, detector):
        samples = detector.sample(50, random_state=0)
        assert samples.shape == (50, 3)
        z = torch.from_numpy(in_score_units(detector, samples))
        unit = detector.scaling_.unit
        torch.testing.assert_close(detector.domain_.project(z), z, rtol=0, atol=ROUNDING * unit)
        assert (detector.signed_distance(samples) > 0).mean() > 0.5

    def test_seeded(self, of_unit_scale):
        first, second, other = (of_unit_scale.sample(5, random_state=s) for s in (1, 1, 2))
        np.testing.assert_array_equal(first, second)
        assert not np.array_equal(first, other)
        assert of_unit_scale.sample(0).shape == (0, 3)


@pytest.mark.parametrize(("network", "c"), [("auto", 2.0**-10), ("dense", 2.0**10)])
def test_lengths_scale_with_the_data(network, c):
    """Without standardisation all answers are lengths in the units of X, or points of X."""
    one, other = (fit(network, X=scale * cloud(20), standardize=False) for scale in (1.0, c))
    X = 2 * cloud(3, seed=9)
    close = partial(np.testing.assert_allclose, rtol=1e-9, atol=1e-9 * c)
    close(other.signed_distance(c * X), c * one.signed_distance(X))
    close(other.certified_radius(c * X), c * one.certified_radius(X))
    close(other.counterfactual(c * X), c * one.counterfactual(X))
    close(other.sample(5, random_state=0), c * one.sample(5, random_state=0))
    assert other.lipschitz_constant_ == one.lipschitz_constant_


@pytest.mark.parametrize(("network", "c"), [("auto", 1e3), ("dense", 1e-3)])
def test_standardised_answers_do_not_depend_on_the_units(network, c):
    one, other = (fit(network, X=scale * cloud()) for scale in (1.0, c))
    X = 2 * cloud(3, seed=9)
    close = partial(np.testing.assert_allclose, rtol=1e-3, atol=1e-3)
    close(other.signed_distance(c * X), one.signed_distance(X))
    close(other.certified_radius(c * X) / c, one.certified_radius(X))
    close(other.certified_radius(c * X, units="scaled"), one.certified_radius(X, units="scaled"))
