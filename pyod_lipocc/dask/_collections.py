"""Dask arrays and dataframes: their blocks, and functions of their blocks."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
from sklearn.utils.validation import validate_data

from pyod_lipocc._extras import import_extra
from pyod_lipocc._rows import check_rows
from pyod_lipocc._table import Rows
from pyod_lipocc.dask._allocator import reuse_temporaries
from pyod_lipocc.detector import LipOCC

__all__ = ["blocks", "check_columns", "is_collection", "lazily"]

dask = import_extra("dask", "dask")
da = import_extra("dask.array", "dask")
dd = import_extra("dask.dataframe", "dask")
pd = import_extra("pandas", "dask")


def is_collection(X: Any) -> bool:
    """Tell a dask array or dataframe from everything else."""
    return isinstance(X, (da.Array, dd.DataFrame))


def check_columns(estimator: Any, X: Any, *, reset: bool) -> None:
    """Check number and names of the columns as scikit-learn does; read nothing."""
    if X.ndim != 2 or not np.isfinite(X.shape[1]):
        raise ValueError(f"X must be a matrix of a known number of columns, got {X!r}")
    columns = X._meta if isinstance(X, dd.DataFrame) else np.empty((1, X.shape[1]))
    validate_data(estimator, columns, reset=reset, skip_check_array=True)


def blocks(X: Any, described: LipOCC) -> list[Any]:
    """Return tasks that give the rows of each partition as an array that has been checked."""
    parts = X.to_delayed() if isinstance(X, dd.DataFrame) else _whole_rows(X).to_delayed().ravel()
    checked = dask.delayed(_checked)
    return [checked(part, described, number) for number, part in enumerate(parts)]


def lazily(
    name: str,
    X: Any,
    model: Any,
    /,
    *,
    dtype: Any = np.float64,
    columns: Sequence[Any] | None = None,
    **options: Any,
) -> Any:
    """Call a method of a model with each partition of X.

    Parameters
    ----------
    name : str
        Of the method, which returns an array of shape (n,), or (n, k) where there are `columns`.
    X : dask array or dataframe
    model : object
        One task of the graph, whatever the number of partitions.
    dtype : numpy type
        Of the result.
    columns : sequence or None
        Names of the k columns.
    **options
        Of the method.

    Returns
    -------
    result : dask array, series or dataframe
        With the chunks or the index of X.
    """
    shape = (0,) if columns is None else (0, len(columns))
    empty = np.empty(shape, dtype)
    task = dask.delayed(model, pure=True)
    call = partial(_call, name, options)
    if isinstance(X, da.Array):
        whole = _whole_rows(X)
        grid = {"drop_axis": 1} if columns is None else {"chunks": (X.chunks[0], (len(columns),))}
        return da.map_blocks(_of_array, whole, task, call, empty, meta=empty, **grid)
    meta = _labelled(empty, X._meta.index[:0], columns, name)
    return X.map_partitions(_of_frame, task, call, meta, meta=meta)


def _call(name: str, options: dict[str, Any], part: Any, model: Any) -> Rows:
    reuse_temporaries()
    answer: Rows = getattr(model, name)(part, **options)
    return answer


def _whole_rows(X: Any) -> Any:
    """Return an array whose chunks hold whole rows."""
    return X if X.numblocks[1] == 1 else X.rechunk({1: -1})


def _of_array(block: Rows, model: Any, function: Any, empty: Rows, block_id: Any = None) -> Rows:
    return _of_partition(block, model, function, empty, block_id[0] if block_id else 0)


def _of_frame(frame: Any, model: Any, function: Any, meta: Any, partition_info: Any = None) -> Any:
    number = partition_info["number"] if partition_info else 0
    columns, name = getattr(meta, "columns", None), getattr(meta, "name", None)
    values = _of_partition(frame, model, function, meta.to_numpy(), number)
    return _labelled(values, frame.index, columns, name)


def _of_partition(part: Any, model: Any, function: Any, empty: Rows, number: int) -> Rows:
    return _named(lambda: function(part, model), number) if len(part) else empty


def _labelled(values: Rows, index: Any, columns: Any, name: Any) -> Any:
    if columns is None:
        return pd.Series(values, index=index, name=name)
    return pd.DataFrame(values, index=index, columns=columns)


def _checked(part: Any, described: LipOCC, number: int) -> Rows:
    if not len(part):
        return np.empty((0, described.n_features_in_))
    return _named(lambda: check_rows(described, part, reset=False), number)


def _named(answer: Callable[[], Rows], number: int) -> Rows:
    """Call a function; name the partition in its errors."""
    try:
        return answer()
    except (ValueError, TypeError) as error:
        raise type(error)(f"partition {number} of X: {error}") from error
