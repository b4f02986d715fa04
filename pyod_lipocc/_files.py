"""Rows and labels out of .npz, .mat, .csv and .parquet files; nothing in a file can run code."""

from __future__ import annotations

from typing import Any, BinaryIO

import numpy as np
import scipy.io
from numpy.typing import NDArray

from pyod_lipocc._fetch import import_extra

__all__ = ["LABEL_NAMES", "SUFFIXES", "parse"]

LABEL_NAMES = ("y", "label", "outlier")
"""Names under which labels are looked for where none is given."""

Table = tuple[Any, dict[str, Any], tuple[str, ...] | None]
"""X, the labels found by name, and the names of the columns of X."""


def parse(
    file: BinaryIO, suffix: str, source: str, label: str | None
) -> tuple[NDArray[np.float64], NDArray[np.int64] | None, tuple[str, ...] | None]:
    """Read an open file.

    Parameters
    ----------
    file : binary file
    suffix : str
        One of `SUFFIXES`.
    source : str
        What error messages call the file.
    label : str or None
        Name of the labels; None takes the one of `LABEL_NAMES` that the file has, if any.

    Returns
    -------
    X : ndarray of shape (n, d)
    y : ndarray of shape (n,) or None
    feature_names : tuple of str or None

    Raises
    ------
    ValueError
        If the file is damaged, without numeric rows, or with other labels than 0 and 1.
    ImportError
        If the format needs the extra `data` and it is not installed.
    """
    accepted = LABEL_NAMES if label is None else (label,)
    try:
        X, labels, feature_names = _READERS[suffix](file, accepted)
    except ImportError:
        raise
    except Exception as error:  # the parsers raise almost anything on a damaged file
        raise ValueError(f"{source} cannot be read as {suffix}: {error}") from error
    if label is not None and label not in labels:
        raise ValueError(f"label must name labels that {source} holds, got {label!r}")
    if len(labels) > 1:
        raise ValueError(f"label must say which of {', '.join(labels)} in {source} to take")
    if X is None:
        raise ValueError(f"{source} must hold an array X of shape (n, d)")
    X = _numbers(X, f"X in {source}")
    if X.ndim != 2 or X.size == 0:
        raise ValueError(f"X in {source} must have a shape (n, d), not empty, got {X.shape}")
    y = None
    for name, values in labels.items():
        y = _binary(values, f"{name} in {source}", len(X))
    return X, y, feature_names


def _numbers(values: Any, what: str) -> NDArray[np.float64]:
    array = np.asarray(values)
    if array.dtype.kind not in "biuf":
        raise ValueError(f"{what} must hold real numbers, got dtype {array.dtype}")
    return np.ascontiguousarray(array, dtype=np.float64)


def _binary(values: Any, what: str, n_rows: int) -> NDArray[np.int64]:
    labels = _numbers(values, what).ravel()
    if len(labels) != n_rows:
        raise ValueError(f"{what} must have a label for each of {n_rows} rows, got {len(labels)}")
    others = np.setdiff1d(labels, [0.0, 1.0])
    if len(others) > 0:
        raise ValueError(f"{what} must hold 0 (normal) and 1 (outlier) only, got {others[:5]}")
    return labels.astype(np.int64)


def _read_npz(file: BinaryIO, accepted: tuple[str, ...]) -> Table:
    with np.lib.npyio.NpzFile(file, allow_pickle=False) as archive:
        labels = {name: archive[name] for name in accepted if name in archive}
        return archive.get("X"), labels, None


def _read_mat(file: BinaryIO, accepted: tuple[str, ...]) -> Table:
    try:
        arrays = scipy.io.loadmat(file, variable_names=("X", *accepted))
    except NotImplementedError as error:
        raise ValueError(
            "it is in MATLAB's format v7.3; save it again with '-v7', or read it with h5py and "
            "write X and y with numpy.savez"
        ) from error
    return arrays.get("X"), {name: arrays[name] for name in accepted if name in arrays}, None


def _read_csv(file: BinaryIO, accepted: tuple[str, ...]) -> Table:
    pandas = import_extra("pandas")
    return _columns(pandas.read_csv(file), accepted)


def _read_parquet(file: BinaryIO, accepted: tuple[str, ...]) -> Table:
    pandas, _ = import_extra("pandas"), import_extra("pyarrow")
    return _columns(pandas.read_parquet(file), accepted)


def _columns(frame: Any, accepted: tuple[str, ...]) -> Table:
    is_number = import_extra("pandas.api.types").is_numeric_dtype
    found = [name for name in accepted if name in frame.columns]
    features = frame.drop(columns=found)
    text = [str(name) for name, dtype in features.dtypes.items() if not is_number(dtype)]
    if text:
        raise ValueError(f"columns must be numeric, drop or encode {', '.join(text[:5])}")
    return (
        features.to_numpy(dtype=np.float64, na_value=np.nan),
        {name: frame[name].to_numpy() for name in found},
        tuple(str(name) for name in features.columns),
    )


_READERS = {".npz": _read_npz, ".mat": _read_mat, ".csv": _read_csv, ".parquet": _read_parquet}

SUFFIXES = tuple(_READERS)
"""File types that `parse` reads."""
