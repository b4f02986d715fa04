"""Rows as arrays of real numbers, or an error that names the column and shows the way out."""

from __future__ import annotations

import reprlib
from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.base import BaseEstimator
from sklearn.utils.validation import validate_data

__all__ = ["check_rows"]

_NAMED = 5  # columns, in a message
_LONGEST = 200  # characters of another message in it


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
    except (ValueError, TypeError, OverflowError) as error:
        other_columns = not reset and _has_other_columns(estimator, X)
        message = None if other_columns else _diagnosis(X, str(error), type(estimator).__name__)
        if message is None:
            raise
        raise (TypeError if isinstance(error, TypeError) else ValueError)(message) from error
    if rows.dtype.kind not in "biuf":
        # Dates, and categories of some frames.
        received = f"got {rows.dtype}"
        message = _diagnosis(X, received, type(estimator).__name__)
        raise ValueError(message or f"X must hold real numbers, {received}")
    return rows


def _has_other_columns(estimator: Any, X: Any) -> bool:
    """Tell whether a frame has other columns than that of the fit: values come second."""
    names = [*getattr(X, "columns", ())]
    return bool(names) and names != [*getattr(estimator, "feature_names_in_", names)]


def _diagnosis(X: Any, error: str, caller: str) -> str | None:
    """Say which columns are at fault; None where no column is, or the rows cannot be read."""
    try:
        return _described(X, error, caller)
    except Exception:  # of whatever object the rows are
        return None


def _described(X: Any, error: str, caller: str) -> str | None:
    text: dict[str, str] = {}
    missing: dict[str, str] = {}
    infinite: dict[str, str] = {}
    dates = []
    for name, column in _columns(X):
        numbers, others = _split(column)
        if others:
            text[name] = f"such as {reprlib.repr(others[0])}"
            dates += [name] if column.dtype.kind in "mM" else []
        for found, count in (
            (missing, np.count_nonzero(np.isnan(numbers))),
            (infinite, np.count_nonzero(np.isinf(numbers))),
        ):
            if count:
                found[name] = f"{count} of {len(column)} rows"
    if dates:
        return (
            f"X must hold numbers, got other values in {_listed(text)}: turn dates into numbers "
            "first, such as days since a first date"
        )
    impute = ["SimpleImputer(strategy='median')"] if missing else []
    imports = ["    from sklearn.impute import SimpleImputer\n"] if missing else []
    if text:
        return (
            f"X must hold numbers, got other values in {_listed(text)}: "
            f"{error.splitlines()[0][:_LONGEST]}. Encode them first, for instance\n"
            "    from sklearn.compose import make_column_transformer\n"
            f"{''.join(imports)}"
            "    from sklearn.pipeline import make_pipeline\n"
            "    from sklearn.preprocessing import OneHotEncoder\n"
            "    encoder = OneHotEncoder(handle_unknown='ignore', sparse_output=False)\n"
            f"    columns = make_column_transformer((encoder, [{', '.join(text)}]), "
            "remainder='passthrough')\n"
            f"    detector = make_pipeline({', '.join(['columns', *impute, f'{caller}()'])})"
        )
    if missing:
        also = f", and infinity in {_listed(infinite)}" if infinite else ""
        return (
            f"X must not hold missing values, got NaN in {_listed(missing)}{also}. Impute them "
            "first, for instance\n"
            f"{''.join(imports)}"
            "    from sklearn.pipeline import make_pipeline\n"
            f"    detector = make_pipeline({', '.join([*impute, f'{caller}()'])})"
        )
    if infinite:
        return f"X must hold finite numbers, got infinity in {_listed(infinite)}"
    return None


def _listed(columns: dict[str, str]) -> str:
    shown = [f"{name} ({found})" for name, found in columns.items()][:_NAMED]
    more = f" and {len(columns) - _NAMED} more" if len(columns) > _NAMED else ""
    return f"column{'s' * (len(columns) > 1)} {', '.join(shown)}{more}"


def _columns(X: Any) -> Iterator[tuple[str, npt.NDArray[Any]]]:
    """Iterate over the columns of a frame or a matrix.

    A column has its name, as Python writes it, where all have different texts as names; else its
    position, by which scikit-learn finds it too.
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
    """Return the numbers of a column, None among them as NaN, and an example of other values."""
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
    """Tell None and pandas' NA, which this package does not import."""
    return value is None or type(value).__name__ == "NAType"
