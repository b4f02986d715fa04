"""The formats of files: arrays by name out of .npz and .mat, columns out of .csv and .parquet.

Nothing in a file can run code.
"""

from __future__ import annotations

import reprlib
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any, BinaryIO, NamedTuple

import numpy as np
import scipy.io
from numpy.typing import NDArray

from pyod_lipocc._checks import listed
from pyod_lipocc._extras import import_extra
from pyod_lipocc.datasets._csv import read_csv
from pyod_lipocc.datasets._labels import candidates, plain

__all__ = ["READERS", "Content"]


class Content(NamedTuple):
    """What a file holds.

    Attributes
    ----------
    X : array or None
    labels : dict of str to array
        The columns or arrays that may be the labels, by name.
    names : list of str
        Names of all columns, or of all arrays but X.
    feature_names : tuple of str or None
        Names of the columns of X.
    no_numbers : dict of int to str
        A value of each column that does not hold numbers, by the column's position in `names`.
    left_out : tuple of str
        Names of the columns that the file declares to be an index; `names` lacks them.
    lines : sequence of int
        The line of the file where each row starts, if the file has lines.
    """

    X: Any
    labels: dict[str, Any]
    names: list[str]
    feature_names: tuple[str, ...] | None = None
    no_numbers: dict[int, str] = {}
    left_out: tuple[str, ...] = ()
    lines: Sequence[int] = ()


def _read_npz(file: BinaryIO, label: str | None, _: str) -> Content:
    with np.lib.npyio.NpzFile(file, allow_pickle=False) as archive:
        names = [name for name in archive.files if name != "X"]
        labels = {name: archive[name] for name in candidates(names, label)}
        return Content(archive.get("X"), labels, names)


def _read_mat(file: BinaryIO, label: str | None, _: str) -> Content:
    try:
        names = [name for name, _, _ in scipy.io.whosmat(file) if name != "X"]
        arrays = scipy.io.loadmat(file, variable_names=["X", *candidates(names, label)])
    except NotImplementedError as error:
        raise ValueError(
            "it is in MATLAB's format v7.3; save it again with '-v7', or read it with h5py and "
            "write X and y with numpy.savez"
        ) from error
    labels = {name: arrays[name] for name in candidates(names, label)}
    return Content(arrays.get("X"), labels, names)


def _read_csv(file: BinaryIO, label: str | None, separator: str) -> Content:
    names, rows, no_numbers, lines = read_csv(file, separator)
    _check_duplicates([name for name in names if name.strip()])
    return _split(names, rows, no_numbers, label)._replace(lines=lines)


def _read_parquet(file: BinaryIO, label: str | None, _: str) -> Content:
    types = import_extra("pyarrow", "data").types
    table = import_extra("pyarrow.parquet", "data").ParquetFile(file).read()
    names = list(table.column_names)
    _check_duplicates(names)
    declared = (table.schema.pandas_metadata or {}).get("index_columns", [])
    index = tuple(name for name in names if name in declared)
    table = table.drop_columns(list(index))
    columns, no_numbers = [], {}
    for i, column in enumerate(table.columns):
        is_number = (types.is_integer, types.is_floating, types.is_boolean, types.is_decimal)
        if any(holds(column.type) for holds in (*is_number, types.is_null)):
            columns.append(np.asarray(column.to_numpy(), dtype=np.float64))
        else:
            columns.append(np.full(len(column), np.nan))
            no_numbers[i] = f"{_first_value(column)} of type {column.type}"
    rows = np.stack(columns, axis=1) if columns else np.empty((len(table), 0))
    return _split(table.column_names, rows, no_numbers, label)._replace(left_out=index)


def _first_value(column: Any) -> str:
    try:
        values = column.drop_null()[:1].to_pylist()
    except (OverflowError, ValueError):  # times that Python's datetime does not hold
        return "values"
    return reprlib.repr(str(values[0] if values else None))


def _check_duplicates(names: list[str]) -> None:
    several = [repr(name) for name, count in Counter(names).items() if count > 1]
    if several:
        raise ValueError(f"names of columns must differ, got more than one {listed(several)}")


def _split(
    names: list[str], rows: NDArray[np.float64], no_numbers: dict[int, str], label: str | None
) -> Content:
    """Part the columns of a table into features and labels."""
    labels = {name: rows[:, names.index(name)] for name in candidates(names, label)}
    if label is None and "x" in map(plain, names):
        # Beside x, y is a coordinate unless it holds 0 and 1 only.
        labels = {
            name: column
            for name, column in labels.items()
            if plain(name) != "y" or np.isin(column, [0, 1]).all()
        }
    features = [i for i, name in enumerate(names) if name not in labels]
    feature_names = tuple(names[i] for i in features)
    return Content(rows[:, features], labels, names, feature_names, no_numbers)


READERS: dict[str, Callable[[BinaryIO, str | None, str], Content]] = {
    ".npz": _read_npz,
    ".mat": _read_mat,
    ".csv": _read_csv,
    ".parquet": _read_parquet,
}
