"""Scores of the training rows as a column of blocks."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from pyod_lipocc._confidence import Reference, quantiles
from pyod_lipocc._extras import import_extra
from pyod_lipocc._isolation import isolated
from pyod_lipocc._moments import extremes, moments
from pyod_lipocc._table import Indices, Rows
from pyod_lipocc.dask._allocator import reuse_temporaries
from pyod_lipocc.dask._blocks import Blocks
from pyod_lipocc.dask._selection import quantile
from pyod_lipocc.learning import Learned, rise, scored
from pyod_lipocc.recipe import Recipe

__all__ = ["Column", "summary", "training_scores"]

dask = import_extra("dask", "dask")

Floats = npt.NDArray[np.float64]

_SAMPLE = 2**16  # scores among which the values of a summary are chosen


class Column(Blocks):
    """Blocks of one column, which a measure sees whole: they are small."""

    in_chunks = False

    def chosen(self, rows: Indices) -> Floats:
        """Return the values of rows, in their order."""
        if not len(rows):
            return np.empty(0)
        order = np.argsort(rows, kind="stable")
        values = np.empty(len(rows))
        values[order] = self.take(rows[order], np.asarray, np.float64)[:, 0]
        return values


def training_scores(learned: Learned, recipe: Recipe, table: Blocks, held_out: Indices) -> Column:
    """Score the training rows as `learning.training_scores` does, in the same bits.

    The scores stay where they are computed. What gets lost is computed again.
    """
    distance, own, aligned = dask.delayed(learned.distance), learned.own, table.aligned()
    honest: list[Any] = [np.empty(0)] * len(aligned.blocks)
    if len(own):
        leave_own_out = partial(scored, learned.distance, leave_own_out=True)
        together = table.take(own, np.asarray, np.float64, leave_own_out)
        honest = np.split(together, np.cumsum([*map(len, aligned.parts(own))])[:-1])
    folded = aligned.parts(learned.folded)
    lowered = np.split(learned.lowered, np.cumsum([*map(len, folded)])[:-1])
    tasks = zip(aligned.blocks, aligned.parts(own), honest, folded, lowered, strict=True)
    parts = dask.persist(*(dask.delayed(_scored)(*task, distance) for task in tasks))
    scores = Column(parts, aligned.lengths, 1)
    if len(own) or len(learned.folded) or not len(held_out):
        return scores
    level = 1 - recipe.rule.share_of_outliers
    raised = rise(scores.chosen(held_out), quantile(scores.without(held_out), level), level)
    raising, left_out = dask.delayed(_raised), aligned.parts(np.sort(held_out))
    parts = dask.persist(*(raising(*pair, raised) for pair in zip(parts, left_out, strict=True)))
    return Column(parts, aligned.lengths, 1)


def summary(scores: Column) -> Reference:
    """Return the scores in brief: the counts are exact, the values evenly spaced in a sample."""
    n = len(scores)
    sample = scores.chosen(np.linspace(0, n - 1, min(n, _SAMPLE)).astype(np.intp))
    (low,), (high,) = extremes(scores)
    values = np.unique((low, *quantiles(np.sort(sample)), high))
    below, at_most = scores.fold(partial(_counts, values), np.add)
    (mean,), (deviation,) = moments(scores)
    return Reference(n, float(mean), float(deviation), values, below, at_most)


def _counts(values: Floats, rows: Rows) -> Any:
    ordered = np.sort(rows[:, 0])
    return np.stack([np.searchsorted(ordered, values, side) for side in ("left", "right")])


@isolated()
def _scored(
    block: Rows, own: Indices, honest: Floats, folded: Indices, lowered: Floats, distance: Any
) -> Floats:
    reuse_temporaries()
    scores = scored(distance, block)
    scores[own] = honest
    scores[folded] += lowered
    return scores[:, None]


def _raised(scores: Floats, held_out: Indices, by: float) -> Floats:
    raised = scores + by
    raised[held_out] = scores[held_out]
    return raised
