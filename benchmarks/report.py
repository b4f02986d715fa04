"""Write the tables and figures of ``benchmarks/results`` from what benchopt has measured.

The runs of each protocol are kept in one CSV file, which newer runs update. Its table and its
figures follow from that file alone, so that they can be made again where nothing was run.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from report_ablation import ABLATION, ablation_figure, ablation_table, prior_table
from report_section import ACCURACIES, CERTIFIED, Section

BENCHMARK = Path(__file__).parent
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
    ablation : bool
        It shows the variants of LipOCC only; the others show all detectors but these.
    """

    name: str
    title: str
    config: str
    datasets: dict[str, str]
    ablation: bool = False

    def covers(self, runs: pd.DataFrame) -> pd.Series:
        """Tell which runs it shows."""
        varied = runs["solver"].str.startswith(ABLATION)
        return runs["dataset"].isin(self.datasets) & (varied == self.ablation)


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
            "images, of which the other nine classes are the outliers. Pixels in [0, 1]. LipOCC "
            "with five seeds: `configs/mnist-seeds.yml`."
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
    Protocol(
        "ablation",
        "Ablation and study",
        "ablation.yml",
        {
            "odds-contaminated": "Eight ODDS sets, five splits.",
            "odds-one-class": "The same sets, three splits.",
            "mnist-one-class": "Two digits, five seeds: `configs/ablation-mnist.yml`.",
        },
        ablation=True,
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
    if protocol.ablation:
        parts += [
            "LipOCC with one ingredient changed, on the sets on which choices are made; a variant "
            "that does not differ from the default on a data set is not run there. ROC AUC in "
            "percent, ± the standard deviation over the splits, for the digits over five seeds "
            "(`configs/ablation-mnist.yml`).\n",
            ablation_table(runs),
            "![ROC AUC against each parameter](ablation.png)\n",
            "## Initial negatives on clean tables\n",
            "The default network, and the dense one after 300 steps, with one kind of initial "
            "negatives; the default, like *dense-mixed*, has a third of each.\n",
            prior_table(runs),
        ]
        return "\n".join(parts)
    if len(sections) > 1:
        parts.append(Section(runs).lead())
    for name, section in sections.items():
        parts += [f"## {name}\n", protocol.datasets[name] + "\n", section.markdown(f"{name}.png")]
    return "\n".join(parts)


def write(protocol: Protocol, measured: list[pd.DataFrame], folder: Path) -> bool:
    """Update a protocol's runs, page and figures; return whether there is any run of it."""
    file = folder / f"{protocol.name}.csv"
    runs = [part[protocol.covers(part)] for part in measured]
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
    figures = {name: section.figure() for name, section in sections.items()}
    if protocol.ablation:
        figures = {protocol.name: ablation_figure(kept)}
    for name, figure in figures.items():
        figure.savefig(folder / f"{name}.png", dpi=100, metadata={"Software": None})
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
