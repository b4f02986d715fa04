"""The same rows as dask collections of any partitions."""

from __future__ import annotations

import dask.array as da
import dask.dataframe as dd
import numpy as np
import pandas as pd

NAMES = [f"sensor {i}" for i in range(3)]


def cut(X, lengths):
    return np.split(X, np.cumsum(lengths)[:-1])


def array(X, lengths):
    """Return an array whose chunks have unknown lengths where one of them is 0."""
    parts = [da.from_array(part, chunks=part.shape) for part in cut(X, lengths) if len(part)]
    whole = da.concatenate(parts)
    return whole if all(lengths) else whole[whole[:, 0] < np.inf]


def frame(X, lengths):
    """Return a dataframe with an index of its own; partitions may be empty."""
    rows = pd.DataFrame(X, columns=NAMES[: X.shape[1]], index=2 * np.arange(len(X)) + 5)
    parts = np.split(np.arange(len(X)), np.cumsum(lengths)[:-1])
    return dd.from_map(rows.iloc.__getitem__, parts, meta=rows[:0])
