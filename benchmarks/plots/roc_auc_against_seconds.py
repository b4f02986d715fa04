from __future__ import annotations

from typing import Any

from benchopt import BasePlot
from pandas import DataFrame


class Plot(BasePlot):
    """Each detector's mean ROC AUC over all runs, against its mean CPU seconds of fitting."""

    name = "ROC AUC against seconds"
    type = "scatter"
    options = {"objective": ...}

    def plot(self, df: DataFrame, objective: str) -> list[dict[str, Any]]:
        runs = df[df["objective_name"] == objective]
        return [
            {
                "x": [group["objective_fit_cpu_seconds"].mean()],
                "y": [group["objective_roc_auc"].mean()],
                "label": solver,
                **self.get_style(solver),
            }
            for solver, group in runs.groupby("solver_name")
        ]

    def get_metadata(self, df: DataFrame, objective: str) -> dict[str, str]:
        n = df["dataset_name"].nunique()
        return {
            "title": f"mean of {n} data sets",
            "xlabel": "CPU seconds to fit",
            "ylabel": "ROC AUC",
        }
