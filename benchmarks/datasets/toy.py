from __future__ import annotations

from typing import Any

import numpy as np
from benchopt import BaseDataset

from benchmark_utils.protocols import standardized
from pyod_lipocc.datasets import TOY_NAMES, load_toy

N = 1000


class Dataset(BaseDataset):
    """Toy sets in the plane: fresh members against uniform points.

    The uniform points fill the training part's bounding box, widened on each side by half its
    length. Some fall among the members, so that no detector reaches an AUROC of 1.
    """

    name = "toy"
    parameters = {"set": list(TOY_NAMES), "split": [0, 1, 2]}

    def get_data(self) -> dict[str, Any]:
        random = np.random.RandomState(self.split)
        X_train, members = (
            load_toy(self.set, n_samples=N, random_state=random.randint(2**31)) for _ in range(2)
        )
        X_train, members = standardized(X_train, members)
        low, high = X_train.min(axis=0), X_train.max(axis=0)
        margin = (high - low) / 2
        uniform = random.uniform(low - margin, high + margin, size=(N, X_train.shape[1]))
        return {
            "X_train": X_train,
            "X_test": np.concatenate([members, uniform]),
            "y_test": np.repeat([0, 1], N),
            "contamination": 0.0,
        }
