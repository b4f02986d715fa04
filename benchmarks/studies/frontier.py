"""What was learned about tables: certified functions beside each other, and what is out of reach.

Each set and split is one file under ``benchmarks/outputs/frontier``. A file that is there is not
measured again: a run that was killed goes on where it was.

    python -m benchmarks.studies.frontier              # half an hour on two cores
    python -m benchmarks.studies.frontier --page-only  # measures nothing
"""

from __future__ import annotations

import argparse
import itertools
from collections.abc import Callable, Sequence
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from matplotlib.figure import Figure
from numpy.typing import NDArray
from pyod.models.base import BaseDetector
from pyod.models.ecod import ECOD
from pyod.models.iforest import IForest
from pyod.models.inne import INNE
from pyod.models.knn import KNN
from sklearn.metrics import roc_auc_score
from tqdm import tqdm

from benchmarks import OUTPUTS, RESULTS
from benchmarks.benchmark_utils.lipocc import DIGEST
from benchmarks.benchmark_utils.measure import limited_threads
from benchmarks.benchmark_utils.protocols import Data, contaminated_split, one_class_split
from benchmarks.benchmark_utils.solver import source_digest
from benchmarks.report.tables import markdown
from benchmarks.studies import save_arrays
from pyod_lipocc import LipOCC
from pyod_lipocc.datasets import ODDS_NAMES, load_adbench, load_odds
from pyod_lipocc.lipschitz import NearestSubspace
from pyod_lipocc.starts import principal_subspace, prototypes

ADBENCH = (
    *("2_annthyroid", "4_breastw", "10_cover", "12_fault"),
    *("16_http", "23_mammography", "37_Stamps", "41_Waveform"),
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
    "all": SETS,
}
SPLITS = {"contaminated": contaminated_split, "clean": one_class_split}
N_SPLITS = 3
MOST_TRAIN, MOST_TEST = 4096, 6000
CLEAR = 0.5  # points by which a set is won or lost
VERSION = source_digest([Path(__file__)]) + "-" + DIGEST

Scores = dict[str, NDArray[np.float32]]


def isolated_rows(
    n_features: int, *, rows: torch.Tensor, generator: torch.Generator
) -> NearestSubspace:
    """Build the mean distance to the 5 nearest rows, isolated rows pushed away."""
    return prototypes(rows, 5, isolation=1.0)


def principal(
    n_features: int, *, rows: torch.Tensor, normal: torch.Tensor, generator: torch.Generator
) -> NearestSubspace:
    """Build the distance to the principal subspace of the rows that look normal."""
    return principal_subspace(rows[normal], most_directions=n_features - 1)


UNTRAINED = {"max_iter": 1, "learning_rate": 1e-12}  # one step too small to be seen
CERTIFIED: dict[str, dict[str, Any]] = {
    "LipOCC": {},
    "LipOCC, untrained": UNTRAINED,
    "LipOCC, 300 steps": {"max_iter": 300},
    "all rows": UNTRAINED | {"network": "nearest-subspace"},
    "all rows, isolated ones pushed away": UNTRAINED | {"network": isolated_rows},
    "principal subspace": UNTRAINED | {"network": principal},
    "dense": {"network": "dense", "max_iter": 300},
    "dense, lambda 3": {"network": "dense", "max_iter": 300, "regularization": 3.0},
}
"""Parameters of LipOCC: each function has a proven Lipschitz constant."""

MEANS = {
    f"LipOCC and {name}": ("LipOCC", name)
    for name in ("all rows", "principal subspace", "dense", "dense, lambda 3")
}
"""Means of two functions, certified as well."""

REFERENCES: dict[str, Callable[[int], BaseDetector]] = {
    "1-NN": lambda seed: KNN(n_neighbors=1),
    "mean of 5-NN": lambda seed: KNN(n_neighbors=5, method="mean"),
    "5-NN": lambda seed: KNN(n_neighbors=5),
    "IForest": lambda seed: IForest(random_state=seed),
    "INNE": lambda seed: INNE(random_state=seed),
    "ECOD": lambda seed: ECOD(),
}


def load(protocol: str, name: str, split: int) -> Data:
    """Split a set as the benchmark does, then draw the rows that are used of large parts."""
    found = load_odds(name) if name in ODDS_NAMES else load_adbench(name)
    data = SPLITS[protocol](found.X, found.y, split)
    random = np.random.RandomState(split)
    train = random.permutation(len(data["X_train"]))[:MOST_TRAIN]
    test = random.permutation(len(data["X_test"]))[:MOST_TEST]
    return data | {
        "X_train": data["X_train"][train],
        "X_test": data["X_test"][test],
        "y_test": data["y_test"][test],
    }


def scores(data: Data, seed: int) -> Scores:
    """Score the test part by every function; all functions of LipOCC are in the same units."""
    share = data["contamination"]
    told = {"contamination": share} if share else {"novelty": True}
    detectors: dict[str, BaseDetector] = {
        name: LipOCC(**told, random_state=seed, **parameters)
        for name, parameters in CERTIFIED.items()
    }
    detectors |= {name: build(seed) for name, build in REFERENCES.items()}
    return {
        name: detector.fit(data["X_train"]).decision_function(data["X_test"]).astype(np.float32)
        for name, detector in detectors.items()
    }


def path_of(folder: Path, protocol: str, name: str, split: int) -> Path:
    return folder / f"{protocol}.{name}.{split}.npz"


def measure(folder: Path, protocol: str, name: str, split: int) -> None:
    """Measure one set and split, unless this code has measured it before."""
    path = path_of(folder, protocol, name, split)
    if path.exists() and str(np.load(path)["version"]) == VERSION:
        return
    with limited_threads(1):
        data = load(protocol, name, split)
        save_arrays(path, y=data["y_test"], version=VERSION, **scores(data, split))


def _measure(job: tuple[Path, str, str, int]) -> None:
    measure(*job)


def roc_auc(folder: Path, protocol: str) -> pd.DataFrame:
    """Return ROC AUC in percent of functions and means, with columns (set, split)."""
    found = {}
    for name, split in itertools.product(SETS, range(N_SPLITS)):
        path = path_of(folder, protocol, name, split)
        if not path.exists():
            continue
        with np.load(path) as file:
            scored = {key: file[key].astype(float) for key in (*CERTIFIED, *REFERENCES)}
            y = file["y"]
        scored |= {mean: scored[one] + scored[other] for mean, (one, other) in MEANS.items()}
        found[name, split] = {key: 100 * roc_auc_score(y, row) for key, row in scored.items()}
    return pd.DataFrame(found)


def versions(folder: Path) -> str:
    """Return which code made the files."""
    return ", ".join(sorted({str(np.load(path)["version"]) for path in folder.glob("*.npz")}))


def by_set(values: pd.DataFrame) -> pd.DataFrame:
    """Return the means over the splits; sets in order."""
    means = values.T.groupby(level=0).mean().T
    return means[[name for name in SETS if name in means]]


def oracle(values: pd.DataFrame) -> pd.Series:
    """Return by set the ROC AUC of the certified function that is best on the other splits."""
    certified = values.drop(index=list(REFERENCES))
    found = {}
    for name, split in values:
        others = certified[name].drop(columns=split)
        best = others.mean(axis=1).fillna(0.0).idxmax()
        found[name, split] = certified.at[best, (name, split)]
    return pd.Series(found).groupby(level=0).mean()


def table_of_means(values: pd.DataFrame) -> str:
    means = by_set(values)
    lines = means.T.assign(**{"best of each set, by the other splits": oracle(values)}).T
    groups = {group: [name for name in names if name in means] for group, names in GROUPS.items()}
    header = ["function", *(f"{group} {len(names)}" for group, names in groups.items())]
    rows = [
        [name, *(f"{lines.loc[name, names].mean():.2f}" for names in groups.values())]
        for name in lines.index
    ]
    return markdown([header, *rows])


def table_of_sets(values: pd.DataFrame) -> str:
    means = by_set(values)
    certified = means.drop(index=list(REFERENCES))
    shown = ["LipOCC", "LipOCC, untrained", "all rows", "principal subspace", "dense"]
    header = ["set", *shown, "best certified", "best reference"]
    rows = [header]
    for name, column in means.items():
        best, reference = certified[name].idxmax(), column[list(REFERENCES)].idxmax()
        bests = (f"{column[best]:.1f} {best}", f"{column[reference]:.1f} {reference}")
        mark = "" if name in EXPLORE else " (report)"
        rows.append([f"{name}{mark}", *(f"{column[key]:.1f}" for key in shown), *bests])
    return markdown(rows)


def table_of_differences(values: pd.DataFrame) -> str:
    """Show which function is ahead of which, in the mean and on how many sets."""
    means = by_set(values)
    reference = means.loc[list(REFERENCES)].mean(axis=1).idxmax()
    others = (reference, "all rows", "LipOCC, untrained")
    pairs = [*itertools.product(["LipOCC"], others), ("LipOCC, 300 steps", "LipOCC, untrained")]
    pairs += itertools.product(MEANS, ["LipOCC"])
    rows = [
        ["function", "minus", "explore", "report", "all", "all but one", "that one", "won", "lost"]
    ]
    for one, other in pairs:
        ahead = means.loc[one] - means.loc[other]
        groups = [ahead[[name for name in GROUPS[group] if name in ahead]]
                  for group in ("explore", "report", "all")]  # fmt: skip
        most = ahead.abs().idxmax()
        differences = (f"{found.mean():+.2f}" for found in (*groups, ahead.drop(most)))
        counts = ((ahead > CLEAR).sum(), (ahead < -CLEAR).sum())
        rows.append([one, other, *differences, most, *counts])
    return markdown(rows, labels=2)


def draw(found: dict[str, pd.DataFrame]) -> Figure:
    """Draw by set where LipOCC lies between the functions that are certified."""
    figure = Figure(figsize=(9, 1.2 + 3.8 * len(found)), layout="constrained")
    for ax, (protocol, values) in zip(figure.subplots(len(found), 1, squeeze=False)[:, 0],
                                      found.items(), strict=True):  # fmt: skip
        means = by_set(values)
        certified, places = means.drop(index=list(REFERENCES)), range(means.shape[1])
        ax.vlines(places, certified.min(), certified.max(), color="0.8", linewidth=5,
                  label="all certified functions")  # fmt: skip
        for name, marker in {"LipOCC": "o", "dense": "v", "principal subspace": "s"}.items():
            ax.plot(places, means.loc[name], marker, markersize=4, label=name)
        ax.plot(places, means.loc[list(REFERENCES)].max(), "k_", label="best reference")
        ax.set_xticks(places, means.columns, rotation=45, ha="right", fontsize=8)
        ax.set(ylabel="ROC AUC, %", title=f"{protocol} training part")
        ax.grid(axis="y", alpha=0.3)
    figure.legend(*ax.get_legend_handles_labels(), fontsize=8, ncols=5, loc="outside lower center")
    return figure


PAGE = """\
# The frontier: what was learned about tables

Made by `make frontier`. Code (this study-pyod_lipocc): {versions}.

Each function of LipOCC has a proven Lipschitz constant. The mean of two functions has one too. The
splits are those of the benchmark, {n_splits} of each set; ADBench's sets have outliers in the
training part here too. At most {train:,} rows train every function, at most {test:,} test, so
figures of large sets differ from those of the other pages. ROC AUC in percent.

*explore*: the {n_explore} sets whose test labels were looked at when choices were made; *report*:
the others.

- **LipOCC** is the default; **untrained** is its start.
- **all rows** is the network `nearest-subspace`, untrained. Of clean rows it is the mean distance
  to the 2 nearest.
- **all rows, isolated ones pushed away** is `starts.prototypes` with an isolation of 1.
- **principal subspace** is the distance to the subspace that holds 90 % of the variance.
- **dense** is a dense network of the paper, trained from scratch for 300 steps.
- **best of each set, by the other splits** knows which certified function to believe on which set.

![ROC AUC by set](frontier.png)
"""

SECTION = """
## {protocol} training part

{means}
Differences: *all but one* leaves out the set on which the two functions differ most. Sets are won
and lost by more than {clear} points.

{differences}
{sets}"""


def main(argv: Sequence[str] | None = None) -> None:
    """Measure what is missing, then write the page."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--runs", type=Path, default=OUTPUTS / "frontier", help="a folder")
    parser.add_argument("--output", type=Path, default=RESULTS, help="a folder")
    parser.add_argument("--jobs", type=int, default=2, help="processes of one thread each")
    parser.add_argument("--page-only", action="store_true", help="measure nothing")
    options = parser.parse_args(argv)
    if not options.page_only:
        jobs = list(itertools.product([options.runs], SPLITS, SETS, range(N_SPLITS)))
        with get_context("spawn").Pool(options.jobs) as pool:
            for _ in tqdm(pool.imap_unordered(_measure, jobs), total=len(jobs), disable=None):
                pass
    found = {protocol: roc_auc(options.runs, protocol) for protocol in SPLITS}
    options.output.mkdir(parents=True, exist_ok=True)
    draw(found).savefig(options.output / "frontier.png", dpi=100, metadata={"Software": None})
    text = PAGE.format(
        versions=versions(options.runs),
        n_splits=N_SPLITS,
        train=MOST_TRAIN,
        test=MOST_TEST,
        n_explore=len(EXPLORE),
    )
    for protocol, values in found.items():
        text += SECTION.format(
            protocol=protocol.capitalize(),
            means=table_of_means(values),
            differences=table_of_differences(values),
            clear=CLEAR,
            sets=table_of_sets(values),
        )
    (options.output / "frontier.md").write_text(text, encoding="utf-8")
    print(options.output / "frontier.md")


if __name__ == "__main__":
    main()
