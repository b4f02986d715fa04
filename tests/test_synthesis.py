from __future__ import annotations

import math

import pytest
import torch
from torch.nn.functional import normalize

from pyod_lipocc.domains import Ball, Box
from pyod_lipocc.synthesis import sample

MARGIN = 0.1


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def points(n, width, seed=0, spread=2.0):
    return spread * torch.randn(n, width, generator=seeded(seed), dtype=torch.float64)


def ball(z):
    return 1 - z.norm(dim=1)


def shell(z):
    return 0.25 - (z.norm(dim=1) - 1).abs()


@pytest.mark.parametrize("n_steps", [1, 4, 64])
@pytest.mark.parametrize("eta", [0.25, 0.5, 1.0])
def test_steps_cover_the_share_of_the_way(eta, n_steps):
    start = 3 * normalize(points(50, 3))
    z = sample(ball, start, domain=Ball(9.0).expand(3), margin=MARGIN, eta=eta, n_steps=n_steps)
    covered = (ball(z) - ball(start)) / (2 * MARGIN - ball(start))
    torch.testing.assert_close(covered, torch.full_like(covered, eta))


def test_steps_are_of_equal_length():
    lengths, last = [], None

    def watched(z):
        nonlocal last
        if last is not None:
            lengths.append(torch.linalg.vector_norm(z.detach() - last, dim=1))
        last = z.detach().clone()
        return ball(z)

    start = 3 * normalize(points(5, 3))
    sample(watched, start, domain=Ball(9.0).expand(3), margin=MARGIN, n_steps=8)
    assert len(lengths) == 7
    for length in lengths:
        torch.testing.assert_close(length, torch.full((5,), 2.2 / 8).double())


@pytest.mark.parametrize("eta", [0.0, -1.0, 1.1, math.nan])
def test_shares_out_of_range_are_refused(eta):
    with pytest.raises(ValueError, match=r"eta must be .* > 0 and <= 1, got"):
        sample(ball, 1, domain=Ball(9.0).expand(3), margin=MARGIN, eta=eta)


@pytest.mark.parametrize("domain", [Ball(2.0).expand(2), Box(-1.0, 2.0).expand(2)])
def test_samples_stay_in_the_domain(domain):
    z = sample(lambda z: z.norm(dim=1), 100, domain=domain, margin=9.0, generator=seeded())
    # projections round
    assert domain.enclose(z).contains(z).all()
    torch.testing.assert_close(domain.project(z), z)


def test_batches_and_given_proposals_change_nothing():
    domain = Ball(5.0).expand(3)
    at_once = sample(shell, 50, domain=domain, margin=MARGIN, generator=seeded())
    batched = sample(shell, 50, domain=domain, margin=MARGIN, generator=seeded(), batch_size=7)
    given_ones = sample(shell, domain.sample(50, seeded()), domain=domain, margin=MARGIN)
    torch.testing.assert_close(batched, at_once)
    torch.testing.assert_close(given_ones, at_once)


def test_samples_of_no_rows():
    assert sample(ball, 0, domain=Ball(5.0).expand(3), margin=MARGIN).shape == (0, 3)


@pytest.mark.usefixtures("global_rngs_untouched")
def test_the_global_generators_stay():
    sample(ball, 5, domain=Ball(5.0).expand(2), margin=MARGIN, generator=seeded())
