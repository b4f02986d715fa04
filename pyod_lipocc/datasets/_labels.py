"""Which names are those of labels, and labels as 0 and 1."""

from __future__ import annotations

import re
import reprlib
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["LABEL_NAMES", "as_binary", "candidates", "plain"]

LABEL_NAMES = (
    *("y", "ytrue", "label", "labels", "groundtruth"),
    *("outlier", "outliers", "isoutlier", "outlierlabel"),
    *("anomaly", "anomalies", "anomalous", "isanomaly", "isanomalous", "anomalylabel"),
)
"""Names of labels; capitals, blanks, ``-``, ``_`` and ``.`` make no difference."""


def plain(name: str) -> str:
    """Write a name as `LABEL_NAMES` does."""
    return re.sub(r"[-_.\s]", "", name).casefold()


def candidates(names: list[str], label: str | None) -> list[str]:
    """Return the names that may be those of the labels: `label`, else all of `LABEL_NAMES`."""
    return [
        name for name in names if (plain(name) in LABEL_NAMES if label is None else name == label)
    ]


def as_binary(
    values: Any, what: str, n_rows: int, example: str | None, lines: Sequence[int]
) -> NDArray[np.int64]:
    """Return a label of 0 or 1 for each row, or say how to encode what the file has."""
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
        where = f"line {lines[missing[0]]}" if lines else f"row {missing[0] + 1}"
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
