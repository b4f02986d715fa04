from __future__ import annotations

from typing import Any

from benchmark_utils.protocols import DownloadedDataset, contaminated_split
from pyod_lipocc.datasets import ODDS_NAMES, load_odds


class Dataset(DownloadedDataset):
    """ODDS as in PyOD's benchmark: 60 % of all rows train, outliers among them.

    The contamination is the true share of outliers in the whole set.
    """

    name = "odds-contaminated"
    parameters = {"set": list(ODDS_NAMES), "split": list(range(10))}

    def load(self) -> dict[str, Any]:
        odds = load_odds(self.set)
        return contaminated_split(odds.X, odds.y, self.split)
