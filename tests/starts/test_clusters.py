"""Clusters: bounded in size, of rows alone, honest about outliers and about rows that coincide."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pyod_lipocc import LipOCC
from pyod_lipocc.lipschitz import NearestBox, lipschitz_bound
from pyod_lipocc.starts import clusters


def built(rows, seed=0, **keywords):
    generator = torch.Generator().manual_seed(seed)
    return clusters(rows.shape[1], rows=rows, generator=generator, **keywords)


def gaussian(n, d, seed=0):
    return torch.randn(n, d, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("contamination", [0.0, 0.1])
def test_the_size_does_not_grow_with_the_rows(contamination):
    def size(n):
        network = built(gaussian(n, 6), contamination=contamination)
        return sum(weight.numel() for weight in network.parameters())

    assert size(5000) == size(20_000) < 20_000


@settings(max_examples=20)
@given(
    n=st.integers(1, 40),
    d=st.integers(1, 8),
    contamination=st.sampled_from([0.0, 0.05, 0.5]),
    levels=st.sampled_from([1, 2, 3, 1000]),
    margin=st.floats(0.0, 1.0),
)
def test_of_any_rows_it_is_1_lipschitz_and_positive_on_most(n, d, contamination, levels, margin):
    rows = (gaussian(n, d, seed=n) * 10).remainder(levels).floor()
    network = built(rows, contamination=contamination, margin=margin).double()
    assert lipschitz_bound(network) <= 1 + 1e-5
    share = max(contamination, 0.05)
    assert (network(rows.double()) >= margin - 1e-5).float().mean() >= 1 - share - 1 / n


def test_a_clump_of_outliers_is_no_cluster_of_its_own():
    rows = torch.cat([gaussian(950, 4), 8 + 0.01 * gaussian(50, 4)])
    network = built(rows, contamination=0.05)
    assert network(rows[950:]).max() < network(rows[:950]).min()


def test_copies_of_rows_make_fewer_clusters():
    """Rare rows among copies of a few others do not get a cluster each: their own is far."""
    frequent = torch.tensor([[0.0, 0.0], [1.0, 1.0]]).repeat(500, 1)
    rare = torch.tensor([[0.0, 1.0], [1.0, 0.0]])
    network = built(torch.cat([frequent, rare]))
    points = [m for m in network.modules() if isinstance(m, NearestBox)]
    assert max(len(layer.centers) for layer in points) <= 4
    assert network(rare).max() < network(frequent).min()


@pytest.mark.parametrize("seed", [39, 378, 405, 516])
def test_features_that_are_constant_in_a_cluster_leave_its_box_finite(seed):
    """The mean of copies is rounded: LAPACK's single precision cannot square what remains."""
    generator = torch.Generator().manual_seed(seed)
    informative = torch.randn(100, 2, generator=generator).round(decimals=1)
    constant = torch.randn(1, 7, generator=generator).expand(100, 7)
    rows = torch.cat([informative, constant], dim=1)
    assert all(weight.isfinite().all() for weight in built(rows, seed=seed).parameters())


@pytest.mark.parametrize("d", [6, 30])
def test_the_widest_side_of_a_box_lies_along_its_rows(d):
    """The rows of each cluster span one direction, fewer than a box has."""
    line = torch.eye(d)[:1]
    rows = gaussian(300, 1, seed=1) * line
    for box in built(rows).modules():
        if isinstance(box, NearestBox) and box.half_width.numel():
            widest = box.half_width.max(dim=1)
            along = box.basis[torch.arange(len(box.basis)), widest.indices] @ line[0]
            spanned = widest.values > 0
            assert spanned.any()
            assert torch.allclose(along[spanned].abs(), torch.ones(()), atol=1e-4)


def test_a_generator_decides_and_the_global_one_stays(global_rngs_untouched):
    rows = gaussian(300, 3)
    first, second = built(rows), built(rows)
    for one, other in zip(first.parameters(), second.parameters(), strict=True):
        assert torch.equal(one, other)


@pytest.mark.parametrize("novelty", [True, False])
@pytest.mark.parametrize(("n", "d"), [(60, 3), (400, 8), (3000, 8)])
def test_training_scores_are_those_of_new_rows(novelty, n, d):
    """On average over fits, new rows exceed the threshold as often as asked."""
    draw = np.random.default_rng(n)
    rates = []
    for seed in range(3):
        X, new = draw.normal(size=(n, d)), draw.normal(size=(1000, d))
        detector = LipOCC(novelty=novelty, contamination=0.2, random_state=seed).fit(X)
        rates.append(detector.predict(new).mean())
    error = np.sqrt(0.2 * 0.8 / (min(n, n // 20 if n >= 2000 else n)) / len(rates))
    assert np.mean(rates) == pytest.approx(0.2, abs=3 * error + 0.02)
