from __future__ import annotations

from typing import Any

from benchopt import BaseDataset

from pyod_lipocc.datasets import load_digits_one_class


class Dataset(BaseDataset):
    """scikit-learn's digits: one of them against the other nine."""

    name = "digits-one-class"
    parameters = {"set": list(range(10))}

    def get_data(self) -> dict[str, Any]:
        digit = load_digits_one_class(self.set)
        return {
            "X_train": digit.X_train,
            "X_test": digit.X_test,
            "y_test": digit.y_test,
            "contamination": 0.0,
            "image_shape": digit.image_shape,
        }
