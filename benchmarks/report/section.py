"""Tables and figures of the runs on one data set of the benchmark."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from benchmarks.report.tables import markdown, percent, seconds

ACCURACIES = {
    "roc_auc": "ROC AUC",
    "average_precision": "average precision",
    "precision_at_n": "precision@n",
    "best_threshold_accuracy": "best accuracy",
}
CERTIFIED = {
    "certified_roc_auc_8": "8/255",
    "certified_roc_auc_16": "16/255",
    "certified_roc_auc_36": "36/255",
    "certified_roc_auc_72": "72/255",
}
# in the order of the columns of every table
STYLES = {
    "LipOCC": {"color": "C3", "marker": "o"},
    "OCSVM": {"color": "C0", "marker": "s"},
    "IForest": {"color": "C2", "marker": "^"},
    "DeepSVDD": {"color": "C4", "marker": "D"},
    "KNN[k=1]": {"color": "C1", "marker": "v"},
    "KNN[k=5]": {"color": "C5", "marker": "P"},
    "KNN-largest": {"color": "C6", "marker": "X"},
    "Subspaces[kind=principal]": {"color": "C8", "marker": "<"},
    "Subspaces[kind=k-subspaces]": {"color": "C9", "marker": ">"},
}
NEIGHBOURS = ["KNN[k=1]", "KNN[k=5]", "KNN-largest"]


class Section:
    """The tables and the figure of one data set of the benchmark.

    Parameters
    ----------
    runs : DataFrame
        The runs on the data set, as `newest` returns them.
    """

    def __init__(self, runs: pd.DataFrame) -> None:
        self.runs = runs
        found = set(runs["solver"])
        self.solvers = [name for name in STYLES if name in found] + sorted(found - set(STYLES))
        self.sets = list(dict.fromkeys(runs["set"]))
        draws = runs.groupby(["set", "solver"]).size().unstack(fill_value=0)
        self.n_draws = draws.max()
        # a mean over sets compares detectors only where all have finished
        self.common = [name for name in self.sets if draws.loc[name].equals(self.n_draws)]

    def values(self, solver: str, column: str, name: str | None = None) -> pd.Series:
        """Return a solver's values on one set; or, for each draw, the mean of the common sets."""
        runs = self.runs[self.runs["solver"] == solver]
        if name is not None:
            return runs.loc[runs["set"] == name, column]
        common = runs[runs["set"].isin(self.common)]
        return common.groupby(["split", "repetition"])[column].mean()

    def summary(self) -> str:
        rows = [["detector", *ACCURACIES.values(), "fit CPU s", "score CPU s", "peak MiB"]]
        for solver in self.solvers:
            memory = self.values(solver, "peak_memory_mb").mean()
            rows.append(
                [
                    solver,
                    *(percent(self.values(solver, column)) for column in ACCURACIES),
                    seconds(self.values(solver, "fit_cpu_seconds")),
                    seconds(self.values(solver, "score_cpu_seconds")),
                    "-" if np.isnan(memory) else f"{memory:.1f}",
                ]
            )
        return markdown(rows)

    def accuracy(self, column: str) -> str:
        """Return a table of sets by solvers, the best mean of each row in bold."""
        rows = [["set", *self.solvers]]
        for name in [*self.sets, None]:
            values = [self.values(solver, column, name) for solver in self.solvers]
            rows.append([name or f"mean of {len(self.common)}", *self._cells(values)])
        return markdown(rows)

    def _cells(self, row: list[pd.Series]) -> Iterator[str]:
        best = max((round(values.mean(), 3) for values in row if values.count()), default=None)
        for solver, values in zip(self.solvers, row, strict=True):
            cell = percent(values)
            if round(values.mean(), 3) == best:
                cell = f"**{cell}**"
            if 0 < values.count() < self.n_draws[solver]:
                cell += f" ({values.count()} of {self.n_draws[solver]})"
            yield cell

    def certified(self) -> str:
        """Return the mean ROC AUC that each detector proves against attacks of each size."""
        rows = [["detector", "no attack", *CERTIFIED.values(), "gradient norm"]]
        for solver in self.solvers:
            values = [self.values(solver, column) for column in CERTIFIED]
            if values[0].count():
                gradient = self.values(solver, "gradient_norm").mean()
                rows.append(
                    [
                        solver,
                        *map(percent, [self.values(solver, "roc_auc"), *values]),
                        "-" if np.isnan(gradient) else f"{gradient:.3f}",
                    ]
                )
        return markdown(rows)

    def false_alarms(self, solver: str) -> str:
        """Return the shares of rows above a detector's threshold, beside its contamination."""
        rows = [["set", "contamination", "normal rows above", "all rows above"]]
        for name in [*self.sets, None]:
            told, normal, every = (
                self.values(solver, column, name)
                for column in ("contamination", "false_alarm_rate", "alarm_rate")
            )
            if normal.count():
                label = name or f"mean of {len(self.common)}"
                rows.append([label, f"{100 * told.mean():.1f}", percent(normal), percent(every)])
        return markdown(rows)

    def lead(self) -> str:
        """Return a line that says by how much LipOCC leads the best kind of nearest neighbours."""
        names = ["LipOCC", *NEIGHBOURS]
        if not set(names) <= set(self.solvers):
            return ""
        runs = self.runs[self.runs["solver"].isin(names)]
        if not (common := Section(runs).common):
            return ""
        runs = runs[runs["set"].isin(common)]
        means = 100 * runs.groupby(["set", "solver"])["roc_auc"].mean().unstack()
        best = means[NEIGHBOURS].mean().idxmax()
        lead = means["LipOCC"].mean() - means[best].mean()
        by_set = (means["LipOCC"] - means[NEIGHBOURS].max(axis=1)).mean()
        return (
            f"Mean ROC AUC of LipOCC minus the best of {', '.join(NEIGHBOURS)}: {lead:+.2f} "
            f"({best}); minus the best of the three on each set: {by_set:+.2f}. "
            f"Means of {len(common)} sets.\n"
        )

    def costs(self) -> str:
        rows = [["set", "n x d", *self.solvers]]
        for name in self.sets:
            first = self.runs[self.runs["set"] == name].iloc[0]
            rows.append([name, f"{first.n_train} x {first.n_features}"])
            for solver in self.solvers:
                fit, score = (
                    seconds(self.values(solver, column, name))
                    for column in ("fit_cpu_seconds", "score_cpu_seconds")
                )
                rows[-1].append(f"{fit} / {score}")
        return markdown(rows)

    def figure(self) -> Figure:
        """Draw ROC AUC by set, and mean ROC AUC against mean CPU seconds of fitting."""
        figure = Figure(figsize=(11, max(3.5, 1.5 + 0.28 * len(self.sets))), layout="constrained")
        by_set, by_cost = figure.subplots(ncols=2, width_ratios=[3, 2])
        for place, solver in enumerate(self.solvers):
            style = {"linestyle": "", **STYLES.get(solver, {"marker": "x"})}
            values = [100 * self.values(solver, "roc_auc", name) for name in self.sets]
            offset = (place - (len(self.solvers) - 1) / 2) / (2 * len(self.solvers))
            by_set.errorbar(
                [value.mean() for value in values],
                np.arange(len(values)) + offset,
                xerr=[value.std() if value.count() > 1 else 0.0 for value in values],
                **style, markersize=4, elinewidth=0.7, label=solver,
            )  # fmt: skip
            roc_auc = 100 * self.values(solver, "roc_auc").mean()
            by_cost.plot(self.values(solver, "fit_cpu_seconds").mean(), roc_auc, **style)
        by_set.set_yticks(range(len(self.sets)), self.sets)
        by_set.invert_yaxis()
        by_set.set_xlabel("ROC AUC, %")
        by_cost.set_xscale("log")
        by_cost.margins(0.15)
        by_cost.set_xlabel(f"CPU seconds to fit, mean of {len(self.common)} sets")
        by_cost.set_ylabel("ROC AUC, %")
        for axes in (by_set, by_cost):
            axes.grid(alpha=0.3)
        figure.legend(*by_set.get_legend_handles_labels(), loc="outside upper center", ncols=6)
        return figure

    def markdown(self, figure: str) -> str:
        most = self.n_draws.max()
        spread = f" ± is the standard deviation over {most} draws." if most > 1 else ""
        if self.n_draws.min() < most:
            spread += " Figures without it are of a single run."
        parts = [
            f"Means of {len(self.common)} sets of {len(self.sets)}: those that every detector has "
            f"finished. Accuracy in percent.{spread}\n",
            self.summary(),
            self.lead(),
            f"![ROC AUC by set, and against CPU seconds of fitting]({figure})\n",
            "### ROC AUC\n",
            self.accuracy("roc_auc"),
            *self.proofs(),
            "### Precision at n, n the number of outliers\n",
            self.accuracy("precision_at_n"),
            *self.thresholds("LipOCC"),
            "### CPU seconds to fit / to score the test part\n",
            self.costs(),
        ]
        return "\n".join(filter(None, parts))

    def proofs(self) -> list[str]:
        """Return the parts that only images have, where there are any."""
        if not self.runs[[*CERTIFIED]].notna().any(axis=None):
            return []
        return [
            "### Certified ROC AUC\n",
            "Lower bound of the ROC AUC under any attack that moves each image by up to this l2 "
            "distance. It follows from the Lipschitz constant of the scores. The gradient norm is "
            "a mean over test images: the nearer to 1, the less the bound gives away.\n",
            self.certified(),
            "### Accuracy of the best threshold\n",
            self.accuracy("best_threshold_accuracy"),
        ]

    def thresholds(self, solver: str) -> list[str]:
        """Return how well a detector's threshold keeps its promise, where that was measured."""
        if not self.values(solver, "false_alarm_rate").count():
            return []
        return [
            "### False alarms\n",
            f"Test rows above the threshold of {solver}, in percent. A share `contamination` of "
            "the training part exceeds the threshold. As many new rows should: of the normal ones "
            "where the training part is clean, of all where it is contaminated.\n",
            self.false_alarms(solver),
        ]
