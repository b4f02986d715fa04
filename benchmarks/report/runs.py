"""The runs that benchopt has measured, and those that earlier reports have kept."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pandas as pd

from benchmarks.report.section import ACCURACIES, CERTIFIED

KEY = ["dataset", "set", "split", "solver", "repetition", "threads"]
MEASURED = [
    *ACCURACIES,
    *CERTIFIED,
    "lipschitz_constant",
    "gradient_norm",
    "contamination",
    "alarm_rate",
    "false_alarm_rate",
    "fit_seconds",
    "fit_cpu_seconds",
    "score_seconds",
    "score_cpu_seconds",
    "peak_memory_mb",
    "n_train",
    "n_test",
    "n_features",
    "version",
]


def read_benchopt(file: Path) -> pd.DataFrame:
    """Return the facts of each run in a file that benchopt wrote."""
    raw = pd.read_parquet(file)
    # image sets have one fixed split, and no such parameter
    split = raw.get("p_dataset_split", pd.Series(np.nan, raw.index)).fillna(0)
    named = {
        "dataset": raw["dataset_name"].str.replace(r"\[.*", "", regex=True),
        "set": raw["p_dataset_set"].astype(str),
        "split": split.astype(int),
        "solver": raw["solver_name"],
        "repetition": raw["idx_rep"],
        "threads": raw["p_obj_threads"],
    }
    # earlier runs measured less
    unknown = pd.Series(np.nan, raw.index)
    measured = {name: raw.get(f"objective_{name}", unknown) for name in MEASURED}
    return pd.DataFrame({**named, **measured, "cpu": raw["system-processor"]})


def read_kept(file: Path) -> pd.DataFrame:
    """Return the runs of an earlier report; what it did not know is nan."""
    return pd.read_csv(file, dtype={"set": str}).reindex(columns=[*KEY, *MEASURED, "cpu"])


def newest(runs: Iterable[pd.DataFrame]) -> pd.DataFrame:
    """Join runs, oldest first: the last of equal runs stays, and of each solver the last version.

    So no table mixes two versions of one detector.
    """
    joined = pd.concat(runs, ignore_index=True).drop_duplicates(KEY, keep="last")
    last = joined.groupby(["dataset", "solver"])["version"].transform("last")
    stale = joined[joined["version"] != last]
    for (dataset, solver, version), rows in stale.groupby(["dataset", "solver", "version"]):
        print(f"left out: {len(rows)} runs of {solver} on {dataset}, {version}", file=sys.stderr)
    return joined.drop(stale.index).sort_values(KEY, key=numbers_in_order, ignore_index=True)


def numbers_in_order(column: pd.Series) -> pd.Series:
    """Make "2_annthyroid" sort before "10_cover"."""
    if column.name != "set":
        return column
    return column.str.replace(r"^\d+", lambda number: number[0].zfill(4), regex=True)
