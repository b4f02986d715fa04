from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.model_selection import train_test_split

from benchmark_utils import DownloadedDataset, standardized
from pyod_lipocc.datasets import ODDS_NAMES, load_odds


class Dataset(DownloadedDataset):
    """ODDS as in PyOD's benchmark: 60 % of all rows train, outliers among them.

    The contamination is the true share of outliers in the whole set.
    """

    name = "odds-contaminated"
    parameters = {"set": list(ODDS_NAMES), "split": list(range(10))}

    def load(self) -> dict[str, Any]:
        odds = load_odds(self.set)
        X_train, X_test, _, y_test = train_test_split(
            odds.X, odds.y, test_size=0.4, random_state=np.random.RandomState(self.split)
        )
        X_train, X_test = standardized(X_train, X_test)
        return {
            "X_train": X_train,
            "X_test": X_test,
            "y_test": y_test,
            "contamination": float(np.mean(odds.y)),
        }
