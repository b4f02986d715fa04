"""Inscribed balls are the signed distance of the shape that rows fill, depth included."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pyod_lipocc import LipOCC
from pyod_lipocc.metrics import sdf_rmse
from pyod_lipocc.shapes import Cuboid, Shape, Shells, Torus
from pyod_lipocc.starts import inscribed_balls


def balls(rows: np.ndarray, seed: int = 0, **settings: float):
    """Return S of the balls of rows, in float64."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.from_numpy(rows)
    network = inscribed_balls(rows.shape[1], rows=x, generator=generator, **settings).double()

    def signed_distance(z: np.ndarray) -> np.ndarray:
        with torch.no_grad():
            return network.eval()(torch.from_numpy(z)).numpy()[:, 0]

    return signed_distance


SHAPES = {
    "disc": (Shells([[0.0, 0.0]]), 0.02),
    "ring": (Shells([[0.0, 0.0]], inner=0.5), 0.02),
    "two discs": (Shells([[-2.0, 0.0], [2.0, 0.0]]), 0.03),
    "rectangle": (Cuboid([1.0, 0.5]), 0.03),
    "torus": (Torus(), 0.03),
    "segment": (Cuboid([1.0]), 0.01),
}


@pytest.mark.parametrize(("shape", "error"), SHAPES.values(), ids=SHAPES)
def test_is_the_signed_distance_inside_and_outside(shape: Shape, error: float) -> None:
    rng = np.random.default_rng(0)
    S = balls(shape.sample(1000, rng))
    points = rng.uniform(*shape.window, (1000, shape.n_features))
    assert sdf_rmse(S(points), shape.signed_distance(points)) < error


def test_distances_to_rows_alone_are_no_such_thing() -> None:
    """The test above can fail: a point in the middle of a disc is deep in it."""
    rows = Shells([[0.0, 0.0]]).sample(800, np.random.default_rng(0))
    nearest = LipOCC(
        network="nearest-subspace", novelty=True, standardize=False, random_state=0
    ).fit(rows)
    assert nearest.signed_distance([[0.0, 0.0]]) < 0.1
    assert balls(rows)(np.zeros((1, 2))) > 0.9


def test_the_gradient_is_a_unit_vector() -> None:
    rng = np.random.default_rng(0)
    rows = torch.from_numpy(Torus().sample(500, rng))
    network = inscribed_balls(3, rows=rows).double()
    x = (3 * torch.randn(200, 3, dtype=torch.float64)).requires_grad_()
    (gradient,) = torch.autograd.grad(network(x).sum(), x)
    assert torch.allclose(gradient.norm(dim=1), torch.ones(200, dtype=torch.float64))


def test_a_hollow_is_kept_where_the_rolling_ball_fits_and_filled_where_not() -> None:
    ring = Shells([[0.0, 0.0]], inner=0.5).sample(800, np.random.default_rng(0))
    middle = np.zeros((1, 2))
    assert balls(ring, reach=0.3)(middle) < -0.4
    assert balls(ring, reach=0.7)(middle) > -0.1


@settings(max_examples=3)
@given(
    scale=st.sampled_from([2.0**-20, 0.25, 1.0, 2.0**20]),
    angle=st.floats(0.0, 6.3),
    shift=st.floats(-10.0, 10.0),
)
def test_moves_and_grows_with_the_rows(scale: float, angle: float, shift: float) -> None:
    """Up to the positions of the rolling ball, which are drawn anew."""
    shape = Shells([[0.0, 0.0]], inner=0.5)
    rng = np.random.default_rng(0)
    rows, points = shape.sample(200, rng), rng.uniform(*shape.window, (200, 2))
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    moved = balls(scale * (rows @ turn + shift))(scale * (points @ turn + shift))
    np.testing.assert_allclose(moved / scale, balls(rows)(points), atol=0.04)


@given(n=st.integers(1, 6), d=st.integers(1, 4), copies=st.integers(1, 3))
@settings(max_examples=20)
def test_few_and_equal_rows_are_inside(n: int, d: int, copies: int) -> None:
    rows = np.tile(np.random.default_rng(n).normal(size=(n, d)), (copies, 1))
    S = balls(rows)
    assert (S(rows) >= -1e-6).all()
    assert S(rows.max(0, keepdims=True) + 100) < -90


def test_rows_that_do_not_count_leave_no_ball(generator: torch.Generator) -> None:
    rows = torch.cat([torch.randn(100, 2, generator=generator), torch.full((1, 2), 50.0)])
    network = inscribed_balls(2, rows=rows, normal=rows[:, 0] < 49, generator=generator)
    assert network(rows[-1:]) < -40


@given(st.integers(1, 2000), st.floats(0.0, 0.1), st.integers(0, 99))
@settings(max_examples=10, deadline=None)
def test_fewer_balls_hold_the_same_shape(n: int, margin: float, seed: int) -> None:
    """Balls inside others are left out: their number is bounded, and so is what that costs."""
    rows = Shells([[0.0, 0.0]]).sample(n, np.random.default_rng(seed))
    x, normal = torch.from_numpy(rows).float(), torch.ones(n, dtype=torch.bool)
    network = inscribed_balls(2, rows=x, normal=normal, margin=margin)
    assert len(network.centers) <= 512
    with torch.no_grad():
        assert (network(x) >= -1e-6).all()


def test_reach_must_be_positive() -> None:
    with pytest.raises(ValueError, match=r"reach must be a float > 0 or None, got -1"):
        inscribed_balls(2, rows=torch.randn(5, 2), reach=-1.0)


def test_many_features_are_refused() -> None:
    detector = LipOCC(network="inscribed-balls")
    with pytest.raises(ValueError, match=r"at most 5 features, got 6.*nearest-subspace"):
        detector.fit(np.random.default_rng(0).normal(size=(20, 6)))
    assert not hasattr(detector, "network_")


def test_a_detector_learns_the_depth_in_the_units_of_its_rows(tmp_path) -> None:
    shape = Shells([[5.0, 5.0]], outer=2.0)
    rng = np.random.default_rng(0)
    detector = LipOCC(
        network="inscribed-balls",
        novelty=True,
        standardize=False,
        threshold="boundary",
        random_state=0,
    ).fit(shape.sample(1000, rng))
    points = rng.uniform(*shape.window, (500, 2))
    assert sdf_rmse(detector.signed_distance(points), shape.signed_distance(points)) < 0.05
    detector.save(tmp_path / "balls.lipocc")
    again = LipOCC.load(tmp_path / "balls.lipocc")
    np.testing.assert_array_equal(
        again.decision_function(points), detector.decision_function(points)
    )
