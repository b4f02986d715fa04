"""Rows as arrays of real numbers, or an error that names the column and shows the way out."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.base import BaseEstimator
from sklearn.utils.validation import validate_data

__all__ = ["check_rows"]

_NAMED = 5  # columns, in a message


def check_rows(estimator: BaseEstimator, X: Any, *, reset: bool) -> npt.NDArray[Any]:
    """Validate rows as scikit-learn does, with errors that say what to do.

    Parameters
    ----------
    estimator : BaseEstimator
        Whose `n_features_in_` and `feature_names_in_` X must have.
    X : array-like of shape (n, d)
    reset : bool
        Take the width and the names from X.

    Returns
    -------
    rows : ndarray of shape (n, d)
        Of the type of X: bool, int, unsigned or float.

    Raises
    ------
    ValueError, TypeError
        If X is not a finite real matrix, or has other columns.
    """
    try:
        rows: npt.NDArray[Any] = validate_data(estimator, X, reset=reset, dtype="numeric")
    except (ValueError, TypeError) as error:
        message = _diagnosis(X, str(error), type(estimator).__name__)
        if message is None:
            raise
        raise (TypeError if isinstance(error, TypeError) else ValueError)(message) from error
    if rows.dtype.kind not in "biuf":
        # Dates, and categories of some frames.
        received = f"got {rows.dtype}"
        message = _diagnosis(X, received, type(estimator).__name__)
        raise ValueError(message or f"X must hold real numbers, {received}")
    return rows


def _diagnosis(X: Any, error: str, caller: str) -> str | None:
    """Say which columns are at fault; None where no column is."""
    text: dict[str, str] = {}
    missing: dict[str, str] = {}
    infinite: dict[str, str] = {}
    for name, column in _columns(X):
        numbers, others = _split(column)
        if len(others):
            text[name] = f"such as {others[0]!r}"
        for found, count in (
            (missing, np.count_nonzero(np.isnan(numbers))),
            (infinite, np.count_nonzero(np.isinf(numbers))),
        ):
            if count:
                found[name] = f"{count} of {len(column)} rows"
    if text:
        return (
            f"X must hold numbers, got other values in {_listed(text)}: {error}. Encode them "
            "first, for instance\n"
            "    from sklearn.compose import make_column_transformer\n"
            "    from sklearn.pipeline import make_pipeline\n"
            "    from sklearn.preprocessing import OneHotEncoder\n"
            "    encoder = OneHotEncoder(handle_unknown='ignore', sparse_output=False)\n"
            f"    columns = make_column_transformer((encoder, [{', '.join(text)}]), "
            "remainder='passthrough')\n"
            f"    detector = make_pipeline(columns, {caller}())"
        )
    if missing:
        return (
            f"X must not hold missing values, got NaN in {_listed(missing)}. Impute them first, "
            "for instance\n"
            "    from sklearn.impute import SimpleImputer\n"
            "    from sklearn.pipeline import make_pipeline\n"
            f"    detector = make_pipeline(SimpleImputer(strategy='median'), {caller}())"
        )
    if infinite:
        return f"X must hold finite numbers, got infinity in {_listed(infinite)}"
    return None


def _listed(columns: dict[str, str]) -> str:
    shown = [f"{name} ({found})" for name, found in columns.items()][:_NAMED]
    more = f" and {len(columns) - _NAMED} more" if len(columns) > _NAMED else ""
    return f"column{'s' * (len(columns) > 1)} {', '.join(shown)}{more}"


def _columns(X: Any) -> Iterator[tuple[str, npt.NDArray[Any]]]:
    """Iterate over the columns of a frame or a matrix, each with its name as Python writes it."""
    names = [*getattr(X, "columns", ())]
    if names and len({*names}) == len(names):
        yield from ((repr(name), np.asarray(X[name])) for name in names)
        return
    try:
        matrix = np.asarray(X)
    except ValueError:  # rows of different lengths
        return
    if matrix.ndim == 2:
        yield from ((str(index), matrix[:, index]) for index in range(matrix.shape[1]))


def _split(column: npt.NDArray[Any]) -> tuple[npt.NDArray[np.float64], list[Any]]:
    """Return the numbers of a column, None among them as NaN, and an example of other values."""
    if column.dtype.kind in "biuf":
        return column.astype(np.float64), []
    if column.dtype.kind in "cmM":
        return np.empty(0), [column[0]] if column.dtype.kind != "c" else []
    numbers = []
    for value in column:
        try:
            numbers.append(np.nan if _is_missing(value) else float(value))
        except (TypeError, ValueError):
            return np.empty(0), [value]
    return np.array(numbers, dtype=np.float64), []


def _is_missing(value: Any) -> bool:
    """Tell None and pandas' NA, which this package does not import."""
    return value is None or type(value).__name__ == "NAType"
