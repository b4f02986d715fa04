"""One page of results for each protocol: how it was made, its tables and its figures."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from benchmarks.report.ablation import ABLATION, ablation_figure, ablation_table, prior_table
from benchmarks.report.runs import newest, read_kept
from benchmarks.report.section import Section


@dataclass(frozen=True)
class Protocol:
    """One page of results.

    Attributes
    ----------
    name : str
        Name of the page's file.
    title : str
    config : str
        Name of the configuration that runs it.
    datasets : dict of str to str
        The data sets of the page, and what they are.
    ablation : bool
        Whether the page shows the variants of LipOCC alone. Other pages leave the variants out.
    """

    name: str
    title: str
    config: str
    datasets: dict[str, str]
    ablation: bool = False

    def covers(self, runs: pd.DataFrame) -> pd.Series:
        """Tell which runs the page shows."""
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
            "with three seeds: `configs/mnist-seeds.yml`."
        },
    ),
    Protocol(
        "mnist-contaminated",
        "MNIST, contaminated training part",
        "mnist-contaminated.yml",
        {
            "mnist-contaminated-5": "Train on one class of the 60,000 images, with 5 % images of "
            "the other nine among them; rank the 10,000 test images. "
            "The share of all rows above a threshold says nothing here: nine tenths of the test "
            "images are of other digits.",
            "mnist-contaminated-10": "The same with 10 %.",
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
            "odds-one-class": "The same sets, five splits.",
        },
        ablation=True,
    ),
    Protocol(
        "ablation-mnist",
        "Ablation on images",
        "ablation-mnist.yml",
        {"mnist-one-class": "Three digits, five seeds."},
        ablation=True,
    ),
)


def page(protocol: Protocol, runs: pd.DataFrame, sections: dict[str, Section]) -> str:
    """Return the page of a protocol: how it was made, then its sections."""

    def distinct(column: str) -> str:
        return ", ".join(sorted(map(str, runs[column].unique())))

    parts = [
        f"# {protocol.title}\n",
        f"Made by `benchopt run benchmarks --config benchmarks/configs/{protocol.config}` and "
        f"`python -m benchmarks.report`, from [{protocol.name}.csv]({protocol.name}.csv).",
        f"Code: {distinct('version')}. CPU: {distinct('cpu')}. Threads of each fit: "
        f"{distinct('threads')}.",
        "Seconds are CPU time, which other work on the machine does not lengthen; the CSV also has "
        "wall-clock time. Peak MiB is how far the resident set grew, a lower bound. Best accuracy "
        "is that of the best threshold. [How they are measured](../benchmark_utils/measure.py).\n",
    ]
    if protocol.ablation:
        parts += [
            "LipOCC with one ingredient changed, on the sets on which choices are made; a variant "
            "that does not differ from the default on a data set is not run there. ROC AUC in "
            "percent, ± the standard deviation over the splits and seeds.\n",
            *protocol.datasets.values(),
            "",
            ablation_table(runs),
        ]
        if protocol.name == "ablation":
            parts += [
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
        figures = {"ablation": ablation_figure(kept)} if protocol.name == "ablation" else {}
    for name, figure in figures.items():
        figure.savefig(folder / f"{name}.png", dpi=100, metadata={"Software": None})
    (folder / f"{protocol.name}.md").write_text(page(protocol, kept, sections), encoding="utf-8")
    return True
