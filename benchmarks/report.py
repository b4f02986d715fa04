"""Write the tables and figures of ``benchmarks/results`` from what benchopt has measured.

The runs of each protocol are kept in one CSV file, which newer runs update. Its table and its
figures follow from that file alone, so that they can be made again where nothing was run.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

BENCHMARK = Path(__file__).parent
KEY = ["dataset", "set", "split", "solver", "repetition", "threads"]
ACCURACIES = {
    "roc_auc": "ROC AUC",
    "average_precision": "average precision",
    "precision_at_n": "precision@n",
    "best_threshold_accuracy": "best accuracy",
}
MEASURED = [
    *ACCURACIES,
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
# in the order of the columns of every table
STYLES = {
    "LipOCC": {"color": "C3", "marker": "o"},
    "OCSVM": {"color": "C0", "marker": "s"},
    "IForest": {"color": "C2", "marker": "^"},
    "DeepSVDD": {"color": "C4", "marker": "D"},
    "KNN[k=1]": {"color": "C1", "marker": "v"},
    "KNN[k=5]": {"color": "C5", "marker": "P"},
}


@dataclass(frozen=True)
class Protocol:
    """One page of results.

    Attributes
    ----------
    name : str
        Of the page's file.
    title : str
    config : str
        Name of the configuration that runs it.
    datasets : dict of str to str
        The data sets of the benchmark that it shows, and what they are.
    """

    name: str
    title: str
    config: str
    datasets: dict[str, str]


PROTOCOLS = (
    Protocol(
        "odds-contaminated",
        "ODDS, contaminated training part",
        "odds-contaminated.yml",
        {
            "odds-contaminated": "Random 60/40 splits, standardised on the training part, "
            "contamination = true share of outliers in the whole set."
        },
    ),
    Protocol(
        "mnist-one-class",
        "MNIST, one class",
        "mnist-one-class.yml",
        {
            "mnist-one-class": "Train on one class of the 60,000 images, rank the 10,000 test "
            "images, of which the other nine classes are the outliers. Pixels in [0, 1]."
        },
    ),
    Protocol(
        "one-class",
        "ODDS and ADBench, clean training part",
        "one-class.yml",
        {
            "odds-one-class": "Half of the normal rows train, the other half and all anomalies "
            "test; standardised on the training rows.",
            "adbench-one-class": "As above; of larger sets 50,000 rows are drawn first.",
        },
    ),
    Protocol(
        "digits-one-class",
        "Digits, one class",
        "embedded.yml",
        {
            "digits-one-class": "Train on one of scikit-learn's digits, rank all ten, of which the "
            "other nine are the outliers. Pixels in [0, 1]."
        },
    ),
    Protocol(
        "toy",
        "Toy sets of the plane",
        "embedded.yml",
        {
            "toy": "1,000 members train; 1,000 fresh ones are ranked against 1,000 uniform points "
            "of a box twice as long and as wide, some of which fall among the members."
        },
    ),
)


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
    measured = {name: raw[f"objective_{name}"] for name in MEASURED}
    return pd.DataFrame({**named, **measured, "cpu": raw["system-processor"]})


def read_kept(file: Path) -> pd.DataFrame:
    """Return the runs of an earlier report."""
    return pd.read_csv(file, dtype={"set": str})


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


def markdown(rows: list[list[str]]) -> str:
    """Return a table whose first row is its header, all columns but the first to the right."""
    header, *body = rows
    rule = ["---", *["---:"] * (len(header) - 1)]
    return "\n".join("| " + " | ".join(row) + " |" for row in [header, rule, *body]) + "\n"


def percent(values: pd.Series) -> str:
    """Return "mean ± standard deviation" in percent; the mean alone of a single value."""
    if not values.count():
        return "-"
    spread = f" ± {100 * values.std():.1f}" if values.count() > 1 else ""
    return f"{100 * values.mean():.1f}{spread}"


def seconds(values: pd.Series) -> str:
    """Return the mean with three digits."""
    value = values.mean()
    if np.isnan(value):
        return "-"
    return f"{value:.3f}" if value < 1 else f"{value:.1f}"


class Section:
    """The tables and the figure of one data set of the benchmark.

    Parameters
    ----------
    runs : DataFrame
        Its rows, as `newest` returns them.
    """

    def __init__(self, runs: pd.DataFrame) -> None:
        self.runs = runs
        found = set(runs["solver"])
        self.solvers = [name for name in STYLES if name in found] + sorted(found - set(STYLES))
        self.sets = list(dict.fromkeys(runs["set"]))
        draws = runs.groupby(["set", "solver"]).size().unstack(fill_value=0)
        self.n_draws = draws.to_numpy().max()
        # a mean over sets compares detectors only where all have finished
        self.common = [name for name in self.sets if draws.loc[name].min() == self.n_draws]

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
        for values in row:
            cell = percent(values)
            if round(values.mean(), 3) == best:
                cell = f"**{cell}**"
            if 0 < values.count() < self.n_draws:
                cell += f" ({values.count()} of {self.n_draws})"
            yield cell

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
        """Return ROC AUC by set beside mean ROC AUC against mean CPU seconds of fitting."""
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
        spread = f"± is the standard deviation over {self.n_draws} draws."
        parts = [
            f"Means of {len(self.common)} sets of {len(self.sets)}: those that every detector has "
            f"finished. Accuracy in percent. {spread if self.n_draws > 1 else ''}".rstrip()
            + "\n",
            self.summary(),
            f"![ROC AUC by set, and against CPU seconds of fitting]({figure})\n",
            "### ROC AUC\n",
            self.accuracy("roc_auc"),
            "### Precision at n, n the number of outliers\n",
            self.accuracy("precision_at_n"),
            "### CPU seconds to fit / to score the test part\n",
            self.costs(),
        ]
        return "\n".join(parts)


def page(protocol: Protocol, runs: pd.DataFrame, sections: dict[str, Section]) -> str:
    """Return the page of a protocol: how it was made, then its sections."""

    def distinct(column: str) -> str:
        return ", ".join(sorted(map(str, runs[column].unique())))

    parts = [
        f"# {protocol.title}\n",
        f"Made by `benchopt run benchmarks --config benchmarks/configs/{protocol.config}` and "
        f"`python benchmarks/report.py`, from [{protocol.name}.csv]({protocol.name}.csv).",
        f"Code: {distinct('version')}. CPU: {distinct('cpu')}. Threads of each fit: "
        f"{distinct('threads')}.",
        "Seconds are CPU time, which other work on the machine does not lengthen (the CSV also has "
        "wall-clock time); peak MiB is how far the resident set grew, a lower bound; best accuracy "
        "is that of the best threshold. [How they are measured](../benchmark_utils/measure.py).\n",
    ]
    for name, section in sections.items():
        parts += [f"## {name}\n", protocol.datasets[name] + "\n", section.markdown(f"{name}.png")]
    return "\n".join(parts)


def write(protocol: Protocol, measured: list[pd.DataFrame], folder: Path) -> bool:
    """Update a protocol's runs, page and figures; return whether there is any run of it."""
    file = folder / f"{protocol.name}.csv"
    runs = [part[part["dataset"].isin(protocol.datasets)] for part in measured]
    if file.exists():
        runs.insert(0, read_kept(file))
    if not any(map(len, runs)):
        return False
    newest(runs).to_csv(file, index=False, float_format="%.6g", lineterminator="\n")
    kept = read_kept(file)
    sections = {
        name: Section(kept[kept["dataset"] == name])
        for name in protocol.datasets
        if name in set(kept["dataset"])
    }
    for name, section in sections.items():
        section.figure().savefig(folder / f"{name}.png", dpi=100, metadata={"Software": None})
    (folder / f"{protocol.name}.md").write_text(page(protocol, kept, sections), encoding="utf-8")
    return True


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=Path, default=BENCHMARK / "results", help="folder")
    parser.add_argument(
        "--runs", type=Path, nargs="*", help="parquet files, oldest first; default: all outputs"
    )
    arguments = parser.parse_args(argv)
    files = arguments.runs
    if files is None:
        files = sorted((BENCHMARK / "outputs").glob("*.parquet"), key=lambda f: f.stat().st_mtime)
    measured = [read_benchopt(file) for file in files]
    arguments.output.mkdir(parents=True, exist_ok=True)
    for protocol in PROTOCOLS:
        if write(protocol, measured, arguments.output):
            print(arguments.output / f"{protocol.name}.md")


if __name__ == "__main__":
    main()
