from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from small import InBlocks

from pyod_lipocc._moments import extremes, moments
from pyod_lipocc._table import Table

EPS = np.finfo(float).eps
MODERATE = st.floats(-1e100, 1e100, allow_subnormal=True)
COLUMNS = hnp.arrays(float, st.tuples(st.integers(1, 40), st.just(1)), elements=MODERATE)


def exactly(column):
    """Return mean and deviation by rational numbers."""
    values = [Fraction(float(value)) for value in column]
    mean = sum(values) / len(values)
    variance = sum((value - mean) ** 2 for value in values) / len(values)
    return float(mean), math.sqrt(variance)


@given(X=COLUMNS, data=st.data())
def test_neither_order_nor_blocks_change_a_bit(X, data):
    order = data.draw(st.permutations(range(len(X))))
    cuts = data.draw(st.lists(st.integers(0, len(X))))
    parts = np.split(X[order], sorted(cuts))
    for alike in (False, True):
        whole = moments(Table.of(X), alike=alike)
        np.testing.assert_array_equal(moments(InBlocks(parts), alike=alike), whole)


@given(X=COLUMNS)
def test_they_are_those_of_rational_numbers(X):
    (mean,), (deviation,) = moments(Table.of(X))
    true_mean, true_deviation = exactly(X[:, 0])
    largest = np.abs(X).max()
    assert abs(mean - true_mean) <= 2 * EPS * largest
    # A deviation that rounding of the mean could have made is 0.
    assert deviation == pytest.approx(true_deviation, rel=1e-12, abs=128 * EPS * abs(mean) + 1e-290)


@given(X=COLUMNS)
def test_rows_that_come_twice_change_nothing(X):
    once, twice = moments(Table.of(X)), moments(Table.of(np.concatenate((X, X))))
    np.testing.assert_allclose(twice, once, rtol=4 * EPS)


def test_outliers_take_no_digit_from_the_deviation(rng):
    X = rng.standard_normal((1000, 1))
    X[0] = 1e6
    np.testing.assert_allclose(moments(Table.of(X))[1], exactly(X[:, 0])[1], rtol=4 * EPS)


def test_features_that_are_alike_are_one(rng):
    X = rng.standard_normal((50, 3)) * [1.0, 5.0, 0.1]
    mean, deviation = moments(Table.of(X), alike=True)
    assert mean.shape == deviation.shape == (1,)
    np.testing.assert_allclose((mean[0], deviation[0]), (X.mean(), X.std()))


@given(X=COLUMNS)
def test_extremes(X):
    np.testing.assert_array_equal(extremes(Table.of(X)), (X.min(axis=0), X.max(axis=0)))
