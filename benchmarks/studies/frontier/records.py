"""Data of the frontier: its sets and splits, and the files that keep what was measured."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.benchmark_utils.lipocc import DIGEST
from benchmarks.benchmark_utils.protocols import Data, contaminated_split, one_class_split
from benchmarks.benchmark_utils.solver import source_digest
from benchmarks.studies.frontier import functions
from pyod_lipocc.datasets import ODDS_NAMES, load_adbench, load_odds

ADBENCH = (
    "2_annthyroid",
    "4_breastw",
    "10_cover",
    "12_fault",
    "16_http",
    "23_mammography",
    "37_Stamps",
    "41_Waveform",
)
SETS = (*ODDS_NAMES, *ADBENCH)
# the sets whose test labels were looked at when choices were made
EXPLORE = (
    *("cardio", "glass", "ionosphere", "vowels", "wbc", "vertebral", "musk", "satellite"),
    *("2_annthyroid", "4_breastw", "12_fault", "37_Stamps"),
)
GROUPS: dict[str, Sequence[str]] = {
    "explore": EXPLORE,
    "report": [name for name in SETS if name not in EXPLORE],
    "ODDS": ODDS_NAMES,
    "ADBench": ADBENCH,
}
PROTOCOLS = ("contaminated", "one-class")
SPLITS = (0, 1, 2)
MOST_TRAIN = 4096
MOST_TEST = 6000
VERSION = source_digest([Path(functions.__file__)]) + "-" + DIGEST

Record = dict[str, Any]


def load(protocol: str, name: str, split: int) -> Data:
    """Split a set as the benchmark does, then draw the rows that are used of large parts."""
    found = load_odds(name) if name in ODDS_NAMES else load_adbench(name)
    make = {"one-class": one_class_split, "contaminated": contaminated_split}[protocol]
    data = make(found.X, found.y, split)
    random = np.random.RandomState(split)
    train = random.permutation(len(data["X_train"]))[:MOST_TRAIN]
    test = random.permutation(len(data["X_test"]))[:MOST_TEST]
    return data | {
        "X_train": data["X_train"][train],
        "X_test": data["X_test"][test],
        "y_test": data["y_test"][test],
    }


def measure(data: Data, seed: int) -> Record:
    """Fit all functions; return their scores of the test part, their constants and spreads.

    A spread is that of the scores of the training part, from the median to the ninth decile.
    """
    record: Record = {"names": [], "scores": [], "constants": [], "spreads": []}
    for family in functions.families(data["X_train"], float(data["contamination"]), seed):
        scores = family.score(data["X_test"])
        for name, own in family.own.items():
            record["names"].append(name)
            record["scores"].append(scores[name].astype(np.float32))
            record["constants"].append(family.constants[name])
            record["spreads"].append(np.quantile(own, 0.9) - np.median(own))
    return record | {"y": data["y_test"], "version": VERSION}


def path_of(folder: Path, protocol: str, name: str, split: int) -> Path:
    """Return where a record is kept."""
    return folder / f"{protocol}.{name}.{split}.npz"


def is_current(path: Path) -> bool:
    """Tell whether there is a record, and this code has made it."""
    if not path.exists():
        return False
    with np.load(path) as record:
        return str(record["version"]) == VERSION


def read(folder: Path, protocol: str) -> dict[tuple[str, int], Record]:
    """Return the records of a protocol that are there, by set and split."""
    found = {}
    for name in SETS:
        for split in SPLITS:
            path = path_of(folder, protocol, name, split)
            if path.exists():
                with np.load(path) as record:
                    found[name, split] = dict(record)
    return found
