from __future__ import annotations

from typing import Any

from benchmark_utils.protocols import DownloadedDataset, one_class_split
from pyod_lipocc.datasets import ODDS_NAMES, load_odds


class Dataset(DownloadedDataset):
    """ODDS with a clean training part."""

    name = "odds-one-class"
    parameters = {"set": list(ODDS_NAMES), "split": list(range(5))}

    def load(self) -> dict[str, Any]:
        odds = load_odds(self.set)
        return one_class_split(odds.X, odds.y, self.split)
