from __future__ import annotations

from functools import partial

import pytest
import scipy.stats
import torch
from conftest import SIGNIFICANCE
from hypothesis import given
from hypothesis import strategies as st

from pyod_lipocc.domains import Ball, Box
from pyod_lipocc.lipschitz import dense
from pyod_lipocc.sampler import newton_raphson, signed

MARGIN = 0.1
EVERYWHERE = Box(-100.0, 100.0)
full_steps = partial(newton_raphson, step_range=(1.0, 1.0))


def ball_distance(z):
    """Signed distance to the unit ball, positive inside."""
    return 1 - z.norm(dim=1)


def proposals(n=500, width=3, seed=0, dtype=torch.float64):
    """Points at distances from .2 to 4 from the origin."""
    generator = torch.Generator().manual_seed(seed)
    direction = torch.nn.functional.normalize(
        torch.randn(n, width, generator=generator, dtype=dtype)
    )
    return direction * (0.2 + 3.8 * torch.rand(n, 1, generator=generator, dtype=dtype))


def seeded(seed=1):
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("level", [-1.5, -1.0, 0.0, 2.0])
def test_one_full_step_lands_on_the_level_set_of_a_distance(level):
    z = full_steps(
        ball_distance, proposals(), domain=EVERYWHERE, margin=MARGIN, n_steps=1, level=level
    )
    torch.testing.assert_close(ball_distance(z), torch.full((500,), level * MARGIN).double())


def test_moves_along_the_gradient_only():
    start = proposals()
    z = newton_raphson(ball_distance, start, domain=EVERYWHERE, margin=MARGIN, n_steps=3)
    cosine = torch.nn.functional.cosine_similarity(z, start)
    torch.testing.assert_close(cosine, torch.ones_like(cosine))


@pytest.mark.parametrize("slope", [1e-3, 1.0, 50.0])
def test_slope_of_the_score_does_not_matter(slope):
    z = full_steps(
        lambda z: slope * ball_distance(z),
        proposals(),
        domain=EVERYWHERE,
        margin=slope * MARGIN,
        n_steps=1,
    )
    torch.testing.assert_close(ball_distance(z), torch.full((500,), -MARGIN).double())


@pytest.mark.parametrize("n_steps", [1, 2, 4, 16])
def test_fractional_steps_leave_the_printed_residual(n_steps):
    start = proposals()
    z = full_steps(ball_distance, start, domain=EVERYWHERE, margin=MARGIN, n_steps=n_steps)
    left = -MARGIN - ball_distance(z)
    expected = (-MARGIN - ball_distance(start)) * (1 - 1 / n_steps) ** n_steps
    torch.testing.assert_close(left, expected)


@pytest.mark.parametrize(
    ("n_steps", "step_range"),
    [(1, (0.0, 1.0)), (1, (0.0, 4.0)), (4, (0.25, 0.75)), (4, (0.0, 4.0))],
)
def test_eta_is_uniform_and_one_for_each_point(n_steps, step_range):
    start = proposals(2000)
    z = newton_raphson(
        ball_distance,
        start,
        domain=EVERYWHERE,
        margin=MARGIN,
        n_steps=n_steps,
        generator=seeded(),
        step_range=step_range,
    )
    # along the ray the distance is linear, so one eta at every step leaves (1 - eta / T)^T
    along_the_ray = (z * start).sum(1) / start.norm(dim=1)
    share = (along_the_ray - 1 - MARGIN) / (start.norm(dim=1) - 1 - MARGIN)
    eta = n_steps * (1 - share.sign() * share.abs() ** (1 / n_steps))
    if n_steps == 1 or step_range[1] <= 1:
        low, high = step_range
        law = scipy.stats.uniform(low, high - low)
        assert scipy.stats.kstest(eta.numpy(), law.cdf).pvalue > SIGNIFICANCE
    else:
        assert (share.abs() <= 1 + 1e-9).all()


def test_without_steps_the_proposals_come_back():
    start = proposals()
    z = newton_raphson(ball_distance, start, domain=EVERYWHERE, margin=MARGIN, n_steps=0)
    assert torch.equal(z, start)


def test_relu_residual_never_moves_a_point_outwards():
    start = proposals()
    z = newton_raphson(
        ball_distance,
        start,
        domain=EVERYWHERE,
        margin=MARGIN,
        n_steps=4,
        generator=seeded(),
        residual=torch.relu,
    )
    inside = ball_distance(start) >= -MARGIN
    assert inside.any()
    assert (~inside).any()
    assert torch.equal(z[inside], start[inside])
    assert (ball_distance(z)[~inside] > ball_distance(start)[~inside]).all()


def test_the_papers_residual_moves_points_back_to_the_level():
    start = proposals()
    z = newton_raphson(
        ball_distance, start, domain=EVERYWHERE, margin=MARGIN, n_steps=4, generator=seeded()
    )
    before, after = (abs(-MARGIN - ball_distance(points)) for points in (start, z))
    assert (after < before).all()
    assert torch.equal(signed(before), before)


@pytest.mark.parametrize(
    "domain",
    [Ball(0.5).expand(3), Box(-0.3, 0.3).expand(3), EVERYWHERE],
    ids=["ball", "box", "all"],
)
def test_stays_in_the_domain(domain):
    z = full_steps(ball_distance, proposals(), domain=domain, margin=MARGIN, n_steps=5)
    assert ((z - domain.project(z)).norm(dim=1) < 1e-12).all()


@pytest.mark.parametrize("value", [1.0, 1e6, -MARGIN], ids=["near", "far", "at the level"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_without_gradient_a_point_stays(value, dtype):
    start = proposals(5, dtype=dtype)
    for domain in (Ball(9.0), Box(-9.0, 9.0)):
        z = full_steps(
            lambda z: 0 * z.sum(1) + value,
            start,
            domain=domain.expand(3).to(dtype),
            margin=MARGIN,
            n_steps=4,
        )
        assert torch.equal(z, start)


def test_a_gradient_that_is_not_a_number_leaves_its_point_and_no_other():
    z = full_steps(
        lambda z: z.square().sum(1).sqrt(),
        torch.tensor([[0.0, 0.0], [3.0, 4.0]]),
        domain=EVERYWHERE,
        margin=MARGIN,
        n_steps=1,
        level=10.0,
    )
    torch.testing.assert_close(z, torch.tensor([[0.0, 0.0], [0.6, 0.8]]))


@given(st.integers(-44, 18), st.floats(-1e6, 1e6), st.sampled_from([Ball(9.0), Box(-9.0, 9.0)]))
def test_extreme_gradients_never_leave_the_domain_or_the_numbers(magnitude, offset, domain):
    z = full_steps(
        lambda z: 10.0**magnitude * z.sum(1) + offset,
        proposals(5, dtype=torch.float32),
        domain=domain.expand(3).to(torch.float32),
        margin=MARGIN,
        n_steps=4,
    )
    assert torch.isfinite(z).all()
    assert (z.norm(dim=1) < 16).all()


class TestWithANetwork:
    @pytest.fixture
    def network(self, generator):
        return dense(3, hidden=(16, 16), generator=generator).double()

    def sample(self, score, start=None, seed=1):
        return newton_raphson(
            score,
            proposals() if start is None else start,
            domain=EVERYWHERE,
            margin=MARGIN,
            n_steps=4,
            generator=seeded(seed),
        )

    def test_approaches_the_level(self, network):
        def distance(z):
            return (network(z) + MARGIN).abs().mean()

        assert distance(self.sample(network)) < distance(proposals())

    def test_leaves_the_weights_and_the_proposals_alone(self, network):
        start = proposals()
        before = start.clone()
        self.sample(network, start)
        assert torch.equal(start, before)
        assert not start.requires_grad
        for weight in network.parameters():
            assert weight.grad is None
            assert weight.requires_grad

    @pytest.mark.parametrize("n_steps", [0, 1, 4])
    def test_result_is_detached(self, network, n_steps):
        start = proposals().requires_grad_()
        z = newton_raphson(
            network, start, domain=EVERYWHERE, margin=MARGIN, n_steps=n_steps, generator=seeded()
        )
        assert not z.requires_grad
        assert z.grad_fn is None
        assert start.grad is None

    def test_works_where_gradients_are_off(self, network):
        with torch.no_grad():
            z = self.sample(network)
        assert torch.equal(z, self.sample(network))

    @pytest.mark.parametrize(
        "wrapped",
        [
            lambda f: lambda z: f(z)[:, 0],
            lambda f: lambda z: torch.cat((f(z), f(z)), dim=1)[:, :1],
            lambda f: lambda z: torch.stack((f(z)[:, 0], f(z)[:, 0]))[1],
        ],
        ids=["vector", "strided column", "row"],
    )
    def test_any_layout_of_the_scores(self, network, wrapped):
        torch.testing.assert_close(self.sample(wrapped(network)), self.sample(network))

    def test_any_layout_of_the_proposals(self, network):
        strided = proposals().repeat_interleave(2, dim=1)[:, ::2]
        torch.testing.assert_close(self.sample(network, strided), self.sample(network))

    def test_rows_do_not_mix(self, network):
        start = proposals(8)
        together = full_steps(network, start, domain=EVERYWHERE, margin=MARGIN, n_steps=4)
        alone = [
            full_steps(network, row[None], domain=EVERYWHERE, margin=MARGIN, n_steps=4)
            for row in start
        ]
        torch.testing.assert_close(together, torch.cat(alone))

    def test_reproducible(self, network, global_rngs_untouched):
        assert torch.equal(self.sample(network), self.sample(network))
        assert not torch.equal(self.sample(network), self.sample(network, seed=2))

    def test_no_rows(self, network):
        assert self.sample(network, proposals(0)).shape == (0, 3)

    def test_single_precision(self, network):
        z = self.sample(network.float(), proposals(dtype=torch.float32))
        assert z.dtype == torch.float32
