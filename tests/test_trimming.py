from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from pyod_lipocc.trimming import inliers, least

SHARES = st.floats(0.001, 0.5)
ROWS = hnp.arrays(
    float, hnp.array_shapes(min_dims=2, max_dims=2, max_side=30), elements=st.floats(-1e3, 1e3)
)


def generator(seed=0):
    return np.random.default_rng(seed)


def with_clump(n, contamination, d=3, seed=1, radius=0.01):
    """Normal rows, and c n outliers that lie on each other's heels; the outliers come last."""
    draw = np.random.default_rng(seed)
    n_outliers = int(contamination * n)
    outliers = 6 + radius * draw.normal(size=(n_outliers, d))
    return np.concatenate([draw.normal(size=(n - n_outliers, d)), outliers]), n_outliers


@given(ROWS, SHARES, st.integers(0, 99))
def test_sorted_unique_and_at_least_half(rows, contamination, seed):
    kept = inliers(rows, contamination, generator(seed))
    assert (np.diff(kept) > 0).all()
    assert set(kept) <= set(range(len(rows)))
    assert len(kept) == len(rows) - int(min(2 * contamination, 0.5) * len(rows))
    assert 2 * len(kept) >= len(rows)
    np.testing.assert_array_equal(kept, inliers(rows, contamination, generator(seed)))


@given(hnp.arrays(float, st.integers(1, 30), elements=st.integers(0, 9)), SHARES)
def test_no_row_that_is_left_out_is_less_outlying(outlyingness, contamination):
    kept = least(outlyingness, contamination)
    left_out = np.delete(outlyingness, kept)
    assert len(left_out) == int(min(2 * contamination, 0.5) * len(outlyingness))
    assert outlyingness[kept].max() <= left_out.min(initial=np.inf)


@pytest.mark.parametrize("n", [50, 200, 1000])
@pytest.mark.parametrize("contamination", [0.02, 0.1, 0.25])
def test_a_clump_of_the_budget_is_left_out_whole(n, contamination):
    rows, n_outliers = with_clump(n, contamination)
    kept = inliers(rows, contamination, generator())
    assert kept.max() < n - n_outliers


@pytest.mark.parametrize("d", [2, 10, 50])
def test_a_clump_that_is_no_farther_than_rows_are_from_each_other(d):
    """All rows of many features are far from each other: those that are not are a clump."""
    draw = generator(2)
    rows = np.concatenate([draw.normal(size=(360, d)), 0.01 * draw.normal(size=(40, d))])
    rows[360:] += 4.5 / np.sqrt(d) + np.sqrt(d) / 4
    assert inliers(rows, 0.1, generator()).max() < 360


@pytest.mark.parametrize("seed", range(2))
def test_a_clump_among_more_rows_than_are_references(seed):
    rows, n_outliers = with_clump(4000, 0.1)
    assert inliers(rows, 0.1, generator(seed)).max() < 4000 - n_outliers


def test_scattered_outliers_are_left_out():
    rows, _ = with_clump(400, 0.1, radius=30.0)
    far = np.linalg.norm(rows, axis=1) > 6
    assert not far[inliers(rows, 0.1, generator())].any()


@given(st.integers(0, 999), st.sampled_from([0.05, 0.2, 0.5]))
def test_the_order_of_the_rows_does_not_matter(seed, contamination):
    rows, _ = with_clump(60, contamination)
    order = generator(seed).permutation(len(rows))
    kept = inliers(rows, contamination, generator(seed + 1))
    shuffled = inliers(rows[order], contamination, generator(seed + 2))
    np.testing.assert_array_equal(np.sort(order[shuffled]), kept)


@given(hnp.arrays(float, 3, elements=st.floats(-1e3, 1e3)), st.floats(1e-3, 1e3))
def test_nor_do_the_origin_and_the_unit(shift, unit):
    rows, _ = with_clump(60, 0.1)
    kept = inliers(rows, 0.1, generator())
    np.testing.assert_array_equal(inliers(unit * (rows + shift), 0.1, generator()), kept)


def test_nor_does_the_precision():
    rows, _ = with_clump(300, 0.1)
    kept = inliers(rows, 0.1, generator())
    np.testing.assert_array_equal(inliers(rows.astype(np.float32), 0.1, generator()), kept)


@pytest.mark.parametrize("rows", [np.ones((1, 3)), np.ones((2, 1)), np.ones((40, 2)), np.eye(7)])
@pytest.mark.parametrize("contamination", [0.01, 0.5])
def test_degenerate_data(rows, contamination):
    kept = inliers(rows, contamination, generator())
    assert len(kept) >= max(1, len(rows) / 2)


def test_the_rows_and_global_generators_stay(global_rngs_untouched):
    rows, _ = with_clump(100, 0.1)
    before = rows.copy()
    inliers(rows, 0.1, generator())
    np.testing.assert_array_equal(rows, before)


@pytest.mark.parametrize("n", [1, 50, 9000])
def test_progress_counts_each_row_once(n):
    told = []
    inliers(np.zeros((n, 2)), 0.1, generator(), progress=told.append)
    assert sum(told) == n
