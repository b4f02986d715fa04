"""Files of one's own: rows, and labels if any."""

from __future__ import annotations

import os
import re
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from pyod_lipocc._checks import listed
from pyod_lipocc.datasets._csv import SEPARATORS
from pyod_lipocc.datasets._formats import READERS, Content
from pyod_lipocc.datasets._labels import LABEL_NAMES, as_binary, plain

__all__ = ["LABEL_NAMES", "Dataset", "load_file", "parse"]

# Names of labels, but of features just as often.
_PERHAPS_LABELS = ("class", "target", "fraud", "isfraud")

_COUNTERS = ("index", "idx", "id", "row", "rowid", "rownumber", "level0", "indexlevel0")

# A decimal comma or a thousands separator in the repr of a field.
_GROUPED = re.compile(
    r"['\"]\s*[-+]?\d[\d.]*(?:[,' \u2019]|\\xa0|\\u2009|\\u202f)"
    r"(?:[\d.,' \u2019]|\\xa0|\\u2009|\\u202f)*['\"] in line"
)

_DECIMAL = (
    "; numbers take a decimal point and no thousands separator, pandas.read_csv reads others with "
    "decimal=',' and thousands='.'"
)


@dataclass(frozen=True, eq=False)
class Dataset:
    """Rows with the labels of outlier detection.

    Attributes
    ----------
    name : str
    X : ndarray of shape (n, d)
        float64.
    y : ndarray of shape (n,) or None
        int64: 1 = outlier, 0 = normal; None where the source has no labels.
    feature_names : tuple of str or None
        Names of the d columns, where the source names them.
    label_name : str or None
        Name under which the source has `y`; None where it has no labels.
    """

    name: str
    X: NDArray[np.float64]
    y: NDArray[np.int64] | None
    feature_names: tuple[str, ...] | None = None
    label_name: str | None = None


def load_file(
    path: str | os.PathLike[str], *, label: str | None = None, separator: str = ","
) -> Dataset:
    """Load rows, and labels if any, from a .npz, .mat, .csv or .parquet file.

    Pickled objects are refused: no file can run code.

    Parameters
    ----------
    path : str or path-like
        .npz and .mat (up to v7.2) hold an array ``X`` of shape (n, d) and may hold n labels. In
        .csv and .parquet (extra `data`) every column but the labels is a feature.
    label : str or None, default=None
        Name of the labels, 0 = normal and 1 = outlier, as the file writes it. None takes the labels
        under one of `LABEL_NAMES`, whatever the capitals, blanks, ``-``, ``_`` and ``.``; where
        there are none, `y` is None.
    separator : str, default=","
        Separator of the fields of a .csv file: a comma, semicolon, tab or ``|``, or " " for blanks.

    Returns
    -------
    dataset : Dataset
        Named after the file.

    Raises
    ------
    ValueError
        If the file is of another type, damaged, without numeric rows, or with other labels.
    FileNotFoundError
        If there is no such file.
    ImportError
        If the file is a .parquet file and the extra `data` is not installed.

    Warns
    -----
    UserWarning
        If a feature has no name (or ``Unnamed: 0``, which pandas gives), counts the rows (such as
        ``id``) or may be the labels (such as ``class`` of two values), or if an index is left out.

    Notes
    -----
    The first line of a .csv file names its columns. Each other line has a field for each column;
    blank lines are skipped. A field holds a number with a decimal point, true or false, or a
    missing value: nothing, ``NA``, ``NaN`` or ``null``. A first line of numbers is refused, as data
    without names, unless the numbers are 0, 1, 2 and so on: pandas writes these for columns
    without names.

    A column ``y`` beside a column ``x`` is a coordinate, hence a feature, unless ``y`` holds 0 and
    1 only or `label` names it.

    An index that ``DataFrame.to_parquet`` has written is left out: the file declares it. An index
    that ``DataFrame.to_csv`` has written is a column without a name, which stays a feature: nothing
    in the file tells the two apart.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     np.savez(f"{folder}/mine.npz", X=np.eye(3), Outlier=[0, 0, 1])
    ...     dataset = load_file(f"{folder}/mine.npz")
    >>> dataset.name, dataset.X.shape, dataset.y, dataset.label_name
    ('mine', (3, 3), array([0, 0, 1]), 'Outlier')
    """
    path = Path(path)
    if path.suffix.lower() not in READERS:
        raise ValueError(f"path must end with one of {', '.join(READERS)}, got {str(path)!r}")
    if separator not in SEPARATORS:
        accepted = ", ".join(map(repr, SEPARATORS))
        raise ValueError(f"separator must be one of {accepted}, got {separator!r}")
    with path.open("rb") as file:
        return parse(file, path, label, separator)


def parse(file: BinaryIO, path: Path, label: str | None, separator: str = ",") -> Dataset:
    """Read an open file as `load_file` does; its path gives the format and the name."""
    suffix = path.suffix.lower()
    try:
        content = READERS[suffix](file, label, separator)
    except ImportError:
        raise
    except Exception as error:  # the parsers raise almost anything on a damaged file
        raise ValueError(f"{path} cannot be read as {suffix}: {error}") from error
    _check_labels(content, path, label)
    if content.X is None:
        raise ValueError(f"{path} must hold an array X of shape (n, d)")
    _check_features(content, path)
    X = np.asarray(content.X)
    if X.dtype.kind not in "biuf":
        raise ValueError(f"X in {path} must hold real numbers, got dtype {X.dtype}")
    if X.ndim != 2 or X.size == 0:
        raise ValueError(f"X in {path} must have a shape (n, d), not empty, got {X.shape}")
    X = np.ascontiguousarray(X, dtype=np.float64)
    label_name, y = None, None
    for label_name, values in content.labels.items():
        example = content.no_numbers.get(content.names.index(label_name))
        y = as_binary(values, f"{label_name} in {path}", len(X), example, content.lines)
    for doubt in _doubts(X, content, path):
        warnings.warn(doubt, UserWarning, stacklevel=3)
    return Dataset(path.stem, X, y, content.feature_names, label_name)


def _check_labels(content: Content, path: Path, label: str | None) -> None:
    if label in content.left_out:
        raise ValueError(
            f"label must not name the index of {path}, which is left out, got {label!r}: write "
            "the file anew after frame.reset_index(), which makes the index a column"
        )
    if label is not None and label not in content.labels:
        raise ValueError(
            f"label must be one of the names that {path} holds "
            f"({listed(map(repr, content.names)) or 'none'}), got {label!r}"
        )
    if len(content.labels) > 1:
        raise ValueError(f"label must say which of {', '.join(content.labels)} in {path} to take")


def _check_features(content: Content, path: Path) -> None:
    names = {
        i: content.names[i] if content.names[i].strip() else f"column {i + 1}, without a name"
        for i in content.no_numbers
        if content.names[i] not in content.labels
    }
    if names:
        examples = [content.no_numbers[i] for i in names]
        shown = (f"{name}: {content.no_numbers[i]}" for i, name in names.items())
        raise ValueError(
            f"columns of {path} must hold numbers, got {listed(shown, at_most=5)}: drop these "
            "columns, or encode them with sklearn.preprocessing.OneHotEncoder, or with "
            "OrdinalEncoder where they are ordered"
            f"{_DECIMAL if any(map(_GROUPED.match, examples)) else ''}"
        )


def _doubts(X: NDArray[np.float64], content: Content, path: Path) -> Iterator[str]:
    for name in content.left_out:
        yield (
            f"the index {name!r} of {path} is left out: frame.reset_index() makes it a column, "
            "to_parquet(path, index=False) writes the file without it"
        )
    if content.feature_names is None:
        return
    features = [i for i, name in enumerate(content.names) if name not in content.labels]
    empty = []
    for i, column in zip(features, X.T, strict=True):
        name, key = content.names[i], plain(content.names[i])
        # pandas reads a column without a name as Unnamed: 0, and writes this name.
        has_name = bool(name.strip()) and not key.startswith("unnamed:")
        if not has_name and np.isnan(column).all():
            empty.append(str(i + 1))
        elif not has_name:
            written = f" but {name!r}, which pandas gives," if name.strip() else ""
            yield (
                f"column {i + 1} of {path} has no name{written} and is a feature: if it is an "
                "index, write the file without it, by to_csv(path, index=False) in pandas"
            )
        elif (
            key in _COUNTERS
            and column[0] in (0, 1)
            and np.array_equal(column, column[0] + np.arange(len(column)))
        ):
            yield (
                f"column {name!r} of {path} counts the rows and is a feature: write the file "
                "without it; in pandas, to_csv(path, index=False) writes no index"
            )
        elif key in (*LABEL_NAMES, *_PERHAPS_LABELS) and len(np.unique(column)) <= 2:
            yield (
                f"column {name!r} of {path} may hold labels and is a feature: "
                f"pass label={name!r}, or write the file without it"
            )
    if empty:
        yield (
            f"column(s) {listed(empty)} of {path} have no name, are empty and are features: "
            "end no line with a separator, or drop them, by dropna(axis=1, how='all') in pandas"
        )
