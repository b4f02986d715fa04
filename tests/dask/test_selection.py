from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from small import InBlocks

pytest.importorskip("distributed")
from pyod_lipocc.dask._selection import order_statistics, quantile

SPECIAL = st.sampled_from([0.0, -0.0, 5e-324, -5e-324, 2.5e-310, 1.0, 1.0 + 2**-52, 1e308, -1e308])
COLUMNS = hnp.arrays(
    float,
    st.tuples(st.integers(1, 30), st.just(1)),
    elements=SPECIAL | st.floats(allow_nan=False, allow_infinity=False),
)


@st.composite
def tables(draw):
    column = draw(COLUMNS)
    cuts = draw(st.lists(st.integers(0, len(column)), max_size=4))
    return column.ravel(), InBlocks(np.split(column, sorted(cuts)))


@given(tables())
def test_order_statistics_are_those_of_sorting(case):
    values, table = case
    found = order_statistics(table, np.arange(len(values)))
    np.testing.assert_array_equal(found, np.sort(values))


@given(tables(), st.floats(0, 1) | st.sampled_from([0.0, 0.5, 0.9, 1.0]))
def test_a_quantile_has_the_bits_of_numpy(case, q):
    values, table = case
    with np.errstate(over="ignore", invalid="ignore"):  # of a difference of two values
        expected = np.quantile(values, q)
        assert quantile(table, q) == expected or np.isnan(expected)


@pytest.mark.parametrize("wrong", [np.nan, np.inf, -np.inf])
def test_infinities_are_refused(wrong):
    with pytest.raises(ValueError, match="finite"):
        quantile(InBlocks([np.array([[0.0], [wrong]])]), 0.5)
