from __future__ import annotations

import pytest
import torch
from deel.torchlip import HKRLoss
from hypothesis import given
from hypothesis import strategies as st

from pyod_lipocc.lipschitz import dense, parameter_groups
from pyod_lipocc.losses import binary_cross_entropy, hkr
from pyod_lipocc.stiefel import StiefelAdam

MARGINS = st.floats(0.01, 10.0)
REGULARIZATIONS = st.floats(0.01, 1000.0)
SCORES = st.floats(-100.0, 100.0)


def _f64(*values: float) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64)


@pytest.mark.parametrize(
    ("signed", "margin", "regularization", "loss"),
    [
        (2.0, 1.0, 10.0, -2.0),
        (1.0, 1.0, 10.0, -1.0),
        (0.5, 1.0, 10.0, 4.5),
        (0.0, 1.0, 10.0, 10.0),
        (-1.0, 1.0, 10.0, 21.0),
        (-0.25, 0.25, 100.0, 50.25),
    ],
)
def test_hkr_in_closed_form(signed, margin, regularization, loss):
    assert hkr(torch.tensor([signed]), margin, regularization).tolist() == [loss]


@given(SCORES, MARGINS, REGULARIZATIONS)
def test_hkr_has_slope_one_beyond_the_margin_and_one_more_lambda_before(signed, margin, lam):
    signed = _f64(signed, margin + 1e-3, margin - 1e-3).requires_grad_()
    hkr(signed, margin, lam).sum().backward()
    assert signed.grad[1:].tolist() == [-1.0, -(1.0 + lam)]
    assert signed.grad[0] in (signed.grad[1], signed.grad[2])


@given(st.lists(SCORES, min_size=1, max_size=8), st.data(), MARGINS, REGULARIZATIONS)
def test_hkr_is_torchlips_up_to_scale(positive, data, margin, lam):
    """It halves the margin, averages the hinge over both classes together, mixes by alpha."""
    negative = data.draw(st.lists(SCORES, min_size=len(positive), max_size=len(positive)))
    f, g = _f64(*positive), _f64(*negative)
    oracle = HKRLoss(alpha=2 * lam / (1 + 2 * lam), min_margin=2 * margin)
    target = torch.cat((torch.ones_like(f), -torch.ones_like(g)))[:, None]
    expected = (1 + 2 * lam) * oracle(torch.cat((f, g))[:, None], target)
    ours = hkr(f, margin, lam).mean() + hkr(-g, margin, lam).mean()
    torch.testing.assert_close(ours, expected, rtol=1e-9, atol=1e-9 * (1 + lam))


@given(MARGINS, REGULARIZATIONS, SCORES, st.floats(-1.0, 1.0))
def test_two_points_have_their_minimum_at_the_signed_distance_plus_margin(margin, lam, f, slope):
    """A datum and a negative 2 m apart: S = 0 and -2 m there, and f = S + m costs least."""
    g = f + 2 * margin * slope
    pair = hkr(_f64(f, -g), margin, lam).sum()
    best = hkr(_f64(margin, margin), margin, lam).sum()
    distance = max(abs(f - margin), abs(g + margin))
    assert pair >= best + lam * distance - 1e-9 * (1 + lam) * (1 + abs(f) + margin)


def test_a_network_trained_on_two_points_finds_it(generator):
    margin, x, z = 0.25, torch.tensor([[1.0]]), torch.tensor([[1.5]])
    network = dense(1, hidden=(8, 8), generator=generator)
    optimizer = StiefelAdam(parameter_groups(network))
    for iteration in range(150):
        for group in optimizer.param_groups:
            group["lr"] = 0.1 * 0.95**iteration
        optimizer.zero_grad()
        (hkr(network(x), margin, 10.0) + hkr(-network(z), margin, 10.0)).sum().backward()
        optimizer.step()
    between = torch.linspace(1.0, 1.5, 9)[:, None]
    signed_distance = 1.0 - between
    torch.testing.assert_close(
        network(between).detach(), signed_distance + margin, rtol=0, atol=5e-3
    )


@given(SCORES)
def test_binary_cross_entropy_is_torchs(logit):
    expected = torch.nn.functional.binary_cross_entropy_with_logits(
        _f64(logit), _f64(1.0), reduction="none"
    )
    torch.testing.assert_close(binary_cross_entropy(_f64(logit)), expected)


@pytest.mark.parametrize("loss", [lambda s: hkr(s, 0.1, 10.0), binary_cross_entropy])
def test_rows_and_precision_are_kept(loss, generator):
    for dtype in (torch.float32, torch.float64):
        signed = torch.randn(7, generator=generator, dtype=dtype)
        assert loss(signed).shape == (7,)
        assert loss(signed).dtype == dtype
        assert torch.equal(loss(signed)[3:4], loss(signed[3:4]))
