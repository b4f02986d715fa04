"""ROC AUC of the frontier's functions and of their sums, by set and split."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.stats import rankdata
from tqdm import tqdm

from benchmarks.studies.frontier.records import GROUPS, Record, read

# the functions that are summed; the first is the neighbours that LipOCC starts from
SUMMED = {
    "contaminated": (
        "isolation 1, 5",
        "isolation 0.5, 10",
        "nearest 50",
        "trimmed",
        "cleaned",
        "principal 0.5",
        "principal 0.9",
        "mean",
        "l1",
        "dense 10",
    ),
    "one-class": (
        "nearest 2",
        "nearest 10",
        "whitened 1/4",
        "whitened 1/2",
        "asinh",
        "principal 0.5",
        "principal 0.9",
        "principal 0.99",
        "l1",
        "dense 10",
    ),
}
MOST_TERMS = 4
WEIGHTS = (0.1, 0.25, 0.5, 1.0, 2.0)  # of the second function of a pair, or of the first
LEAST_SPREAD = 1e-3

Sum = dict[str, float]


def all_sums(names: Sequence[str]) -> dict[str, Sum]:
    """Return the sums of up to four functions, and of two with other weights, by their label."""
    equal = (
        dict.fromkeys(chosen, 1.0)
        for terms in range(1, MOST_TERMS + 1)
        for chosen in itertools.combinations(names, terms)
    )
    weights = sorted({*WEIGHTS, *(1 / weight for weight in WEIGHTS)} - {1.0})
    weighted = (
        {first: 1.0, second: weight}
        for first, second in itertools.combinations(names, 2)
        for weight in weights
    )
    return {label(terms): terms for terms in itertools.chain(equal, weighted)}


def label(terms: Sum) -> str:
    """Write a sum as its terms with their weights."""
    return " + ".join(f"{'' if w == 1 else f'{w:g} x '}{name}" for name, w in terms.items())


def roc_aucs(scores: NDArray, y: NDArray) -> NDArray:
    """Return the ROC AUC of each row of scores."""
    outliers = int(y.sum())
    ranks = rankdata(scores, axis=1)[:, y == 1].sum(axis=1)
    return (ranks / outliers - (outliers + 1) / 2) / (len(y) - outliers)


def evaluate(record: Record, sums: Iterable[Sum]) -> NDArray:
    """Return the ROC AUC of sums, in percent: weights are in units of one over the spread."""
    place = {name: row for row, name in enumerate(record["names"])}
    weights = np.array([[terms.get(name, 0.0) for name in place] for terms in sums])
    weights /= np.maximum(record["spreads"], LEAST_SPREAD)
    return 100 * roc_aucs(weights @ record["scores"].astype(np.float64), record["y"])


class Results:
    """ROC AUC of all functions and sums under one protocol, from the files.

    Attributes
    ----------
    protocol : str
    singles, sums : DataFrame
        ROC AUC of the functions, and of their sums; columns (set, split).
    terms : dict of str to int
        Number of functions of each sum.
    constants : DataFrame
        Smallest and largest Lipschitz constant of each function.
    version : str
        Version of the code that measured.
    """

    def __init__(self, folder: Path, protocol: str) -> None:
        self.protocol = protocol
        records = read(folder, protocol)
        sums = all_sums(SUMMED[protocol])
        self.terms = {name: len(terms) for name, terms in sums.items()}
        singles, summed, constants, versions = {}, {}, {}, set()
        for key, record in tqdm(records.items(), disable=None):
            names = list(record["names"])
            alone = evaluate(record, [{name: 1.0} for name in names])
            singles[key] = pd.Series(alone, names)
            summed[key] = pd.Series(evaluate(record, sums.values()), list(sums))
            constants[key] = pd.Series(record["constants"], names)
            versions.add(str(record["version"]))
        self.singles, self.sums = pd.DataFrame(singles), pd.DataFrame(summed)
        self.constants = pd.DataFrame(constants).agg(["min", "max"], axis=1)
        self.version = ", ".join(sorted(versions))

    @property
    def sets(self) -> list[str]:
        """The sets that were measured."""
        return list(dict.fromkeys(self.singles.columns.get_level_values(0)))

    @property
    def certified(self) -> pd.DataFrame:
        """The functions with a proven constant."""
        return self.singles[np.isfinite(self.constants["max"])]

    def group(self, name: str) -> list[str]:
        """Return the measured sets of a group; "all" is every set."""
        return [found for found in self.sets if name == "all" or found in GROUPS[name]]

    def mean(self, values: pd.DataFrame, group: str) -> pd.Series:
        """Return the mean of each row over the sets of a group."""
        return self.by_set(values)[self.group(group)].mean(axis=1)

    def by_set(self, values: pd.DataFrame) -> pd.DataFrame:
        """Return the means over the splits."""
        return values.T.groupby(level=0).mean().T[self.sets]
