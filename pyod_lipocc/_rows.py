"""Rows as arrays of real numbers, or an error that names the column and shows the way out."""

from __future__ import annotations

import reprlib
from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.base import BaseEstimator
from sklearn.utils.validation import validate_data

from pyod_lipocc._checks import listed

__all__ = ["check_rows"]

_NAMED = 5  # columns that a message names
_LONGEST = 200  # characters of scikit-learn's message that a message quotes


def check_rows(estimator: BaseEstimator, X: Any, *, reset: bool) -> npt.NDArray[Any]:
    """Validate rows as scikit-learn does, with errors that say what to do.

    X must be a finite real matrix of the width and names that the estimator has. With `reset` the
    estimator takes them from X. The rows keep the type of X: bool, int, unsigned or float.
    """
    _check_in_memory(X)
    try:
        rows: npt.NDArray[Any] = validate_data(estimator, X, reset=reset, dtype="numeric")
    except (ValueError, TypeError, OverflowError) as error:
        other_columns = not reset and _has_other_columns(estimator, X)
        message = None if other_columns else _diagnosis(X, str(error), type(estimator).__name__)
        if message is None:
            raise
        raise (TypeError if isinstance(error, TypeError) else ValueError)(message) from error
    if rows.dtype.kind not in "biuf":
        # X holds dates, or a frame's categories.
        received = f"got {rows.dtype}"
        message = _diagnosis(X, received, type(estimator).__name__)
        raise ValueError(message or f"X must hold real numbers, {received}")
    return rows


_ELSEWHERE = {
    "dask": "pyod_lipocc.dask.LipOCC fits and scores it",
    "polars": "call X.collect(), or write it to Parquet for pyod_lipocc.dask.LipOCC",
    "pyspark": "write it to Parquet for pyod_lipocc.dask.LipOCC, or score it by X.mapInPandas",
    "ray": "write it to Parquet for pyod_lipocc.dask.LipOCC, or score it by X.map_batches",
}


def _check_in_memory(X: Any) -> None:
    """Raise TypeError for rows that are elsewhere: to fetch them unasked may fill the memory."""
    kind = type(X)
    package = kind.__module__.partition(".")[0]
    if (package in _ELSEWHERE and not hasattr(X, "__array__")) or package == "dask":
        raise TypeError(
            f"X must be in memory, got {kind.__module__}.{kind.__qualname__}: {_ELSEWHERE[package]}"
        )


def _has_other_columns(estimator: Any, X: Any) -> bool:
    """Tell whether a frame has other columns than the frame of the fit had."""
    names = [*getattr(X, "columns", ())]
    return bool(names) and names != [*getattr(estimator, "feature_names_in_", names)]


def _diagnosis(X: Any, error: str, caller: str) -> str | None:
    """Say which columns are at fault; None where none is, or the rows cannot be read."""
    try:
        return _described(X, error, caller)
    except Exception:  # X may be any object, and raise anything
        return None


def _described(X: Any, error: str, caller: str) -> str | None:
    text: dict[str, str] = {}
    missing: dict[str, str] = {}
    infinite: dict[str, str] = {}
    dates = False
    for name, column in _columns(X):
        numbers, others = _split(column)
        if others:
            text[name] = f"such as {reprlib.repr(others[0])}"
            dates |= column.dtype.kind in "mM"
        for found, at_fault in ((missing, np.isnan(numbers)), (infinite, np.isinf(numbers))):
            if at_fault.any():
                found[name] = f"{np.count_nonzero(at_fault)} of {len(column)} rows"
    if dates:
        return (
            f"X must hold numbers, got other values in {_named(text)}: turn dates into numbers "
            "first, such as days since a first date"
        )
    if text:
        return (
            f"X must hold numbers, got other values in {_named(text)}: "
            f"{error.splitlines()[0][:_LONGEST]}. Encode them first, for instance"
            f"{_pipeline(caller, encoded=[*text], impute=bool(missing))}"
        )
    if missing:
        also = f", and infinity in {_named(infinite)}" if infinite else ""
        return (
            f"X must not hold missing values, got NaN in {_named(missing)}{also}. Impute them "
            f"first, for instance{_pipeline(caller, encoded=[], impute=True)}"
        )
    return f"X must hold finite numbers, got infinity in {_named(infinite)}" if infinite else None


def _named(columns: dict[str, str]) -> str:
    found = [f"{name} ({found})" for name, found in columns.items()]
    return f"column{'s' * (len(columns) > 1)} {listed(found, _NAMED)}"


def _pipeline(caller: str, *, encoded: list[str], impute: bool) -> str:
    """Write a pipeline that makes numbers of all values, and ends with the caller."""
    steps = ["columns"] * bool(encoded) + ["SimpleImputer(strategy='median')"] * impute
    code = ["from sklearn.compose import make_column_transformer"] * bool(encoded)
    code += ["from sklearn.impute import SimpleImputer"] * impute
    code += ["from sklearn.pipeline import make_pipeline"]
    if encoded:
        code += [
            "from sklearn.preprocessing import OneHotEncoder",
            "encoder = OneHotEncoder(handle_unknown='ignore', sparse_output=False)",
            f"columns = make_column_transformer((encoder, [{', '.join(encoded)}]), "
            "remainder='passthrough')",
        ]
    code += [f"detector = make_pipeline({', '.join([*steps, f'{caller}()'])})"]
    return "".join(f"\n    {line}" for line in code)


def _columns(X: Any) -> Iterator[tuple[str, npt.NDArray[Any]]]:
    """Iterate over the columns of a frame or a matrix, and how scikit-learn finds them.

    A column goes by its name, as Python writes it, where all names are texts and differ; else by
    its position.
    """
    names = [*getattr(X, "columns", ())]
    if names and all(isinstance(name, str) for name in names) and len({*names}) == len(names):
        yield from ((repr(str(name)), np.asarray(X[name])) for name in names)
        return
    if hasattr(X, "iloc"):
        yield from ((str(i), np.asarray(X.iloc[:, i])) for i in range(len(names)))
        return
    try:
        matrix = np.asarray(X)
    except ValueError:  # rows of different lengths
        return
    if matrix.ndim == 2:
        yield from ((str(index), matrix[:, index]) for index in range(matrix.shape[1]))


def _split(column: npt.NDArray[Any]) -> tuple[npt.NDArray[np.float64], list[Any]]:
    """Return the numbers of a column, NaN for None, and an example of the other values."""
    if column.dtype.kind in "biuf":
        return column.astype(np.float64), []
    if column.dtype.kind in "cmM":
        return np.empty(0), [*column[:1]] if column.dtype.kind != "c" else []
    numbers, others = [], []
    for value in column:
        try:
            numbers.append(np.nan if _is_missing(value) else float(value))
        except OverflowError:
            numbers.append(np.inf)
        except (TypeError, ValueError):
            others.append(value)
    return np.array(numbers, dtype=np.float64), others[:1]


def _is_missing(value: Any) -> bool:
    """Tell whether a value is None or pandas' NA; this package does not import pandas."""
    return value is None or type(value).__name__ == "NAType"
