"""Attacks stay within their balls and reach what theory allows."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.studies import certify
from pyod_lipocc.attacks import nes_l2, pgd_l2
from pyod_lipocc.domains import Ball, Box
from pyod_lipocc.lipschitz import dense

ATTACKS = [pgd_l2, nes_l2]
SIGNS = {"raise": 1.0, "lower": -1.0}
ROUNDED = 1 + 1e-12


def _points(n, d, seed=0):
    return torch.randn(n, d, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def _distance(x):
    return torch.linalg.vector_norm(x, dim=1)


def _wavy(x):
    return torch.sin(5 * x).sum(1) / 5


@pytest.fixture
def network():
    return dense(6, hidden=(16, 16), generator=torch.Generator().manual_seed(0)).double()


@pytest.mark.parametrize("attack", ATTACKS)
@pytest.mark.parametrize("direction", ["raise", "lower", "both"])
class TestLaws:
    @settings(max_examples=15)
    @given(seed=st.integers(0, 99), d=st.integers(1, 5), radius=st.floats(0.0, 100.0))
    def test_points_stay_in_their_balls(self, attack, direction, seed, d, radius):
        X = _points(6, d, seed)
        radii = radius * torch.rand(6, generator=torch.Generator().manual_seed(seed)).double()
        moved = attack(_wavy, X, radii, n_steps=4, direction=direction, random_state=seed)
        assert (_distance(moved - X) <= radii * ROUNDED + 1e-13 * (1 + X.abs().max())).all()

    def test_no_row_is_made_worse(self, attack, direction):
        X = _points(50, 3)
        moved = attack(_wavy, X, 0.7, n_steps=5, direction=direction, random_state=0)
        change = _wavy(moved) - _wavy(X)
        gain = change.abs() if direction == "both" else SIGNS[direction] * change
        assert (gain >= 0).all()
        assert (gain > 0.1).double().mean() > 0.8

    @pytest.mark.parametrize("domain", [Box(-1.0, 0.5), Ball(1.5, 0.2)])
    def test_points_stay_in_the_domain(self, attack, direction, domain):
        domain = domain.expand(3)
        X = domain.project(_points(40, 3))
        outside = _points(5, 3) + 20
        rows = torch.cat([X, outside])
        moved = attack(
            _wavy, rows, 0.8, n_steps=5, direction=direction, domain=domain, random_state=0
        )
        assert (_distance(domain.project(moved[:40]) - moved[:40]) <= 1e-12).all()
        assert (_distance(moved - rows) <= 0.8 * ROUNDED).all()
        assert torch.equal(moved[40:], outside)

    def test_the_same_seed_gives_the_same_points(
        self, attack, direction, network, global_rngs_untouched
    ):
        X = _points(10, 6)
        before = X.clone()
        runs = [
            attack(network, X, 0.5, n_steps=3, direction=direction, random_state=7)
            for _ in range(2)
        ]
        assert torch.equal(*runs)
        assert torch.equal(X, before)
        assert not runs[0].requires_grad
        assert all(weight.grad is None for weight in network.parameters())

    def test_no_network_moves_faster_than_its_bound(self, attack, direction, network):
        X = _points(64, 6)
        moved = attack(network, X, 0.5, n_steps=10, direction=direction, random_state=0)
        with torch.no_grad():
            change = (network(moved) - network(X)).abs()[:, 0]
        assert (change <= 0.5 * ROUNDED).all()

    def test_batches_cover_all_rows(self, attack, direction):
        X = _points(11, 2)
        moved = attack(
            _distance, X, 0.1, n_steps=5, direction=direction, batch_size=4, random_state=0
        )
        assert (_distance(moved - X) > 0.05).all()


@pytest.mark.parametrize("direction", SIGNS)
class TestPGD:
    @pytest.mark.parametrize("d", [1, 4, 50])
    def test_attains_the_bound_of_a_linear_score(self, direction, d):
        w = _points(1, d, seed=1)[0]
        X = _points(30, d)
        moved = pgd_l2(lambda x: x @ w, X, 0.3, n_steps=1, n_restarts=1, direction=direction)
        change = SIGNS[direction] * ((moved - X) @ w)
        np.testing.assert_allclose(change, 0.3 * w.norm().item(), rtol=1e-12)

    def test_attains_the_bound_of_a_distance(self, direction):
        X = _points(30, 4) + 5
        moved = pgd_l2(_distance, X, 0.3, direction=direction, random_state=0)
        change = SIGNS[direction] * (_distance(moved) - _distance(X))
        np.testing.assert_allclose(change, 0.3, rtol=1e-12)

    def test_restarts_leave_a_plateau(self, direction):
        """The slope is 0 at the rows and a start on the sphere sees more."""
        X = torch.zeros(20, 2, dtype=torch.float64)

        def score(x):
            return SIGNS[direction] * torch.relu(_distance(x) - 0.5)

        alone = pgd_l2(score, X, 1.0, n_restarts=1, direction=direction, random_state=0)
        assert torch.equal(alone, X)
        moved = pgd_l2(score, X, 1.0, n_restarts=2, direction=direction, random_state=0)
        np.testing.assert_allclose(score(moved).abs(), 0.5, rtol=1e-9)


def test_nes_needs_no_gradient():
    X = _points(20, 3) + 4

    def steps(x):
        return torch.floor(20 * _distance(x.detach())) / 20

    moved = nes_l2(steps, X, 1.0, n_steps=20, random_state=0)
    assert (steps(moved) - steps(X) >= 0.9).all()


def test_nes_comes_near_the_bound():
    X = _points(30, 10) + 4
    moved = nes_l2(_distance, X, 0.5, random_state=0)
    assert (_distance(moved) - _distance(X) >= 0.48).all()


@pytest.mark.parametrize("attack", ATTACKS)
class TestRefusals:
    @pytest.mark.parametrize(("name", "value"), [("n_steps", 0), ("n_restarts", 1.5)])
    def test_counts(self, attack, name, value):
        with pytest.raises(ValueError, match=f"{name} must be an int >= 1, got {value}"):
            attack(_distance, _points(2, 2), 1.0, **{name: value})

    @pytest.mark.parametrize("radius", [-1.0, float("nan"), float("inf"), torch.ones(2, 1)])
    def test_radii(self, attack, radius):
        with pytest.raises(ValueError, match="radius must be one or n finite numbers >= 0"):
            attack(_distance, _points(2, 2), radius)

    def test_directions(self, attack):
        with pytest.raises(ValueError, match=r"direction must be one of .*, got 'up'"):
            attack(_distance, _points(2, 2), 1.0, direction="up")

    @pytest.mark.parametrize("X", [torch.zeros(3), torch.zeros(3, 2, dtype=torch.int64)])
    def test_rows(self, attack, X):
        with pytest.raises(ValueError, match=r"X must be a floating-point tensor of shape"):
            attack(_distance, X, 1.0)


def test_no_attack_breaks_a_certificate(tmp_path):
    """A small version of the full run, `make certify`."""
    page = tmp_path / "certify.md"
    small = ["--embedded", "--fraction", "0.002", "--max-iter", "2"]
    assert certify.main([*small, "--output", str(page)]) == 0
    text = page.read_text()
    assert "**0 violations of the Lipschitz bound, 0 of the certified radius.**" in text
    assert {"dense", "conv", "nearest-subspace"} <= {
        line.split("|")[2].strip() for line in text.splitlines() if line.startswith("|")
    }
