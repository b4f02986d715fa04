"""Rows and labels out of .npz, .mat, .csv and .parquet files; nothing in a file can run code."""

from __future__ import annotations

import csv
import io
import re
import reprlib
import warnings
from array import array
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from itertools import islice
from typing import Any, BinaryIO, NamedTuple

import numpy as np
import scipy.io
from numpy.typing import NDArray

from pyod_lipocc.datasets._fetch import import_extra

__all__ = ["LABEL_NAMES", "SEPARATORS", "SUFFIXES", "parse"]

LABEL_NAMES = (
    "y",
    "ytrue",
    "label",
    "labels",
    "groundtruth",
    "outlier",
    "outliers",
    "isoutlier",
    "outlierlabel",
    "anomaly",
    "anomalies",
    "anomalous",
    "isanomaly",
    "isanomalous",
    "anomalylabel",
)
"""Names of labels; capitals, blanks, ``-``, ``_`` and ``.`` make no difference."""

SEPARATORS = (",", ";", "\t", "|", " ")
"""What may separate the fields of a .csv file; a blank stands for any number of blanks."""

# these often name labels, but features just as well
_PERHAPS_LABELS = ("class", "target", "fraud", "isfraud")

_COUNTERS = ("index", "idx", "id", "row", "rowid", "rownumber", "level0", "indexlevel0")

# what pandas, R, Excel, C and databases write; float() knows nan and inf
_MISSING = ("", "na", "n/a", "<na>", "null", "none", "#n/a", "#na")
_NOT_A_NUMBER = ("1.#ind", "-1.#ind", "1.#qnan", "-1.#qnan")
_WORDS = dict.fromkeys((*_MISSING, *_NOT_A_NUMBER), np.nan) | {"true": 1.0, "false": 0.0}

# what a decimal comma or a thousands separator looks like in the repr of a field
_GROUPED = re.compile(
    r"['\"]\s*[-+]?\d[\d.]*(?:[,' \u2019]|\\xa0|\\u2009|\\u202f)"
    r"(?:[\d.,' \u2019]|\\xa0|\\u2009|\\u202f)*['\"] in line"
)

_DECIMAL = (
    "; numbers take a decimal point and no thousands separator, pandas.read_csv reads others with "
    "decimal=',' and thousands='.'"
)


class _Content(NamedTuple):
    """What a file holds.

    Attributes
    ----------
    X : array or None
    labels : dict of str to array
        What may be the labels, by name.
    names : list of str
        All that the file holds, by name.
    feature_names : tuple of str or None
        Names of the columns of X.
    no_numbers : dict of int to str
        An example for each column that does not hold numbers, by its position in `names`.
    left_out : tuple of str
        Columns that the file declares to be an index; they are in none of the above.
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


def parse(
    file: BinaryIO, suffix: str, source: str, label: str | None, separator: str = ","
) -> tuple[NDArray[np.float64], NDArray[np.int64] | None, tuple[str, ...] | None, str | None]:
    """Read an open file.

    Parameters
    ----------
    file : binary file
    suffix : str
        One of `SUFFIXES`.
    source : str
        What error messages call the file.
    label : str or None
        Name of the labels; None takes what the file has under one of `LABEL_NAMES`, if anything.
    separator : str, default=","
        One of `SEPARATORS`, for .csv files.

    Returns
    -------
    X : ndarray of shape (n, d)
    y : ndarray of shape (n,) or None
    feature_names : tuple of str or None
    label_name : str or None

    Raises
    ------
    ValueError
        If the file is damaged, without numeric rows, or with other labels than 0 and 1.
    ImportError
        If the format needs the extra `data` and it is not installed.

    Warns
    -----
    UserWarning
        If a feature may be an index or labels, has neither name nor values, or an index is left
        out.
    """
    options = {"separator": separator} if suffix == ".csv" else {}
    try:
        content = _READERS[suffix](file, label, **options)
    except ImportError:
        raise
    except Exception as error:  # the parsers raise almost anything on a damaged file
        raise ValueError(f"{source} cannot be read as {suffix}: {error}") from error
    labels = content.labels
    if label in content.left_out:
        raise ValueError(
            f"label must not name the index of {source}, which is left out, got {label!r}: write "
            "the file anew after frame.reset_index(), which makes the index a column"
        )
    if label is not None and label not in labels:
        raise ValueError(
            f"label must be one of the names that {source} holds "
            f"({_listed(map(repr, content.names)) or 'none'}), got {label!r}"
        )
    if len(labels) > 1:
        raise ValueError(f"label must say which of {', '.join(labels)} in {source} to take")
    if content.X is None:
        raise ValueError(f"{source} must hold an array X of shape (n, d)")
    _check_features(content, source)
    X = _numbers(content.X, f"X in {source}")
    if X.ndim != 2 or X.size == 0:
        raise ValueError(f"X in {source} must have a shape (n, d), not empty, got {X.shape}")
    label_name, y = None, None
    for label_name, values in labels.items():
        what = f"{label_name} in {source}"
        example = content.no_numbers.get(content.names.index(label_name))
        y = _binary(values, what, len(X), example, content.lines)
    for doubt in _doubts(X, content, source):
        warnings.warn(doubt, UserWarning, stacklevel=3)
    return X, y, content.feature_names, label_name


def _candidates(names: list[str], label: str | None) -> list[str]:
    return [
        name for name in names if (_key(name) in LABEL_NAMES if label is None else name == label)
    ]


def _key(name: str) -> str:
    return re.sub(r"[-_.\s]", "", name).casefold()


def _listed(items: Iterable[str], at_most: int = 10) -> str:
    items = list(items)
    more = len(items) - at_most
    return ", ".join(items[:at_most]) + (f" and {more} more" if more > 0 else "")


def _check_features(content: _Content, source: str) -> None:
    examples = {
        i: example
        for i, example in content.no_numbers.items()
        if content.names[i] not in content.labels
    }
    if examples:
        shown = _listed(
            (f"{_shown_name(content.names, i)}: {example}" for i, example in examples.items()),
            at_most=5,
        )
        raise ValueError(
            f"columns of {source} must hold numbers, got {shown}: drop these columns, or encode "
            "them with sklearn.preprocessing.OneHotEncoder, or with OrdinalEncoder where they are "
            f"ordered{_DECIMAL if any(map(_GROUPED.match, examples.values())) else ''}"
        )


def _shown_name(names: list[str], i: int) -> str:
    return names[i] if names[i].strip() else f"column {i + 1}, without a name"


def _numbers(values: Any, what: str) -> NDArray[np.float64]:
    numbers = np.asarray(values)
    if numbers.dtype.kind not in "biuf":
        raise ValueError(f"{what} must hold real numbers, got dtype {numbers.dtype}")
    return np.ascontiguousarray(numbers, dtype=np.float64)


def _binary(
    values: Any, what: str, n_rows: int, example: str | None, lines: Sequence[int]
) -> NDArray[np.int64]:
    labels = np.asarray(values).ravel()
    accepted = f"{what} must hold 0 (normal) and 1 (outlier) only, or False and True, got"
    encode = "encode labels, as in {}, and give a feature another name"
    if example is None and labels.dtype.kind not in "biuf":
        example = reprlib.repr(labels[:5].tolist())
    if example is not None:
        how = encode.format("(labels != 'normal').astype(int)")
        raise ValueError(f"{accepted} {example}: {how}")
    if len(labels) != n_rows:
        raise ValueError(f"{what} must have a label for each of {n_rows} rows, got {len(labels)}")
    missing = np.flatnonzero(np.isnan(labels))
    if len(missing) > 0:
        first = missing[0]
        where = f"line {lines[first]}" if lines else f"row {first + 1}"
        raise ValueError(
            f"{accepted} {len(missing)} missing label(s), the first in {where}: fill them in, or "
            "drop their rows"
        )
    others = np.setdiff1d(labels, [0, 1])
    if len(others) > 0:
        value = f"{others[0]:g}"
        how = encode.format(f"(labels == {value}).astype(int) where {value} marks outliers")
        raise ValueError(f"{accepted} {others[:5]}: {how}")
    return labels.astype(np.int64)


def _doubts(X: NDArray[np.float64], content: _Content, source: str) -> Iterator[str]:
    n_rows = len(X)
    for name in content.left_out:
        yield (
            f"the index {name!r} of {source} is left out: frame.reset_index() makes it a column, "
            "to_parquet(path, index=False) writes the file without it"
        )
    if content.feature_names is None:
        return
    features = [i for i, name in enumerate(content.names) if name not in content.labels]
    empty = []
    for i, column in zip(features, X.T, strict=True):
        name, key = content.names[i], _key(content.names[i])
        # pandas reads a column without a name as Unnamed: 0, and writes that name
        has_name = bool(name.strip()) and not key.startswith("unnamed:")
        if not has_name and np.isnan(column).all():
            empty.append(str(i + 1))
        elif not has_name:
            written = f" but {name!r}, which pandas gives," if name.strip() else ""
            yield (
                f"column {i + 1} of {source} has no name{written} and is a feature: if it is an "
                "index, write the file without it, by to_csv(path, index=False) in pandas"
            )
        elif key in _COUNTERS and any(
            np.array_equal(column, np.arange(start, start + n_rows)) for start in (0, 1)
        ):
            yield (
                f"column {name!r} of {source} counts the rows and is a feature: write the file "
                "without it; in pandas, to_csv(path, index=False) writes no index"
            )
        elif key in (*LABEL_NAMES, *_PERHAPS_LABELS) and len(np.unique(column)) <= 2:
            yield (
                f"column {name!r} of {source} may hold labels and is a feature: "
                f"pass label={name!r}, or write the file without it"
            )
    if empty:
        yield (
            f"column(s) {_listed(empty)} of {source} have no name, are empty and are features: "
            "end no line with a separator, or drop them, by dropna(axis=1, how='all') in pandas"
        )


def _read_npz(file: BinaryIO, label: str | None) -> _Content:
    with np.lib.npyio.NpzFile(file, allow_pickle=False) as archive:
        names = [name for name in archive.files if name != "X"]
        labels = {name: archive[name] for name in _candidates(names, label)}
        return _Content(archive.get("X"), labels, names)


def _read_mat(file: BinaryIO, label: str | None) -> _Content:
    try:
        names = [name for name, _, _ in scipy.io.whosmat(file) if name != "X"]
        candidates = _candidates(names, label)
        arrays = scipy.io.loadmat(file, variable_names=["X", *candidates])
    except NotImplementedError as error:
        raise ValueError(
            "it is in MATLAB's format v7.3; save it again with '-v7', or read it with h5py and "
            "write X and y with numpy.savez"
        ) from error
    return _Content(arrays.get("X"), {name: arrays[name] for name in candidates}, names)


def _read_csv(file: BinaryIO, label: str | None, separator: str) -> _Content:
    with io.TextIOWrapper(file, encoding="utf-8-sig", newline="") as text:
        _check_separator(text, separator)
        records = _records(text, separator)
        _, names = next(records, (1, []))
        _check_header(names)
        rows, lines, no_numbers = array("d"), array("q"), dict[int, str]()
        for line, fields in records:
            numbers, texts = _numbers_of(fields)
            if len(fields) != len(names) or texts:
                if not lines:
                    _check_comment(names, fields, texts)
                _check_length(names, fields, line, separator)
            for i in texts:
                no_numbers.setdefault(i, f"{reprlib.repr(fields[i])} in line {line}")
            rows.extend(numbers)
            lines.append(line)
    content = _split(names, np.asarray(rows).reshape(-1, len(names)), no_numbers, label)
    return content._replace(lines=lines)


def _check_comment(names: list[str], fields: list[str], texts: list[int]) -> None:
    """Refuse a first line that starts with # where the second holds no row or only text."""
    is_row = len(fields) == len(names) > len(texts)
    if names[0].lstrip().startswith("#") and not is_row:
        raise ValueError(
            f"its first line must name the columns, got {_listed(map(repr, names))}, which seems "
            "to be a comment: delete this line"
        )


def _check_length(names: list[str], fields: list[str], line: int, separator: str) -> None:
    if len(fields) != len(names):
        raise ValueError(
            f"line {line} has {len(fields)} field(s), the first line names {len(names)} "
            f"column(s): name all columns, quote a field that holds {separator!r}, leave "
            "the field of a missing value empty, write numbers with a decimal point"
        )


def _records(
    text: io.TextIOWrapper, separator: str, *, strict: bool = True
) -> Iterator[tuple[int, list[str]]]:
    """Yield the fields of each record and the line where it starts; blank lines are none."""
    text.seek(0)
    blanks = separator == " "
    lines = (line.rstrip() + "\n" for line in text) if blanks else text
    reader = csv.reader(lines, delimiter=separator, skipinitialspace=blanks, strict=strict)
    line = 1
    try:
        for fields in reader:
            # a quoted "" is a field, the missing value of a file with one column
            if fields and not (len(fields) == 1 and fields[0].isspace()):
                yield line, fields
            line = reader.line_num + 1
    except UnicodeDecodeError as error:
        raise ValueError(f"it must be saved as UTF-8: {error}") from error


def _check_separator(text: io.TextIOWrapper, separator: str) -> None:
    """Refuse one that splits no field, where another splits the first two records alike."""
    header = next(iter(_first_records(text, separator, 1)), [])
    # a tab at the end is lost where blanks separate
    if re.fullmatch("sep=.?", separator.join(header), re.IGNORECASE):
        raise ValueError(
            f"its first line must name the columns, got {separator.join(header)!r}, which only "
            "Excel reads: delete this line, and pass the separator that it names"
        )
    if len(header) > 1:
        return
    for candidate in SEPARATORS:
        n_fields = [len(fields) for fields in _first_records(text, candidate, 2)]
        if len(n_fields) == 2 and n_fields[0] == n_fields[1] > 1:
            raise ValueError(
                f"its fields seem to be separated by {candidate!r}, not by {separator!r}: "
                f"pass separator={candidate!r}"
            )


def _first_records(text: io.TextIOWrapper, separator: str, n: int) -> list[list[str]]:
    """Return the first n records; none if one is too long a field for csv."""
    try:
        return [fields for _, fields in islice(_records(text, separator, strict=False), n)]
    except csv.Error:
        return []


def _check_header(names: list[str]) -> None:
    given = [name for name in names if name.strip()]
    numbers, texts = _numbers_of(given)
    all_numbers = not texts and np.isfinite(numbers).any()
    # pandas writes 0, 1, 2 and so on for columns without names
    counted = given == [str(i) for i in range(len(given))]
    if not given or (all_numbers and not counted):
        raise ValueError(
            f"its first line must name the columns, got {_listed(map(repr, names)) or 'none'}: "
            "put a line of names above the numbers"
        )
    _check_duplicates(given)


def _check_duplicates(names: list[str]) -> None:
    several = [repr(name) for name, count in Counter(names).items() if count > 1]
    if several:
        raise ValueError(f"names of columns must differ, got more than one {_listed(several)}")


def _numbers_of(fields: list[str]) -> tuple[list[float], list[int]]:
    """Return the number in each field, NaN where it holds none, and the positions of the latter."""
    # for float(), 1_000 is a number
    if "_" not in "".join(fields):
        with suppress(ValueError):
            return list(map(float, fields)), []
    numbers = [_number(field) for field in fields]
    texts = [i for i, number in enumerate(numbers) if number is None]
    return [np.nan if number is None else number for number in numbers], texts


def _number(field: str) -> float | None:
    if "_" in field:
        return None
    try:
        return float(field)
    except ValueError:
        return _WORDS.get(field.strip().casefold())


def _read_parquet(file: BinaryIO, label: str | None) -> _Content:
    types, parquet = import_extra("pyarrow").types, import_extra("pyarrow.parquet")
    table = parquet.ParquetFile(file).read()
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


def _split(
    names: list[str], rows: NDArray[np.float64], no_numbers: dict[int, str], label: str | None
) -> _Content:
    labels = {name: rows[:, names.index(name)] for name in _candidates(names, label)}
    if label is None and "x" in map(_key, names):
        # x and y are coordinates, unless y holds 0 and 1
        labels = {
            name: column
            for name, column in labels.items()
            if _key(name) != "y" or np.isin(column, [0, 1]).all()
        }
    features = [i for i, name in enumerate(names) if name not in labels]
    feature_names = tuple(names[i] for i in features)
    return _Content(rows[:, features], labels, names, feature_names, no_numbers)


_READERS: dict[str, Callable[..., _Content]] = {
    ".npz": _read_npz,
    ".mat": _read_mat,
    ".csv": _read_csv,
    ".parquet": _read_parquet,
}

SUFFIXES = tuple(_READERS)
"""File types that `parse` reads."""
