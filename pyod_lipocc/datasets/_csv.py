"""The columns of a .csv file as numbers, or an error that says what to mend in the file."""

from __future__ import annotations

import csv
import io
import re
import reprlib
from array import array
from collections.abc import Iterator, Sequence
from contextlib import suppress
from itertools import islice
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from pyod_lipocc._checks import listed

__all__ = ["SEPARATORS", "read_csv"]

SEPARATORS = (",", ";", "\t", "|", " ")
"""What may separate the fields of a .csv file; a blank stands for any number of blanks."""

# Pandas, R, Excel, C and databases write these; float() knows nan and inf.
_MISSING = ("", "na", "n/a", "<na>", "null", "none", "#n/a", "#na")
_NOT_A_NUMBER = ("1.#ind", "-1.#ind", "1.#qnan", "-1.#qnan")
_WORDS = dict.fromkeys((*_MISSING, *_NOT_A_NUMBER), np.nan) | {"true": 1.0, "false": 0.0}


def read_csv(
    file: BinaryIO, separator: str
) -> tuple[list[str], NDArray[np.float64], dict[int, str], Sequence[int]]:
    """Return the names of the columns, the rows, a text of each column with texts, and the lines.

    A row has the line of the file where it starts, and NaN in place of texts.
    """
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
    return names, np.asarray(rows).reshape(-1, len(names)), no_numbers, lines


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
