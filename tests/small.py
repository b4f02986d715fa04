"""The detector that the tests of the detector share: small, quick and seeded."""

from __future__ import annotations

from functools import partial, reduce

import numpy as np

from pyod_lipocc import LipOCC
from pyod_lipocc._table import Table
from pyod_lipocc.lipschitz import dense

NONE = np.empty(0, dtype=int)


def small(**parameters):
    quick = {"max_iter": 30, "network": partial(dense, hidden=(16, 16)), "random_state": 0}
    return LipOCC(**(quick | parameters))


def cloud(n_rows=100, n_features=3, seed=0):
    return np.random.default_rng(seed).normal(size=(n_rows, n_features))


def fitted_state(detector):
    """Everything a failed call must leave alone: the names on the object and what it answers."""
    answers = detector.decision_function(cloud(20)) if hasattr(detector, "network_") else None
    return sorted(vars(detector)), answers


def assert_untouched(detector, before):
    names, answers = fitted_state(detector)
    assert names == before[0]
    np.testing.assert_array_equal(answers, before[1])


class InBlocks(Table):
    """Rows in blocks of any lengths."""

    def __init__(self, blocks, left_out=NONE):
        super().__init__(sum(map(len, blocks)), blocks[0].shape[1], left_out)
        self.blocks = blocks

    def without(self, rows):
        return type(self)(self.blocks, np.sort(rows))

    def fold(self, measure, merge, progress=None):
        starts = np.cumsum([0, *map(len, self.blocks)])
        left = (self._left_in(rows, n) for rows, n in zip(self.blocks, starts, strict=False))
        return reduce(merge, (measure(rows) for rows in left if len(rows)))

    def take(self, chosen, convert, dtype, use=lambda rows: rows):
        rows = np.concatenate(self.blocks)[self.original(chosen)]
        return use(convert(rows).astype(dtype))
