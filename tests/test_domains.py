from __future__ import annotations

import copy
import dataclasses
import pickle
from typing import NamedTuple

import numpy as np
import pytest
import scipy.stats
import torch
from conftest import ROUNDING, SIGNIFICANCE
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from pyod_lipocc.domains import Ball, Box, Domain

GROWTH = 1 + ROUNDING[torch.float64]
FEW = settings(max_examples=12)


class Case(NamedTuple):
    """A domain, and the same grown by a few roundings."""

    domain: Domain
    grown: Domain


def _ball(radius: float, center: list[float]) -> Case:
    return Case(Ball(radius, center), Ball(radius * GROWTH, center))


def _box(low: list[float], high: list[float]) -> Case:
    return Case(Box(low, high), Box(low, high))


CASES = {
    "ball": _ball(2.0, [1.0, -2.0, 0.5]),
    "ball on a line": Case(Ball(0.5, 3.0).expand(1), Ball(0.5 * GROWTH, 3.0).expand(1)),
    "ball of many dimensions": _ball(5.0, [0.0] * 40),
    "small ball": _ball(1e-9, [0.0, 0.0]),
    "box": _box([-1.0, 0.0, 2.0], [1.0, 4.0, 2.5]),
    "flat box": _box([-1.0, 2.0], [1.0, 2.0]),
    "point box": _box([1.0, 2.0], [1.0, 2.0]),
    "box of one interval": Case(Box(0.0, 1.0).expand(4), Box(0.0, 1.0).expand(4)),
}


@pytest.fixture(params=CASES.values(), ids=list(CASES), scope="module")
def case(request) -> Case:
    return request.param


@pytest.fixture(scope="module")
def domain(case) -> Domain:
    return case.domain


def _seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def _points(domain: Domain, max_rows: int = 4) -> st.SearchStrategy[torch.Tensor]:
    width = domain.n_features
    rows = hnp.arrays(
        float, st.tuples(st.integers(1, max_rows), st.just(width)), elements=st.floats(-20, 20)
    )
    return rows.map(torch.from_numpy)


class TestEveryDomain:
    @pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
    def test_samples_lie_inside(self, case, dtype):
        z = case.domain.to(dtype).sample(2000, _seeded())
        assert z.shape == (2000, case.domain.n_features)
        assert z.dtype == dtype
        distance = (z.double() - case.domain.project(z.double())).norm(dim=1)
        size = case.domain.sample(2, _seeded()).norm(dim=1).max()
        assert (distance <= ROUNDING[dtype] * size).all()

    def test_samples_are_reproducible(self, domain, global_rngs_untouched):
        first, second = domain.sample(5, _seeded()), domain.sample(5, _seeded())
        assert torch.equal(first, second)

    @FEW
    @given(data=st.data())
    def test_projection_is_inside_and_idempotent(self, case, data):
        z = data.draw(_points(case.domain))
        projected = case.domain.project(z)
        assert case.grown.contains(projected).all()
        torch.testing.assert_close(case.domain.project(projected), projected, rtol=1e-14, atol=0)

    @FEW
    @given(data=st.data())
    def test_projection_is_the_nearest_point(self, domain, data):
        z = data.draw(_points(domain))
        projected = domain.project(z)
        inside = domain.sample(64, _seeded())
        # of a convex set: the angle at the nearest point to any other of its points is obtuse
        products = (z - projected)[:, None] * (inside - projected[:, None])
        assert (products.sum(-1) <= 1e-9).all()

    @FEW
    @given(data=st.data())
    def test_projection_is_a_contraction(self, domain, data):
        z = data.draw(_points(domain))
        y = domain.sample(len(z), _seeded()) + z.flip(0)
        apart = (domain.project(z) - domain.project(y)).norm(dim=1)
        assert (apart <= (z - y).norm(dim=1) + 1e-12).all()

    def test_projection_keeps_what_is_inside(self, domain):
        z = domain.sample(100, _seeded())
        inside = z[domain.contains(z)]
        assert len(inside) > 0
        assert torch.equal(domain.project(inside), inside)

    @FEW
    @given(data=st.data(), scale=st.floats(1e-3, 1e3), location=st.floats(-5, 5))
    def test_rescale_is_the_image(self, domain, data, scale, location):
        z = torch.cat((data.draw(_points(domain)), domain.sample(8, _seeded())))
        image = domain.rescale(location, scale)
        projected = (domain.project(z) - location) / scale
        expected = image.project((z - location) / scale)
        torch.testing.assert_close(expected, projected, rtol=1e-9, atol=1e-9 / scale)

    @FEW
    @given(data=st.data())
    def test_enclose_contains_the_rows_and_the_domain(self, domain, data):
        z = data.draw(_points(domain))
        enclosing = domain.enclose(z)
        assert enclosing.contains(z).all()
        inside = domain.sample(32, _seeded())
        assert enclosing.contains(inside[domain.contains(inside)]).all()
        assert torch.equal(enclosing.enclose(z).project(2 * z), enclosing.project(2 * z))

    def test_enclose_changes_nothing_for_rows_inside(self, domain):
        z = domain.sample(50, _seeded())
        z = z[domain.contains(z)]
        far = 100 + torch.zeros_like(z)
        assert torch.equal(domain.enclose(z).project(far), domain.project(far))

    @pytest.mark.parametrize(
        "travel",
        [lambda domain: pickle.loads(pickle.dumps(domain)), copy.deepcopy],
        ids=["pickle", "copy"],
    )
    def test_survives_travel(self, domain, travel):
        arrived = travel(domain)
        assert repr(arrived) == repr(domain)
        assert torch.equal(arrived.sample(9, _seeded()), domain.sample(9, _seeded()))

    def test_width(self, domain):
        width = domain.n_features
        same = domain.expand(width)
        assert torch.equal(same.sample(3, _seeded()), domain.sample(3, _seeded()))
        message = rf"domain must have {width + 1} features as X has, got .* with {width}"
        with pytest.raises(ValueError, match=message):
            domain.expand(width + 1)

    def test_is_frozen(self, domain):
        name = dataclasses.fields(domain)[0].name
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(domain, name, torch.tensor(1.0))

    @pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
    def test_works_in_the_precision_asked_for(self, domain, dtype):
        z = torch.zeros(3, domain.n_features, dtype=dtype)
        there = domain.to(dtype)
        assert there.project(z).dtype == dtype
        assert there.sample(2, _seeded()).dtype == dtype
        assert there.contains(z).dtype == torch.bool


class TestUniformity:
    @pytest.mark.parametrize("width", [1, 2, 5, 40])
    @pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
    def test_ball(self, width, dtype):
        center = torch.arange(width, dtype=torch.float64)
        z = Ball(3.0, center).to(dtype).sample(4000, _seeded()).double() - center
        radius = z.norm(dim=1)
        assert scipy.stats.kstest(((radius / 3) ** width).numpy(), "uniform").pvalue > SIGNIFICANCE
        direction = z / radius[:, None]
        assert (direction.mean(0).abs() < 4.5 / (4000 * width) ** 0.5).all()
        if width > 1:
            law = scipy.stats.beta(0.5, (width - 1) / 2)
            entry = direction[:, -1].square().numpy()
            assert scipy.stats.kstest(entry, law.cdf).pvalue > SIGNIFICANCE
            assert abs(np.corrcoef(radius, direction[:, 0])[0, 1]) < 4 / 4000**0.5

    @pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
    def test_box(self, dtype):
        low, high = np.array([-1.0, 0.0, 1e3]), np.array([1.0, 1e-3, 1e3 + 5])
        z = Box(low, high).to(dtype).sample(4000, _seeded()).double().numpy()
        u = (z - low) / (high - low)
        for column in u.T:
            assert scipy.stats.kstest(column, "uniform").pvalue > SIGNIFICANCE
        correlation = np.corrcoef(u.T) - np.eye(3)
        assert np.abs(correlation).max() < 4 / 4000**0.5


class TestBall:
    def test_contains_its_boundary(self):
        assert Ball(5.0).expand(2).contains(torch.tensor([[3.0, 4.0], [3.0, 4.001]])).tolist() == [
            True,
            False,
        ]

    def test_projects_along_the_radius(self):
        projected = Ball(5.0, [1.0, 1.0]).project(torch.tensor([[31.0, 41.0]], dtype=torch.float64))
        assert projected.tolist() == [[4.0, 5.0]]

    @pytest.mark.parametrize("distance", [1e10, 1e20, 1e30])
    def test_projects_from_as_far_as_single_precision_reaches(self, distance):
        ball = Ball(5.0).expand(2).to(torch.float32)
        torch.testing.assert_close(
            ball.project(torch.tensor([[distance, 0.0]])), torch.tensor([[5.0, 0.0]])
        )

    def test_image_is_a_ball_only_under_one_scale(self):
        ball = Ball(2.0, [1.0, 1.0])
        same = ball.rescale([1.0, 0.0], [2.0, 2.0])
        assert float(same.radius) == 1.0
        assert same.center.tolist() == [0.0, 0.5]
        with pytest.raises(ValueError, match="scale must be one number for a Ball"):
            ball.rescale(0.0, [1.0, 2.0])

    @pytest.mark.parametrize("radius", [0.0, -1.0, float("nan"), float("inf"), [1.0, 2.0]])
    def test_radius_out_of_range(self, radius):
        with pytest.raises(ValueError, match="radius must be a finite number > 0, got"):
            Ball(radius)

    @pytest.mark.parametrize("center", [float("nan"), [0.0, float("inf")], [[0.0]]])
    def test_center_out_of_range(self, center):
        with pytest.raises(ValueError, match="center must be one or d finite numbers, got"):
            Ball(1.0, center)


class TestBox:
    def test_contains_its_boundary(self):
        z = torch.tensor([[0.0, 1.0], [0.5, 0.5], [0.5, 1.001], [-0.001, 0.5]])
        assert Box(0.0, 1.0).expand(2).contains(z).tolist() == [True, True, False, False]

    def test_bounds_broadcast(self):
        box = Box(0.0, [1.0, 2.0])
        assert box.n_features == 2
        assert box.low.tolist() == [0.0, 0.0]

    def test_degenerate_box_is_a_point(self):
        z = Box(2.0, 2.0).expand(3).sample(5, _seeded())
        assert torch.equal(z, torch.full_like(z, 2.0))

    def test_image_under_a_scale_for_each_feature(self):
        image = Box([0.0, 0.0], [2.0, 3.0]).rescale([1.0, 0.0], [0.5, 3.0])
        assert image.low.tolist() == [-2.0, 0.0]
        assert image.high.tolist() == [2.0, 1.0]

    @pytest.mark.parametrize(
        ("low", "high", "message"),
        [
            (float("nan"), 1.0, "low must be one or d finite numbers, got nan"),
            (0.0, [1.0, float("inf")], r"high must be one or d finite numbers, got \[1.0, inf\]"),
            ([[0.0]], 1.0, "low must be one or d finite numbers"),
            ([0.0, 2.0], 1.0, r"low must not exceed high, got low=\[0.0, 2.0\] and high=1.0"),
            ([0.0, 0.0], [1.0, 1.0, 1.0], "low .*high"),
        ],
    )
    def test_bounds_out_of_range(self, low, high, message):
        with pytest.raises(ValueError, match=message):
            Box(low, high)


NUMBERS = {
    "list": lambda *v: list(v),
    "array": lambda *v: np.array(v),
    "float32 array": lambda *v: np.array(v, dtype=np.float32),
    "ints": lambda *v: [int(x) for x in v],
    "tensor": lambda *v: torch.tensor(v),
    "float64 tensor": lambda *v: torch.tensor(v, dtype=torch.float64),
    "int tensor": lambda *v: torch.tensor([int(x) for x in v]),
}


@pytest.mark.parametrize("form", NUMBERS.values(), ids=NUMBERS)
def test_numbers_in_any_form(form):
    ball, box = Ball(2, form(1.0, 2.0)), Box(0, form(1.0, 2.0))
    for domain in (ball, box):
        assert domain.n_features == 2
        assert domain.sample(3, _seeded()).is_floating_point()
        assert domain.contains(torch.tensor([[0.5, 0.75]])).item()


def test_owns_its_numbers():
    center, high = np.zeros(2), torch.ones(2, dtype=torch.float64)
    ball, box = Ball(1.0, center), Box(0.0, high)
    center += 100
    high += 100
    assert ball.center.tolist() == [0.0, 0.0]
    assert box.high.tolist() == [1.0, 1.0]


def test_width_is_open_until_expanded():
    for domain in (Ball(1.0), Box(0.0, 1.0)):
        assert domain.n_features is None
        assert domain.expand(7).n_features == 7
        assert domain.contains(torch.zeros(2, 3)).tolist() == [True, True]
