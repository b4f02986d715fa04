from __future__ import annotations

import pytest
import torch

from pyod_lipocc.domains import Ball, Box
from pyod_lipocc.negatives import uniform

DOMAINS = {"ball": Ball(2.0, [1.0, 0.0]), "box": Box([0.0, 1.0], [1.0, 5.0])}


@pytest.mark.parametrize("domain", DOMAINS.values(), ids=DOMAINS)
@pytest.mark.parametrize("n", [0, 1, 37])
def test_uniform_proposes_one_sample_of_the_domain_for_each_row(domain, n, global_rngs_untouched):
    x = torch.full((n, 2), float("nan"))
    proposals = uniform(x, domain, torch.Generator().manual_seed(3))
    assert torch.equal(proposals, domain.sample(n, torch.Generator().manual_seed(3)))
    assert proposals.shape == (n, 2)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_precision_is_the_domains(dtype, generator):
    domain = Ball(1.0).expand(3).to(dtype)
    assert uniform(torch.zeros(4, 3), domain, generator).dtype == dtype
