"""The formats of files: arrays by name out of .npz and .mat, columns out of .csv and .parquet.

Nothing in a file can run code.
"""

from __future__ import annotations

import csv
import io
import re
import reprlib
from array import array
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from itertools import islice
from typing import Any, BinaryIO, NamedTuple

import numpy as np
import scipy.io
from numpy.typing import NDArray

from pyod_lipocc._checks import listed
from pyod_lipocc.datasets._fetch import import_extra
from pyod_lipocc.datasets._labels import candidates, plain

__all__ = ["READERS", "SEPARATORS", "Content"]

SEPARATORS = (",", ";", "\t", "|", " ")
"""What may separate the fields of a .csv file; a blank stands for any number of blanks."""

# Pandas, R, Excel, C and databases write these; float() knows nan and inf.
_MISSING = ("", "na", "n/a", "<na>", "null", "none", "#n/a", "#na")
_NOT_A_NUMBER = ("1.#ind", "-1.#ind", "1.#qnan", "-1.#qnan")
_WORDS = dict.fromkeys((*_MISSING, *_NOT_A_NUMBER), np.nan) | {"true": 1.0, "false": 0.0}


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
    has_numbers = len(fields) == len(names) > len(texts)
    if names[0].lstrip().startswith("#") and not has_numbers:
        raise ValueError(
            f"its first line must name the columns, got {listed(map(repr, names))}, which seems "
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
    """Yield the line where each record starts, and its fields; skip blank lines."""
    text.seek(0)
    blanks = separator == " "
    lines = (line.rstrip() + "\n" for line in text) if blanks else text
    reader = csv.reader(lines, delimiter=separator, skipinitialspace=blanks, strict=strict)
    line = 1
    try:
        for fields in reader:
            # A quoted "" is a field: the missing value of a file with one column.
            if fields and not (len(fields) == 1 and fields[0].isspace()):
                yield line, fields
            line = reader.line_num + 1
    except UnicodeDecodeError as error:
        raise ValueError(f"it must be saved as UTF-8: {error}") from error


def _check_separator(text: io.TextIOWrapper, separator: str) -> None:
    """Refuse a separator that splits no field where another splits the first two records alike."""
    header = next(iter(_first_records(text, separator, 1)), [])
    # Where blanks separate, a tab at the end is lost.
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
    """Return the fields of the first n records; nothing if a field is too long for csv."""
    try:
        return [fields for _, fields in islice(_records(text, separator, strict=False), n)]
    except csv.Error:
        return []


def _check_header(names: list[str]) -> None:
    given = [name for name in names if name.strip()]
    numbers, texts = _numbers_of(given)
    all_numbers = not texts and np.isfinite(numbers).any()
    # Pandas writes 0, 1, 2 and so on for columns without names.
    counted = given == [str(i) for i in range(len(given))]
    if not given or (all_numbers and not counted):
        raise ValueError(
            f"its first line must name the columns, got {listed(map(repr, names)) or 'none'}: "
            "put a line of names above the numbers"
        )
    _check_duplicates(given)


def _check_duplicates(names: list[str]) -> None:
    several = [repr(name) for name, count in Counter(names).items() if count > 1]
    if several:
        raise ValueError(f"names of columns must differ, got more than one {listed(several)}")


def _numbers_of(fields: list[str]) -> tuple[list[float], list[int]]:
    """Return the number in each field, or NaN, and the positions of the fields without one."""
    # For float(), 1_000 is a number.
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


def _read_parquet(file: BinaryIO, label: str | None, _: str) -> Content:
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
