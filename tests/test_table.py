from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from small import small

from pyod_lipocc._chunks import chunk_size
from pyod_lipocc._table import Table
from pyod_lipocc.learning import learn
from pyod_lipocc.recipe import Recipe


@given(n=st.integers(1, 3 * chunk_size(1)), data=st.data())
def test_a_table_is_the_rows_that_are_left(n, data):
    X = np.arange(n)[:, None]
    left_out = np.array(data.draw(st.lists(st.integers(0, n - 1), unique=True)), dtype=int)
    left, table = np.delete(X, left_out, axis=0), Table.of(X).without(left_out)
    assert table.shape == left.shape
    assert len(table) == len(left)
    np.testing.assert_array_equal(table.original(np.arange(len(left))), left[:, 0])
    if len(left):
        blocks = table.fold(lambda rows: [rows], lambda some, more: some + more)
        np.testing.assert_array_equal(np.concatenate(blocks), left)
        assert max(map(len, blocks)) <= chunk_size(1)
        chosen = np.arange(0, len(left), 3)
        doubled = table.take(chosen, lambda rows: 2 * rows, np.float32)
        np.testing.assert_array_equal(doubled, 2 * left[chosen])
        assert doubled.dtype == np.float32


def test_a_table_stands_for_itself():
    table = Table.of(np.eye(2))
    assert Table.of(table) is table


@pytest.mark.parametrize("threshold", ["contamination", "conformal"])
def test_learning_from_a_memory_map_copies_no_rows_but_those_it_trains_on(tmp_path, threshold):
    shape = (100_000, 20)
    X = np.lib.format.open_memmap(tmp_path / "rows.npy", mode="w+", dtype=float, shape=shape)
    X[:] = np.random.default_rng(0).normal(size=shape)
    recipe = Recipe.of(small(max_iter=1, novelty=True, threshold=threshold).get_params())
    rng = np.random.default_rng(0)
    held_out = recipe.hold_out(len(X), False, rng)
    assert len(held_out)
    learn(X[:1000], recipe, rng)  # loads what is loaded lazily
    tracemalloc.start()
    learn(Table.of(X).without(held_out), recipe, rng)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    trained_on = X.size * np.dtype(np.float32).itemsize
    assert peak < trained_on + X.nbytes / 4


@pytest.mark.parametrize("threshold", ["contamination", "conformal"])
def test_of_many_rows_few_are_held_out_in_little_memory(threshold):
    rule, n = Recipe.of(small(threshold=threshold).get_params()).rule, 10**8
    tracemalloc.start()
    held_out = rule.hold_out(n, False, np.random.default_rng(0))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < n / 8
    assert len(np.unique(held_out)) == len(held_out) <= 100_000
    assert 0 <= held_out.min() < n / 2 < held_out.max() < n
