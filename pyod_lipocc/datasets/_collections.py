"""The sets of ODDS and ADBench, on which papers compare outlier detectors."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path

from pyod_lipocc._checks import check_choice
from pyod_lipocc.datasets._fetch import read
from pyod_lipocc.datasets._files import Dataset, parse
from pyod_lipocc.datasets._registry import ADBENCH, ODDS, Collection

__all__ = ["ADBENCH_NAMES", "ODDS_NAMES", "load_adbench", "load_odds"]

ODDS_NAMES = tuple(ODDS.hashes)
"""Names that `load_odds` takes."""

ADBENCH_NAMES = tuple(ADBENCH.hashes)
"""Names that `load_adbench` takes: the 47 classical sets, in ADBench's order."""


def load_odds(name: str) -> Dataset:
    """Load a set of ODDS, as PyOD's benchmark uses it.

    Parameters
    ----------
    name : str
        One of `ODDS_NAMES`.

    Returns
    -------
    dataset : Dataset

    Raises
    ------
    ValueError
        If `name` is another, or the file is truncated or altered.
    FileNotFoundError
        If the file is neither at hand nor to be downloaded; the message says where to put it.
    ImportError
        If a download is needed and the extra `data` is not installed.

    Examples
    --------
    >>> load_odds("cardio").X.shape  # doctest: +SKIP
    (1831, 21)
    """
    return _load(ODDS, name)


def load_adbench(name: str) -> Dataset:
    """Load a classical set of ADBench.

    Parameters
    ----------
    name : str
        One of `ADBENCH_NAMES`, with or without its number: "2_annthyroid" or "annthyroid".

    Returns
    -------
    dataset : Dataset
        Its name has the number.

    Raises
    ------
    ValueError, FileNotFoundError, ImportError
        As `load_odds`.

    Examples
    --------
    >>> load_adbench("annthyroid").X.shape  # doctest: +SKIP
    (7200, 6)
    """
    numbered = (full for full in ADBENCH_NAMES if full.split("_", 1)[1] == name)
    return _load(ADBENCH, next(numbered, name))


def _load(collection: Collection, name: str) -> Dataset:
    check_choice("name", name, tuple(collection.hashes))
    path = Path(name + collection.suffix)
    return parse(BytesIO(read(collection, name)), path, label="y")
